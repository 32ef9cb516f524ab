package dashboard

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// tallyHours is how far back a [Tally] counts.
	tallyHours = 24
	// tallyNames bounds the names of a [Tally]; what comes after goes under
	// [TallyOther].
	tallyNames = 64
)

// TallyOther is what a [Tally] counts what it has no room for under.
const TallyOther = "other"

// Tally counts what happened on this node during the last day, by name. It
// lives in memory and begins anew with the process. It is safe for concurrent
// use.
type Tally struct {
	clock func() time.Time
	began time.Time

	mu    sync.Mutex
	hour  int64 // the newest of the counts, in hours since 1970
	names map[string]*tallied
}

type tallied struct {
	counts [tallyHours]int64 // by the hour modulo their number
	last   time.Time
}

// NewTally makes a tally; clock is time.Now when nil.
func NewTally(clock func() time.Time) *Tally {
	if clock == nil {
		clock = time.Now
	}
	return &Tally{clock: clock, began: clock().UTC(), names: map[string]*tallied{}}
}

// Note counts one.
func (t *Tally) Note(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.turn()
	n := t.names[name]
	if n == nil && len(t.names) >= tallyNames {
		name = TallyOther
		n = t.names[name]
	}
	if n == nil {
		n = &tallied{}
		t.names[name] = n
	}
	n.counts[t.hour%tallyHours]++
	n.last = now.UTC()
}

// turn empties the hours that have gone by, and the names without any. mu is
// held.
func (t *Tally) turn() time.Time {
	now := t.clock()
	hour := now.Unix() / 3600
	if hour <= t.hour {
		return now
	}
	for name, n := range t.names {
		left := int64(0)
		for h := max(t.hour+1, hour-tallyHours+1); h <= hour; h++ {
			n.counts[h%tallyHours] = 0
		}
		for _, c := range n.counts {
			left += c
		}
		if left == 0 {
			delete(t.names, name)
		}
	}
	t.hour = hour
	return now
}

// Tallied is one count of a [Tally].
type Tallied struct {
	Name  string    `json:"name"`
	Count int64     `json:"count"`
	Last  time.Time `json:"last_at"`
}

// Day gives the counts of the last 24 hours, the current one included, the
// greatest first. It is never nil.
func (t *Tally) Day() []Tallied {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn()
	out := []Tallied{}
	for name, n := range t.names {
		sum := int64(0)
		for _, c := range n.counts {
			sum += c
		}
		out = append(out, Tallied{name, sum, n.last})
	}
	slices.SortFunc(out, func(a, b Tallied) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	return out
}

// Began is since when it counts.
func (t *Tally) Began() time.Time { return t.began }
