package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"selflink/appliance/config"
	"selflink/appliance/telemetry"
)

// stopLimit bounds a stop in order; what is not done by then is cut.
const stopLimit = 10 * time.Second

// startMore is how much longer systemd waits for a start that says what it is
// doing: copying a large database before an upgrade takes minutes.
const startMore = 2 * time.Minute

// serve runs the appliance until a signal or a fatal failure.
func serve(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("serve [options]", "Runs the appliance. It says on stderr when it is ready, logs JSON lines there,\nand stops in order on SIGINT or SIGTERM; a second one ends it at once.")
	o.setting("listen", "SELFLINK_LISTEN", "`addresses` to listen on, a comma list of host:port")
	o.setting("log-level", "LOG_LEVEL", "least `level` of the log: DEBUG, INFO, WARNING, ERROR")
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, report, err := config.Load(p.sources(o))
	if err != nil {
		return err
	}
	tail := telemetry.NewTail(0)
	log, err := p.newLogger(cfg, tail)
	if err != nil {
		return err
	}
	for _, note := range report.Notes {
		log.With("component", "config").Log(ctx, note.Level, note.Text, "setting", note.Key)
	}
	limit := setMemoryLimit(cfg)
	log.Info("starting", "version", p.version, "commit", p.commit, "pid", os.Getpid(), "data_dir", cfg.DataDir, "memory_limit", limit)

	requests, end := p.signals()
	defer end()
	s := &serving{p: p, log: log, tail: tail, cfg: cfg, json: o.json, requests: requests}
	return s.run(ctx)
}

// newLogger makes the log that the settings ask for; tail, which may be nil,
// keeps its end.
func (p *program) newLogger(cfg *config.Config, tail *telemetry.Tail) (*slog.Logger, error) {
	return telemetry.NewLogger(telemetry.Options{
		Out: p.stderr, Level: cfg.LogLevel, App: cfg.AppLogLevel, Request: cfg.RequestLogLevel, Hidden: cfg.Hidden(), Tail: tail,
	})
}

// serving is one life of the server.
type serving struct {
	p        *program
	log      *slog.Logger
	tail     *telemetry.Tail
	cfg      *config.Config
	json     bool
	requests <-chan os.Signal
}

func (s *serving) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv, err := s.p.parts.newServer(ctx, s.cfg, s.log, s.tail, s.p.version, s.p.commit)
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	s.notify("STATUS=starting")
	wait := &waiting{notify: s.notify, phase: srv.Starting, every: startEvery}
	srv.Told(wait.told)

	begin := time.Now()
	hush := beside(ctx, wait.run)
	started := make(chan error, 1)
	go func() { started <- srv.Start(ctx) }() // ends when ctx does
	var fatal error
	select {
	case err := <-started:
		hush()
		if err != nil {
			fatal = fmt.Errorf("cannot start: %w", err)
			break
		}
		s.ready(srv, time.Since(begin))
		hush = s.watched(ctx, srv)
		select {
		case sig := <-s.requests:
			s.log.Info("stopping", "signal", sig.String())
		case err := <-srv.Done():
			fatal = fmt.Errorf("cannot go on: %w", err)
			s.log.Error("stopping", "error", err)
		}
	case sig := <-s.requests:
		s.log.Info("stopping before the start was done", "signal", sig.String())
		cancel()
		select {
		case err := <-started:
			if err != nil && !errors.Is(err, context.Canceled) {
				s.log.Warn("the interrupted start", "error", err)
			}
		case <-s.requests:
			return errInterrupted
		}
	}
	hush() // nothing is said after STOPPING=1
	return errors.Join(fatal, s.stop(srv))
}

// stop ends the server in order, unless told again.
func (s *serving) stop(srv server) error {
	s.notify("STOPPING=1\nSTATUS=stopping")
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Stop(ctx) }() // ends when ctx does, or with the process
	select {
	case err := <-stopped:
		if err != nil {
			return fmt.Errorf("stop: %w", err)
		}
		s.log.Info("stopped", "seconds", time.Since(begin).Seconds())
		return nil
	case <-s.requests:
		return errInterrupted
	}
}

// addrs are where it listens, at least one.
func (s *serving) addrs(srv server) []string {
	if addrs := srv.Addrs(); len(addrs) > 0 {
		return addrs
	}
	return s.cfg.Listen
}

// watched keeps the service manager informed, where there is one, until the
// returned function is called.
func (s *serving) watched(ctx context.Context, srv server) (end func()) {
	if lookup(s.p.environ, "NOTIFY_SOCKET") == "" {
		return func() {}
	}
	where := s.addrs(srv)[0]
	w := &watchdog{
		notify: s.notify, health: srv.Health(), turned: srv.Health().Turned, answers: openDesk(s.cfg).answersHealth,
		limit: watchdogLimit(s.p.environ, os.Getpid()), where: where, every: watchEvery, clock: time.Now,
		said: statusText(where, nil), // as READY=1 said
	}
	return beside(ctx, w.run)
}

// hushWait bounds the wait for what runs beside the server: when it hangs, the
// server has to stop all the same.
const hushWait = time.Second

// beside runs f until the returned function is called, which waits for its end
// and may be called again.
func beside(ctx context.Context, f func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() {
		cancel()
		timer := time.NewTimer(hushWait)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}
}

// ready tells people and systemd.
func (s *serving) ready(srv server, took time.Duration) {
	addrs := s.addrs(srv)
	s.log.Info("ready", "addresses", addrs, "seconds", took.Seconds())
	s.notify("READY=1\nSTATUS=ready on " + addrs[0])
	base := localURL(s.cfg, addrs[0])
	admin := ""
	if path := srv.FirstRunPath(); path != "" {
		admin = base + path
	}
	if s.json {
		said := map[string]any{
			"state": "ready", "api": base + "/api/v1/", "docs": base + "/api/docs/", "status": base + "/ready",
			"dashboard": base + "/dashboard/", "addresses": addrs,
		}
		if admin != "" {
			said["first_run"] = admin
		}
		if err := s.p.printJSON(said); err != nil {
			s.log.Warn("say where things are", "error", err)
		}
		return
	}
	first := ""
	if admin != "" {
		first = fmt.Sprintf("  There is no operator yet. Whoever opens this link becomes the first, once:\n\n    %s\n\n", admin)
	}
	// One write, so that no log line gets in between.
	fmt.Fprintf(s.p.stderr, "\n  SelfLink %s is ready (%.1f s)\n\n    API        %s/api/v1/\n    Docs       %s/api/docs/\n    Dashboard  %s/dashboard/\n    Status     %s/ready\n    Data       %s\n\n%s  Ctrl-C stops it.\n\n",
		s.p.version, took.Seconds(), base, base, base, base, s.cfg.DataDir, first)
}

// notify tells systemd, which may not listen.
func (s *serving) notify(state string) {
	if err := notifySystemd(s.p.environ, state); err != nil {
		s.log.Warn("tell systemd", "error", err)
	}
}
