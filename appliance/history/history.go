// Package history keeps the curves of the overview: how the process's own
// numbers went in the last hour, day and week. Every ten seconds it reads the
// metrics that are there anyway. The last hour stays in memory, and a row per
// minute goes to Postgres, so that a restart loses some seconds.
package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/database"
	"selflink/appliance/history/historydb"
)

const (
	// Interval is the time between two samples.
	Interval = 10 * time.Second

	// Retention is how long the rows are kept.
	Retention = 7 * 24 * time.Hour

	// slots is how many samples are held in memory: an hour.
	slots = int(time.Hour / Interval)

	// pendingMost is how many rows wait while the database is away; then the
	// oldest are lost.
	pendingMost = 120

	// writeTimeout bounds one writing.
	writeTimeout = 5 * time.Second

	// leastMinute is how much of a minute is worth a row when the process ends.
	leastMinute = 5 * time.Second
)

// Options configure [New]. DB and Gatherer are required.
type Options struct {
	DB       database.Pool
	Node     string // this process among others; the same after a restart
	Gatherer prometheus.Gatherer
	Logger   *slog.Logger // (discarded)
	Now      func() time.Time
}

// Keeper samples and remembers. It is safe for concurrent use.
type Keeper struct {
	opts Options
	log  *slog.Logger
	sql  *historydb.Queries

	sampling sync.Mutex // one sample at a time; guards the following
	last     *reading   // of the last sample
	minute   *reading   // with which the running minute began
	age      float64    // the worst queue age in it

	writing sync.Mutex // one writer at a time

	mu      sync.Mutex
	ring    [slots]slot
	pending []historydb.StoreParams
	stop    context.CancelFunc
	done    chan struct{}
	stopped bool
}

// slot is what was measured in one interval: ring[number % slots].
type slot struct {
	number int64 // of intervals since 1970; 0: empty
	point  point
}

// New makes a keeper. It reads nothing before Start.
func New(o Options) (*Keeper, error) {
	if o.DB == nil || o.Gatherer == nil {
		return nil, errors.New("history: Options.DB and Options.Gatherer are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Keeper{opts: o, log: o.Logger.With("component", "history"), sql: historydb.New(o.DB)}, nil
}

// Start begins to sample. A second call does nothing.
func (k *Keeper) Start(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stop != nil || k.stopped {
		return nil
	}
	var ctx context.Context
	ctx, k.stop = context.WithCancel(context.Background())
	k.done = make(chan struct{})
	go k.run(ctx, k.done)
	return nil
}

// Stop ends the sampling and writes what there is of the running minute, as
// far as that works before ctx ends. A second call, or one before Start, does
// nothing.
func (k *Keeper) Stop(ctx context.Context) error {
	k.mu.Lock()
	stop, done, stopped := k.stop, k.done, k.stopped
	k.stopped = true
	k.mu.Unlock()
	if stop == nil || stopped {
		return nil
	}
	stop()
	select {
	case <-done:
	case <-ctx.Done(): // a metric that hangs
		return fmt.Errorf("history: the sampling does not end: %w", ctx.Err())
	}
	k.sampling.Lock()
	if k.last != nil && k.last.at.Sub(k.minute.at) >= leastMinute {
		k.closeMinute(k.last)
	}
	k.sampling.Unlock()
	if err := k.write(ctx); err != nil {
		k.log.Warn("the last minutes of the metrics' history are lost", "error", err)
	}
	return nil
}

// run samples at the full ten seconds of the clock, so that the points of
// several nodes mean the same time.
func (k *Keeper) run(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	for {
		k.sample()
		if err := k.write(ctx); err != nil && ctx.Err() == nil {
			k.log.Debug("the metrics' history cannot be written now", "error", err)
		}
		now := k.opts.Now()
		timer := time.NewTimer(now.Truncate(Interval).Add(Interval).Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// sample reads the metrics and keeps what has happened since the last time.
func (k *Keeper) sample() {
	k.sampling.Lock()
	defer k.sampling.Unlock()
	families, err := k.opts.Gatherer.Gather()
	if err != nil { // what could be read is there all the same
		k.log.Debug("some metrics cannot be read", "error", err)
	}
	now := read(k.opts.Now().UTC(), families)
	if k.last == nil {
		k.last, k.minute, k.age = now, now, now.queueAge
		return
	}
	p := between(k.last, now)
	now.carry(k.last)
	k.last = now
	k.age = worse(k.age, now.queueAge)
	number := now.at.UnixNano()/int64(Interval) - 1
	k.mu.Lock()
	k.ring[number%int64(slots)] = slot{number, p}
	k.mu.Unlock()
	if !now.at.Truncate(time.Minute).Equal(k.minute.at.Truncate(time.Minute)) {
		k.closeMinute(now)
	}
}

// closeMinute makes the row of the running minute and begins the next one.
// sampling is held.
func (k *Keeper) closeMinute(now *reading) {
	p := between(k.minute, now)
	p[queueAge] = k.age
	row := historydb.StoreParams{Minute: k.minute.at.Truncate(time.Minute), Node: k.opts.Node, Points: p[:]}
	k.minute, k.age = now, now.queueAge
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pending) >= pendingMost {
		k.pending = k.pending[1:]
	}
	k.pending = append(k.pending, row)
}

// write writes the rows that wait.
func (k *Keeper) write(ctx context.Context) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	for {
		k.mu.Lock()
		if len(k.pending) == 0 {
			k.mu.Unlock()
			return nil
		}
		row := k.pending[0]
		k.mu.Unlock()
		if err := k.sql.Store(ctx, row); err != nil {
			return fmt.Errorf("write a minute: %w", err)
		}
		k.mu.Lock()
		if len(k.pending) > 0 && k.pending[0].Minute.Equal(row.Minute) {
			k.pending = k.pending[1:]
		}
		k.mu.Unlock()
	}
}

// Trim deletes the rows older than [Retention] and returns how many.
func (k *Keeper) Trim(ctx context.Context) (int64, error) {
	n, err := k.sql.Trim(ctx, k.opts.Now().Add(-Retention))
	if err != nil {
		return n, fmt.Errorf("history: trim the minutes: %w", err)
	}
	return n, nil
}
