package appliance_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/auth"
	"selflink/appliance/config"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/oldstack"
	"selflink/services/accounts"
)

// takeover is an old backend's database, ours, and the command between them.
type takeover struct {
	old     *pgx.Conn
	oldURL  string
	db      *databasetest.DB
	ledger  *appliance.Ledger
	request appliance.ImportRequest
	faults  []oldstack.Fault
}

func newTakeover(t *testing.T) *takeover {
	t.Helper()
	old := databasetest.New(t)
	r := &takeover{db: databasetest.New(t)}
	_, err := old.Direct.Exec(t.Context(), "CREATE SCHEMA old")
	require.NoError(t, err)
	r.oldURL = old.DirectURL + "&search_path=old"
	r.old, err = pgx.Connect(t.Context(), r.oldURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.old.Close(context.Background()) })
	r.sql(t, "testdata/oldstack.sql", "")

	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"SELFLINK_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "SELFLINK_ENV_FILE=", "RUNNING_IN_DOCKER=false", "PATH=" + os.Getenv("PATH"),
		"DATABASE_URL=" + r.db.URL, "DATABASE_DIRECT_URL=" + r.db.DirectURL,
	}})
	require.NoError(t, err)
	r.ledger, err = appliance.OpenLedger(t.Context(), cfg, slog.New(slog.DiscardHandler), appliance.Build{Version: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.ledger.Close()) })
	r.request = appliance.ImportRequest{From: r.oldURL, Fault: func(f oldstack.Fault) error {
		r.faults = append(r.faults, f)
		return nil
	}}
	return r
}

// sql runs a file in the old database, with users people.
func (r *takeover) sql(t *testing.T, file, users string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	r.exec(t, strings.ReplaceAll(string(text), "@users", users))
}

// exec runs statements in the old database.
func (r *takeover) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := r.old.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
}

