// Package schedule fires work at its times, once for all processes on one
// database.
//
// gocron tells the time; a row per (schedule, fire time) decides who fires, so
// two processes that wake up together run it once. Firings that a downtime
// missed are written down as missed.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/robfig/cron/v3"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/jobs"
	"selflink/appliance/schedule/scheduledb"
)

const (
	defaultTimeout = 10 * time.Minute

	// late is how long after its time a firing counts as missed: a start or
	// a pause of the machine may be this long.
	late = time.Minute

	// missedMost bounds the rows of one long downtime.
	missedMost = 100

	// callTimeout bounds one statement.
	callTimeout = 10 * time.Second
)

// Entry is one schedule. Exactly one of Run and Job is set.
type Entry struct {
	Name string // stable, unique
	Cron string // five fields, UTC
	// Run is called with a context that ends at Timeout and at Stop.
	Run func(ctx context.Context) error
	// Job is enqueued in the transaction that claims the firing.
	Job     jobs.Args
	Timeout time.Duration // of Run (10 minutes)
	// CatchUp runs the last missed firing once at start.
	CatchUp bool
}

// Options are the parts of a scheduler.
type Options struct {
	DB     database.Pool // required
	Jobs   jobs.Enqueuer // needed by entries with a Job
	Logger *slog.Logger
	Health *health.Registry
}

