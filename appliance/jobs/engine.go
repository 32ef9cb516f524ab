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
	"selflink/appliance/telemetry"
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
	Broker Broker        // nil: jobs can be looked at and acted on, but not run here
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
	self    process
	host    string              // of this process, for people
	redact  *telemetry.Redactor // for what is shown to people

	strayWait time.Duration // strayWait, shorter in tests

	kinds  map[string]*kind
	queues map[string]*queue

	sends chan []dispatch // ids on their way to the broker
	wake  chan struct{}   // something is scheduled earlier than known
	news  chan struct{}   // somebody paused or resumed a queue

	pausing sync.Mutex // held while the pauses are read

	// mu guards what follows. It is held for map accesses only.
	mu    sync.Mutex
	held  map[ID]*Job // claimed by this process and not ended
	state *lifetime
}

// lifetime is what one Start makes and Stop ends.
type lifetime struct {
	instance  uuid.UUID               // names this process's claims
	done      chan finished           // plain successes on their way to the ledger
	stop      context.CancelFunc      // ends fetching and claiming
	abort     context.CancelCauseFunc // ends the runs
	aborted   context.Context
	writing   context.Context // ends when ends of runs may no longer be written
	giveUp    context.CancelFunc
	quit      context.CancelFunc // ends the loops
	loops     sync.WaitGroup     // dispatcher, due, sweeper, heartbeat, pauses
	feeders   sync.WaitGroup     // fetching and claiming
	workers   sync.WaitGroup
	completer sync.WaitGroup
	unsub     []func() // ends the subscriptions
}

const (
	defaultConcurrency = 16

	// beat is how often a process says that it lives, and how often it looks
	// after the others.
	beat = time.Second

	// silence is how long a process on another machine may be silent before
	// its running jobs go to others: ten missed beats, so that a machine under
	// load is not taken for dead. A dead one on this machine is known at once.
	silence = 10 * time.Second

	// grace is how old a queued job must be before the sweeper asks why it
	// was not dispatched.
	grace = 2 * time.Second

	// callTimeout bounds one statement of the engine's own.
	callTimeout = 10 * time.Second

	// obeyWait is how long interrupted runs have to return before Stop leaves
	// them; what they still do is refused.
	obeyWait = 5 * time.Second

	// page is how many rows one statement of a sweep handles.
	page = 1000
)

