// Package database runs and reaches Postgres.
//
// Postgres is the ledger of the appliance: whatever a user would miss is
// there before anybody is told. The package supervises a private cluster and
// its PgBouncer (or reaches an external one), gives out a pooled and a direct
// way to it, runs transactions with after-commit hooks, and migrates the
// schema.
package database

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Errors that callers branch on.
var (
	// ErrBusy means that no connection became free within the bounded wait.
	// The request is answered with 503 and Retry-After.
	ErrBusy = errors.New("database: all connections are busy")
	// ErrUnavailable means that the database could not be reached.
	ErrUnavailable = errors.New("database: unavailable")
)

// Querier is what a statement needs. A [Pool] and a [Tx] both are one, and
// both serve as the DBTX of generated query packages.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
}

// Tx is one open transaction. It is not safe for concurrent use.
type Tx interface {
	Querier
	// AfterCommit calls f once the transaction has committed, in the order
	// of registration, on the goroutine that committed. f must not block; it
	// is not called when the transaction is rolled back.
	AfterCommit(f func())
}

// Pool is a way to the database: pooled through PgBouncer, or direct. It is
// safe for concurrent use. Its errors wrap [ErrBusy] or [ErrUnavailable] where
// they apply.
type Pool interface {
	Querier
	// Tx runs f in a transaction and commits when f returns nil. An error or
	// a panic of f rolls back. When Tx returns [ErrUnavailable] from the commit
	// itself, nobody can say whether it happened: a caller that tries again
	// needs a key that makes the second time harmless.
	Tx(ctx context.Context, f func(tx Tx) error) error
}
