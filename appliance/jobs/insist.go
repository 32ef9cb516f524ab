package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"selflink/appliance/database"
)

const (
	// retryFirst and retryMost bound the wait after a failed statement.
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// insist repeats f while the database is away: it may be restarting, and
// nothing else can be done meanwhile. Other errors are f's own and returned.
func (e *Engine) insist(ctx context.Context, what string, f func(ctx context.Context) error) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := f(call)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !passing(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		e.log.Warn("cannot "+what+", trying again", "error", err)
		pause(ctx, wait)
	}
}

// look runs one round of a loop within callTimeout, so that a database that
// hangs does not stop the loop for ever.
func (e *Engine) look(ctx context.Context, f func(ctx context.Context) error) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(call)
}

// passing reports an error that says nothing about the statement: the next try
// may succeed.
func passing(err error) bool {
	if errors.Is(err, database.ErrUnavailable) || errors.Is(err, database.ErrBusy) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) < 2 {
		return false
	}
	switch pg.Code[:2] {
	case "40", // rolled back: deadlock, serialization
		"53", // out of disk, memory or connections
		"55", // object in use
		"57", // cancelled or shut down by an operator
		"58": // errors of the system under Postgres
		return true
	}
	return false
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
