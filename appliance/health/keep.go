package health

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"selflink/appliance/health/healthdb"
)

const (
	// seeEvery is how often the running hour is written without any news.
	seeEvery = time.Minute

	// silentAfter is how long a process may be unseen before others close what
	// it left open.
	silentAfter = 10 * time.Minute

	// keepMost is how many unwritten problems, and hours, are held while the
	// database is away; then the oldest are forgotten.
	keepMost = 256

	// writeTimeout bounds one writing of all that waits.
	writeTimeout = 5 * time.Second

	// textMost is how much of a problem's text is kept, in bytes.
	textMost = 1000
)

// keeper writes the history. What the registry notes never waits for the
// database: it lies here until it can be written, and is lost with the process
// at worst.
type keeper struct {
	sql  *healthdb.Queries
	node string
	log  *slog.Logger
	wake chan struct{}

	writing sync.Mutex // one writer at a time
	opened  bool       // what a predecessor left is closed; guarded by writing

	mu       sync.Mutex
	started  time.Time
	problems []healthdb.StoreParams
	hours    []healthdb.SeeParams
	noted    time.Time // when note was last called
	told     time.Time // when the writer was last woken
	worst    Severity  // then
}

func newKeeper(db healthdb.DBTX, node string, log *slog.Logger) *keeper {
	return &keeper{sql: healthdb.New(db), node: node, log: log, wake: make(chan struct{}, 1)}
}

// note takes in what a round has found. It does not block.
func (k *keeper) note(now time.Time, worst Severity, changes []change) {
	now = now.UTC().Truncate(time.Microsecond) // as precise as the column
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.started.IsZero() {
		k.started = now
	}
	for _, c := range changes {
		k.keep(c, now)
	}
	// What was seen in the last round lasts until this one.
	k.see(now, max(worst, k.worst))
	k.worst = worst
	k.noted = now
	if len(changes) > 0 || now.Sub(k.told) >= seeEvery || now.Before(k.told) {
		k.told = now
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// keep notes one change; the clearing of a problem that is not written yet
// completes its record. mu is held.
func (k *keeper) keep(c change, now time.Time) {
	row := healthdb.StoreParams{
		Node: k.node, Code: c.problem.Code, AppearedAt: c.problem.Visible.UTC().Truncate(time.Microsecond), FailingSince: c.problem.Since,
		Severity: int16(c.problem.Severity), Title: c.problem.Title, Problem: storable(c.problem.Text),
	}
	if !c.cleared.IsZero() {
		row.ClearedAt = &now
	}
	for i, waiting := range k.problems {
		if waiting.Code == row.Code && waiting.AppearedAt.Equal(row.AppearedAt) {
			k.problems[i] = row
			return
		}
	}
	if len(k.problems) >= keepMost {
		k.problems = k.problems[1:]
	}
	k.problems = append(k.problems, row)
}

// see adds the time since the last note to its hour. mu is held.
func (k *keeper) see(now time.Time, worst Severity) {
	seen := 0.0
	if passed := now.Sub(k.noted); !k.noted.IsZero() && passed > 0 && passed < seeEvery {
		seen = passed.Seconds()
	}
	hour := now.Truncate(time.Hour)
	if n := len(k.hours); n > 0 && k.hours[n-1].Hour.Equal(hour) {
		last := &k.hours[n-1]
		last.Worst, last.SeenAt = max(last.Worst, int16(worst)), now
		last.SeenSeconds += float32(seen)
		return
	}
	if len(k.hours) >= keepMost {
		k.hours = k.hours[1:]
	}
	k.hours = append(k.hours, healthdb.SeeParams{Node: k.node, Hour: hour, Worst: int16(worst), SeenSeconds: float32(seen), SeenAt: now})
}

// run writes whenever there is something, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
			k.write(ctx)
		}
	}
}

// last writes what is left at the end.
func (k *keeper) last(ctx context.Context) { k.write(ctx) }

// write writes what waits. What cannot be written waits for the next time.
func (k *keeper) write(ctx context.Context) {
	k.writing.Lock()
	defer k.writing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	k.mu.Lock()
	problems, hours, started, now := k.problems, k.hours, k.started, k.noted
	k.problems, k.hours = nil, nil
	k.mu.Unlock()
	if started.IsZero() {
		return
	}
	err := k.closeLost(ctx, started, now)
	for err == nil && len(problems) > 0 {
		if err = k.sql.Store(ctx, problems[0]); err == nil {
			problems = problems[1:]
		}
	}
	for err == nil && len(hours) > 0 {
		if err = k.sql.See(ctx, hours[0]); err == nil {
			hours = hours[1:]
		}
	}
	if err == nil {
		return
	}
	if !errors.Is(err, context.Canceled) {
		k.log.Debug("the history of health cannot be written now", "error", err)
	}
	k.giveBack(problems, hours)
}

// closeLost ends what a dead process left open, once in a life.
func (k *keeper) closeLost(ctx context.Context, started, now time.Time) error {
	if k.opened {
		return nil
	}
	err := k.sql.CloseLost(ctx, healthdb.CloseLostParams{Node: k.node, StartedAt: started, SilentSince: now.Add(-silentAfter)})
	k.opened = err == nil
	return err
}

// giveBack puts before what came meanwhile what could not be written.
func (k *keeper) giveBack(problems []healthdb.StoreParams, hours []healthdb.SeeParams) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, newer := range k.problems {
		merged := false
		for i, older := range problems {
			if older.Code == newer.Code && older.AppearedAt.Equal(newer.AppearedAt) {
				problems[i], merged = newer, true
			}
		}
		if !merged {
			problems = append(problems, newer)
		}
	}
	for _, newer := range k.hours {
		if n := len(hours); n > 0 && hours[n-1].Hour.Equal(newer.Hour) {
			hours[n-1].Worst = max(hours[n-1].Worst, newer.Worst)
			hours[n-1].SeenSeconds += newer.SeenSeconds
			hours[n-1].SeenAt = newer.SeenAt
			continue
		}
		hours = append(hours, newer)
	}
	k.problems = problems[max(0, len(problems)-keepMost):]
	k.hours = hours[max(0, len(hours)-keepMost):]
}