// here runs a statement in ours.
func (r *takeover) here(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := r.db.Pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// run imports, with the faults of this run in r.faults.
func (r *takeover) run(t *testing.T) oldstack.Result {
	t.Helper()
	r.faults = nil
	result, err := r.ledger.Import(t.Context(), r.request)
	require.NoError(t, err)
	return result
}

func (r *takeover) dry(t *testing.T) oldstack.Result {
	t.Helper()
	r.request.DryRun = true
	defer func() { r.request.DryRun = false }()
	return r.run(t)
}

// text reads one value of a database as text.
func text(t *testing.T, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, sql string) string {
	t.Helper()
	var s *string
	require.NoError(t, q.QueryRow(t.Context(), sql).Scan(&s), sql)
	if s == nil {
		return "null"
	}
	return *s
}

// imprint is all of our database that an import may touch, down to the
// versions of rows.
func (r *takeover) imprint(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, table := range []string{
		"users", "user_settings", "user_pii", "profiles", "personal_maps", "devices", "follows", "user_blocks", "user_mutes", "coin_accounts",
		"search_users", "mentor_sessions", "mentor_messages", "mentor_profiles", "mentor_tasks", "mentor_memories", "import_rows", "jobs",
	} {
		fmt.Fprintf(&b, "%s %s\n", table, text(t, r.db.Direct, "SELECT count(*) || ' ' || md5(coalesce(string_agg(x.xmin::text || x::text, '|' ORDER BY x::text), '')) FROM "+table+" x"))
	}
	return b.String()
}

func count(result oldstack.Result, kind string) oldstack.Count {
	for _, c := range result.Kinds {
		if c.Kind == kind {
			return c
		}
	}
	return oldstack.Count{}
}

// compared are the columns that must be the same in both databases.
var compared = []struct{ kind, old, ours string }{
	{"accounts", "SELECT id, email, handle, password, name, bio, photo, birth_date, birth_time, birth_place, locale, flags::text, is_active, is_staff, is_superuser, last_login, created_at, updated_at FROM users_user",
		"SELECT id, email, handle, password, name, bio, photo, birth_date, birth_time, birth_place, locale, flags::text, is_active, is_staff, is_superuser, last_login, created_at, updated_at FROM users"},
	{"settings", "SELECT user_id, privacy, dm_policy, language, quiet_hours::text, push_enabled, email_enabled, digest_enabled FROM users_usersettings",
		"SELECT user_id, privacy, dm_policy, language, quiet_hours::text, push_enabled, email_enabled, digest_enabled FROM user_settings"},
	{"personal details", "SELECT user_id, full_name, email, phone_number, birth_date, birth_time, birth_place, metadata::text FROM users_userpii",
		"SELECT user_id, full_name, email, phone_number, birth_date, birth_time, birth_place, metadata::text FROM user_pii"},
	{"profiles", `SELECT user_id, gender, orientation, relationship_goal, values::text, preferred_lifestyle::text, attachment_style, love_language::text, birth_date, birth_time, birth_city, birth_country, birth_timezone, birth_latitude, birth_longitude, created_at, updated_at FROM profile_userprofile`,
		`SELECT user_id, gender, orientation, relationship_goal, to_jsonb("values")::text, to_jsonb(preferred_lifestyle)::text, attachment_style, to_jsonb(love_language)::text, birth_date, birth_time, birth_city, birth_country, birth_timezone, birth_latitude, birth_longitude, created_at, updated_at FROM profiles`},
	{"personal maps", "SELECT user_id, first_name, last_name, birth_date, birth_time, birth_place_country, birth_place_city, coalesce(avatar_image, ''), created_at, updated_at FROM users_personalmapprofile",
		"SELECT user_id, first_name, last_name, birth_date, birth_time, birth_place_country, birth_place_city, avatar, created_at, updated_at FROM personal_maps"},
	{"devices", "SELECT id, user_id, device_type, push_token, last_seen, created_at FROM users_device", "SELECT id, user_id, device_type, push_token, last_seen, created_at FROM devices"},
	{"follows", "SELECT follower_id, followee_id, created_at FROM social_follow", "SELECT follower_id, followee_id, created_at FROM follows"},
	{"blocks", "SELECT user_id, target_id, created_at FROM users_block", "SELECT user_id, target_id, created_at FROM user_blocks"},
	{"mutes", "SELECT user_id, target_id, created_at FROM users_mute", "SELECT user_id, target_id, created_at FROM user_mutes"},
	{"mentor sessions", "SELECT id, user_id, mode, language, active, started_at, ended_at, metadata::text, question, answer, sentiment, date, created_at, updated_at FROM mentor_mentorsession",
		"SELECT id, user_id, mode, language, active, started_at, ended_at, metadata::text, question, answer, sentiment, date, created_at, updated_at FROM mentor_sessions"},
	{"mentor messages", "SELECT id, session_id, role, content, meta::text, created_at, updated_at FROM mentor_mentormessage",
		"SELECT id, session_id, role, content, meta::text, created_at, updated_at FROM mentor_messages"},
	{"mentor profiles", "SELECT id, user_id, tone, level, preferences::text, created_at, updated_at FROM mentor_mentorprofile",
		"SELECT id, user_id, tone, level, preferences::text, created_at, updated_at FROM mentor_profiles"},
	{"mentor tasks", "SELECT id, user_id, task, due_date, status, created_at, updated_at FROM mentor_dailytask", "SELECT id, user_id, task, due_date, status, created_at, updated_at FROM mentor_tasks"},
	{"mentor memories", "SELECT user_id, notes::text, last_summary, updated_at FROM mentor_mentormemory", "SELECT user_id, notes::text, last_summary, updated_at FROM mentor_memories"},
}

// same demands that both databases hold the same.
func (r *takeover) same(t *testing.T) {
	t.Helper()
	const sum = "SELECT count(*) || ' ' || md5(coalesce(string_agg(x::text, '|' ORDER BY x::text COLLATE \"C\"), '')) FROM (%s) x"
	for _, c := range compared {
		require.Equal(t, text(t, r.old, fmt.Sprintf(sum, c.old)), text(t, r.db.Direct, fmt.Sprintf(sum, c.ours)), c.kind)
	}
}

// TestImportMany copies many people with all that they have, after it was
// interrupted again and again, and compares every column. Another run writes
// nothing at all.
func TestImportMany(t *testing.T) {
	t.Parallel()
	const users = 1000
	r := newTakeover(t)
	r.sql(t, "testdata/oldstack_many.sql", fmt.Sprint(users))

	before := r.imprint(t)
	dry := r.dry(t)
	require.Equal(t, before, r.imprint(t), "a dry run writes nothing")
	require.Equal(t, int64(users), count(dry, "accounts").Copied)
	require.Equal(t, dry.Total().Rows, dry.Total().Copied)
	require.Empty(t, r.faults)

	// An interruption in each table, and in the middle of the large ones.
	r.request.Batch = 300
	interrupted := 0
	for stop := 1; ; stop += 6 {
		ctx, cancel := context.WithCancel(t.Context())
		batches := 0
		r.request.Progress = func(oldstack.Progress) {
			if batches++; batches == stop {
				cancel()
			}
		}
		_, err := r.ledger.Import(ctx, r.request)
		cancel()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		interrupted++
	}
	require.GreaterOrEqual(t, interrupted, 4)
	require.Empty(t, r.faults)
	r.request.Progress, r.request.Batch = nil, 0
	r.same(t)

	for _, c := range []struct{ what, sql string }{
		{"coin accounts", "SELECT count(*)::text FROM users u WHERE NOT EXISTS (SELECT FROM coin_accounts c WHERE c.user_id = u.id AND c.account_key = 'user:' || u.id)"},
		{"people who cannot be found", "SELECT count(*)::text FROM users u WHERE u.is_active <> EXISTS (SELECT FROM search_users s WHERE s.user_id = u.id)"},
		{"wrong counters", "SELECT count(*)::text FROM users u WHERE followers_count <> (SELECT count(*) FROM follows WHERE followee_id = u.id) OR following_count <> (SELECT count(*) FROM follows WHERE follower_id = u.id)"},
		{"addresses", "SELECT count(*)::text FROM users WHERE email_fold <> lower(email)"},
		{"answers without a question", "SELECT count(*)::text FROM mentor_messages a WHERE role = 'assistant' AND NOT EXISTS (SELECT FROM mentor_messages q WHERE q.id = a.request_id AND a.task_version = 'v1' AND a.task_id IS NOT NULL)"},
		{"strangers' messages", "SELECT count(*)::text FROM mentor_messages m JOIN mentor_sessions s ON s.id = m.session_id WHERE m.user_id <> s.user_id"},
	} {
		require.Equal(t, "0", text(t, r.db.Direct, c.sql), c.what)
	}

	before = r.imprint(t)
	again := r.run(t)
	require.Equal(t, before, r.imprint(t), "a second run changes nothing")
	require.Equal(t, again.Total().Rows, again.Total().Same)
	require.Equal(t, dry.Total().Rows, again.Total().Rows)
}

// TestImportedPassword signs in with a password of the old backend, which
// stores it in the new way.
func TestImportedPassword(t *testing.T) {
	t.Parallel()
	r := newTakeover(t)
	// What Django makes of "correct horse battery" with 1000 iterations.
	r.exec(t, oldUser(7001, "Olga@example.com", "olga", "pbkdf2_sha256$1000$seasalt$DrdiWD40lyBuydnjvZiDrdQMx1S1mOA9O0QYex0R6ww=")+
		oldUser(7002, "nobody@example.com", "nobody", "!kRIqmmZKbpZV8pOcFuTQ0u"))
	require.Equal(t, int64(2), count(r.run(t), "accounts").Copied)

	login := func(email, password string) int {
		return r.serve(t).Do(t, "POST", "/api/v1/auth/login/", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)).Status
	}
	require.Equal(t, 400, login("Olga@example.com", "wrong horse battery"))
	require.Equal(t, 200, login("olga@EXAMPLE.com", "correct horse battery"))
	require.True(t, strings.HasPrefix(text(t, r.db.Direct, "SELECT password FROM users WHERE id = 7001"), "$argon2id$"))
	require.Equal(t, 200, login("Olga@example.com", "correct horse battery"))
	require.Equal(t, 400, login("nobody@example.com", "!kRIqmmZKbpZV8pOcFuTQ0u"))

	again := r.run(t)
	require.Equal(t, int64(2), count(again, "accounts").Same, "what signing in changed is no change of the old row")
	require.Zero(t, again.Total().Kept)
}

// serve answers requests for accounts in our database.
func (r *takeover) serve(t *testing.T) *apitest.Client {
	t.Helper()
	tokens, err := auth.NewTokens(auth.TokenOptions{Key: []byte("a key for tests, long enough for HS256")})
	require.NoError(t, err)
	passwords, err := auth.NewPasswords(auth.PasswordOptions{Wait: time.Minute})
	require.NoError(t, err)
	people, err := accounts.New(accounts.Deps{DB: r.db.Pool, IDs: &serial{}, Tokens: tokens, Passwords: passwords})
	require.NoError(t, err)
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Auth: people, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	people.Register(api)
	return apitest.Serve(t, api)
}

// oldUser is the statement that makes somebody in the old database.
func oldUser(id int64, email, handle, password string) string {
	return fmt.Sprintf(`INSERT INTO users_user VALUES (%d, '%s', NULL, false, '%s', '%s', 'Name', '', '', NULL, NULL, '', 'en-US', '{}', true, false, '2025-01-02 03:04:05.000006+00', '2025-01-03 00:00+00');
		INSERT INTO users_usersettings VALUES (%[1]d, now(), now(), 'private', 'everyone', 'ka', '{}', true, true, false, %[1]d);`, id, password, email, handle)
}
