package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/jobs/jobsdb"
)

// Broker is what the engine needs of the nervous system. *broker.Broker is one.
type Broker interface {
	JetStream() (jetstream.JetStream, error)
	Publish(subject string, data []byte) error
	Subscribe(subject string, handle func(subject string, data []byte)) (cancel func(), err error)
}

// Options are the parts and choices of an engine.
type Options struct {
	DB     database.Pool // pooled; required
	Broker Broker        // required
	// Queues are the queues and how many of their jobs run here at once.
	// Empty: one queue "default" with 16.
	Queues map[string]int
	// Sole says that no other process can be running jobs of this database
	// (the private cluster's lock proves it), so what a dead predecessor left
	// running is taken over at once instead of after some seconds.
	Sole    bool
	Logger  *slog.Logger
	Health  *health.Registry
	Metrics prometheus.Registerer
	// Context returns the context of a run, derived from ctx, for example
	// with the job's id for the log. nil: ctx.
	Context func(ctx context.Context, id ID) context.Context
}

// Engine enqueues and runs jobs. It is safe for concurrent use.
type Engine struct {
	db      database.Pool
	sql     *jobsdb.Queries
	broker  Broker
	log     *slog.Logger
	sole    bool
	context func(ctx context.Context, id ID) context.Context
	metrics *metrics

	kinds  map[string]*kind
	queues map[string]*queue

	instance uuid.UUID
	sends    chan []dispatch // ids on their way to the broker
	wake     chan struct{}   // something is scheduled earlier than known
	done     chan finished   // plain successes on their way to the ledger

	mu      sync.Mutex
	running map[ID]context.CancelCauseFunc
	state   *lifetime
}

// lifetime is what one Start makes and Stop ends.
type lifetime struct {
	stop      context.CancelFunc      // ends fetching and the loops
	abort     context.CancelCauseFunc // ends the runs
	aborted   context.Context
	loops     sync.WaitGroup // dispatcher, sweeper, heartbeat
	feeders   sync.WaitGroup // fetching and claiming
	workers   sync.WaitGroup
	completer sync.WaitGroup
	cancelSub func()
}

const (
	defaultConcurrency = 16

	// beat is how often a process says that it lives, and how often it looks
	// after the others.
	beat = time.Second

	// silence is how long a process may be silent before its running jobs go
	// to others: ten missed beats, so that a machine under load is not taken
	// for dead.
	silence = 10 * time.Second

	// grace is how old a queued job must be before the sweeper asks why it
	// was not dispatched.
	grace = 2 * time.Second

	// callTimeout bounds one statement of the engine's own.
	callTimeout = 10 * time.Second

	// page is how many rows one statement of a sweep handles.
	page = 1000
)

// New checks the options. Handlers are registered with [Handle] before Start.
func New(o Options) (*Engine, error) {
	if o.DB == nil || o.Broker == nil {
		return nil, errors.New("jobs: a database and a broker are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Queues) == 0 {
		o.Queues = map[string]int{defaultQueue: defaultConcurrency}
	}
	if o.Context == nil {
		o.Context = func(ctx context.Context, _ ID) context.Context { return ctx }
	}
	e := &Engine{
		db:      o.DB,
		sql:     jobsdb.New(o.DB),
		broker:  o.Broker,
		log:     o.Logger.With("component", "jobs"),
		sole:    o.Sole,
		context: o.Context,
		kinds:   map[string]*kind{},
		queues:  map[string]*queue{},
		sends:   make(chan []dispatch, 1024),
		wake:    make(chan struct{}, 1),
		done:    make(chan finished, 4096),
		running: map[ID]context.CancelCauseFunc{},
	}
	for name, concurrency := range o.Queues {
		if concurrency <= 0 {
			return nil, fmt.Errorf("jobs: queue %q needs at least one worker", name)
		}
		e.queues[name] = newQueue(e, name, concurrency)
	}
	var err error
	if e.metrics, err = newMetrics(e, o.Metrics); err != nil {
		return nil, err
	}
	if o.Health != nil {
		o.Health.Add(health.Check{Name: "jobs", Ready: true, Run: e.check})
	}
	return e, nil
}

// Start takes over what dead processes left and begins to work. Starting a
// running engine does nothing.
func (e *Engine) Start(ctx context.Context) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != nil {
		return nil
	}
	e.instance = uuid.New()
	if err := e.beat(ctx); err != nil {
		return fmt.Errorf("jobs: register this process: %w", err)
	}
	if err := e.takeOver(ctx, nil, e.sole); err != nil {
		return fmt.Errorf("jobs: take over: %w", err)
	}
	js, err := e.broker.JetStream()
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	looping, stop := context.WithCancel(context.Background())
	aborted, abort := context.WithCancelCause(context.Background())
	s := &lifetime{stop: stop, abort: abort, aborted: aborted}
	defer func() {
		if err != nil {
			stop()
			abort(ErrShutdown)
		}
	}()
	for _, q := range e.queues {
		if err := q.open(ctx, js); err != nil {
			return fmt.Errorf("jobs: queue %s: %w", q.name, err)
		}
	}
	if s.cancelSub, err = e.broker.Subscribe(cancelSubject, e.onCancel); err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	e.state = s
	s.completer.Go(e.completeLoop)
	for _, q := range e.queues {
		q.run(looping, s)
	}
	s.loops.Go(func() { e.dispatchLoop(looping) })
	s.loops.Go(func() { e.dueLoop(looping) })
	s.loops.Go(func() { e.sweepLoop(looping) })
	s.loops.Go(func() { e.beatLoop(looping) })
	return nil
}

// Stop ends fetching, hands back what has not begun, and waits for running
// jobs until ctx is done; those still running are then interrupted and handed
// back without counting an attempt. Stopping twice does nothing.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	s := e.state
	e.state = nil
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	s.cancelSub()
	s.stop()
	s.feeders.Wait()
	for _, q := range e.queues {
		q.close()
	}
	idle := make(chan struct{})
	go func() { s.workers.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
		s.abort(ErrShutdown)
		<-idle
	}
	close(e.done)
	s.completer.Wait()
	e.done = make(chan finished, cap(e.done))
	s.loops.Wait()
	s.abort(ErrShutdown)

	// The caller's deadline may be over; the farewell is one statement.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err := e.sql.Farewell(last, e.instance); err != nil {
		return fmt.Errorf("jobs: sign off: %w", err)
	}
	return nil
}

// beat says that this process lives.
func (e *Engine) beat(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return e.sql.Beat(ctx, jobsdb.BeatParams{ID: e.instance, Host: host, Pid: int32(os.Getpid())})
}
