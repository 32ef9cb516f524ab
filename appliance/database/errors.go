package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes that this package tells apart.
const (
	codeUniqueViolation   = "23505"
	codeTooManyConns      = "53300"
	codeAdminShutdown     = "57P01"
	codeCrashShutdown     = "57P02"
	codeCannotConnectNow  = "57P03"
	codeProtocolViolation = "08P01" // PgBouncer puts all its own errors under this one
	codeInvalidPassword   = "28P01"
	codeInvalidAuth       = "28000"
	codeUnknownDatabase   = "3D000"
	codeUndefinedTable    = "42P01"
	classConnection       = "08"
)

// IsUniqueViolation reports whether err says that a row with the same key
// exists. constraint names the index or constraint; empty means any.
func IsUniqueViolation(err error, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == codeUniqueViolation &&
		(constraint == "" || pg.ConstraintName == constraint)
}

// IsNoRows reports whether err says that a query found no row.
func IsNoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// classify wraps err with [ErrBusy] or [ErrUnavailable] where it means one of
// them, and leaves all others, the context's among them, as they are.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrBusy) || errors.Is(err, ErrUnavailable) {
		return err
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == codeTooManyConns,
			pg.Code == codeProtocolViolation && strings.Contains(pg.Message, "query_wait_timeout"),
			pg.Code == codeProtocolViolation && strings.Contains(pg.Message, "no more connections allowed"):
			return fmt.Errorf("%w: %w", ErrBusy, err)
		case pg.Code == codeAdminShutdown, pg.Code == codeCrashShutdown, pg.Code == codeCannotConnectNow,
			strings.HasPrefix(pg.Code, classConnection):
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var connect *pgconn.ConnectError
	var netErr net.Error
	if errors.As(err, &connect) || errors.As(err, &netErr) || isClosed(err) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// neverRan reports whether err says that the statement did not reach a server:
// nothing was sent, or the pooler had no server to send it to.
func neverRan(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == codeProtocolViolation && (strings.HasPrefix(pg.Message, "server login has been failing") ||
			strings.HasPrefix(pg.Message, "pgbouncer cannot connect to server"))
	}
	return pgconn.SafeToRetry(err) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// isClosed reports whether err says that the connection went away under the
// statement.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "conn closed")
}
