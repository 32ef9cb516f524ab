package llm

import (
	"fmt"
	"sync"
	"time"
)

const (
	// failuresToWarn is how many generations in a row must fail before the
	// health check does: one alone is the network's weather.
	failuresToWarn = 3

	// recent and recentWithin bound the generations whose share of failures
	// counts; fewer than fewest say nothing. A model that fails every other
	// answer never fails three in a row for long.
	recent       = 20
	recentWithin = 10 * time.Minute
	fewest       = 6
)

// record remembers how the last generations went, for the health check. It
// asks nothing of the model: a paid provider is not probed.
type record struct {
	mu    sync.Mutex
	row   int   // failures since the last success
	last  error // of the last failure
	ends  [recent]end
	count int // of all ends ever noted
}

type end struct {
	at     time.Time
	failed bool
}

// note takes the end of a generation; nil is a success.
func (r *record) note(err error, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[r.count%recent] = end{at, err != nil}
	r.count++
	if err == nil {
		r.row = 0
		return
	}
	r.row++
	r.last = err
}

func (r *record) check(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.row >= failuresToWarn {
		return fmt.Errorf("the last %d answers failed: %w", r.row, r.last)
	}
	all, failed := 0, 0
	for _, e := range r.ends {
		if e.at.IsZero() || now.Sub(e.at) > recentWithin {
			continue
		}
		all++
		if e.failed {
			failed++
		}
	}
	if all >= fewest && 2*failed >= all {
		return fmt.Errorf("%d of the last %d answers failed, at last: %w", failed, all, r.last)
	}
	return nil
}
