package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// rollbackWait bounds a rollback whose caller has gone: the connection is
// closed when the server does not confirm it in time.
const rollbackWait = 2 * time.Second

// transaction is a [Tx].
type transaction struct {
	inner pgx.Tx
	after []func()
}

// Tx implements [Pool].
func (p *pool) Tx(ctx context.Context, f func(tx Tx) error) (err error) {
	conn, inner, err := p.begin(ctx)
	if err != nil {
		return err
	}
	tx := &transaction{inner: inner}
	committed := false
	defer func() {
		if !committed {
			// The caller's context may be done; the rollback must still run.
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackWait)
			rbErr := inner.Rollback(undo)
			cancel()
			if rbErr != nil && !errors.Is(rbErr, pgx.ErrTxClosed) && err == nil {
				err = fmt.Errorf("roll back: %w", classify(rbErr))
			}
		}
		conn.Release()
		// Hooks run when the connection is free again: one that starts its own
		// transaction must not wait for its own connection.
		if committed {
			for _, hook := range tx.after {
				hook()
			}
		}
	}()
	if err = f(tx); err != nil {
		return err
	}
	if err = inner.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", classify(err))
	}
	committed = true
	return nil
}

// begin takes a connection and begins a transaction on it.
func (p *pool) begin(ctx context.Context) (*pgxpool.Conn, pgx.Tx, error) {
	var t tries
	for {
		conn, err := p.acquire(ctx)
		if err != nil {
			return nil, nil, err
		}
		tx, err := conn.Begin(ctx)
		if err == nil {
			return conn, tx, nil
		}
		conn.Release()
		if !t.again(ctx, p.wait, err) {
			return nil, nil, fmt.Errorf("begin: %w", classify(err))
		}
	}
}

// AfterCommit implements [Tx].
func (t *transaction) AfterCommit(f func()) { t.after = append(t.after, f) }

// Exec implements [Querier].
func (t *transaction) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := t.inner.Exec(ctx, sql, args...)
	return tag, classify(err)
}

// Query implements [Querier].
func (t *transaction) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := t.inner.Query(ctx, sql, args...)
	if err != nil {
		err = classify(err)
		return failedRows{err: err}, err
	}
	return classifiedRows{rows}, nil
}

// QueryRow implements [Querier].
func (t *transaction) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := t.Query(ctx, sql, args...) //nolint:errcheck // Scan reports it
	return oneRow{rows: rows}
}

// SendBatch implements [Querier].
func (t *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return &batchResults{inner: t.inner.SendBatch(ctx, b)}
}

// CopyFrom implements [Querier].
func (t *transaction) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	n, err := t.inner.CopyFrom(ctx, table, columns, src)
	return n, classify(err)
}
