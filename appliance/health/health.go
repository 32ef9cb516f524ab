// Package health knows what is wrong with the appliance, since when, and why.
//
// Parts register a [Check] for each thing that may go wrong. The [Registry]
// asks them in a loop of its own and sorts their answers: a fault that passes
// within the check's time to visible is nobody's business; a fault whose cause
// is failing too is hidden behind it; what is left is a [Problem], told once
// when it appears and once when it clears. The same registry answers /ready,
// which asks what it requires at once instead of waiting for the loop.
//
// Lock order: a registry's rounds before its mu. No check runs under a lock.
package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"selflink/appliance/health/healthdb"
)

// Severity is how bad a problem is.
type Severity int8

// Severities. The zero value means healthy; a [Check] without one is Medium.
const (
	Healthy Severity = iota
	Low              // worth knowing; nothing works worse for it today
	Medium           // something works worse, or will soon fail
	High             // something does not work
)

// String is "healthy", "low", "medium" or "high".
func (s Severity) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return fmt.Sprintf("severity %d", int8(s))
}

// MarshalText writes the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word.
func (s *Severity) UnmarshalText(text []byte) error {
	for _, known := range []Severity{Healthy, Low, Medium, High} {
		if string(text) == known.String() {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("health: there is no severity %q", text)
}

// Check is one question about a part.
type Check struct {
	// Code names the problem for good, in dotted text; alerts and history use
	// it. What stands before the first dot is the component. A second check of
	// the same code replaces the first.
	Code     string
	Title    string   // of the problem, in a few words
	Severity Severity // Medium when not given
	Impact   string   // what people notice, in one sentence
	Remedy   string   // the command or setting that mends it
	// DependsOn are codes of causes: while one of them fails, a failure of
	// this check is its effect and no problem of its own.
	DependsOn []string
	// Visible is how long a failure must last to become a problem.
	Visible time.Duration
	// Ready says that /ready fails while this check does; the others are only
	// reported.
	Ready bool
	// Private keeps the check from callers of /ready from outside: its failure
	// would help an attacker.
	Private bool
	// Every is the least time between two rounds that ask, for checks that
	// cost something; 0 is every round. A failing check is always asked again.
	Every time.Duration
	// Timeout bounds one run ([Timeout]).
	Timeout time.Duration
	// Run returns nil when all is well, else an error whose text names what is
	// wrong without secrets. It is called with a deadline, and never twice at
	// the same time.
	Run func(ctx context.Context) error
}

const (
	// Timeout bounds one check: /ready must answer while a part hangs.
	Timeout = 2 * time.Second

	// Interval is the time between two rounds of the loop.
	Interval = 3 * time.Second

	// settle is how long a failure that was hidden behind a cause gets after
	// the cause is gone: effects need a moment to notice.
	settle = 10 * time.Second
)

// Options of a [Registry]. Zero values mean the default in parentheses.
type Options struct {
	Logger   *slog.Logger     // (discarded)
	Interval time.Duration    // between two rounds ([Interval])
	Clock    func() time.Time // (time.Now)
	Node     string           // names this process in the history
}

// Registry holds the checks and what they said. The zero value is ready to
// use, without log and history; it is safe for concurrent use.
type Registry struct {
	opts Options

	rounds sync.Mutex // one round at a time

	mu      sync.Mutex
	entries []*entry
	byCode  map[string]*entry
	base    context.Context // of the runs; nil: not started
	stop    context.CancelFunc
	looping bool
	turned  time.Time // when the last round ended, by the clock of the machine
	keeper  *keeper   // nil: no history

	loops   sync.WaitGroup
	flights sync.WaitGroup
}

// New makes a registry.
func New(o Options) *Registry { return &Registry{opts: o} }

// Add registers c.
func (r *Registry) Add(c Check) {
	if c.Severity == Healthy {
		c.Severity = Medium
	}
	if c.Timeout <= 0 {
		c.Timeout = Timeout
	}
	if c.Title == "" {
		c.Title = c.Code
	}
	e := &entry{Check: c}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byCode == nil {
		r.byCode = map[string]*entry{}
	}
	if old := r.byCode[c.Code]; old != nil {
		for i := range r.entries {
			if r.entries[i] == old {
				r.entries[i] = e
			}
		}
	} else {
		r.entries = append(r.entries, e)
	}
	r.byCode[c.Code] = e
}

// Keep makes the registry write its history into db. Call it before Start.
func (r *Registry) Keep(db healthdb.DBTX) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keeper = newKeeper(db, r.opts.Node, r.log())
}

func (r *Registry) log() *slog.Logger {
	if r.opts.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.opts.Logger.With("component", "health")
}

func (r *Registry) now() time.Time {
	if r.opts.Clock == nil {
		return time.Now()
	}
	return r.opts.Clock()
}

// snapshot is the list of entries as it is now.
func (r *Registry) snapshot() []*entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*entry(nil), r.entries...)
}

// Result is the answer of one check, as /ready shows it.
type Result struct {
	Name         string `json:"name"` // the check's code
	OK           bool   `json:"ok"`
	Ready        bool   `json:"required"`
	Error        string `json:"error,omitempty"`
	HiddenBehind string `json:"hidden_behind,omitempty"` // code of the failing cause
	Private      bool   `json:"-"`                       // see [Check]
}

// Run answers for /ready: what it requires is asked at once, the rest too
// unless the loop does. The results are in the order of registration; ready
// is whether every required check is well, hidden or not.
func (r *Registry) Run(ctx context.Context) (results []Result, ready bool) {
	entries := r.snapshot()
	results = make([]Result, len(entries))
	var wg sync.WaitGroup
	for i, e := range entries {
		if err, known := r.last(e); known && !e.Ready {
			results[i] = e.result(err)
			continue
		}
		wg.Go(func() {
			results[i] = e.result(r.ask(ctx, e))
		})
	}
	wg.Wait()
	ready = true
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sort(r.now())
	for i, e := range entries {
		if results[i].OK {
			continue
		}
		results[i].HiddenBehind = e.behind
		if e.Ready {
			ready = false
		}
	}
	return results, ready
}

func (e *entry) result(err error) Result {
	res := Result{Name: e.Code, Ready: e.Ready, Private: e.Private, OK: err == nil}
	if err != nil {
		res.Error = err.Error()
	}
	return res
}
