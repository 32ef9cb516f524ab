package jobs_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
)

// soon makes retries come at once.
func soon(int) time.Duration { return time.Millisecond }

// wait returns the final state of a job.
func (r *rig) wait(t testing.TB, id jobs.ID) jobs.State {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	state, err := r.engine.Wait(ctx, id)
	require.NoError(t, err)
	return state
}

func TestJobRunsAfterCommitAndNeverAfterRollback(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	var ran sync.Map
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(_ context.Context, _ *jobs.Job, args noop) error {
		ran.Store(args.N, true)
		return nil
	}))
	start(t, r.engine)
	undo := errors.New("undo")
	require.ErrorIs(t, r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		_, err := r.engine.Enqueue(t.Context(), tx, noop{N: 1}, jobs.EnqueueOptions{})
		require.NoError(t, err)
		return undo
	}), undo)
	id := r.enqueue(t, noop{N: 2}, jobs.EnqueueOptions{})
	require.Equal(t, jobs.Succeeded, r.wait(t, id))
	_, one := ran.Load(1)
	_, two := ran.Load(2)
	require.False(t, one)
	require.True(t, two)
}

func TestFailuresAreRetriedAndKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Attempts: 3, Backoff: soon}, func(_ context.Context, job *jobs.Job, _ noop) error {
		if job.Attempt < 3 {
			return errors.New("not yet")
		}
		return nil
	}))
	start(t, r.engine)
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	require.Equal(t, jobs.Succeeded, r.wait(t, id))
	info, err := r.engine.Show(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 3, info.Attempt)
	require.Len(t, info.Failures, 2)
	require.Equal(t, "not yet", info.Failures[0].Error)
	require.Equal(t, 2, info.Failures[1].Attempt)
}

func TestLastFailureGivesUpInOneTransaction(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(context.Context) error{
		"attempts used up": func(context.Context) error { return errors.New("broken") },
		"permanent":        func(context.Context) error { return jobs.Permanent(errors.New("hopeless")) },
		"panic":            func(context.Context) error { panic("oops") },
		"timeout": func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Attempts: 2, Backoff: soon, Timeout: 50 * time.Millisecond},
				func(ctx context.Context, _ *jobs.Job, _ noop) error { return fail(ctx) }))
			causes := make(chan error, 10)
			require.NoError(t, jobs.OnGiveUp(r.engine, func(_ context.Context, tx database.Tx, _ jobs.ID, args noop, cause error) error {
				require.Equal(t, 7, args.N)
				causes <- cause
				return nil
			}))
			start(t, r.engine)
			id := r.enqueue(t, noop{N: 7}, jobs.EnqueueOptions{})
			require.Equal(t, jobs.Dead, r.wait(t, id))
			require.Error(t, <-causes)
			require.Empty(t, causes)

			// A dead job does not block its successor, and comes back when asked.
			require.NoError(t, r.engine.Retry(t.Context(), id))
			require.Eventually(t, func() bool {
				info, err := r.engine.Show(t.Context(), id)
				return err == nil && info.State == jobs.Dead && len(info.Failures) > 2 || name == "permanent" && err == nil && len(info.Failures) == 2
			}, 60*time.Second, 5*time.Millisecond)
		})
	}
}

func TestCompleteCommitsEffectWithTheJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, err := r.db.Direct.Exec(t.Context(), "CREATE TABLE effects (job uuid)")
	require.NoError(t, err)
	var calls atomic.Int64
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Backoff: soon}, func(ctx context.Context, job *jobs.Job, _ noop) error {
		return job.Complete(ctx, map[string]int{"answer": 42}, func(tx database.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO effects VALUES ($1)", job.ID); err != nil {
				return err
			}
			if calls.Add(1) == 1 {
				return errors.New("after the insert")
			}
			return nil
		})
	}))
	start(t, r.engine)
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	require.Equal(t, jobs.Succeeded, r.wait(t, id))
	var effects int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM effects").Scan(&effects))
	require.Equal(t, 1, effects)
	info, err := r.engine.Show(t.Context(), id)
	require.NoError(t, err)
	require.JSONEq(t, `{"answer":42}`, string(info.Result))
}

func TestUniqueKeyAddsOneUnfinishedJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	release := make(chan struct{})
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		<-release
		return nil
	}))
	start(t, r.engine)
	ids := make([]jobs.ID, 8)
	var wait sync.WaitGroup
	for i := range ids {
		wait.Go(func() { ids[i] = r.enqueue(t, noop{N: i}, jobs.EnqueueOptions{Unique: "one"}) })
	}
	wait.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	close(release)
	require.Equal(t, jobs.Succeeded, r.wait(t, ids[0]))
	require.NotEqual(t, ids[0], r.enqueue(t, noop{}, jobs.EnqueueOptions{Unique: "one"}))
}

func TestScheduledJobWaitsForItsTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ran := make(chan time.Time, 1)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		ran <- time.Now()
		return nil
	}))
	start(t, r.engine)
	due := time.Now().Add(300 * time.Millisecond)
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{RunAt: due})
	info, err := r.engine.Show(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, jobs.Scheduled, info.State)
	require.False(t, (<-ran).Before(due), "it must not run early")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	running := make(chan struct{}, 1)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(ctx context.Context, _ *jobs.Job, _ noop) error {
		running <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	gaveUp := make(chan error, 2)
	require.NoError(t, jobs.OnGiveUp(r.engine, func(_ context.Context, _ database.Tx, _ jobs.ID, _ noop, cause error) error {
		gaveUp <- cause
		return nil
	}))
	start(t, r.engine)

	waiting := r.enqueue(t, noop{}, jobs.EnqueueOptions{RunAt: time.Now().Add(time.Hour)})
	require.NoError(t, r.engine.Cancel(t.Context(), waiting))
	require.Equal(t, jobs.Cancelled, r.wait(t, waiting))
	require.ErrorIs(t, <-gaveUp, jobs.ErrCancelled)
	err := r.engine.Cancel(t.Context(), waiting)
	require.ErrorIs(t, err, jobs.ErrWrongState)
	require.EqualError(t, err, "jobs: cancel "+waiting.String()+": not possible in the job's state: it is cancelled")

	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	<-running
	require.NoError(t, r.engine.Cancel(t.Context(), id))
	require.Equal(t, jobs.Cancelled, r.wait(t, id))
	require.ErrorIs(t, <-gaveUp, jobs.ErrCancelled)

	require.ErrorIs(t, r.engine.Cancel(t.Context(), uuid.New()), jobs.ErrNotFound)
	require.ErrorIs(t, r.engine.Retry(t.Context(), uuid.New()), jobs.ErrNotFound)
}

// A stop hands back what runs too long, and its attempt does not count.
func TestStopHandsBackWithoutBurningAnAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]int{"default": 1})
	running := make(chan struct{}, 1)
	block := func(ctx context.Context, _ *jobs.Job, _ noop) error {
		running <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Attempts: 1}, block))
	require.NoError(t, r.engine.Start(t.Context()))
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	<-running
	behind := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.engine.Stop(impatient))
	require.NoError(t, r.engine.Stop(impatient), "stopping twice does nothing")
	for _, id := range []jobs.ID{id, behind} {
		info, err := r.engine.Show(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, jobs.Queued, info.State)
		require.Zero(t, info.Attempt)
		require.Empty(t, info.Failures)
	}

	next := r.newEngine(t, nil)
	require.NoError(t, jobs.Handle(next, jobs.Policy{Attempts: 1}, func(context.Context, *jobs.Job, noop) error { return nil }))
	start(t, next)
	require.Equal(t, jobs.Succeeded, r.wait(t, id))
	require.Equal(t, jobs.Succeeded, r.wait(t, behind))
}

