package appliance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/oldstack"
	"selflink/appliance/snowflake"
)

// told gives the faults of a run, a line each.
func (r *takeover) told() []string {
	var lines []string
	for _, f := range r.faults {
		lines = append(lines, fmt.Sprintf("%s %d %s: %s", f.Kind, f.ID, f.Verdict, f.Reason))
	}
	slices.Sort(lines)
	return lines
}

func notes(result oldstack.Result) []string {
	var lines []string
	for _, n := range result.Notes {
		lines = append(lines, fmt.Sprintf("%d %s: %s", n.Rows, n.Kind, n.Text))
	}
	return lines
}

const odd = `
	UPDATE users_user SET handle = 'Ann.B', photo = '/media/avatars/ann%20lee.png', bio = E'\u202Eოდნავ 🙂\u0001\uFFFF' WHERE id = 1;
	UPDATE users_user SET photo = 'https://s3/b/avatars/x.png?AWSAccessKeyId=k&Signature=s&Expires=1' WHERE id = 2;
	UPDATE users_user SET photo = 'https://api.example.com/media/avatars/3.png', password = 'bcrypt$$2b$12$x' WHERE id = 3;
	UPDATE users_user SET photo = 'https://example.com/avatars/3.png', flags = '[1, {"a": null}]' WHERE id = 4;
	INSERT INTO users_userpii VALUES (31, now(), now(), 'Old name', 'old@example.com', '+995 555', NULL, NULL, '', '{"k": 1}', 1);
	INSERT INTO users_personalmapprofile VALUES (32, now(), now(), 'Ann', 'Lee', '1990-05-01', '08:30:00.000001', 'Georgia', 'Tbilisi', 'avatars/ann lee.png', 1),
		(33, now(), now(), 'Bob', 'Lee', 'infinity', NULL, 'Georgia', 'Tbilisi', NULL, 2);
	INSERT INTO profile_userprofile VALUES (34, now(), now(), 'female', 'robot', 'unsure', '["a", "b"]', '[]', '', '[]', 1, NULL, NULL, '', '', '', 500, NULL),
		(35, now(), now(), '', '', 'unsure', '["a", 1]', '[]', '', '[]', 2, NULL, NULL, '', '', '', NULL, NULL),
		(36, now(), now(), '', '', 'unsure', '[]', '[]', '', '[]', 3, NULL, NULL, '', '', '', 'NaN', NULL);
	INSERT INTO users_device VALUES (41, now(), now(), 'phone', 'ios', '2025-01-01', 1), (42, now(), now(), 'phone', 'ios', '2025-03-01', 2), (43, now(), now(), 'phone', 'ios', '2025-02-01', 3);
	INSERT INTO social_follow VALUES (51, now(), now(), 2, 1), (52, now(), now(), 1, 1), (53, now(), now(), 1, 12);
	INSERT INTO users_block VALUES (54, now(), now(), 4, 3);
	INSERT INTO mentor_mentorsession VALUES
		(61, '2025-01-01', '2025-01-01', 'q', 'a', '', 1, true, NULL, 'daily', now(), '2025-01-01', NULL, '{}'),
		(62, '2025-01-01', '2025-01-01', 'q2', 'a2', '', 1, true, NULL, 'daily', now(), '2025-01-01', NULL, '{}'),
		(63, now(), now(), '', '', '', 1, true, 'en', 'daily', now(), NULL, NULL, '{}'),
		(64, now(), now(), '', '', '', 1, true, 'en', 'daily_mentor', now(), NULL, NULL, '{"target_user_id": 2}'),
		(65, now(), now(), '', '', '', 1, true, 'en', 'daily_mentor', now(), NULL, NULL, '{}'),
		(66, now(), now(), '', '', '', 12, true, 'en', 'daily_mentor', now(), NULL, NULL, '{}');
	INSERT INTO mentor_mentormessage VALUES
		(71, now(), now(), 'user', 'Why?', '{"task_id": "0d2e2a13-dbfd-48ba-8ed6-bd51977d2df8", "task_version": "v1"}', 64),
		(72, now(), now(), 'assistant', 'So.', '{"task_id": "0d2e2a13-dbfd-48ba-8ed6-bd51977d2df8", "task_version": "v1", "request_id": 71}', 64),
		(73, now(), now(), 'mentor', 'So again.', '{"task_id": 5, "task_version": "v1", "request_id": 71}', 64),
		(74, now(), now(), 'system', 'x', NULL, 64),
		(75, now(), now(), 'user', repeat('ტ', 300000), 'null', 64),
		(76, '2020-01-01', now(), 'user', '', NULL, 64),
		(77, now(), now(), 'user', 'of somebody refused', NULL, 66);
	INSERT INTO mentor_dailytask VALUES (81, now(), now(), 't', '2020-01-01', 'pending', 1), (82, now(), now(), 't', '2020-01-01', 'lost', 1);
	INSERT INTO mentor_mentormemory VALUES (83, now(), now(), '{"entries": "none"}', '', 1);`

