package jobs_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
)

// lossyPool commits a claim and loses its answer, as a pooler does that is
// killed between the commit and the reply.
type lossyPool struct {
	database.Pool
	lose atomic.Int64 // answers still to lose
	what string
}

func (p *lossyPool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if strings.Contains(sql, p.what) && p.lose.Add(-1) >= 0 {
		rows, err := p.Pool.Query(ctx, sql, args...)
		if err != nil {
			return rows, err
		}
		rows.Close()
		return nil, errors.Join(database.ErrUnavailable, rows.Err())
	}
	return p.Pool.Query(ctx, sql, args...)
}

// A claim that was committed without our knowing is found again.
func TestClaimWhoseAnswerIsLostStillRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	pool := &lossyPool{Pool: r.db.Pool, what: "-- name: Claim"}
	pool.lose.Store(1)
	e, err := jobs.New(jobs.Options{DB: pool, Broker: r.broker})
	require.NoError(t, err)
	r.engine = e
	require.NoError(t, jobs.Handle(e, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error { return nil }))
	start(t, e)
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	require.Equal(t, jobs.Succeeded, r.wait(t, id))
}

// Postgres stores no NUL; a text with one must not keep a job from its end.
func TestErrorWithNulBytesIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Attempts: 1}, func(context.Context, *jobs.Job, noop) error {
		return errors.New("bad\x00text\xff")
	}))
	require.NoError(t, r.engine.Start(context.Background()))
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	require.Equal(t, jobs.Dead, r.wait(t, id))
	info, err := r.engine.Show(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "bad\uFFFDtext\uFFFD", info.Failures[0].Error)
	require.NoError(t, r.engine.Stop(context.Background()))
}

// A farewell that fails does not hold a worker, and the job is ended in the end.
func TestFailingFarewellDoesNotBlockTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]int{"default": 1})
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Attempts: 1}, func(_ context.Context, _ *jobs.Job, args noop) error {
		if args.N == 1 {
			return errors.New("broken")
		}
		return nil
	}))
	var runs atomic.Int64
	require.NoError(t, jobs.OnGiveUp(r.engine, func(context.Context, database.Tx, jobs.ID, noop, error) error {
		if runs.Add(1) <= 3 {
			panic("farewell")
		}
		return nil
	}))
	start(t, r.engine)
	bad := r.enqueue(t, noop{N: 1}, jobs.EnqueueOptions{})
	good := r.enqueue(t, noop{N: 2}, jobs.EnqueueOptions{})
	require.Equal(t, jobs.Succeeded, r.wait(t, good))
	require.Eventually(t, func() bool {
		info, err := r.engine.Show(t.Context(), bad)
		return err == nil && info.State == jobs.Retrying
	}, 60*time.Second, 5*time.Millisecond)
	_, err := r.db.Pool.Exec(t.Context(), "UPDATE jobs SET run_at = now() WHERE id = $1", bad)
	require.NoError(t, err)
	require.Equal(t, jobs.Dead, r.wait(t, bad))
	require.EqualValues(t, 4, runs.Load())
}

// A process of this machine that is gone is known at once; one that lives, or
// is somewhere else, is left alone.
func TestProcessOfThisMachineThatIsGone(t *testing.T) {
	t.Parallel()
	place, pid, born := jobs.Here()
	require.NotEmpty(t, place)
	require.False(t, jobs.Gone(place, pid, born), "alive")
	require.True(t, jobs.Gone(place, pid, born-1), "the pid came again")
	require.True(t, jobs.Gone(place, 1<<30, born), "no such pid")
	require.False(t, jobs.Gone("another machine", 1<<30, born))

	r := newRig(t, nil)
	dead, id := uuid.New(), uuid.New()
	_, err := r.db.Pool.Exec(t.Context(), "INSERT INTO job_instances (id, host, pid, place, born) VALUES ($1, 'here', 1073741824, $2, 1)", dead, place)
	require.NoError(t, err)
	_, err = r.db.Pool.Exec(t.Context(), `INSERT INTO jobs (id, kind, queue, state, priority, run, attempt, args, retain, run_at, claimed_by)
		VALUES ($1, 'test.noop', 'default', 'running', 1, 1, 1, '{}', '1h', now(), $2)`, id, dead)
	require.NoError(t, err)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Attempts: 1}, func(context.Context, *jobs.Job, noop) error { return nil }))
	start(t, r.engine)
	require.Equal(t, jobs.Succeeded, r.wait(t, id))
}

// A claim of this process that it does not know of, and that no claim in
// flight explains, goes back to its queue.
func TestStrayClaimIsHandedBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	jobs.SetStrayWait(r.engine, time.Second)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error { return nil }))
	start(t, r.engine)
	id := uuid.New()
	_, err := r.db.Pool.Exec(t.Context(), `INSERT INTO jobs (id, kind, queue, state, priority, run, attempt, args, retain, run_at, claimed_by)
		SELECT $1, 'test.noop', 'default', 'running', 1, 1, 1, '{}', '1h', now(), id FROM job_instances`, id)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	state, err := r.engine.Wait(ctx, id)
	require.NoError(t, err)
	require.Equal(t, jobs.Succeeded, state)
}

// A tool without a broker and without handlers leaves a job's farewell to a
// process that knows it.
func TestCancelFromAToolRunsTheFarewellElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		return errors.New("it must not run")
	}))
	causes := make(chan error, 2)
	require.NoError(t, jobs.OnGiveUp(r.engine, func(_ context.Context, _ database.Tx, _ jobs.ID, _ noop, cause error) error {
		causes <- cause
		return nil
	}))
	start(t, r.engine)
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{RunAt: time.Now().Add(time.Hour)})
	tool, err := jobs.New(jobs.Options{DB: r.db.Pool})
	require.NoError(t, err)
	require.Error(t, tool.Start(t.Context()))
	require.NoError(t, tool.Cancel(t.Context(), id))
	state, err := tool.Wait(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, jobs.Cancelled, state)
	require.ErrorIs(t, <-causes, jobs.ErrCancelled)
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) b) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1")
	f.Add("42 (x) Z 1")
	f.Fuzz(func(t *testing.T, line string) {
		_, err := jobs.ParseStat(line)
		_ = err
	})
}

func FuzzKeepable(f *testing.F) {
	f.Add("a\x00b\xff")
	f.Add(strings.Repeat("é", 1500))
	f.Fuzz(func(t *testing.T, text string) {
		kept := jobs.Keepable(text)
		require.True(t, utf8.ValidString(kept))
		require.NotContains(t, kept, "\x00")
		require.LessOrEqual(t, len(kept), 3*2000+len(" …"))
	})
}

// A handler that ignores its context costs the stop some seconds, not for ever.
func TestStubbornJobDoesNotHoldTheStop(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	begun, release := make(chan struct{}), make(chan struct{})
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		close(begun)
		<-release
		return nil
	}))
	require.NoError(t, r.engine.Start(context.Background()))
	r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, r.engine.Stop(ctx), "1 jobs did not end")
	close(release)
}
