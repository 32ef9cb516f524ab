package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/health"
	"selflink/appliance/jobs"
)

// shifted is a registry whose time the test moves, so that nobody waits for a
// problem to become visible.
func shifted(r *rig) (registry *health.Registry, forward func(time.Duration)) {
	var offset atomic.Int64
	r.health = health.New(health.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
	return r.health, func(d time.Duration) { offset.Add(int64(d)) }
}

func codes(registry *health.Registry) []string {
	list := []string{}
	for _, p := range registry.Problems() {
		list = append(list, p.Code)
	}
	return list
}

// A queue whose workers are all stuck takes no more work; that shows by the
// age of what waits.
func TestStuckWorkersAreNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]int{"default": 1})
	registry, forward := shifted(r)
	r.engine = r.newEngine(t, map[string]int{"default": 1})
	running, release := make(chan struct{}), make(chan struct{})
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(ctx context.Context, _ *jobs.Job, args noop) error {
		if args.N == 1 {
			close(running)
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	}))
	start(t, r.engine)
	r.enqueue(t, noop{N: 1}, jobs.EnqueueOptions{})
	<-running
	_, err := r.db.Pool.Exec(t.Context(), `INSERT INTO jobs (id, kind, queue, state, priority, args, retain, run_at)
		VALUES ($1, 'test.noop', 'default', 'queued', 1, '{"n":2}', '1h', now() - interval '10 minutes')`, uuid.New())
	require.NoError(t, err)
	jobs.QuietSince(r.engine, "default", time.Now().Add(-time.Hour))
	registry.Round(t.Context())
	require.Empty(t, codes(registry), "not yet visible")
	forward(time.Minute)
	registry.Round(t.Context())
	require.Equal(t, []string{"jobs.default.late"}, codes(registry))
	require.Contains(t, registry.Problems()[0].Text, "waits 10m")
	require.Contains(t, registry.Problems()[0].Text, "all 1 of its workers here are busy")
	_, ready := r.health.Run(t.Context())
	require.True(t, ready, "busy is not broken")

	close(release)
	require.Eventually(t, func() bool {
		registry.Round(t.Context())
		return len(codes(registry)) == 0
	}, 60*time.Second, 5*time.Millisecond)
}

func TestDeadJobIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	registry, forward := shifted(r)
	r.engine = r.newEngine(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		return jobs.Permanent(errors.New("no way"))
	}))
	start(t, r.engine)
	registry.Round(t.Context())
	require.Empty(t, codes(registry))
	r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	require.Eventually(t, func() bool { return r.count(t, jobs.Dead) == 1 }, 60*time.Second, 5*time.Millisecond)
	forward(time.Minute)
	registry.Round(t.Context())
	require.Equal(t, []string{"jobs.dead"}, codes(registry))
	require.Equal(t, "1 of kind test.noop within the last hour", registry.Problems()[0].Text)

	// An hour later it is no news.
	_, err := r.db.Pool.Exec(t.Context(), "UPDATE jobs SET finished_at = now() - interval '2 hours' WHERE state = 'dead'")
	require.NoError(t, err)
	registry.Round(t.Context())
	require.Empty(t, codes(registry))
}
