package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	connectTimeout  = 5 * time.Second  // of one dial, login included
	pingTimeout     = 2 * time.Second  // of the look whether an idle connection still lives
	connLifetime    = time.Hour        // then a connection is replaced
	connIdle        = 5 * time.Minute  // then an idle connection is closed
	minIdlePooled   = 2                // kept warm for the first requests after a quiet time
	closeWait       = 3 * time.Second  // for borrowed connections when a pool is closed
	attachWait      = 10 * time.Second // for a live server that is still starting
	postgresFast    = 20 * time.Second // for a fast shutdown, its checkpoint included
	poolerSafe      = 2 * time.Second  // for the pooler's clients to finish their transactions
	immediateAnswer = 5 * time.Second  // for a child that was told to stop at once
)

// Server runs or reaches the database. It is safe for concurrent use.
type Server struct {
	opts   Options
	log    *slog.Logger
	pooled *pool
	direct *pool

	life     sync.Mutex // serialises Start and Stop; guards what follows, up to running
	started  bool
	stopped  bool
	attached bool // another process supervises the children
	lock     *dirLock
	fork     *forker
	runtime  string // directory of the managed children's sockets; empty: none
	now      running

	commits   commitRate
	processes processes

	running atomic.Pointer[running] // for everybody else; nil before Start and after Stop
}

// running is what a started server knows. It does not change while it runs.
type running struct {
	postgres *supervisor // nil: external
	pooler   *supervisor // nil: external or none
	console  string      // URL of the managed pooler's console; empty: none

	poolerVersion string // of the managed one; empty: none

	pooled, direct string // URLs
	super          string // URL of a managed cluster's superuser; empty: external
	pooledMode     pgx.QueryExecMode
	directMode     pgx.QueryExecMode
}

// New checks the options and returns a server that is not started yet. Its
// pools may be handed out at once; they answer [ErrUnavailable] until Start.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts:   o,
		log:    o.Logger.With("component", "database"),
		pooled: &pool{name: "pooled", wait: o.AcquireWait},
		direct: &pool{name: "direct", wait: o.AcquireWait},
	}
	if o.Health != nil {
		s.registerChecks(o.Health)
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(newCollector(s)); err != nil {
			return nil, fmt.Errorf("register the database's metrics: %w", err)
		}
	}
	return s, nil
}

// Pool returns the pooled way: the one for everything that holds no session
// state (no LISTEN, SET, advisory lock, temporary table).
func (s *Server) Pool() Pool { return s.pooled }

// Direct returns the small pool that reaches Postgres itself. When only a
// pooler's address is known (DATABASE_URL without DATABASE_DIRECT_URL), it
// goes through that pooler as well and must not hold session state either.
func (s *Server) Direct() Pool { return s.direct }

// URLs returns the addresses of the pooled and the direct way, with passwords,
// for programs such as pg_dump. They are empty before Start.
func (s *Server) URLs() (pooled, direct string) {
	if r := s.running.Load(); r != nil {
		return r.pooled, r.direct
	}
	return "", ""
}

// SuperURL returns the address of the managed cluster's superuser, for tests
// and repairs. It is empty for an external database and before Start.
func (s *Server) SuperURL() string {
	if r := s.running.Load(); r != nil {
		return r.super
	}
	return ""
}

// Secrets are the passwords in force, for who blots them out of what people
// are shown. The managed ones are in no setting.
func (s *Server) Secrets() []string {
	r := s.running.Load()
	if r == nil {
		return nil
	}
	var out []string
	for _, text := range []string{r.pooled, r.direct, r.super, r.console} {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		if password, ok := u.User.Password(); ok && password != "" && !slices.Contains(out, password) {
			out = append(out, password)
		}
	}
	return out
}

// Start runs or reaches the database and returns when both pools answer. It
// does not migrate: see [Server.Migrate]. A second call does nothing.
func (s *Server) Start(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.started || s.stopped {
		return nil
	}
	begin := time.Now()
	if err := s.bring(ctx); err != nil {
		s.tearDown(context.WithoutCancel(ctx))
		return err
	}
	s.publish()
	s.log.Info("database is ready", "managed", s.now.postgres != nil, "after", time.Since(begin).Round(time.Millisecond).String())
	return nil
}

// publish shows what was started to everybody else.
func (s *Server) publish() {
	s.started = true
	snapshot := s.now
	s.running.Store(&snapshot)
}

