package health

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// entry is a check with what it said. What follows Check is guarded by the
// registry's mu.
type entry struct {
	Check

	flight *flight   // the run that goes on; nil: none
	asked  time.Time // when it last answered, or was given up
	err    error     // of the last answer
	since  time.Time // of the first failure in a row

	behind  string    // code of the failing cause that hides it
	hidden  time.Time // when it was last seen hidden
	visible time.Time // since when it is a problem; zero: it is none
	told    bool      // its appearance is told
	shown   Problem   // as it was told
}

// flight is one run of a check. Whoever wants the answer meanwhile waits for
// the same one, so a check that hangs costs one goroutine however often it is
// asked.
type flight struct {
	done  chan struct{}
	began time.Time // by the clock of the machine: it bounds waits
	err   error     // read after done
}

// last gives the answer of the loop, if there is one.
func (r *Registry) last(e *entry) (err error, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.err, r.looping && !e.asked.IsZero()
}

// ask runs one check, or joins the run that goes on. A check that ignores its
// deadline is given up and reported, so one hung part cannot hide the others.
func (r *Registry) ask(ctx context.Context, e *entry) error {
	f := r.depart(ctx, e)
	hangs := fmt.Errorf("no answer within %s", e.Timeout)
	timer := time.NewTimer(max(0, e.Timeout-time.Since(f.began)))
	defer timer.Stop()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done(): // the caller has no more time, which says nothing of the check
		return hangs
	case <-timer.C:
	}
	select {
	case <-f.done: // both at once
		return f.err
	default:
	}
	r.observe(e, hangs)
	return hangs
}

// depart starts a run unless one goes on.
func (r *Registry) depart(ctx context.Context, e *entry) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.flight != nil {
		return e.flight
	}
	f := &flight{done: make(chan struct{}), began: time.Now()}
	e.flight = f
	// A caller that leaves must not fail the check for the others.
	base := context.WithoutCancel(ctx)
	if r.base != nil {
		base = r.base
	}
	r.flights.Go(func() {
		run, cancel := context.WithTimeout(base, e.Timeout)
		defer cancel()
		f.err = r.safely(run, e)
		r.land(e, f, base)
	})
	return f
}

// safely runs the check; a panic in it is a failure like others.
func (r *Registry) safely(ctx context.Context, e *entry) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			r.log().Error("a check panicked", "code", e.Code, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = fmt.Errorf("the check panicked: %v", cause)
		}
	}()
	return e.Run(ctx)
}

// land notes a run's answer and lets those go who wait for it. What a run says
// because the registry stops is no answer.
func (r *Registry) land(e *entry, f *flight, base context.Context) {
	if base.Err() == nil {
		r.observe(e, f.err)
	}
	r.mu.Lock()
	e.flight = nil
	r.mu.Unlock()
	close(f.done)
}

// observe notes an answer.
func (r *Registry) observe(e *entry, err error) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && e.err == nil {
		e.since = now
	}
	e.err, e.asked = err, now
}
