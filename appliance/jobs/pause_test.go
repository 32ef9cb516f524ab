package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/jobs"
)

// other is a kind of job that goes to a queue of its own.
type other struct{}

func (other) Kind() string { return "test.other" }

var twoQueues = map[string]int{"default": 2, "aside": 1}

func nothing(context.Context, *jobs.Job, other) error { return nil }

// beside is an engine as a command has it: no broker, no handlers.
func (r *rig) beside(t testing.TB) *jobs.Engine {
	e, err := jobs.New(jobs.Options{DB: r.db.Pool, Queues: twoQueues})
	require.NoError(t, err)
	return e
}

func paused(t testing.TB, e *jobs.Engine, name string) bool {
	queues, err := e.Queues(context.Background())
	require.NoError(t, err)
	for _, q := range queues {
		if q.Name == name {
			return q.Paused
		}
	}
	require.FailNow(t, "no such queue")
	return false
}

func TestPausedQueueWaitsOnEveryNode(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	registry, forward := shifted(r)
	r.engine = r.newEngine(t, twoQueues)
	running, release := make(chan struct{}), make(chan struct{})
	work := func(ctx context.Context, _ *jobs.Job, args noop) error {
		if args.N == 1 {
			close(running)
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	}
	second, err := jobs.New(jobs.Options{DB: r.db.Pool, Broker: r.broker, Queues: twoQueues})
	require.NoError(t, err)
	third, err := jobs.New(jobs.Options{DB: r.db.Pool, Broker: r.broker, Queues: twoQueues})
	require.NoError(t, err)
	for _, e := range []*jobs.Engine{r.engine, second, third} {
		require.NoError(t, jobs.Handle(e, jobs.Policy{}, work))
		require.NoError(t, jobs.Handle(e, jobs.Policy{Queue: "aside"}, nothing))
	}
	start(t, r.engine)
	start(t, second)
	first := r.enqueue(t, noop{N: 1}, jobs.EnqueueOptions{})
	<-running

	// A command beside the server tells nobody, and yet all obey.
	cli := r.beside(t)
	require.NoError(t, cli.PauseQueue(t.Context(), "default", "ann\x00"))
	require.NoError(t, cli.PauseQueue(t.Context(), "default", "bob"), "it is paused already")
	require.Eventually(t, func() bool { return paused(t, r.engine, "default") && paused(t, second, "default") }, 60*time.Second, 5*time.Millisecond)
	start(t, third)
	require.True(t, paused(t, third, "default"), "a start knows of it at once")
	require.False(t, paused(t, third, "aside"))
	r.enqueueNoops(t, 5)
	for range 5 {
		require.Equal(t, jobs.Succeeded, r.wait(t, r.enqueue(t, other{}, jobs.EnqueueOptions{})), "other queues go on")
	}
	require.Equal(t, 5, r.count(t, jobs.Queued))
	close(release)
	require.Equal(t, jobs.Succeeded, r.wait(t, first), "what runs goes on to its end")

	status, err := cli.Queue(t.Context(), "default")
	require.NoError(t, err)
	require.True(t, status.Paused)
	require.Equal(t, "ann\uFFFD", *status.PausedBy)
	require.NotNil(t, status.PausedAt)
	require.EqualValues(t, 5, status.Waiting)

	// What waits for long does so by intention.
	_, err = r.db.Pool.Exec(t.Context(), "UPDATE jobs SET run_at = now() - interval '1 hour' WHERE state = 'queued'")
	require.NoError(t, err)
	jobs.QuietSince(r.engine, "default", time.Now().Add(-time.Hour))
	registry.Round(t.Context())
	forward(time.Minute)
	registry.Round(t.Context())
	require.Equal(t, []string{"jobs.paused"}, codes(registry))
	require.Equal(t, health.Low, registry.Problems()[0].Severity)
	require.Contains(t, registry.Problems()[0].Text, "queue default is paused by ann\uFFFD since ")
	require.Equal(t, 5, r.count(t, jobs.Queued))

	require.NoError(t, second.ResumeQueue(t.Context(), "default"))
	require.NoError(t, second.ResumeQueue(t.Context(), "default"), "it is resumed already")
	require.Eventually(t, func() bool { return !paused(t, r.engine, "default") }, 60*time.Second, time.Millisecond)
	registry.Round(t.Context())
	require.Empty(t, codes(registry), "nor is it a problem the moment after")
	require.Eventually(t, func() bool { return r.count(t, jobs.Queued)+r.count(t, jobs.Running) == 0 }, 60*time.Second, 5*time.Millisecond)
}

func TestPauseOfUnknownQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.ErrorIs(t, r.engine.PauseQueue(t.Context(), "nowhere", "ann"), jobs.ErrUnknownQueue)
	require.ErrorIs(t, r.engine.ResumeQueue(t.Context(), "nowhere"), jobs.ErrUnknownQueue)
	_, err := r.engine.Queue(t.Context(), "nowhere")
	require.ErrorIs(t, err, jobs.ErrUnknownQueue)
	// One that other settings knew can still be resumed.
	_, err = r.db.Pool.Exec(t.Context(), "INSERT INTO job_pauses (queue, paused_by) VALUES ('nowhere', 'ann')")
	require.NoError(t, err)
	require.NoError(t, r.engine.ResumeQueue(t.Context(), "nowhere"))
}

