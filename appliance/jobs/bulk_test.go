package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	e := r.beside(t)
	for _, state := range jobs.States() {
		id := r.insert(t, row{kind: "a", queue: "q", state: state})[0]
		err := e.Delete(t.Context(), id)
		if state.Final() {
			require.NoError(t, err, state)
			require.ErrorIs(t, e.Delete(t.Context(), id), jobs.ErrNotFound)
			continue
		}
		require.ErrorIs(t, err, jobs.ErrWrongState, state)
		require.ErrorContains(t, err, "it is "+string(state)+", cancel it first")
	}
	require.ErrorIs(t, e.Delete(t.Context(), uuid.New()), jobs.ErrNotFound)
}

func TestBulkRetry(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	var mended atomic.Bool
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		if mended.Load() {
			return nil
		}
		return jobs.Permanent(errors.New("broken"))
	}))
	start(t, r.engine)
	r.enqueueNoops(t, 1200)
	require.Eventually(t, func() bool { return r.count(t, jobs.Dead) == 1200 }, 60*time.Second, 10*time.Millisecond)
	later := r.enqueue(t, noop{}, jobs.EnqueueOptions{RunAt: time.Now().Add(time.Hour)})
	mended.Store(true)
	q := jobs.Query{Kind: "test.noop"}

	got, err := r.engine.Bulk(t.Context(), jobs.ActRetry, q, 0)
	require.NoError(t, err)
	require.Equal(t, jobs.BulkResult{Matching: 1200, More: true}, got, "counted only")
	got, err = r.engine.Bulk(t.Context(), jobs.ActRetry, q, 700)
	require.NoError(t, err)
	require.Equal(t, jobs.BulkResult{Matching: 1200, Done: 700, More: true}, got)
	got, err = r.engine.Bulk(t.Context(), jobs.ActRetry, q, 700)
	require.NoError(t, err)
	require.Equal(t, jobs.BulkResult{Matching: 500, Done: 500}, got)
	require.Eventually(t, func() bool { return r.count(t, jobs.Succeeded) == 1200 }, 60*time.Second, 10*time.Millisecond)
	info, err := r.engine.Show(t.Context(), later)
	require.NoError(t, err)
	require.Equal(t, jobs.Scheduled, info.State, "nobody named those that wait for their time")

	got, err = r.engine.Bulk(t.Context(), jobs.ActDelete, jobs.Query{State: jobs.Succeeded, Kind: "test.noop"}, 10_000)
	require.NoError(t, err)
	require.Equal(t, jobs.BulkResult{Matching: 1200, Done: 1200}, got)
}

// Of dead jobs with one unique key only one can come back, and only while no
// other is unfinished.
func TestBulkRetryKeepsKeysUnique(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	key, taken := "key", "taken"
	r.insert(t,
		row{kind: "a", queue: "q", state: jobs.Dead, unique: &key},
		row{kind: "a", queue: "q", state: jobs.Dead, unique: &key},
		row{kind: "a", queue: "q", state: jobs.Dead, unique: &taken},
		row{kind: "a", queue: "q", state: jobs.Queued, unique: &taken},
		row{kind: "a", queue: "q", state: jobs.Dead})
	got, err := r.beside(t).Bulk(t.Context(), jobs.ActRetry, jobs.Query{}, 100)
	require.NoError(t, err)
	require.Equal(t, jobs.BulkResult{Matching: 3, Done: 2}, got)
	got, err = r.beside(t).Bulk(t.Context(), jobs.ActRetry, jobs.Query{}, 100)
	require.NoError(t, err)
	require.Equal(t, jobs.BulkResult{}, got)
}

func TestBulkCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.engine = r.newEngine(t, twoQueues)
	running := make(chan struct{}, 1)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(ctx context.Context, _ *jobs.Job, _ noop) error {
		running <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Queue: "aside"}, nothing))
	var farewells atomic.Int64
	require.NoError(t, jobs.OnGiveUp(r.engine, func(_ context.Context, _ database.Tx, _ jobs.ID, args noop, _ error) error {
		if args.N == 13 {
			return errors.New("not this one")
		}
		farewells.Add(1)
		return nil
	}))
	start(t, r.engine)
	r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	<-running
	hour := time.Now().Add(time.Hour)
	for range 3 {
		r.enqueue(t, noop{}, jobs.EnqueueOptions{RunAt: hour})
		r.enqueue(t, other{}, jobs.EnqueueOptions{RunAt: hour})
	}
	stays := r.enqueue(t, noop{N: 13}, jobs.EnqueueOptions{RunAt: hour})
	r.insert(t, row{kind: "elsewhere", queue: "q", state: jobs.Scheduled})

	got, err := r.engine.Bulk(t.Context(), jobs.ActCancel, jobs.Query{}, 1000)
	require.NoError(t, err)
	require.Equal(t, jobs.BulkResult{Matching: 9, Done: 8}, got)
	require.Eventually(t, func() bool { return r.count(t, jobs.Cancelled) == 7 }, 60*time.Second, 5*time.Millisecond)
	require.EqualValues(t, 4, farewells.Load())
	info, err := r.engine.Show(t.Context(), stays)
	require.NoError(t, err)
	require.Equal(t, jobs.Scheduled, info.State, "a farewell that fails leaves the job as it was")
}

func TestBulkRefusesNonsense(t *testing.T) {
	t.Parallel()
	e := newRig(t, nil).engine
	for _, c := range []struct {
		action jobs.Action
		state  jobs.State
	}{
		{"", ""}, {"drop", ""}, {jobs.ActRetry, jobs.Succeeded}, {jobs.ActRetry, jobs.Running},
		{jobs.ActCancel, jobs.Dead}, {jobs.ActDelete, jobs.Queued}, {jobs.ActDelete, jobs.Running},
	} {
		_, err := e.Bulk(t.Context(), c.action, jobs.Query{State: c.state}, 10)
		require.ErrorIs(t, err, jobs.ErrBadQuery, "%v", c)
	}
}
