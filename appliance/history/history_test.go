package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/history"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// metrics are those that are read, as the parts register them.
type metrics struct {
	*prometheus.Registry
	durations  *prometheus.HistogramVec
	runs       *prometheus.CounterVec
	deliveries prometheus.Counter
	sockets    *prometheus.GaugeVec
	age        *prometheus.GaugeVec
	acquires   prometheus.Counter
	waited     prometheus.Counter
	memory     prometheus.Gauge
}

func newMetrics(t testing.TB) *metrics {
	m := &metrics{
		Registry:   prometheus.NewRegistry(),
		durations:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "selflink_http_request_duration_seconds", Buckets: []float64{.01, .1, 1}}, []string{"route", "status"}),
		runs:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "selflink_job_runs_total"}, []string{"kind"}),
		deliveries: prometheus.NewCounter(prometheus.CounterOpts{Name: "selflink_realtime_deliveries_total"}),
		sockets:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "selflink_realtime_connections"}, []string{"transport"}),
		age:        prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "selflink_job_queue_age_seconds"}, []string{"queue"}),
		acquires:   prometheus.NewCounter(prometheus.CounterOpts{Name: "selflink_db_pool_acquires_total"}),
		waited:     prometheus.NewCounter(prometheus.CounterOpts{Name: "selflink_db_pool_acquire_seconds_total"}),
		memory:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_resident_memory_bytes"}),
	}
	for _, c := range []prometheus.Collector{m.durations, m.runs, m.deliveries, m.sockets, m.age, m.acquires, m.waited, m.memory} {
		require.NoError(t, m.Register(c))
	}
	return m
}

// away is a database that can be taken away.
type away struct {
	database.Pool
	gone atomic.Bool
}

func (a *away) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if a.gone.Load() {
		return pgconn.CommandTag{}, errors.New("away")
	}
	return a.Pool.Exec(ctx, sql, args...)
}

type node struct {
	*history.Keeper
	*metrics
	now *time.Time
}

func newNode(t testing.TB, db database.Pool, name string, now *time.Time) *node {
	n := &node{metrics: newMetrics(t), now: now}
	var err error
	n.Keeper, err = history.New(history.Options{DB: db, Node: name, Gatherer: n.Registry, Now: func() time.Time { return *now }})
	require.NoError(t, err)
	return n
}

// curve gives one curve of a range.
func (n *node) curve(t testing.TB, span, key string) (history.Series, []float64) {
	t.Helper()
	s, err := n.Series(t.Context(), span)
	require.NoError(t, err)
	for _, c := range s.Series {
		require.Len(t, c.Points, len(s.Series[0].Points))
		if c.Key == key {
			return s, c.Points
		}
	}
	require.Fail(t, "no curve "+key)
	return s, nil
}

func last(points []float64) float64 { return points[len(points)-1] }

// tick lets ten seconds pass.
func (n *node) tick(t testing.TB) {
	t.Helper()
	*n.now = n.now.Add(history.Interval)
	require.NoError(t, n.Sample(t.Context()))
}