// A pause must not keep a cancelled job from its farewell.
func TestCancelInAPausedQueueFromElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error { return nil }))
	gaveUp := make(chan error, 2)
	require.NoError(t, jobs.OnGiveUp(r.engine, func(_ context.Context, _ database.Tx, _ jobs.ID, _ noop, cause error) error {
		gaveUp <- cause
		return nil
	}))
	require.NoError(t, r.engine.PauseQueue(t.Context(), "default", "ann"), "it need not run")
	start(t, r.engine)
	id, stays := r.enqueue(t, noop{}, jobs.EnqueueOptions{}), r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	require.NoError(t, r.beside(t).Cancel(t.Context(), id))
	require.Equal(t, jobs.Cancelled, r.wait(t, id))
	require.ErrorIs(t, <-gaveUp, jobs.ErrCancelled)
	info, err := r.engine.Show(t.Context(), stays)
	require.NoError(t, err)
	require.Equal(t, jobs.Queued, info.State)
}

func TestOverview(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.engine = r.newEngine(t, twoQueues)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Queue: "aside"}, nothing))
	insert := func(queue string, state jobs.State, n int, finished any) {
		for range n {
			_, err := r.db.Pool.Exec(t.Context(), `INSERT INTO jobs (id, kind, queue, state, priority, args, retain, run_at, finished_at, claimed_by)
				VALUES ($1, 'k.'||$2, $2, $3, 1, '{}', '1h', now() - interval '90 seconds', $4, CASE WHEN $3 = 'running' THEN gen_random_uuid() END)`,
				uuid.New(), queue, string(state), finished)
			require.NoError(t, err)
		}
	}
	insert("default", jobs.Queued, 3, nil)
	insert("gone", jobs.Queued, 2, nil)
	insert("default", jobs.Running, 1, nil)
	insert("default", jobs.Scheduled, 2, nil)
	insert("aside", jobs.Retrying, 1, nil)
	insert("aside", jobs.Dead, 2, time.Now())
	insert("aside", jobs.Dead, 1, time.Now().Add(-time.Hour))
	insert("default", jobs.Cancelled, 1, time.Now())
	insert("default", jobs.Succeeded, 4, time.Now())
	insert("default", jobs.Succeeded, 3, time.Now().Add(-time.Hour))
	for name, e := range map[string]*jobs.Engine{"server": r.engine, "command": r.beside(t)} {
		o, err := e.Overview(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[jobs.State]int64{
			jobs.Queued: 5, jobs.Running: 1, jobs.Scheduled: 2, jobs.Retrying: 1, jobs.Dead: 3, jobs.Cancelled: 1, jobs.Succeeded: 7,
		}, o.States, name)
		require.Len(t, o.Queues, 3)
		aside, normal, gone := o.Queues[0], o.Queues[1], o.Queues[2]
		require.GreaterOrEqual(t, *normal.OldestSeconds, 90.0)
		require.NotNil(t, gone.OldestSeconds)
		normal.OldestSeconds, gone.OldestSeconds = nil, nil
		require.Equal(t, jobs.QueueStatus{Name: "aside", Concurrency: 1, Retrying: 1, Dead: 3, FailedPerMinute: 2}, aside)
		require.Equal(t, jobs.QueueStatus{Name: "default", Concurrency: 2, Waiting: 3, Running: 1, Scheduled: 2, DonePerMinute: 4}, normal)
		require.Equal(t, jobs.QueueStatus{Name: "gone", Waiting: 2}, gone)
		require.Contains(t, o.Kinds, "k.gone")
		require.Equal(t, name == "server", len(o.Kinds) == 4, "%v", o.Kinds)
	}
	empty, err := newRig(t, nil).beside(t).Overview(t.Context())
	require.NoError(t, err)
	require.NotNil(t, empty.Kinds)
	require.Len(t, empty.States, 7)
}
