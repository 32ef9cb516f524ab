package jobs_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
)

// flakyPool loses one in five answers, before or after the statement ran.
type flakyPool struct {
	database.Pool
	calm atomic.Bool
}

func (p *flakyPool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if p.calm.Load() || rand.IntN(5) > 0 {
		return p.Pool.Query(ctx, sql, args...)
	}
	if rand.IntN(2) == 0 {
		return nil, database.ErrUnavailable
	}
	rows, err := p.Pool.Query(ctx, sql, args...)
	if err == nil {
		rows.Close()
	}
	return nil, database.ErrUnavailable
}

func (p *flakyPool) Tx(ctx context.Context, f func(tx database.Tx) error) error {
	err := p.Pool.Tx(ctx, f)
	if err == nil && !p.calm.Load() && rand.IntN(5) == 0 {
		return database.ErrUnavailable // committed, but nobody is told
	}
	return err
}

// Whatever answers are lost and whoever stops when: each job's effect is there
// once, and none is left unfinished.
func TestEffectsHappenOnceWhateverAnswersAreLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, err := r.db.Direct.Exec(t.Context(), "CREATE TABLE effects (job uuid NOT NULL)")
	require.NoError(t, err)
	pool := &flakyPool{Pool: r.db.Pool}
	engine := func() *jobs.Engine {
		e, err := jobs.New(jobs.Options{DB: pool, Broker: r.broker, Queues: map[string]int{"default": 8}})
		require.NoError(t, err)
		jobs.SetStrayWait(e, time.Second)
		require.NoError(t, jobs.Handle(e, jobs.Policy{Backoff: soon}, func(ctx context.Context, job *jobs.Job, _ noop) error {
			return job.Complete(ctx, nil, func(tx database.Tx) error {
				_, err := tx.Exec(ctx, "INSERT INTO effects VALUES ($1)", job.ID)
				return err
			})
		}))
		return e
	}
	begin := func(e *jobs.Engine) {
		require.Eventually(t, func() bool { return e.Start(context.Background()) == nil }, 60*time.Second, time.Millisecond)
	}
	steady := engine()
	begin(steady)
	t.Cleanup(func() { require.NoError(t, steady.Stop(context.Background())) })

	const n = 600
	var wait sync.WaitGroup
	wait.Go(func() {
		for range 4 {
			e := engine()
			begin(e)
			impatient, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			_ = e.Stop(impatient) // its farewell may get lost too
			cancel()
		}
	})
	var mu sync.Mutex
	var ids []uuid.UUID
	for range 6 {
		wait.Go(func() {
			for range n / 6 {
				id, err := jobs.NewID()
				if err != nil {
					continue
				}
				// An answer that is lost is asked again under the same id.
				_ = r.db.Pool.Tx(context.Background(), func(tx database.Tx) error {
					_, err := steady.Enqueue(context.Background(), tx, noop{}, jobs.EnqueueOptions{ID: id})
					return err
				})
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	pool.calm.Store(true)
	require.Len(t, ids, n)
	require.Eventually(t, func() bool { return r.count(t, jobs.Succeeded) == n }, 60*time.Second, 20*time.Millisecond)
	var effects, distinct int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*), count(DISTINCT job) FROM effects").Scan(&effects, &distinct))
	require.Equal(t, n, effects)
	require.Equal(t, n, distinct)
}
