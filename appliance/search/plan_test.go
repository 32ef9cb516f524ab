package search_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/search"
)

// many makes accounts with names of three languages.
func (r *rig) many(t testing.TB, n int) {
	t.Helper()
	r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, name, bio, created_at, updated_at)
		SELECT i, 'e' || i, 'e' || i, 'u' || i, '!',
			(ARRAY['გიორგი','ნინო','მარიამ','ლუკა','ანა','Giorgi','Nino','Anna','John','Mary','Иван','Наталья','Сергей','Ольга','Zoë'])[1 + i % 15] || ' ' ||
			(ARRAY['ბერიძე','კაპანაძე','მამულაშვილი','Smith','Johnson','Müller','Иванов','Щербакова','Lee','O''Neil','გელაშვილი'])[1 + i * 7 % 11] || substr(md5(i::text), 1, 4),
			CASE WHEN i % 3 = 0 THEN 'I like ' || substr(md5((i * 3)::text), 1, 12) || ' and the mountains of Georgia' ELSE '' END,
			timestamptz '2026-01-01' + i * interval '1 second', now()
		FROM generate_series(1, $1::int) i`, n)
	r.exec(t, "INSERT INTO user_blocks (user_id, target_id) SELECT 7, i FROM generate_series(100, 1100) i")
	r.exec(t, "ANALYZE users, search_users, user_blocks")
}

// plan gives the plan of a query.
func (r *rig) plan(t testing.TB, options, sql string, args ...any) string {
	t.Helper()
	rows, err := r.db.Direct.Query(t.Context(), "EXPLAIN "+options+" "+sql, args...)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}

// ways are the queries of one search, with what they search for.
func ways() []way {
	return []way{
		{"a frequent text", search.SelectNewest, []any{7, "%giorgi%", 20, 2000}, "search_users_newest"},
		{"one letter", search.SelectNewest, []any{7, "%a%", 20, search.NewestShort}, "search_users_newest"},
		{"a letter that nobody has", search.SelectNewest, []any{7, "%~%", 20, search.NewestShort}, "search_users_newest"},
		{"a rare text", search.SelectRare, []any{7, "%e4da3b7f%", 20}, "search_users_names_trgm"},
		{"beginnings of words", search.SelectWords, []any{7, "'beridze':* & 'gio':*", 20, 2000}, "search_users_words"},
		{"a mistyped name", search.SelectSimilar, []any{7, "georgi beridse", 200, 500}, "search_users_names_trgm"},
	}
}

type way struct {
	name, sql string
	args      []any
	index     string
}

// TestPostgresUsesIndexes asks the planner, over many rows, how each way of
// searching finds its rows.
func TestPostgresUsesIndexes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.many(t, 5_000)
	for _, w := range ways() {
		plan := r.plan(t, "", w.sql, w.args...)
		require.Contains(t, plan, w.index, w.name)
		require.NotContains(t, plan, "Seq Scan on search_users", w.name)
	}
	require.Len(t, r.find(t, 7, "beridze gio", 40), 40)
}

// among is how many accounts the benchmark searches: -args -accounts=200000.
var among = flag.Int("accounts", 50_000, "accounts that the benchmark of searches makes")

// BenchmarkPostgres searches among many accounts. With -v it prints the plans
// with what they took.
func BenchmarkPostgres(b *testing.B) {
	r := newRig(b)
	r.many(b, *among)
	for _, w := range ways() {
		b.Logf("%s:\n%s", w.name, r.plan(b, "(ANALYZE, BUFFERS)", w.sql, w.args...))
	}
	for _, text := range []string{"giorgi", "გიორგი", "a", "~", "jo", "e4da3b7f", "beridze gio", "georgi beridse", "gelashvli", "xyzzy"} {
		b.Run(strings.ReplaceAll(text, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				_, err := r.engine.Search(b.Context(), search.Query{Text: text, Viewer: 7, Limit: 20})
				require.NoError(b, err)
			}
		})
	}
}
