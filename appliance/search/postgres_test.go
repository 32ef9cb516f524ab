package search_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database/databasetest"
	"selflink/appliance/search"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// rig is a Postgres engine over a database of its own.
type rig struct {
	db     *databasetest.DB
	engine *search.Postgres
	last   int64
}

func newRig(t testing.TB) *rig {
	t.Helper()
	db := databasetest.New(t)
	return &rig{db: db, engine: search.NewPostgres(db.Pool)}
}

func (r *rig) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := r.db.Direct.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// join makes an account; each is newer than the one before.
func (r *rig) join(t testing.TB, handle, name, bio string) int64 {
	t.Helper()
	r.last++
	r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, name, bio, created_at, updated_at)
		VALUES ($1, $2 || '@x', $2 || '@x', $2, '!', $3, $4, $5, $5)`, r.last, handle, name, bio, time.Unix(1_700_000_000+r.last, 0))
	return r.last
}

// find gives the handles of what is found.
func (r *rig) find(t testing.TB, viewer int64, text string, limit int) []string {
	t.Helper()
	ids, err := r.engine.Search(t.Context(), search.Query{Text: text, Viewer: viewer, Limit: limit})
	require.NoError(t, err)
	handles := []string{}
	for _, id := range ids {
		var handle string
		require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT handle FROM users WHERE id = $1", id).Scan(&handle))
		handles = append(handles, handle)
	}
	return handles
}

func TestPostgresFinds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.join(t, "giorgi_b", "გიორგი ბერიძე", "თბილისი")
	r.join(t, "natalia", "Наталья Щербакова", "люблю горы")
	r.join(t, "zoe", "Zoë Müller-Straße", "writes at 100% of_things")
	r.join(t, "gio", "Giorgi Kapanadze", "")
	r.join(t, "annlee", "Ann Lee", "mentor and runner")
	r.join(t, "joanna", "Joanna", "knows Ann")
	for text, want := range map[string]string{
		// Text inside handle, name or bio, the newest first.
		"ann": "joanna annlee", "ANN": "joanna annlee", "runner": "annlee", "giorgi_b": "giorgi_b", "o": "joanna annlee gio zoe natalia giorgi_b",
		// Georgian and Russian, in either script and case.
		"გიორგი": "gio giorgi_b", "giorgi": "gio giorgi_b", "ბერ": "giorgi_b", "beridze": "giorgi_b", "ᲑᲔᲠᲘᲫᲔ": "giorgi_b",
		"наталья": "natalia", "НАТАЛЬЯ": "natalia", "щерб": "natalia", "shcherbakova": "natalia", "горы": "natalia", "ж": "", "ნატალია": "natalia",
		// Accents.
		"zoe": "zoe", "zoë": "zoe", "muller": "zoe", "strasse": "zoe", "Straße": "zoe", "zoe\u0308": "zoe",
		// Beginnings of words, in any order.
		"lee ann": "annlee", "бер гио": "giorgi_b", "kap gio": "gio", "str mul": "zoe",
		// Nothing means more than it says.
		"%": "zoe", "_": "zoe giorgi_b", "100%": "zoe", `\`: "", "'": "", "a & b": "", "!": "", "\u0301": "", "qq:*": "", "xyzzy": "",
	} {
		require.Equal(t, want, strings.Join(r.find(t, 0, text, 20), " "), text)
	}
	// Small typing errors, the nearest first.
	for text, want := range map[string]string{
		"georgi": "giorgi_b gio", "joana": "joanna", "kapanadse": "gio", "nataliya": "natalia", "beridse": "giorgi_b", "giogri": "giorgi_b gio",
		"гиорги беридзе": "giorgi_b", "geogri bredse": "",
	} {
		require.ElementsMatch(t, strings.Fields(want), r.find(t, 0, text, 20), text)
	}
	require.Equal(t, []string{"joanna"}, r.find(t, 0, "ann", 1))
	ids, err := r.engine.Search(t.Context(), search.Query{Text: "ann", Limit: 1, Offset: 1})
	require.NoError(t, err)
	require.Equal(t, []int64{5}, ids)
	ids, err = r.engine.Search(t.Context(), search.Query{Text: "ann", Limit: 1, Offset: 7})
	require.NoError(t, err)
	require.Empty(t, ids)
}

func TestPostgresFollowsAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob, cat := r.join(t, "ann", "Ann", ""), r.join(t, "bob", "Bob Ann", ""), r.join(t, "cat", "Cat", "met Ann")
	require.Equal(t, []string{"cat", "bob", "ann"}, r.find(t, ann, "ann", 20), "the viewer too")

	r.exec(t, "UPDATE users SET name = 'Robert' WHERE id = $1", bob)
	require.Equal(t, []string{"cat", "ann"}, r.find(t, ann, "ann", 20))
	require.Equal(t, []string{"bob"}, r.find(t, ann, "robert", 20))
	r.exec(t, "UPDATE users SET is_active = false WHERE id = $1", cat)
	require.Equal(t, []string{"ann"}, r.find(t, ann, "ann", 20))
	require.Empty(t, r.find(t, ann, "cats", 20), "not by similarity either")
	r.exec(t, "UPDATE users SET is_active = true WHERE id = $1", cat)
	require.Equal(t, []string{"cat", "ann"}, r.find(t, ann, "ann", 20))

	// Blocks hide each from the other, and from nobody else.
	r.exec(t, "INSERT INTO user_blocks (user_id, target_id) VALUES ($1, $2)", cat, ann)
	require.Equal(t, []string{"ann"}, r.find(t, ann, "ann", 20))
	require.Empty(t, r.find(t, cat, "annn", 20))
	require.Equal(t, []string{"cat"}, r.find(t, cat, "ann", 20))
	require.Equal(t, []string{"cat", "ann"}, r.find(t, bob, "ann", 20))

	r.exec(t, "DELETE FROM users WHERE id = $1", cat)
	require.Equal(t, []string{"ann"}, r.find(t, bob, "ann", 20))

	// What changes all the time touches nothing here.
	var before, after string
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT xmin::text FROM search_users WHERE user_id = $1", ann).Scan(&before))
	r.exec(t, "UPDATE users SET followers_count = 7, last_login = now(), name = name WHERE id = $1", ann)
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT xmin::text FROM search_users WHERE user_id = $1", ann).Scan(&after))
	require.Equal(t, before, after)
}

// TestPostgresWithoutExtensions is about servers that lack them.
func TestPostgresWithoutExtensions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, "DROP EXTENSION pg_trgm CASCADE")
	r.exec(t, `CREATE OR REPLACE FUNCTION search_plain(original text) RETURNS text LANGUAGE sql STABLE STRICT AS 'SELECT original'`)
	r.exec(t, "DROP EXTENSION unaccent")
	r.join(t, "giorgi_b", "გიორგი Бéридзе", "")
	require.Equal(t, []string{"giorgi_b"}, r.find(t, 0, "giorgi", 20))
	require.Equal(t, []string{"giorgi_b"}, r.find(t, 0, "б", 20))
	require.Empty(t, r.find(t, 0, "georgi", 20))
	require.Empty(t, r.find(t, 0, "беридзе", 20))

	r.exec(t, "SELECT search_setup()")
	r.exec(t, "SELECT search_users_put(u) FROM users u")
	again := search.NewPostgres(r.db.Pool)
	for _, text := range []string{"georgi", "беридзе"} {
		ids, err := again.Search(t.Context(), search.Query{Text: text, Limit: 5})
		require.NoError(t, err)
		require.Equal(t, []int64{1}, ids, text)
	}
}