// TestImportOdd copies rows of every odd kind. What cannot be kept is refused
// with a reason, the rest is as it was.
func TestImportOdd(t *testing.T) {
	t.Parallel()
	r := newTakeover(t)
	r.request.MediaURL, r.request.KeptFor = "https://api.example.com/media/", 90*24*time.Hour
	for i, name := range []string{"ann", "bob", "cec", "dan"} {
		r.exec(t, oldUser(int64(i+1), name+"@Example.com", name, "pbkdf2_sha256$1$s$x"))
	}
	future := snowflake.First(time.Now().Add(time.Hour))
	r.exec(t, oldUser(11, "", "nomail", "!")+oldUser(12, "ANN@example.com", "ann2", "")+oldUser(13, "here@example.com", "f", "")+
		oldUser(14, "e@example.com", "here", "")+oldUser(-5, "neg@example.com", "neg", "")+oldUser(15, "g@example.com", "", "")+oldUser(future, "late@example.com", "late", "!"))
	r.exec(t, odd)
	// Somebody registered here before, and has an id that is used there too.
	r.here(t, `INSERT INTO users (id, email, email_fold, handle, password, created_at, updated_at) VALUES (999, 'Here@example.com', 'here@example.com', 'here', '', now(), now())`)

	dry := r.dry(t)
	foreseen := r.told()
	result := r.run(t)
	require.Equal(t, foreseen, r.told(), "a dry run tells the same")
	require.Equal(t, count(dry, "accounts"), count(result, "accounts"))
	require.Equal(t, []string{
		"accounts -5 refused: its id is not above zero",
		"accounts 11 refused: email is empty",
		"accounts 12 refused: email is that of account 1, in whatever case",
		"accounts 13 refused: email is that of account 999, in whatever case",
		"accounts 14 refused: handle is that of account 999",
		"accounts 15 refused: handle is empty",
		"devices 41 skipped: the same phone was seen later with another account",
		"devices 43 skipped: the same phone was seen later with another account",
		"follows 52 skipped: it is of somebody with themselves",
		"follows 53 refused: it is of one of the accounts that was refused: 12",
		"mentor messages 74 refused: role is none of user, assistant and mentor",
		"mentor messages 77 refused: it is of one of the mentor sessions that was refused: 66",
		"mentor sessions 66 refused: it is of one of the accounts that was refused: 12",
		"mentor tasks 82 refused: status is none of pending, completed and skipped",
		"personal maps 33 refused: birth_date is not a day of the years 1 to 9999",
		"profiles 35 refused: values is not a list of texts",
		"profiles 36 refused: birth_latitude is not a number",
		"settings -5 refused: it is of one of the accounts that was refused: -5",
		"settings 11 refused: it is of one of the accounts that was refused: 11",
		"settings 12 refused: it is of one of the accounts that was refused: 12",
		"settings 13 refused: it is of one of the accounts that was refused: 13",
		"settings 14 refused: it is of one of the accounts that was refused: 14",
		"settings 15 refused: it is of one of the accounts that was refused: 15",
	}, r.told())
	require.Len(t, result.Faults, 20, "the first of them")
	require.Equal(t, []string{
		"1 accounts: their handle has other signs than a-z, 0-9 and _; it stays as it is",
		"1 accounts: their ids are of the future: until then a new id might meet one of them",
		"3 accounts: their password is stored in a way that is not known here: they need a new one",
		"3 accounts: their photo becomes a key of our file storage",
		"4 accounts: they have no password, as before",
		"1 personal maps: they have a picture: copy its file into our file storage",
		"1 mentor messages: they are older than MENTOR_RETENTION_DAYS allows: the server's next nightly purge deletes them",
	}[3:], notes(result)[3:])

	for sql, want := range map[string]string{
		"SELECT string_agg(photo, ' ' ORDER BY id) FROM users WHERE id <= 4":                                             "avatars/ann lee.png avatars/x.png avatars/3.png https://example.com/avatars/3.png",
		"SELECT handle || ' ' || (bio = E'\\u202Eოდნავ 🙂\\u0001\\uFFFF') FROM users WHERE id = 1":                        "Ann.B true",
		"SELECT flags::text FROM users WHERE id = 4":                                                                     `[1, {"a": null}]`,
		"SELECT full_name || ' ' || email || ' ' || phone_number || metadata::text FROM user_pii WHERE user_id = 1":      `Name ann@Example.com +995 555{"k": 1}`,
		"SELECT orientation || ' ' || birth_latitude::text FROM profiles WHERE user_id = 1":                              "robot 500",
		"SELECT string_agg(id || ' ' || user_id, ',') FROM devices":                                                      "42 2",
		"SELECT followers_count || ' ' || following_count FROM users WHERE id = 2":                                       "1 0",
		"SELECT string_agg(id || ' ' || origin, ',' ORDER BY id) FROM mentor_sessions":                                   "61 journal,62 ask,63 ask,64 ask,65 ask",
		"SELECT string_agg(concat_ws(' ', id, task_id, request_id), ',' ORDER BY id) FROM mentor_messages WHERE id < 75": "71 0d2e2a13-dbfd-48ba-8ed6-bd51977d2df8,72 0d2e2a13-dbfd-48ba-8ed6-bd51977d2df8 71,73",
		"SELECT length(content) || ' ' || meta::text FROM mentor_messages WHERE id = 75":                                 "300000 null",
		"SELECT privacy || ' ' || language FROM user_settings WHERE user_id = 1":                                         "private ka",
	} {
		require.Equal(t, want, text(t, r.db.Direct, sql), sql)
	}
	before := r.imprint(t)
	again := r.run(t)
	require.Equal(t, before, r.imprint(t), "a second run changes nothing")
	require.Zero(t, again.Total().Copied+again.Total().Changed)
	require.Equal(t, count(result, "mentor messages").Copied, count(again, "mentor messages").Same)
}

