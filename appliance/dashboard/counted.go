package dashboard

import (
	"context"
	"fmt"
	"sync"
	"time"

	"selflink/appliance/database"
)

const (
	// countTime bounds one count over large tables: somebody waits.
	countTime = 1500 * time.Millisecond
	// countShare is how much longer an answer is kept than it took to get: a
	// page that is open costs the database at most a hundredth of its time.
	countShare = 100
	// countLeast is how long an answer is kept at least.
	countLeast = 5 * time.Second
)

// Counted keeps the answer to a question that costs, such as a count over a
// large table, so that it is not asked anew by every page that is shown. The
// zero value is ready; it is safe for concurrent use.
type Counted[T any] struct {
	mu    sync.Mutex
	value *T
	at    time.Time
	until time.Time
}

// Get gives the answer, and when it was had; ask is called when the last answer
// is too old for what it cost. ask has a second and a half: when that is not
// enough the older answer is given, or nil when there is none. An error is
// ask's.
func (c *Counted[T]) Get(ctx context.Context, ask func(ctx context.Context) (T, error)) (*T, *time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if began := time.Now(); !began.Before(c.until) {
		limited, cancel := context.WithTimeout(ctx, countTime)
		defer cancel()
		v, err := ask(limited)
		now := time.Now()
		switch {
		case err == nil:
			c.value, c.at = &v, now.UTC()
		case limited.Err() == nil || ctx.Err() != nil:
			return nil, nil, err
		}
		c.until = now.Add(max(countLeast, countShare*now.Sub(began)))
	}
	if c.value == nil {
		return nil, nil, nil
	}
	at := c.at
	return c.value, &at, nil
}

// Forget makes the next Get ask anew.
func (c *Counted[T]) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
}

// Estimate is about how many rows a table has, as Postgres remembers it from
// when it last looked through it; nil when it never did.
func Estimate(ctx context.Context, db database.Querier, table string) (*int64, error) {
	var rows int64
	err := db.QueryRow(ctx, "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)", table).Scan(&rows)
	if err != nil {
		return nil, fmt.Errorf("estimate the rows of %s: %w", table, err)
	}
	if rows < 0 {
		return nil, nil
	}
	return &rows, nil
}