func TestPoints(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	n := newNode(t, databasetest.New(t).Pool, "here", &now)
	n.durations.WithLabelValues("/a/", "200").Observe(.5) // before the first sample: no part of any point
	n.deliveries.Add(1000)
	require.NoError(t, n.Sample(t.Context()))
	s, err := n.Series(t.Context(), "1h")
	require.NoError(t, err)
	for _, c := range s.Series {
		require.True(t, math.IsNaN(last(c.Points)), c.Key)
	}

	for range 50 {
		n.durations.WithLabelValues("/a/", "200").Observe(.005)
		n.durations.WithLabelValues("/b/", "404").Observe(.05)
	}
	n.durations.WithLabelValues("/b/", "503").Observe(20)
	n.runs.WithLabelValues("x").Add(20)
	n.deliveries.Add(30)
	n.sockets.WithLabelValues("websocket").Set(3)
	n.sockets.WithLabelValues("stream").Set(4)
	n.age.WithLabelValues("default").Set(2)
	n.age.WithLabelValues("llm").Set(9)
	n.acquires.Add(4)
	n.waited.Add(.002)
	n.memory.Set(1 << 20)
	n.tick(t)
	s, _ = n.curve(t, "1h", "p50_ms")
	require.Equal(t, 10, s.StepSeconds)
	require.Equal(t, now.Add(-time.Hour), s.Start)
	require.Len(t, s.Series, 11)
	for key, want := range map[string]float64{
		"requests_per_second": 10.1, "errors_per_second": .1, "p50_ms": 10 + 90*.5/50, "p95_ms": 10 + 90*(.95*101-50)/50, "p99_ms": 10 + 90*(.99*101-50)/50,
		"jobs_per_second": 2, "deliveries_per_second": 3, "sockets": 7, "queue_age_seconds": 9, "pool_wait_ms": .5, "memory_bytes": 1 << 20,
	} {
		_, points := n.curve(t, "1h", key)
		require.Len(t, points, 360)
		require.InDelta(t, want, last(points), 1e-9, key)
	}

	n.tick(t) // nothing happens: no time of an answer is a number
	for key, idle := range map[string]bool{"requests_per_second": false, "p50_ms": true, "pool_wait_ms": true, "sockets": false} {
		_, points := n.curve(t, "1h", key)
		require.Equal(t, idle, math.IsNaN(last(points)), key)
	}
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"key":"errors_per_second","label":"Failed requests","unit":"per_second","points":[null,`)
	require.Contains(t, string(raw), `null,0.1]`)

	// A metric that is away for a moment comes back without a leap.
	n.Unregister(n.deliveries)
	n.tick(t)
	_, points := n.curve(t, "1h", "deliveries_per_second")
	require.True(t, math.IsNaN(last(points)))
	require.NoError(t, n.Register(n.deliveries))
	n.tick(t)
	_, points = n.curve(t, "1h", "deliveries_per_second")
	require.Zero(t, last(points))

	_, err = n.Series(t.Context(), "2h")
	require.ErrorIs(t, err, history.ErrRange)
}

func TestMinutesSurvive(t *testing.T) {
	t.Parallel()
	db := &away{Pool: databasetest.New(t).Pool}
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	first := newNode(t, db, "here", &now)
	require.NoError(t, first.Sample(t.Context()))
	for i := range 18 { // three minutes; in the second the database is away
		db.gone.Store(i/6 == 1)
		first.sockets.WithLabelValues("stream").Set(float64(i))
		first.age.WithLabelValues("q").Set(float64(100 - i))
		first.durations.WithLabelValues("/", "200").Observe(.005)
		now = now.Add(history.Interval)
		err := first.Sample(t.Context())
		require.Equal(t, i == 11, err != nil, "%d: %v", i, err) // a row was due
	}
	_, points := first.curve(t, "1h", "sockets")
	require.Equal(t, []float64{15, 16, 17}, points[357:])

	// A successor knows the minutes, and adds points of its own.
	second := newNode(t, db, "here", &now)
	require.NoError(t, second.Sample(t.Context()))
	s, points := second.curve(t, "1h", "sockets")
	require.Equal(t, 10, s.StepSeconds)
	require.True(t, math.IsNaN(points[341]))
	require.Equal(t, []float64{5, 5, 5, 5, 5, 5, 11, 11, 11, 11, 11, 11, 17, 17, 17, 17, 17, 17}, points[342:])
	_, points = second.curve(t, "1h", "queue_age_seconds")
	require.Equal(t, []float64{100, 95, 89}, []float64{points[342], points[348], points[354]}, "the worst of each minute")
	second.sockets.WithLabelValues("stream").Set(50)
	second.tick(t)
	_, points = second.curve(t, "1h", "sockets")
	require.Equal(t, []float64{17, 50}, points[358:])

	// The same in longer steps.
	s, points = second.curve(t, "24h", "sockets")
	require.Equal(t, 600, s.StepSeconds)
	require.Len(t, points, 144)
	require.Equal(t, time.Date(2026, 11, 26, 12, 10, 0, 0, time.UTC), s.Start)
	require.InDelta(t, 11, last(points), 0)
	s, points = second.curve(t, "7d", "queue_age_seconds")
	require.Equal(t, 3600, s.StepSeconds)
	require.Len(t, points, 168)
	require.InDelta(t, 100, last(points), 0)

	now = now.Add(history.Retention - 2*time.Minute)
	n, err := second.Trim(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
}

// Of several nodes amounts are added up, and of what people wait for the worst
// counts.
func TestNodesAreFolded(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t).Pool
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	a, b := newNode(t, db, "a", &now), newNode(t, db, "b", &now)
	a.sockets.WithLabelValues("stream").Set(3)
	b.sockets.WithLabelValues("stream").Set(4)
	a.age.WithLabelValues("q").Set(7)
	b.age.WithLabelValues("q").Set(5)
	for range 7 {
		require.NoError(t, a.Sample(t.Context()))
		require.NoError(t, b.Sample(t.Context()))
		now = now.Add(history.Interval)
	}
	s, points := a.curve(t, "1h", "sockets")
	require.Equal(t, 60, s.StepSeconds)
	require.Len(t, points, 60)
	require.InDelta(t, 7, last(points), 0)
	_, points = b.curve(t, "1h", "queue_age_seconds")
	require.InDelta(t, 7, last(points), 0)
	_, points = b.curve(t, "7d", "p50_ms")
	require.True(t, math.IsNaN(last(points)))
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t).Pool
	now := time.Now().UTC().Truncate(time.Minute)
	n := newNode(t, db, "here", &now)
	require.NoError(t, n.Stop(t.Context()), "before Start")

	var looks atomic.Int64
	clock := func() time.Time { // each look is ten seconds later, and almost at the next sample
		return now.Add(time.Duration(looks.Add(1))*history.Interval - 5*time.Millisecond)
	}
	k, err := history.New(history.Options{DB: db, Node: "there", Gatherer: n.Registry, Now: clock})
	require.NoError(t, err)
	require.NoError(t, k.Start(t.Context()))
	require.NoError(t, k.Start(t.Context()))
	require.Eventually(t, func() bool { return looks.Load() >= 4 }, 60*time.Second, time.Millisecond)
	require.NoError(t, k.Stop(t.Context()))
	require.NoError(t, k.Stop(t.Context()))
	var rows int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM metric_history WHERE node = 'there'").Scan(&rows))
	require.Positive(t, rows, "what there was of the running minute")

	_, err = history.New(history.Options{})
	require.Error(t, err)
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	bounds := []float64{1, 2, 4}
	for _, c := range []struct {
		q      float64
		counts []uint64
		total  float64
		want   float64
	}{
		{.5, []uint64{0, 0, 0}, 0, math.NaN()},
		{.5, nil, 5, math.NaN()},
		{.5, []uint64{10, 10, 10}, 10, .5},
		{.5, []uint64{0, 10, 10}, 10, 1.5},
		{.99, []uint64{0, 0, 0}, 10, 4},
		{.9, []uint64{5, 5, 10}, 10, 3.6},
	} {
		got := history.Quantile(c.q, bounds, c.counts, c.total)
		if math.IsNaN(c.want) {
			require.True(t, math.IsNaN(got))
		} else {
			require.InDelta(t, c.want, got, 1e-9, fmt.Sprint(c))
		}
	}
}

// BenchmarkSeries reads a week of one node.
func BenchmarkSeries(b *testing.B) {
	db := databasetest.New(b)
	_, err := db.Direct.Exec(b.Context(), `INSERT INTO metric_history (minute, node, points)
		SELECT date_trunc('minute', now()) - i * interval '1 minute', 'here', ARRAY[1,2,3,4,5,6,7,8,9,10,11]::float8[] FROM generate_series(1, 10080) i`)
	require.NoError(b, err)
	now := time.Now()
	n := newNode(b, db.Pool, "here", &now)
	for _, span := range []string{"1h", "24h", "7d"} {
		b.Run(span, func(b *testing.B) {
			for b.Loop() {
				if _, err := n.Series(b.Context(), span); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
