// Package gather lets concurrent calls share one run of what they need: one
// round trip and one commit for a crowd instead of one for each. A call that
// comes alone runs at once and alone, so nobody waits for company.
package gather

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Options bound a [Group]. All are required.
type Options struct {
	// Lanes is how many runs are under way at once. Whoever comes while all
	// are taken waits for the next run.
	Lanes int
	// Most is the most calls that share a run.
	Most int
	// Timeout bounds a run.
	Timeout time.Duration
}

// Group runs calls together. It has no goroutine of its own: one of those who
// wait runs for all. It is safe for concurrent use.
type Group[In, Out any] struct {
	opts Options
	run  func(ctx context.Context, in []In) ([]Out, error)

	mu      sync.Mutex
	running int
	waiting []*call[In, Out]
}

// call is one who waits.
type call[In, Out any] struct {
	in    In
	ready chan struct{} // closed when out and err are there, or the call is to lead
	lead  bool          // guarded by Group.mu until ready is closed
	out   Out
	err   error
}

// New makes a group. run gets the inputs of those who came first, in the order
// of their coming, and gives one output for each in the same order; its error
// is everybody's. Its context carries the values of one of the calls and ends
// with none of them.
func New[In, Out any](o Options, run func(ctx context.Context, in []In) ([]Out, error)) (*Group[In, Out], error) {
	if o.Lanes < 1 || o.Most < 1 || o.Timeout <= 0 || run == nil {
		return nil, errors.New("gather: lanes, a size, a timeout and what to run are needed")
	}
	return &Group[In, Out]{opts: o, run: run}, nil
}

// Do gives the output for in. It returns ctx's error when ctx ends first; what
// was asked may be done all the same.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	c := &call[In, Out]{in: in}
	g.mu.Lock()
	if g.running < g.opts.Lanes {
		g.running++
		g.mu.Unlock()
		g.serve(ctx, []*call[In, Out]{c})
		return c.out, c.err
	}
	c.ready = make(chan struct{})
	g.waiting = append(g.waiting, c)
	g.mu.Unlock()
	select {
	case <-c.ready:
	case <-ctx.Done():
		if !g.withdraw(c) {
			var none Out
			return none, ctx.Err()
		}
		// It was told to lead at this very moment. The others wait for it,
		// and so it does.
	}
	if c.lead {
		g.serve(ctx, g.take(c))
	}
	return c.out, c.err
}

// withdraw takes c from those who wait. It reports whether c is to lead and
// cannot go.
func (g *Group[In, Out]) withdraw(c *call[In, Out]) (lead bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == c {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return false
		}
	}
	return c.lead
}

// take gives the calls of the next run, which lead leads.
func (g *Group[In, Out]) take(lead *call[In, Out]) []*call[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.opts.Most-1)
	batch := append(make([]*call[In, Out], 0, n+1), lead)
	batch = append(batch, g.waiting[:n]...)
	rest := copy(g.waiting, g.waiting[n:])
	clear(g.waiting[rest:])
	g.waiting = g.waiting[:rest]
	return batch
}

// serve runs for batch, whose first call is the caller's own, and hands the
// lane on.
func (g *Group[In, Out]) serve(ctx context.Context, batch []*call[In, Out]) {
	err := errors.New("gather: the run panicked") // until it has returned
	var out []Out
	defer func() {
		for i, c := range batch {
			if c.err = err; err == nil {
				c.out = out[i]
			}
			if i > 0 {
				close(c.ready)
			}
		}
		g.handOn()
	}()
	in := make([]In, len(batch))
	for i, c := range batch {
		in[i] = c.in
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.opts.Timeout)
	defer cancel()
	out, err = g.run(ctx, in)
	if err == nil && len(out) != len(in) {
		err = fmt.Errorf("gather: %d outputs for %d inputs", len(out), len(in))
	}
}

// handOn gives the lane to the longest waiting call, or frees it.
func (g *Group[In, Out]) handOn() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.running--
		g.waiting = nil // what a crowd left behind
		return
	}
	next := g.waiting[0]
	rest := copy(g.waiting, g.waiting[1:])
	g.waiting[rest] = nil
	g.waiting = g.waiting[:rest]
	next.lead = true
	close(next.ready)
}