// TestImportAgain imports once more after both sides have changed: what changed
// there alone follows, what changed here stays, and what is gone here does not
// come back.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	r := newTakeover(t)
	for i, name := range []string{"ann", "bob", "cec", "dan", "eve"} {
		r.exec(t, oldUser(int64(i+1), name+"@example.com", name, "pbkdf2_sha256$1$s$x"))
	}
	r.exec(t, `INSERT INTO social_follow VALUES (51, now(), now(), 2, 1), (52, now(), now(), 3, 1);
		INSERT INTO users_device VALUES (41, now(), now(), 'phone', 'ios', '2025-01-01', 1);
		INSERT INTO mentor_mentorsession VALUES (64, now(), now(), '', '', '', 1, true, 'en', 'daily_mentor', now(), NULL, NULL, '{}');
		INSERT INTO mentor_mentormessage VALUES (71, now(), now(), 'user', 'Why?', NULL, 64), (72, now(), now(), 'user', 'How?', NULL, 64);
		INSERT INTO mentor_mentorprofile VALUES (91, now(), now(), 'warm', 'deep', '{}', 1)`)
	require.Zero(t, r.run(t).Total().Refused)

	r.exec(t, `UPDATE users_user SET name = 'New', is_active = id <> 1, email = 'new' || id || '@example.com' WHERE id <= 2;
		UPDATE users_user SET bio = 'old' WHERE id = 3;
		UPDATE users_usersettings SET language = 'ru';
		UPDATE users_device SET last_seen = '2025-02-01';
		UPDATE mentor_mentorsession SET active = false;
		UPDATE mentor_mentormessage SET content = 'changed';
		DELETE FROM social_follow WHERE id = 52;
		INSERT INTO social_follow VALUES (53, now(), now(), 4, 1)`)
	r.exec(t, oldUser(6, "ann@example.com", "fay", "!"))
	r.here(t, "UPDATE users SET bio = 'mine' WHERE id = 2")
	r.here(t, "UPDATE user_settings SET privacy = 'friends' WHERE user_id = 4")
	r.here(t, "DELETE FROM mentor_messages WHERE id = 72")
	r.here(t, "DELETE FROM follows WHERE followee_id = 2")
	r.here(t, `INSERT INTO auth_sessions (id, user_id, created_at, expires_at) VALUES (gen_random_uuid(), 1, now(), now() + interval '1 day')`)

	dry := r.dry(t)
	require.Equal(t, int64(2), count(dry, "accounts").Changed)
	result := r.run(t)
	require.Equal(t, []string{
		"accounts 2 kept: it was changed here, and in the old database",
		"mentor messages 72 kept: it was deleted here, and changed in the old database",
		"settings 4 kept: it was changed here, and in the old database",
	}, r.told())
	require.Equal(t, oldstack.Count{Kind: "accounts", Table: "users_user", Rows: 6, Copied: 1, Changed: 2, Same: 2, Kept: 1}, count(result, "accounts"))
	require.Equal(t, oldstack.Count{Kind: "follows", Table: "social_follow", Rows: 2, Copied: 1, Same: 1, Gone: 1}, count(result, "follows"))
	for sql, want := range map[string]string{
		"SELECT name || ' ' || email_fold || ' ' || is_active || ' ' || (tokens_after IS NOT NULL) FROM users WHERE id = 1": "New new1@example.com false true",
		"SELECT email FROM user_pii WHERE user_id = 1":                                    "new1@example.com",
		"SELECT ended_why FROM auth_sessions":                                             "deactivated",
		"SELECT count(*)::text FROM search_users WHERE user_id = 1":                       "0",
		"SELECT name || ' ' || bio FROM users WHERE id = 2":                               "Name mine",
		"SELECT string_agg(user_id || language, ' ' ORDER BY user_id) FROM user_settings": "1ru 2ru 3ru 4ka 5ru 6ka",
		"SELECT last_seen::date::text FROM devices":                                       "2025-02-01",
		"SELECT active::text FROM mentor_sessions":                                        "false",
		"SELECT string_agg(content, ',') FROM mentor_messages":                            "changed",
		"SELECT string_agg(followee_id::text, ',' ORDER BY followee_id) FROM follows":     "3,4",
		"SELECT action FROM audit_events ORDER BY created_at DESC LIMIT 1":                "import.ran",
	} {
		require.Equal(t, want, text(t, r.db.Direct, sql), sql)
	}
	before := r.imprint(t)
	r.run(t)
	require.Equal(t, before, r.imprint(t), "the next run changes nothing")
}

