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

	// obeyWait is how long an interrupted run has to return.
	obeyWait = 5 * time.Second

	// claimPause is the pause between two tries to claim a firing while the
	// database is away; after late it counts as missed.
	claimPause = time.Second

	// maxError is how much of an error's text is kept, in bytes.
	maxError = 2000
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
	// CatchUp runs the last missed firing once, at start or when the machine
	// wakes up; without it a missed firing is only written down.
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
	stop    context.CancelCauseFunc
	wait    sync.WaitGroup
}

type entry struct {
	Entry
	times cron.Schedule

	mu      sync.Mutex
	planned time.Time // of the next firing
	failed  error     // of the last firing here
}

// New makes a scheduler without entries and registers its health checks.
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
		s.registerChecks(o.Health)
	}
	return s, nil
}

// Add registers a schedule before Start. It fails for a name that is taken and
// for a cron expression that does not parse or never comes.
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
	if times.Next(time.Now().UTC()).IsZero() {
		return fmt.Errorf("schedule %s: %q never comes", e.Name, e.Cron)
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
func (s *Scheduler) Start(ctx context.Context) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clock != nil {
		return nil
	}
	clock, err := gocron.NewScheduler(gocron.WithLocation(time.UTC), gocron.WithLogger(silent{}))
	if err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	s.running, s.stop = context.WithCancelCause(context.Background())
	defer func() {
		if err != nil {
			s.stop(errStopping)
			s.wait.Wait()
			err = errors.Join(err, clock.Shutdown())
		}
	}()
	for _, e := range s.entries {
		if err := s.resume(ctx, e, time.Now().UTC()); err != nil {
			return fmt.Errorf("schedule %s: %w", e.Name, err)
		}
		if _, err := clock.NewJob(gocron.CronJob(e.Cron, false), gocron.NewTask(func() { s.tick(e) }), gocron.WithName(e.Name)); err != nil {
			return fmt.Errorf("schedule %s: %w", e.Name, err)
		}
	}
	clock.Start()
	s.clock = clock
	return nil
}

// Stop fires no more and waits for running firings until ctx is done; then they
// are interrupted and waited for some seconds more. Stopping twice does nothing.
func (s *Scheduler) Stop(ctx context.Context) error {
	s.mu.Lock()
	clock := s.clock
	s.clock = nil
	s.mu.Unlock()
	if clock == nil {
		return nil
	}
	defer s.stop(errStopping)
	if err := clock.Shutdown(); err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	idle := make(chan struct{})
	go func() { s.wait.Wait(); close(idle) }()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	s.stop(errStopping)
	timer := time.NewTimer(obeyWait)
	defer timer.Stop()
	select {
	case <-idle:
		return nil
	case <-timer.C:
		return errors.New("schedule: a firing did not end when told to")
	}
}

// errStopping is the cause of a run's context when the scheduler stops.
var errStopping = errors.New("the appliance stopped while it ran")

// ErrNotFound means that there is no schedule of that name.
var ErrNotFound = errors.New("schedule: no such schedule")

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
