package database

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pool is a [Pool] over a pgxpool that may not be there yet: parts are
// constructed with it before the server starts, and get [ErrUnavailable] until
// then and after the stop.
type pool struct {
	name  string // "pooled" or "direct", for errors and metrics
	wait  time.Duration
	inner atomic.Pointer[pgxpool.Pool]

	busy        atomic.Int64 // acquires that ended in ErrBusy
	unavailable atomic.Int64 // acquires that ended in ErrUnavailable
}

var (
	_ Pool = (*pool)(nil)
	_ Tx   = (*transaction)(nil)
)

// redialPause paces the dials of one acquire while the other side restarts.
const redialPause = 20 * time.Millisecond

// acquire takes a connection within the bounded wait. While nobody listens
// (the pooler is being restarted) it dials again until the wait is over, so a
// restart of some milliseconds is a delay and not an error.
func (p *pool) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	inner := p.inner.Load()
	if inner == nil {
		return nil, fmt.Errorf("%w: the %s pool is not running", ErrUnavailable, p.name)
	}
	bounded, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	for {
		conn, err := inner.Acquire(bounded)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait for a connection: %w", err)
		}
		if bounded.Err() != nil {
			return nil, p.exhausted(inner, err)
		}
		err = classify(err)
		if !errors.Is(err, ErrUnavailable) {
			if errors.Is(err, ErrBusy) {
				p.busy.Add(1)
			}
			return nil, fmt.Errorf("get a connection: %w", err)
		}
		if pause(bounded, redialPause) != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("wait for a connection: %w", ctx.Err())
			}
			p.unavailable.Add(1)
			return nil, fmt.Errorf("get a connection: %w", err)
		}
	}
}

// exhausted says why the bounded wait of an acquire was not enough.
func (p *pool) exhausted(inner *pgxpool.Pool, err error) error {
	st := inner.Stat()
	if st.AcquiredConns() < st.MaxConns() && st.ConstructingConns() > 0 {
		p.unavailable.Add(1)
		return fmt.Errorf("%w: no answer while connecting within %v", ErrUnavailable, p.wait)
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		p.unavailable.Add(1)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p.busy.Add(1)
	return fmt.Errorf("%w: none of %d became free within %v", ErrBusy, st.MaxConns(), p.wait)
}

// tries paces the repetition of a statement that certainly never ran, because
// the pooler had no server to give it to: Postgres is being restarted.
type tries struct{ until time.Time }

// again waits a moment and reports whether to try once more after err.
func (t *tries) again(ctx context.Context, wait time.Duration, err error) bool {
	if !neverRan(err) {
		return false
	}
	now := time.Now()
	if t.until.IsZero() {
		t.until = now.Add(wait)
	}
	return now.Before(t.until) && pause(ctx, redialPause) == nil
}

// Exec implements [Querier].
func (p *pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	var t tries
	for {
		conn, err := p.acquire(ctx)
		if err != nil {
			return pgconn.CommandTag{}, err
		}
		tag, err := conn.Exec(ctx, sql, args...)
		conn.Release()
		if err == nil || !t.again(ctx, p.wait, err) {
			return tag, classify(err)
		}
	}
}

// Query implements [Querier].
func (p *pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	var t tries
	for {
		conn, err := p.acquire(ctx)
		if err != nil {
			return failedRows{err: err}, err
		}
		rows, err := conn.Query(ctx, sql, args...)
		if err == nil {
			return &pooledRows{Rows: rows, conn: conn}, nil
		}
		conn.Release()
		if !t.again(ctx, p.wait, err) {
			err = classify(err)
			return failedRows{err: err}, err
		}
	}
}

// QueryRow implements [Querier].
func (p *pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := p.Query(ctx, sql, args...) //nolint:errcheck // Scan reports it
	return oneRow{rows: rows}
}

// SendBatch implements [Querier].
func (p *pool) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	conn, err := p.acquire(ctx)
	if err != nil {
		return failedBatch{err: err}
	}
	return &batchResults{inner: conn.SendBatch(ctx, b), release: conn.Release}
}

// CopyFrom implements [Querier].
func (p *pool) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	conn, err := p.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	n, err := conn.CopyFrom(ctx, table, columns, src)
	return n, classify(err)
}

// reset makes every connection of the pool a new one: idle ones are closed
// now, those in use when they come back.
func (p *pool) reset() {
	if inner := p.inner.Load(); inner != nil {
		inner.Reset()
	}
}