// New checks the options. Handlers are registered with [Handle] before Start.
func New(o Options) (*Engine, error) {
	if o.DB == nil {
		return nil, errors.New("jobs: a database is needed")
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
		db:        o.DB,
		sql:       jobsdb.New(o.DB),
		broker:    o.Broker,
		log:       o.Logger.With("component", "jobs"),
		sole:      o.Sole,
		context:   o.Context,
		self:      thisProcess(),
		strayWait: strayWait,
		kinds:     map[string]*kind{},
		queues:    map[string]*queue{},
		sends:     make(chan []dispatch, 1024),
		wake:      make(chan struct{}, 1),
		news:      make(chan struct{}, 1),
		redact:    telemetry.NewRedactor(),
		held:      map[ID]*Job{},
	}
	var err error
	if e.host, err = os.Hostname(); err != nil {
		e.host = "unknown"
	}
	for name, concurrency := range o.Queues {
		if concurrency <= 0 {
			return nil, fmt.Errorf("jobs: queue %q needs at least one worker", name)
		}
		e.queues[name] = newQueue(e, name, concurrency)
	}
	if e.metrics, err = newMetrics(e, o.Metrics); err != nil {
		return nil, err
	}
	if o.Health != nil {
		e.registerChecks(o.Health)
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
	if e.broker == nil {
		return errors.New("jobs: a broker is needed to run jobs")
	}
	js, err := e.broker.JetStream()
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	s := &lifetime{instance: uuid.New(), done: make(chan finished, doneMost)}
	if err := e.beat(ctx, s); err != nil {
		return fmt.Errorf("jobs: register this process: %w", err)
	}
	if err := e.takeOverDead(ctx, s, e.sole, false); err != nil {
		return fmt.Errorf("jobs: take over: %w", err)
	}
	if err := e.readPauses(ctx); err != nil {
		return fmt.Errorf("jobs: read which queues are paused: %w", err)
	}
	var feeding, looping context.Context
	feeding, s.stop = context.WithCancel(context.Background())
	looping, s.quit = context.WithCancel(context.Background())
	s.writing, s.giveUp = context.WithCancel(context.Background())
	s.aborted, s.abort = context.WithCancelCause(context.Background())
	defer func() {
		if err != nil {
			s.end()
		}
	}()
	for _, q := range e.queues {
		if err := q.open(ctx, js); err != nil {
			return fmt.Errorf("jobs: queue %s: %w", q.name, err)
		}
	}
	if err := e.subscribe(s); err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	e.forgetSends()
	e.state = s
	s.completer.Go(func() { e.completeLoop(s) })
	for _, q := range e.queues {
		q.run(feeding, s)
	}
	s.loops.Go(func() { e.dispatchLoop(looping) })
	s.loops.Go(func() { e.dueLoop(looping) })
	s.loops.Go(func() { e.sweepLoop(looping) })
	s.loops.Go(func() { e.beatLoop(looping, s) })
	s.loops.Go(func() { e.pauseLoop(looping) })
	return nil
}

// subscribe listens to what is said to every node. When one subscription
// fails, none stays.
func (e *Engine) subscribe(s *lifetime) error {
	for subject, handle := range map[string]func(string, []byte){cancelSubject: e.onCancel, pauseSubject: e.onPause} {
		cancel, err := e.broker.Subscribe(subject, handle)
		if err != nil {
			s.unsubscribe()
			return err
		}
		s.unsub = append(s.unsub, cancel)
	}
	return nil
}

func (s *lifetime) unsubscribe() {
	for _, cancel := range s.unsub {
		cancel()
	}
}

// forgetSends drops the ids that were enqueued while nothing dispatched: the
// first sweep, which comes next, reads their rows and would send them twice.
func (e *Engine) forgetSends() {
	for {
		select {
		case <-e.sends:
			continue
		default:
		}
		return
	}
}

// end releases every context of the lifetime.
func (s *lifetime) end() {
	s.stop()
	s.quit()
	s.giveUp()
	s.abort(ErrShutdown)
}

// Stop ends fetching, hands back what has not begun, and waits for running
// jobs until ctx is done; those still running are then interrupted and handed
// back without counting an attempt. It returns an error when some do not obey
// within 5 s: they are left to themselves and the next start runs their jobs
// again. Stopping twice does nothing.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	s := e.state
	e.state = nil
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	defer s.end()
	// From the deadline on, what cannot be written soon is left to the next
	// start, which takes it over.
	defer context.AfterFunc(ctx, func() {
		s.abort(ErrShutdown)
		time.AfterFunc(obeyWait, s.giveUp)
	})()
	s.stop()
	s.feeders.Wait()
	for _, q := range e.queues {
		q.close(s)
	}
	// The heartbeat goes on meanwhile, or others would take over what runs.
	stubborn := e.waitForWorkers(ctx, s)
	if stubborn == 0 {
		close(s.done)
		s.completer.Wait()
	}
	s.unsubscribe()
	s.quit()
	s.loops.Wait()

	// The caller's deadline may be over; the farewell is one statement.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), obeyWait)
	defer cancel()
	if err := e.sql.Farewell(last, s.instance); err != nil {
		return fmt.Errorf("jobs: sign off: %w", err)
	}
	if stubborn > 0 {
		return fmt.Errorf("jobs: %d jobs did not end when told to; they run again after the next start", stubborn)
	}
	return nil
}

// waitForWorkers returns how many runs are still going on although they were
// told to end.
func (e *Engine) waitForWorkers(ctx context.Context, s *lifetime) int {
	idle := make(chan struct{})
	go func() { s.workers.Wait(); close(idle) }()
	select {
	case <-idle:
		return 0
	case <-ctx.Done():
	}
	timer := time.NewTimer(obeyWait + time.Second)
	defer timer.Stop()
	select {
	case <-idle:
		return 0
	case <-timer.C:
	}
	s.completer.Go(func() { <-idle; close(s.done) }) // whenever they end
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.held)
}

// beat says that this process lives.
func (e *Engine) beat(ctx context.Context, s *lifetime) error {
	return e.sql.Beat(ctx, jobsdb.BeatParams{
		ID: s.instance, Host: e.host, Pid: int32(e.self.pid), Place: e.self.place, Born: e.self.born,
	})
}
