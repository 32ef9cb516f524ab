package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errStopped means that the part was told to stop while it did something.
var errStopped = errors.New("database: stopped")

const (
	// pollEvery paces the look for a child's readiness: a first look costs
	// microseconds, and the start of the whole appliance waits for it.
	pollEvery = 2 * time.Millisecond
	// backoffFirst to backoffMost is the wait before a child that keeps dying
	// is started again. The very first restart comes at once.
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	// backoffReset is how long a child must have lived for its next death to
	// count as the first.
	backoffReset = 30 * time.Second
	// readyWait bounds one start of a child, the replay of the log included.
	readyWait = 5 * time.Minute
	// drainWait bounds the reading of a dead child's last output, which a
	// child of its own may keep open.
	drainWait = time.Second
)

// childSpec says how one supervised child is run.
type childSpec struct {
	name string // "postgres" or "pgbouncer"
	// prepare clears what an earlier process left behind; it runs before each
	// start.
	prepare func(ctx context.Context) error
	// command returns a fresh command and what to close once it has started.
	command func() (cmd *exec.Cmd, done func(), err error)
	// ready reports whether the child with this pid accepts connections.
	ready func(pid int) bool
	// exited is told of each death that nobody asked for; back is told when a
	// restarted child is ready. Neither may block.
	exited, back func()
	// signals are sent in turn by stop, each getting its wait.
	signals []stopSignal
	// line reads one line of the child's output.
	line func(text string) (slog.Level, string)
}

type stopSignal struct {
	signal syscall.Signal
	wait   time.Duration
}

// supervisor keeps one child running.
type supervisor struct {
	spec childSpec
	fork *forker
	log  *slog.Logger

	quit chan struct{} // closed by stop
	once sync.Once
	done chan struct{} // closed when the watching goroutine has ended; nil before the start

	mu       sync.Mutex
	current  *process
	restarts int
}

// process is one life of the child.
type process struct {
	cmd  *exec.Cmd
	pid  int
	tail *tail
	gone chan struct{} // closed when it has been reaped
	err  error         // of Wait; read after gone
	born time.Time
}

func newSupervisor(spec childSpec, fork *forker, log *slog.Logger) *supervisor {
	return &supervisor{spec: spec, fork: fork, log: log.With("component", spec.name), quit: make(chan struct{})}
}

// start starts the child, waits until it is ready and then watches it.
func (s *supervisor) start(ctx context.Context) error {
	p, err := s.launch(ctx)
	if err != nil {
		return err
	}
	s.done = make(chan struct{})
	go s.watch(p)
	return nil
}

// launch starts the child once and waits for its readiness.
func (s *supervisor) launch(ctx context.Context) (*process, error) {
	if s.spec.prepare != nil {
		if err := s.spec.prepare(ctx); err != nil {
			return nil, err
		}
	}
	cmd, done, err := s.spec.command()
	if err != nil {
		return nil, err
	}
	defer done()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for %s: %w", s.spec.name, err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	err = s.fork.start(cmd)
	write.Close()
	if err != nil {
		read.Close()
		return nil, fmt.Errorf("start %s: %w", s.spec.name, err)
	}
	p := &process{cmd: cmd, pid: cmd.Process.Pid, tail: &tail{}, gone: make(chan struct{}), born: time.Now()}
	drained := make(chan struct{})
	go func() { // ends when the child and its children have closed the pipe
		defer close(drained)
		relay(read, s.log, s.spec.line, p.tail)
	}()
	go func() {
		p.err = cmd.Wait()
		close(p.gone)
	}()
	s.mu.Lock()
	s.current = p
	s.mu.Unlock()

	bounded, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !s.spec.ready(p.pid) {
		select {
		case <-tick.C:
		case <-p.gone:
			last := time.NewTimer(drainWait)
			defer last.Stop()
			select { // its last words say why
			case <-drained:
			case <-last.C:
			}
			return nil, fmt.Errorf("%s ended while starting (%s)%s", s.spec.name, exitText(p.err), p.tail.quote())
		case <-bounded.Done():
			s.end(p, context.Background())
			return nil, fmt.Errorf("%s did not become ready: %w%s", s.spec.name, bounded.Err(), p.tail.quote())
		case <-s.quit:
			s.end(p, context.Background())
			return nil, errStopped
		}
	}
	s.log.Debug("child is ready", "pid", p.pid, "after", time.Since(p.born).Round(time.Millisecond).String())
	return p, nil
}

// watch restarts the child whenever it dies, until stop.
func (s *supervisor) watch(p *process) {
	defer close(s.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // a stop must not wait for a restart
		select {
		case <-s.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	backoff := time.Duration(0)
	for {
		select {
		case <-s.quit:
			return
		case <-p.gone:
		}
		select {
		case <-s.quit: // it was told to
			return
		default:
		}
		s.log.Error("child died; starting it again", "pid", p.pid, "exit", exitText(p.err))
		if s.spec.exited != nil {
			s.spec.exited()
		}
		if time.Since(p.born) > backoffReset {
			backoff = 0
		}
		for {
			if backoff > 0 && pause(ctx, backoff) != nil {
				return
			}
			backoff = min(max(2*backoff, backoffFirst), backoffMost)
			next, err := s.launch(ctx)
			if err == nil {
				p = next
				break
			}
			if ctx.Err() != nil || errors.Is(err, errStopped) {
				return
			}
			s.log.Error("child cannot be started; trying again", "error", err, "wait", backoff.String())
		}
		s.mu.Lock()
		s.restarts++
		s.mu.Unlock()
		s.log.Info("child is back", "pid", p.pid)
		if s.spec.back != nil {
			s.spec.back()
		}
	}
}

// stop ends the child with its signals, each with its wait; a ctx that is done
// cuts the waits short. Safe to call twice.
func (s *supervisor) stop(ctx context.Context) {
	s.once.Do(func() { close(s.quit) })
	if s.done != nil {
		<-s.done
	}
	s.mu.Lock()
	p := s.current
	s.mu.Unlock()
	if p != nil {
		s.end(p, ctx)
	}
}

// end sends the signals in turn until the process is gone.
func (s *supervisor) end(p *process, ctx context.Context) { //nolint:revive // ctx only shortens
	for _, step := range append(s.spec.signals, stopSignal{syscall.SIGKILL, time.Minute}) {
		select {
		case <-p.gone:
			return
		default:
		}
		if err := p.cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.log.Warn("child cannot be signalled", "pid", p.pid, "signal", step.signal.String(), "error", err)
		}
		timer := time.NewTimer(step.wait)
		select {
		case <-p.gone:
			timer.Stop()
			return
		case <-timer.C:
			s.log.Warn("child did not obey a signal", "pid", p.pid, "signal", step.signal.String())
		case <-ctx.Done():
			timer.Stop()
			ctx = context.Background() // the harder signals come with short waits of their own
		}
	}
}

// pid returns the child's pid, 0 when there is none.
func (s *supervisor) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	select {
	case <-s.current.gone:
		return 0
	default:
		return s.current.pid
	}
}

// restartCount returns how often the child had to be started again.
func (s *supervisor) restartCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return strings.TrimSpace(err.Error())
}