// Scheduler fires entries. It is safe for concurrent use.
type Scheduler struct {
	db   database.Pool
	sql  *scheduledb.Queries
	jobs jobs.Enqueuer
	log  *slog.Logger
	host string

	mu      sync.Mutex
	entries []*entry
	clock   gocron.Scheduler
	running context.Context
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

type entry struct {
	Entry
	times cron.Schedule

	mu      sync.Mutex
	planned time.Time // of the next firing
	failed  error     // of the last firing here
}

// New makes a scheduler without entries and registers the health check
// "schedules".
func New(o Options) (*Scheduler, error) {
	if o.DB == nil {
		return nil, errors.New("schedule: a database is needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	s := &Scheduler{db: o.DB, sql: scheduledb.New(o.DB), jobs: o.Jobs, log: o.Logger.With("component", "schedule"), host: host}
	if o.Health != nil {
		o.Health.Add(health.Check{Name: "schedules", Run: s.check})
	}
	return s, nil
}

// Add registers a schedule before Start. It fails for a name that is taken and
// for a cron expression that does not parse.
func (s *Scheduler) Add(e Entry) error {
	if (e.Run == nil) == (e.Job == nil) {
		return fmt.Errorf("schedule %s: needs either Run or Job", e.Name)
	}
	if e.Job != nil && s.jobs == nil {
		return fmt.Errorf("schedule %s: has a job, but there is no job engine", e.Name)
	}
	if e.Timeout <= 0 {
		e.Timeout = defaultTimeout
	}
	times, err := cron.ParseStandard(e.Cron)
	if err != nil {
		return fmt.Errorf("schedule %s: %w", e.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.entries {
		if other.Name == e.Name {
			return fmt.Errorf("schedule %s: the name is taken", e.Name)
		}
	}
	s.entries = append(s.entries, &entry{Entry: e, times: times})
	return nil
}

// Start writes down what was missed and begins to fire. Starting twice does
// nothing.
func (s *Scheduler) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clock != nil {
		return nil
	}
	clock, err := gocron.NewScheduler(gocron.WithLocation(time.UTC))
	if err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	s.running, s.stop = context.WithCancel(context.Background())
	for _, e := range s.entries {
		if err := s.resume(ctx, e, time.Now().UTC()); err != nil {
			s.stop()
			return fmt.Errorf("schedule %s: %w", e.Name, err)
		}
		if _, err := clock.NewJob(gocron.CronJob(e.Cron, false), gocron.NewTask(func() { s.tick(e) }), gocron.WithName(e.Name)); err != nil {
			s.stop()
			return fmt.Errorf("schedule %s: %w", e.Name, err)
		}
	}
	clock.Start()
	s.clock = clock
	return nil
}

// Stop ends running firings and waits for them. Stopping twice does nothing.
func (s *Scheduler) Stop(context.Context) error {
	s.mu.Lock()
	clock := s.clock
	s.clock = nil
	s.mu.Unlock()
	if clock == nil {
		return nil
	}
	s.stop()
	err := clock.Shutdown()
	s.wait.Wait()
	if err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	return nil
}

// resume plans the entry's next firing and records what a downtime missed.
func (s *Scheduler) resume(ctx context.Context, e *entry, now time.Time) error {
	if _, err := s.sql.Abandoned(ctx, scheduledb.AbandonedParams{Schedule: e.Name, Seconds: (e.Timeout + late).Seconds()}); err != nil {
		return fmt.Errorf("close abandoned firings: %w", err)
	}
	planned, err := s.sql.Plan(ctx, scheduledb.PlanParams{Name: e.Name, Cron: e.Cron, NextAt: e.times.Next(now)})
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	missed := missedBetween(e.times, planned.UTC(), now.Add(-late))
	for i, at := range missed {
		if e.CatchUp && i == len(missed)-1 {
			s.launch(e, at)
			continue
		}
		if err := s.sql.Miss(ctx, scheduledb.MissParams{Schedule: e.Name, FireAt: at, Host: s.host}); err != nil {
			return fmt.Errorf("record a missed firing: %w", err)
		}
	}
	if len(missed) > 0 {
		s.log.Warn("firings were missed", "schedule", e.Name, "missed", len(missed), "since", missed[0], "caught_up", e.CatchUp)
	}
	next := e.times.Next(now)
	if err := s.sql.Advance(ctx, scheduledb.AdvanceParams{Name: e.Name, NextAt: next}); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	e.mu.Lock()
	e.planned = next
	e.mu.Unlock()
	return nil
}

// missedBetween lists the firing times from first to last, only the newest
// missedMost of them.
func missedBetween(times cron.Schedule, first, last time.Time) []time.Time {
	var missed []time.Time
	for at := first; !at.After(last); at = times.Next(at) {
		missed = append(missed, at)
		if len(missed) > missedMost {
			missed = missed[1:]
		}
	}
	return missed
}

// tick is the clock's call: it fires the planned time, if it has come.
func (s *Scheduler) tick(e *entry) {
	now := time.Now().UTC()
	e.mu.Lock()
	at := e.planned
	// gocron's timer may be early by the resolution of the clock.
	if at.After(now.Add(time.Second)) {
		e.mu.Unlock()
		return
	}
	e.planned = e.times.Next(at)
	if !e.planned.After(now) {
		e.planned = e.times.Next(now)
	}
	next := e.planned
	e.mu.Unlock()

	ctx, cancel := context.WithTimeout(s.running, callTimeout)
	defer cancel()
	if err := s.sql.Advance(ctx, scheduledb.AdvanceParams{Name: e.Name, NextAt: next}); err != nil && s.running.Err() == nil {
		s.log.Warn("plan the next firing", "schedule", e.Name, "error", err)
	}
	s.launch(e, at)
}

func (s *Scheduler) launch(e *entry, at time.Time) {
	s.wait.Go(func() {
		if err := s.fire(s.running, e, at); err != nil && s.running.Err() == nil {
			s.log.Error("a firing failed", "schedule", e.Name, "fire_at", at, "error", err)
		}
	})
}

// fire claims the firing and does its work; nil when another process has it.
func (s *Scheduler) fire(ctx context.Context, e *entry, at time.Time) (err error) {
	defer func() {
		e.mu.Lock()
		e.failed = err
		e.mu.Unlock()
	}()
	mine := false
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		sql := scheduledb.New(tx)
		rows, err := sql.Claim(ctx, scheduledb.ClaimParams{Schedule: e.Name, FireAt: at, Host: s.host})
		if err != nil {
			return err
		}
		if mine = rows == 1; !mine || e.Job == nil {
			return nil
		}
		if _, err := s.jobs.Enqueue(ctx, tx, e.Job, jobs.EnqueueOptions{}); err != nil {
			return err
		}
		return sql.Finish(ctx, scheduledb.FinishParams{Schedule: e.Name, FireAt: at, Outcome: "succeeded"})
	})
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	if !mine || e.Job != nil {
		return nil
	}
	work, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	failed := e.Run(work)
	finish := scheduledb.FinishParams{Schedule: e.Name, FireAt: at, Outcome: "succeeded"}
	if failed != nil {
		text := failed.Error()
		finish.Outcome, finish.Error = "failed", &text
	}
	// The outcome is written even when Stop ended the work.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer done()
	if err := s.sql.Finish(last, finish); err != nil {
		return errors.Join(failed, fmt.Errorf("write the outcome: %w", err))
	}
	return failed
}

// ErrNotFound means that there is no schedule of that name.
var ErrNotFound = errors.New("schedule: no such schedule")

// RunNow fires a schedule outside its times and waits for it.
func (s *Scheduler) RunNow(ctx context.Context, name string) error {
	e := s.find(name)
	if e == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	return s.fire(ctx, e, time.Now().UTC().Truncate(time.Microsecond))
}

func (s *Scheduler) find(name string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// check is the health check: the last firing of each schedule here went well.
func (s *Scheduler) check(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []error
	for _, e := range s.entries {
		e.mu.Lock()
		if e.failed != nil {
			failed = append(failed, fmt.Errorf("the last firing of %s failed: %w", e.Name, e.failed))
		}
		e.mu.Unlock()
	}
	return errors.Join(failed...)
}
