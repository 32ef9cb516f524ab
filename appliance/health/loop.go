package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Start begins to ask the checks in rounds. It asks nobody itself and does not
// fail. Start it when the parts run: what has not started yet fails. A second
// call does nothing.
func (r *Registry) Start(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		return nil
	}
	r.base, r.stop = context.WithCancel(context.Background())
	r.looping = true
	ctx := r.base
	r.loops.Go(func() { r.loop(ctx) })
	if k := r.keeper; k != nil {
		r.loops.Go(func() { k.run(ctx) })
	}
	return nil
}

// Stop ends the rounds, and waits for the checks that run, which are told to
// end: at most [Timeout], because other parts want to stop too, and until ctx
// ends. The history is written as far as that works. A second call does nothing.
func (r *Registry) Stop(ctx context.Context) error {
	r.mu.Lock()
	stop, running := r.stop, r.looping
	r.looping, r.base = false, nil // who asks from now on asks for himself
	keeper := r.keeper
	r.mu.Unlock()
	if stop == nil || !running {
		return nil
	}
	stop()
	idle := make(chan struct{})
	go func() { // ends with the last check
		r.loops.Wait()
		r.flights.Wait()
		close(idle)
	}()
	timer := time.NewTimer(Timeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
		r.log().Warn("checks do not end and are left to themselves", "codes", r.running())
	case <-ctx.Done():
		return fmt.Errorf("health: checks do not end: %w", ctx.Err())
	}
	if keeper != nil {
		keeper.last(ctx)
	}
	return nil
}

// running names the checks that run now.
func (r *Registry) running() (codes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.flight != nil {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

func (r *Registry) loop(ctx context.Context) {
	interval := r.opts.Interval
	if interval <= 0 {
		interval = Interval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		r.Round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Round asks every check that is due, waits for their answers, and tells which
// problems have appeared and cleared. The loop calls it; a tool without a loop
// may.
func (r *Registry) Round(ctx context.Context) {
	r.rounds.Lock()
	defer r.rounds.Unlock()
	began := r.now()
	var wg sync.WaitGroup
	for _, e := range r.snapshot() {
		if r.due(e, began) {
			wg.Go(func() { _ = r.ask(ctx, e) }) // the entry keeps the answer
		}
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	r.tell()
	r.mu.Lock()
	r.turned = time.Now()
	r.mu.Unlock()
}

// Turned is when the last round ended, zero before the first: a process whose
// rounds stand still hangs, whatever its checks said before. It is by the clock
// of the machine and can be compared with time.Now.
func (r *Registry) Turned() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turned
}

// due reports whether the round asks e.
func (r *Registry) due(e *entry, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.asked.IsZero() || e.err != nil || now.Sub(e.asked) >= e.Every
}

// change is a problem that appeared or cleared.
type change struct {
	problem Problem
	cleared time.Time // zero: it appeared
	behind  string    // what hides it now; empty: it is over
}

// tell finds what has changed since the last round, logs it, and hands it to
// the history.
func (r *Registry) tell() {
	r.mu.Lock()
	now := r.now()
	r.sort(now)
	var changes []change
	for _, e := range r.entries {
		switch visible := !e.visible.IsZero(); {
		case visible && !e.told:
			e.told = true
			e.shown = r.problem(e)
			changes = append(changes, change{problem: e.shown})
		case !visible && e.told:
			e.told = false
			changes = append(changes, change{problem: e.shown, cleared: now, behind: e.behind})
		}
	}
	worst := r.worst()
	keeper := r.keeper
	r.mu.Unlock()
	for _, c := range changes {
		r.logChange(c)
	}
	if keeper != nil {
		keeper.note(now, worst, changes)
	}
}

func (r *Registry) logChange(c change) {
	p := c.problem
	attrs := []any{"code", p.Code, "severity", p.Severity.String(), "since", p.Since}
	switch {
	case c.cleared.IsZero():
		level := slog.LevelWarn
		switch p.Severity {
		case High:
			level = slog.LevelError
		case Low, Healthy:
			level = slog.LevelInfo
		case Medium:
		}
		attrs = append(attrs, "title", p.Title, "cause", p.Text, "impact", p.Impact, "remedy", p.Remedy)
		if len(p.Effects) > 0 {
			attrs = append(attrs, "effects", p.Effects)
		}
		r.log().Log(context.Background(), level, "a problem appeared", attrs...)
	case c.behind != "":
		r.log().Info("a problem is an effect of another one", append(attrs, "hidden_behind", c.behind)...)
	default:
		r.log().Info("a problem has cleared", append(attrs, "seconds", c.cleared.Sub(p.Since).Seconds())...)
	}
}