// TestImportSchema meets databases that are older, or none of the old backend.
func TestImportSchema(t *testing.T) {
	t.Parallel()
	r := newTakeover(t)
	r.exec(t, oldUser(1, "ann@example.com", "ann", "!"))
	r.exec(t, `ALTER TABLE users_usersettings DROP COLUMN push_enabled;
		ALTER TABLE mentor_mentorsession DROP COLUMN mode, DROP COLUMN date, DROP COLUMN started_at, DROP COLUMN metadata;
		DROP TABLE profile_userprofile;
		DROP TABLE mentor_mentormemory;
		ALTER TABLE social_follow RENAME TO people_follow;`)
	r.exec(t, `INSERT INTO mentor_mentorsession VALUES (61, '2025-01-01', '2025-01-01', 'q', 'a', '', 1, true, NULL, NULL)`)
	_, err := r.ledger.Import(t.Context(), r.request)
	require.ErrorIs(t, err, oldstack.ErrSchema)
	require.ErrorContains(t, err, "no profile_userprofile (nor any other *_userprofile); no mentor_mentormemory (nor any other *_mentormemory)")

	r.request.MissingOK = true
	result := r.run(t)
	require.Equal(t, []string{"profile_userprofile", "mentor_mentormemory"}, result.Absent)
	require.Equal(t, []string{"users_usersettings.push_enabled", "mentor_mentorsession.mode", "mentor_mentorsession.started_at", "mentor_mentorsession.metadata", "mentor_mentorsession.date"}, result.Missing)
	require.Equal(t, "people_follow", count(result, "follows").Table, "the only table of that model")
	require.Equal(t, "ask daily_mentor 2025-01-01", text(t, r.db.Direct, "SELECT origin || ' ' || mode || ' ' || started_at::date FROM mentor_sessions"))

	r.exec(t, "ALTER TABLE users_user DROP COLUMN handle")
	_, err = r.ledger.Import(t.Context(), r.request)
	require.ErrorIs(t, err, oldstack.ErrSchema)
	require.ErrorContains(t, err, "users_user has no column handle")
	r.exec(t, "ALTER TABLE users_user RENAME TO people")
	_, err = r.ledger.Import(t.Context(), r.request)
	require.ErrorIs(t, err, oldstack.ErrSchema, "without people there is nothing to go on with")

	for address, want := range map[string]error{
		"postgres://u:s3cr3t@[::1/x":                                 oldstack.ErrAddress,
		"host=s3cr3t port=s3cr3t":                                    oldstack.ErrAddress,
		"postgres://u:s3cr3t@127.0.0.1:1/x":                          oldstack.ErrUnreachable,
		strings.Replace(r.oldURL, "selflink:", "selflink:s3cr3t", 1): oldstack.ErrUnreachable,
	} {
		_, err := r.ledger.Import(t.Context(), appliance.ImportRequest{From: address})
		require.ErrorIs(t, err, want)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
}

// TestImportReadsOnly shows that the old database is never written to.
func TestImportReadsOnly(t *testing.T) {
	t.Parallel()
	r := newTakeover(t)
	source, err := oldstack.Open(t.Context(), r.oldURL)
	require.NoError(t, err)
	defer source.Close()
	require.Equal(t, "read only", text(t, r.old, `SELECT CASE WHEN count(*) = 0 THEN 'read only' END FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.application_name = 'selflink import' AND a.datname = current_database() AND l.mode NOT IN ('AccessShareLock', 'ExclusiveLock')`))
}