// bring does the work of Start; what it began is torn down by the caller when
// it fails.
func (s *Server) bring(ctx context.Context) error {
	if s.opts.DataDir != "" && s.lock == nil {
		if err := os.MkdirAll(s.opts.DataDir, 0o700); err != nil {
			return fmt.Errorf("create the data directory: %w", err)
		}
		lock, err := lockDir(ctx, s.opts.DataDir, min(lockWait, s.opts.BootWait))
		if err != nil {
			return err
		}
		s.lock = lock
	}
	if s.opts.DatabaseURL == "" {
		if err := s.startManaged(ctx); err != nil {
			return err
		}
	} else if err := s.reachExternal(ctx); err != nil {
		return err
	}
	return s.openPools(ctx)
}

// answerWait bounds the wait for the first answers: a machine that is just
// booting has other things to do too.
const answerWait = 15 * time.Second

// firstAnswer asks a pool until it answers or time is up.
func firstAnswer(ctx context.Context, p *pool, until time.Time) error {
	for {
		err := p.check(ctx) // waits by itself
		again := errors.Is(err, ErrBusy) || errors.Is(err, ErrUnavailable)
		if !again || ctx.Err() != nil || time.Now().After(until) {
			return err
		}
	}
}

// openPools makes both pools and proves that they answer.
func (s *Server) openPools(ctx context.Context) error {
	if err := s.pooled.open(s.now.pooled, s.now.pooledMode, s.opts.PoolSize, min(minIdlePooled, s.opts.PoolSize)); err != nil {
		return err
	}
	if err := s.direct.open(s.now.direct, s.now.directMode, s.opts.DirectSize, 0); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var pooledErr, directErr error
	until := time.Now().Add(min(answerWait, s.opts.BootWait))
	wg.Go(func() { pooledErr = firstAnswer(ctx, s.pooled, until) })
	wg.Go(func() { directErr = firstAnswer(ctx, s.direct, until) })
	wg.Wait()
	if err := errors.Join(pooledErr, directErr); err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	return nil
}

// Stop closes the pools and stops the children in order: first the pooler,
// then Postgres. ctx cuts the polite part short. A second call does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	return s.tearDown(ctx)
}

func (s *Server) tearDown(ctx context.Context) error {
	s.pooled.close(ctx)
	s.direct.close(ctx)
	s.running.Store(nil)
	if s.now.pooler != nil {
		s.now.pooler.stop(ctx)
	}
	if s.now.postgres != nil {
		s.now.postgres.stop(ctx)
	}
	s.now = running{}
	if s.fork != nil {
		s.fork.close()
		s.fork = nil
	}
	if s.lock != nil && !s.attached {
		if s.runtime != "" {
			removeRuntime(s.runtime)
		}
		err := s.lock.release()
		s.lock = nil
		if err != nil {
			return fmt.Errorf("let go of the data directory: %w", err)
		}
	}
	return nil
}

// open makes the pgxpool behind p. It connects lazily.
func (p *pool) open(url string, mode pgx.QueryExecMode, size, minIdle int) error {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("read the address of the %s pool: %w", p.name, err)
	}
	cfg.ConnConfig.DefaultQueryExecMode = mode
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	cfg.ConnConfig.Tracer = tallier{}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = appName
	}
	cfg.MaxConns = int32(size)        //nolint:gosec // a small number
	cfg.MinIdleConns = int32(minIdle) //nolint:gosec // a small number
	cfg.MaxConnLifetime = connLifetime
	cfg.MaxConnLifetimeJitter = connLifetime / 10
	cfg.MaxConnIdleTime = connIdle
	cfg.PingTimeout = pingTimeout
	inner, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return fmt.Errorf("make the %s pool: %w", p.name, err)
	}
	p.inner.Store(inner)
	return nil
}

// close takes the pool out of use and waits for borrowed connections, up to
// closeWait or until ctx is done; those still out are closed by their holders.
func (p *pool) close(ctx context.Context) {
	inner := p.inner.Swap(nil)
	if inner == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		inner.Close()
	}()
	bounded, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	select {
	case <-done:
	case <-bounded.Done():
	}
}

// check asks the database for an answer.
func (p *pool) check(ctx context.Context) error {
	var one int
	if err := p.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("%s way: %w", p.name, err)
	}
	return nil
}
