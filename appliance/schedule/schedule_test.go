package schedule_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/health"
	"selflink/appliance/jobs"
	"selflink/appliance/schedule"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const never = "0 0 30 2 *" // the thirtieth of February

func newScheduler(t *testing.T, db *databasetest.DB, registry *health.Registry, entries ...schedule.Entry) *schedule.Scheduler {
	s, err := schedule.New(schedule.Options{DB: db.Pool, Health: registry})
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, s.Add(e))
	}
	return s
}

func TestTwoProcessesFireOnce(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	var runs atomic.Int64
	entry := schedule.Entry{Name: "minutely", Cron: "* * * * *", CatchUp: true, Run: func(context.Context) error {
		runs.Add(1)
		return nil
	}}
	first, second := newScheduler(t, db, nil, entry), newScheduler(t, db, nil, entry)
	// Both find the same missed firing and want to catch it up.
	_, err := db.Pool.Exec(t.Context(), "INSERT INTO schedules (name, cron, next_at) VALUES ('minutely', '* * * * *', date_trunc('minute', now()) - interval '3 minutes')")
	require.NoError(t, err)
	for _, s := range []*schedule.Scheduler{first, second} {
		require.NoError(t, s.Start(t.Context()))
		require.NoError(t, s.Start(t.Context()), "starting twice does nothing")
		t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	}
	outcomes := func() map[string]int {
		firings, err := first.Firings(t.Context(), "minutely", time.Now().Add(-time.Minute), 100)
		require.NoError(t, err)
		n := map[string]int{}
		for _, f := range firings {
			n[f.Outcome]++
		}
		return n
	}
	require.Eventually(t, func() bool { return outcomes()["succeeded"] == 1 }, 10*time.Second, 5*time.Millisecond)
	require.Positive(t, outcomes()["missed"])
	require.EqualValues(t, 1, runs.Load())
	list, err := first.List(t.Context())
	require.NoError(t, err)
	require.True(t, list[0].Next.After(time.Now()))
	require.NotNil(t, list[0].Last)
}

func TestFailureIsWrittenDownAndReported(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	var registry health.Registry
	broken := errors.New("broken")
	s := newScheduler(t, db, &registry, schedule.Entry{Name: "fails", Cron: never, Run: func(context.Context) error { return broken }})
	require.ErrorIs(t, s.RunNow(t.Context(), "fails"), broken)
	list, err := s.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, "failed", list[0].Last.Outcome)
	require.Equal(t, "broken", list[0].Last.Error)
	require.GreaterOrEqual(t, list[0].Last.Duration(), time.Duration(0))
	results, ready := registry.Run(t.Context())
	require.True(t, ready, "a failed schedule is a warning")
	require.False(t, results[0].OK)
	require.ErrorIs(t, s.RunNow(t.Context(), "other"), schedule.ErrNotFound)

	n, err := s.Purge(t.Context(), time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

type job struct{}

func (job) Kind() string { return "test.scheduled" }

func TestFiringEnqueuesItsJob(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	b, err := broker.New(broker.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, b.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, b.Stop(context.Background())) })
	engine, err := jobs.New(jobs.Options{DB: db.Pool, Broker: b})
	require.NoError(t, err)
	ran := make(chan struct{}, 1)
	require.NoError(t, jobs.Handle(engine, jobs.Policy{}, func(context.Context, *jobs.Job, job) error {
		ran <- struct{}{}
		return nil
	}))
	require.NoError(t, engine.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, engine.Stop(context.Background())) })
	s, err := schedule.New(schedule.Options{DB: db.Pool, Jobs: engine})
	require.NoError(t, err)
	require.NoError(t, s.Add(schedule.Entry{Name: "job", Cron: never, Job: job{}}))
	require.NoError(t, s.RunNow(t.Context(), "job"))
	<-ran
}

func TestAddRefusesNonsense(t *testing.T) {
	t.Parallel()
	s := newScheduler(t, databasetest.New(t), nil)
	run := func(context.Context) error { return nil }
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: "every day", Run: run}))
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: never}))
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: never, Job: job{}}))
	require.NoError(t, s.Add(schedule.Entry{Name: "a", Cron: never, Run: run}))
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: never, Run: run}))
}
