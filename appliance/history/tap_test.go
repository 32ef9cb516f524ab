package history_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database/databasetest"
	"selflink/appliance/history"
)

func TestTapGathersWhatIsShown(t *testing.T) {
	t.Parallel()
	all := prometheus.NewRegistry()
	tap, err := history.NewTap(all)
	require.NoError(t, err)
	m := newMetrics(t)
	other := prometheus.NewCounter(prometheus.CounterOpts{Name: "selflink_job_runs_total_of_another_kind"})
	tap.MustRegister(m.durations, m.runs, m.deliveries, m.sockets, m.age, m.acquires, m.waited, other)
	// Nothing has been counted yet.
	now := time.Now()
	k, err := history.New(history.Options{DB: databasetest.New(t).Pool, Gatherer: tap, Now: func() time.Time { return now }})
	require.NoError(t, err)
	require.NoError(t, k.Sample(t.Context()))
	now = now.Add(history.Interval)
	require.NoError(t, k.Sample(t.Context()))
	s, err := k.Series(t.Context(), "1h")
	require.NoError(t, err)
	for _, c := range s.Series {
		switch c.Key {
		case "requests_per_second", "errors_per_second", "jobs_per_second", "sockets", "deliveries_per_second":
			require.Zero(t, last(c.Points), c.Key)
		}
	}
	m.runs.WithLabelValues("x").Inc()
	m.durations.WithLabelValues("/", "200").Observe(1)
	m.sockets.WithLabelValues("stream").Set(1)
	m.age.WithLabelValues("q").Set(1)

	names := func(g prometheus.Gatherer) (list []string) {
		families, err := g.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "process_resident_memory_bytes" || f.GetName()[:8] == "selflink" {
				list = append(list, f.GetName())
			}
		}
		return list
	}
	shown := []string{
		"selflink_http_request_duration_seconds", "selflink_job_runs_total", "selflink_realtime_deliveries_total", "selflink_realtime_connections",
		"selflink_job_queue_age_seconds", "selflink_db_pool_acquires_total", "selflink_db_pool_acquire_seconds_total",
	}
	require.ElementsMatch(t, append(shown, "process_resident_memory_bytes"), names(tap))
	require.ElementsMatch(t, append(shown, "selflink_job_runs_total_of_another_kind"), names(all))

	require.Error(t, tap.Register(m.deliveries), "twice")
	require.Panics(t, func() { tap.MustRegister(m.deliveries) })
	require.True(t, tap.Unregister(m.deliveries))
	require.NotContains(t, names(tap), "selflink_realtime_deliveries_total")
	require.NotContains(t, names(all), "selflink_realtime_deliveries_total")
}
