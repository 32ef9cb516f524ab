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

const rarely = "0 0 29 2 *" // every four years

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
	// Both find the same missed firings and want to catch the last one up.
	_, err := db.Pool.Exec(t.Context(), "INSERT INTO schedules (name, cron, next_at) VALUES ('minutely', '* * * * *', date_trunc('minute', now()) - interval '3 minutes')")
	require.NoError(t, err)
	for _, s := range []*schedule.Scheduler{first, second} {
		require.NoError(t, s.Start(t.Context()))
		require.NoError(t, s.Start(t.Context()), "starting twice does nothing")
		t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	}
	// The last missed one and the one of this minute have run, each once.
	require.Eventually(t, func() bool {
		firings, err := first.Firings(t.Context(), "minutely", time.Now().Add(time.Minute), 100)
		require.NoError(t, err)
		n := map[string]int{}
		for _, f := range firings {
			n[f.Outcome]++
		}
		return n["missed"] > 0 && n["running"] == 0 && n["succeeded"] >= 2 && int64(n["succeeded"]) == runs.Load()
	}, 60*time.Second, 5*time.Millisecond)
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
	s := newScheduler(t, db, &registry, schedule.Entry{Name: "fails", Cron: rarely, Run: func(context.Context) error { return broken }})
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
	require.NoError(t, s.Add(schedule.Entry{Name: "job", Cron: rarely, Job: job{}}))
	require.NoError(t, s.RunNow(t.Context(), "job"))
	<-ran
}

func TestAddRefusesNonsense(t *testing.T) {
	t.Parallel()
	s := newScheduler(t, databasetest.New(t), nil)
	run := func(context.Context) error { return nil }
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: "every day", Run: run}))
	require.ErrorContains(t, s.Add(schedule.Entry{Name: "a", Cron: "0 0 30 2 *", Run: run}), "never comes")
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: rarely}))
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: rarely, Job: job{}}))
	require.NoError(t, s.Add(schedule.Entry{Name: "a", Cron: rarely, Run: run}))
	require.Error(t, s.Add(schedule.Entry{Name: "a", Cron: rarely, Run: run}))
}

func TestPanicAndStrangeTextAreFailures(t *testing.T) {
	t.Parallel()
	s := newScheduler(t, databasetest.New(t), nil,
		schedule.Entry{Name: "panics", Cron: rarely, Run: func(context.Context) error { panic("oops") }},
		schedule.Entry{Name: "strange", Cron: rarely, Run: func(context.Context) error { return errors.New("a\x00b\xff") }})
	require.ErrorContains(t, s.RunNow(t.Context(), "panics"), "oops")
	require.Error(t, s.RunNow(t.Context(), "strange"))
	list, err := s.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, "panic: oops", list[0].Last.Error)
	require.Equal(t, "a\uFFFDb\uFFFD", list[1].Last.Error)
}

// Stop gives a run until its deadline, then interrupts it and writes down why;
// that is no failure of the schedule.
func TestStopInterruptsAndSaysSo(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	var registry health.Registry
	begun := make(chan struct{})
	s := newScheduler(t, db, &registry, schedule.Entry{Name: "long", Cron: "0 0 1 1 *", CatchUp: true, Run: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}})
	_, err := db.Pool.Exec(t.Context(), "INSERT INTO schedules (name, cron, next_at) VALUES ('long', '0 0 1 1 *', date_trunc('year', now()))")
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Stop(ctx))
	require.NoError(t, s.Stop(ctx), "stopping twice does nothing")
	list, err := s.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, "failed", list[0].Last.Outcome)
	require.Contains(t, list[0].Last.Error, "the appliance stopped")
	results, _ := registry.Run(t.Context())
	require.True(t, results[0].OK, results[0].Error)
}

// A firing whose process died stays no longer than it may run.
func TestAbandonedFiringIsClosed(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	s := newScheduler(t, db, nil, schedule.Entry{Name: "a", Cron: rarely, Timeout: time.Second, Run: func(context.Context) error { return nil }})
	_, err := db.Pool.Exec(t.Context(), `INSERT INTO schedule_firings (schedule, fire_at, outcome, host, started_at)
		VALUES ('a', now() - interval '1 hour', 'running', 'here', now() - interval '1 hour')`)
	require.NoError(t, err)
	require.NoError(t, s.RunNow(t.Context(), "a"))
	firings, err := s.Firings(t.Context(), "a", time.Now().Add(time.Minute), 10)
	require.NoError(t, err)
	require.Len(t, firings, 2)
	require.Equal(t, "succeeded", firings[0].Outcome)
	require.Equal(t, "failed", firings[1].Outcome)
	require.Equal(t, "the process that ran it ended", firings[1].Error)
}

// A firing that a downtime missed is a problem until the schedule fires again.
func TestMissedFiringIsAProblemUntilTheNextOne(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	var registry health.Registry
	s := newScheduler(t, db, &registry,
		schedule.Entry{Name: "yearly", Cron: "0 0 1 1 *", Run: func(context.Context) error { return nil }},
		schedule.Entry{Name: "caught.up", Cron: "0 0 1 1 *", CatchUp: true, Run: func(context.Context) error { return nil }})
	for _, name := range []string{"yearly", "caught.up"} {
		_, err := db.Pool.Exec(t.Context(), "INSERT INTO schedules (name, cron, next_at) VALUES ($1, '0 0 1 1 *', date_trunc('year', now()))", name)
		require.NoError(t, err)
	}
	registry.Round(t.Context())
	require.Empty(t, registry.Problems())
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	results, ready := registry.Run(t.Context())
	require.True(t, ready)
	require.Equal(t, "schedules.missed", results[1].Name)
	require.Equal(t, "yearly missed its firing of "+time.Now().UTC().Format("2006")+"-01-01T00:00:00Z", results[1].Error)
	require.Equal(t, health.Low, registry.Problems()[0].Severity)

	require.NoError(t, s.RunNow(t.Context(), "yearly"))
	results, _ = registry.Run(t.Context())
	require.True(t, results[1].OK, results[1].Error)
}
