package jobs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/jobs"
)

// seed stores 100 000 finished jobs of the last month: every twentieth is
// dead, every fifth has failed once.
const seed = `
INSERT INTO jobs (id, kind, queue, state, priority, attempt, args, failures, retain, created_at, run_at, started_at, finished_at, request_id)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text || 'x'), 1, 15))::uuid,
    'kind.' || n % 12, CASE WHEN n % 3 = 0 THEN 'llm' ELSE 'default' END,
    CASE WHEN n % 20 = 0 THEN 'dead' WHEN n % 97 = 0 THEN 'cancelled' ELSE 'succeeded' END, 1, 1,
    '{"n": 1, "note": "some arguments of a usual length that is not that short"}',
    CASE WHEN n % 5 = 0 THEN jsonb_build_array(jsonb_build_object('attempt', 1, 'at', at, 'error',
        'llm: dial tcp 10.0.0.' || n % 255 || ':11434: connection refused while asking for answer ' || n || repeat(' details', 20))) ELSE '[]' END,
    '30 days', at, at, at, at + interval '1 second', CASE WHEN n % 4 = 0 THEN 'req-' || n / 8 END
FROM (SELECT n, now() - (100000 - n) * interval '25 seconds' AS at FROM generate_series(1, 100000) AS n) AS s`

// BenchmarkSearch measures what a dashboard asks of a history of 100 000 jobs.
func BenchmarkSearch(b *testing.B) {
	r := newRig(b, nil)
	_, err := r.db.Pool.Exec(b.Context(), seed)
	require.NoError(b, err)
	_, err = r.db.Direct.Exec(b.Context(), "VACUUM ANALYZE jobs")
	require.NoError(b, err)
	month := time.Now().Add(-30 * 24 * time.Hour)
	for _, c := range []struct {
		name string
		q    jobs.Query
	}{
		{"all", jobs.Query{}},
		{"dead", jobs.Query{State: jobs.Dead}},
		{"unknown_kind", jobs.Query{Kind: "none"}},
		{"dead_of_kind", jobs.Query{State: jobs.Dead, Kind: "kind.8"}},
		{"frequent_error", jobs.Query{Error: "Connection Refused"}},
		{"rare_error", jobs.Query{Error: "answer 98765 "}},
		{"unknown_error", jobs.Query{Error: "no such words", Since: month}},
		{"two_letters", jobs.Query{Error: "zq"}},
		{"hour_long_ago", jobs.Query{Since: month.Add(24 * time.Hour), Until: month.Add(25 * time.Hour), Kind: "none"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				_, err := r.engine.Search(b.Context(), c.q)
				require.NoError(b, err)
			}
		})
	}
	b.Run("overview", func(b *testing.B) {
		for b.Loop() {
			_, err := r.engine.Overview(b.Context())
			require.NoError(b, err)
		}
	})
	b.Run("error_groups", func(b *testing.B) {
		for b.Loop() {
			_, err := r.engine.ErrorGroups(b.Context())
			require.NoError(b, err)
		}
	})
}
