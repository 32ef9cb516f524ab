package accounts_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
	"selflink/services/accounts"
)

// explain gives the plan of a query.
func (r *rig) explain(t *testing.T, sql string, args ...any) string {
	t.Helper()
	rows, err := r.db.Direct.Query(t.Context(), "EXPLAIN "+sql, args...)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}

// TestListsWalkIndexes asks the planner, over many rows, whether each list
// finds its page without sorting or reading the whole table.
func TestListsWalkIndexes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, name, created_at, updated_at)
		SELECT i, 'e' || i || '@example.com', 'e' || i || '@example.com', 'h' || i, '!', md5(i::text), now() - i * interval '1 second', now() + i * interval '1 second'
		FROM generate_series(1, 20000) i`)
	r.exec(t, `INSERT INTO follows (follower_id, followee_id, created_at) SELECT i, j, now() - i * interval '1 second' FROM generate_series(1, 5000) i, generate_series(5001, 5003) j`)
	r.exec(t, `INSERT INTO devices (id, user_id, device_type, push_token, last_seen, created_at) SELECT i, i % 100 + 1, 'ios', 't' || i, now(), now() - i * interval '1 second' FROM generate_series(1, 10000) i`)
	_, err := r.db.Direct.Exec(t.Context(), "ANALYZE users, follows, devices")
	require.NoError(t, err)

	viewer := auth.Principal{UserID: 7}
	for ordering, index := range map[string]string{
		"": "users_created", "created_at": "users_created", "-updated_at": "users_updated", "updated_at": "users_updated",
		"name": "users_name", "-name": "users_name", "handle": "users_handle_key", "-handle": "users_handle_key", "id": "users_pkey", "-id": "users_pkey",
	} {
		sql, args, err := accounts.ListSQL(viewer, "", "", httpapi.PageQuery{Ordering: ordering})
		require.NoError(t, err)
		plan := r.explain(t, sql, args...)
		require.Contains(t, plan, "using "+index+" on users u", ordering)
		require.NotContains(t, plan, "Seq Scan on users", ordering)
	}
	sql, args, err := accounts.ListSQL(viewer, "needle77", "", httpapi.PageQuery{})
	require.NoError(t, err)
	plan := r.explain(t, sql, args...)
	require.Contains(t, plan, "users_handle_trgm")
	require.Contains(t, plan, "users_name_trgm")
	sql, args, err = accounts.ListSQL(auth.Principal{UserID: 7, Staff: true}, "", "needle77 straw99", httpapi.PageQuery{})
	require.NoError(t, err)
	require.Contains(t, r.explain(t, sql, args...), "users_email_trgm")

	require.Contains(t, r.explain(t, accounts.FollowersSQL, 7, 5001, 20), "follows_followers")
	require.Contains(t, r.explain(t, accounts.FollowingSQL, 7, 12, 20), "follows_following")
	require.Contains(t, r.explain(t, `SELECT id, device_type, push_token, last_seen, created_at FROM devices
		WHERE user_id = $1 AND (created_at, id) < ($2::timestamptz, $3::bigint) ORDER BY created_at DESC, id DESC LIMIT $4`, 7, time.Now(), 1, 21), "devices_user")
}

func TestSessionBeginsOnlyAsThePasswordWasSeen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.join(t, "ann")
	p, err := r.svc.Begin(t.Context(), ann.ID, nil)
	require.NoError(t, err)
	require.NotEmpty(t, p.Access)
	_, err = r.svc.ResetPassword(t.Context(), "ann", "another-password")
	require.NoError(t, err)
	p, err = r.svc.Begin(t.Context(), ann.ID, nil)
	require.NoError(t, err)
	require.Empty(t, p, "the password that was checked is no longer the password")
}

func TestSearchTerms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"": nil, " , ": nil, "a b,c": {"a", "b", "c"}, `"a b" c`: {"a b", "c"}, `'a,b'c`: {"a,b", "c"},
		`"open end`: {"open end"}, `o'neil`: {"o'neil"}, "a\x00b\xff": {"ab"}, strings.Repeat("a ", 30): {"a", "a", "a", "a", "a", "a", "a", "a", "a", "a"},
	} {
		require.Equal(t, want, accounts.SearchTerms(in), in)
	}
}

func TestNormalHandle(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Ann Lee": "annlee", "__a__b__": "a_b", "a_!_b": "a_b", "!!!": "", "_": "", "გ": "", "Zoë": "zo", "\u212a": "k",
		strings.Repeat("x", 40): strings.Repeat("x", 30),
	} {
		require.Equal(t, want, accounts.NormalHandle(in), in)
	}
}

func FuzzSearchTerms(f *testing.F) {
	f.Add(`"a b", c 'd`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, term := range accounts.SearchTerms(s) {
			if strings.TrimSpace(term) == "" || !utf8.ValidString(term) || strings.Contains(term, "\x00") {
				t.Fatalf("term %q", term)
			}
		}
	})
}

func FuzzNormalHandle(f *testing.F) {
	f.Add("Ann_ Lee")
	f.Fuzz(func(t *testing.T, s string) {
		h := accounts.NormalHandle(s)
		if len(h) > 30 || strings.Trim(h, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || strings.Contains(h, "__") || strings.HasPrefix(h, "_") {
			t.Fatalf("handle %q", h)
		}
	})
}