// What a killed process was running goes to the next one, and the killed one's
// late completion is refused.
func TestDeadProcessIsTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	running, late := make(chan struct{}), make(chan struct{})
	lost := make(chan error, 1)
	var runs atomic.Int64
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(ctx context.Context, job *jobs.Job, _ noop) error {
		if runs.Add(1) > 1 {
			return nil // it may win the job again, with a claim of its own
		}
		close(running)
		<-late
		err := job.Complete(context.WithoutCancel(ctx), "late", nil)
		lost <- err
		return err
	}))
	start(t, r.engine)
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	<-running

	// The second engine knows that it is alone, as a start on the private
	// cluster does: for it the first one is dead.
	second, err := jobs.New(jobs.Options{DB: r.db.Pool, Broker: r.broker, Sole: true})
	require.NoError(t, err)
	require.NoError(t, jobs.Handle(second, jobs.Policy{}, func(ctx context.Context, job *jobs.Job, _ noop) error {
		return job.Complete(ctx, "second", nil)
	}))
	start(t, second)
	// The first engine's workers fetch from the same queue; whichever claims
	// it, the row decides. The crash is written down and no attempt counts.
	require.Eventually(t, func() bool {
		info, err := second.Show(t.Context(), id)
		return err == nil && len(info.Failures) == 1 && info.State != jobs.Queued
	}, 60*time.Second, 5*time.Millisecond)
	close(late)
	require.ErrorIs(t, <-lost, jobs.ErrLost)
}

func TestWipedBrokerLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error { return nil }))
	r.enqueueNoops(t, 50)
	require.NoError(t, r.broker.Stop(t.Context()))
	require.NoError(t, os.RemoveAll(r.dir))
	require.NoError(t, r.broker.Start(t.Context()))
	start(t, r.engine)
	require.Eventually(t, func() bool { return r.count(t, jobs.Succeeded) == 50 }, 60*time.Second, 5*time.Millisecond)
}

// Two engines on one database and one broker run each job once.
func TestTwoEnginesRunEachJobOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	other := r.newEngine(t, nil)
	var mu sync.Mutex
	runs := map[int]int{}
	count := func(_ context.Context, _ *jobs.Job, args noop) error {
		mu.Lock()
		defer mu.Unlock()
		runs[args.N]++
		return nil
	}
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, count))
	require.NoError(t, jobs.Handle(other, jobs.Policy{}, count))
	start(t, r.engine)
	start(t, other)
	r.enqueueNoops(t, 2000)
	require.Eventually(t, func() bool { return r.count(t, jobs.Succeeded) == 2000 }, 60*time.Second, 10*time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, runs, 2000)
	for n, times := range runs {
		require.Equal(t, 1, times, "job %d", n)
	}
}

func TestUrgentJobsGoFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]int{"default": 1})
	var mu sync.Mutex
	var order []string
	release := make(chan struct{})
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(_ context.Context, _ *jobs.Job, args noop) error {
		if args.N == 0 {
			<-release
		}
		mu.Lock()
		defer mu.Unlock()
		order = append(order, "plain")
		return nil
	}))
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Priority: 1}, func(_ context.Context, _ *jobs.Job, _ urgent) error {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, "urgent")
		return nil
	}))
	start(t, r.engine)
	r.enqueue(t, noop{N: 0}, jobs.EnqueueOptions{})
	require.Eventually(t, func() bool { return r.count(t, jobs.Running) == 1 }, 60*time.Second, time.Millisecond)
	plain := r.enqueue(t, noop{N: 1}, jobs.EnqueueOptions{})
	hurry := r.enqueue(t, urgent{}, jobs.EnqueueOptions{})
	// The urgent id must lie in the queue before the worker looks.
	require.Eventually(t, func() bool {
		info, err := r.engine.Show(t.Context(), hurry)
		return err == nil && info.State == jobs.Queued
	}, 60*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return jobs.Fetched(r.engine, "default", 2) > 0 }, 60*time.Second, time.Millisecond)
	close(release)
	require.Equal(t, jobs.Succeeded, r.wait(t, plain))
	require.Equal(t, jobs.Succeeded, r.wait(t, hurry))
	require.Equal(t, []string{"plain", "urgent", "plain"}, order)
}

type urgent struct{}

func (urgent) Kind() string { return "test.urgent" }
