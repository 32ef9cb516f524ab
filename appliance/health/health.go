// Package health collects the checks of all parts and gives one verdict.
package health

import (
	"context"
	"sync"
	"time"
)

// Check is one question about a part. Run returns nil when all is well, else
// an error whose text names what is wrong without secrets. It is called with
// a deadline of [Timeout].
type Check struct {
	Name  string // "database", "pooler", "broker", "jobs", "schedules", "llm"
	Ready bool   // whether /ready fails when this check fails; others are only reported
	Run   func(ctx context.Context) error
}

// Timeout bounds one check: /ready must answer while a part hangs.
const Timeout = 2 * time.Second

// Result is the answer of one check.
type Result struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Ready bool   `json:"required"`
	Error string `json:"error,omitempty"`
}

// Registry holds checks. The zero value is ready to use; it is safe for
// concurrent use.
type Registry struct {
	mu     sync.Mutex
	checks []Check
}

// Add registers c.
func (r *Registry) Add(c Check) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, c)
}

// Run asks all checks at once and returns their answers in the order of
// registration; ready is whether every required one is well.
func (r *Registry) Run(ctx context.Context) (results []Result, ready bool) {
	r.mu.Lock()
	checks := append([]Check(nil), r.checks...)
	r.mu.Unlock()

	results = make([]Result, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			results[i] = ask(ctx, c)
		})
	}
	wg.Wait()
	ready = true
	for _, res := range results {
		if res.Ready && !res.OK {
			ready = false
		}
	}
	return results, ready
}

// ask runs one check; a check that ignores its deadline is given up and
// reported, so one hung part cannot hide the others.
func ask(ctx context.Context, c Check) Result {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	res := Result{Name: c.Name, Ready: c.Ready}
	select {
	case err := <-done:
		res.OK = err == nil
		if err != nil {
			res.Error = err.Error()
		}
	case <-ctx.Done():
		res.Error = "no answer within " + Timeout.String()
	}
	return res
}
