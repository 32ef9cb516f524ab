package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/jobs"
)

func TestListAndPurge(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Retain: time.Microsecond}, func(_ context.Context, _ *jobs.Job, args noop) error {
		if args.N == 3 {
			return jobs.Permanent(errors.New("three"))
		}
		return nil
	}))
	start(t, r.engine)
	r.enqueueNoops(t, 5)
	require.Eventually(t, func() bool { return r.count(t, jobs.Succeeded) == 4 && r.count(t, jobs.Dead) == 1 }, 60*time.Second, 5*time.Millisecond)

	first, err := r.engine.List(t.Context(), jobs.Filter{Most: 3})
	require.NoError(t, err)
	require.Len(t, first, 3)
	rest, err := r.engine.List(t.Context(), jobs.Filter{Before: first[2].ID})
	require.NoError(t, err)
	require.Len(t, rest, 2)
	dead, err := r.engine.List(t.Context(), jobs.Filter{State: jobs.Dead})
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, "three", dead[0].Failures[0].Error)
	none, err := r.engine.List(t.Context(), jobs.Filter{Kind: "test.other"})
	require.NoError(t, err)
	require.Empty(t, none)

	n, err := r.engine.Purge(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
}

func TestHealthNamesAQueueThatDoesNotConsume(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error { return nil }))
	results, ready := r.health.Run(t.Context())
	require.False(t, ready, "not started: %v", results)
	start(t, r.engine)
	_, ready = r.health.Run(t.Context())
	require.True(t, ready)
	// Without a broker no id comes, and the sweeper cannot help.
	require.NoError(t, r.broker.Stop(t.Context()))
	_, err := r.db.Pool.Exec(t.Context(), `INSERT INTO jobs (id, kind, queue, state, priority, args, retain, run_at)
		VALUES ($1, 'test.noop', 'default', 'queued', 1, '{}', '1h', now() - interval '1 hour')`, uuid.New())
	require.NoError(t, err)
	jobs.QuietSince(r.engine, "default", time.Now().Add(-time.Hour))
	results, ready = r.health.Run(t.Context())
	require.False(t, ready)
	require.True(t, results[0].OK, "the engine itself runs")
	require.Equal(t, "jobs.default.stalled", results[1].Name)
	require.Contains(t, results[1].Error, "queue default is alive but not consuming: its oldest job waits 1h0m0s, last fetch never")
	queues, err := r.engine.Queues(t.Context())
	require.NoError(t, err)
	require.Len(t, queues, 1)
	require.Equal(t, 16, queues[0].Concurrency)
}
