// Package ratelimit counts requests per caller in memory: as a sliding log, as
// fixed windows, and as short bursts. Its memory is bounded: it remembers a
// stated number of callers and forgets the longest unseen first.
package ratelimit

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Rate is a number of requests in a period. The zero Rate is no limit.
type Rate struct {
	N      int
	Period time.Duration
}

// ParseRate reads "N/period", of whose period only the first letter counts:
// s, m, h or d. An empty text and an N of 0 are no limit.
func ParseRate(s string) (Rate, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Rate{}, nil
	}
	count, period, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if !ok || err != nil || n < 0 {
		return Rate{}, fmt.Errorf("rate %q is not of the form 60/min", s)
	}
	period = strings.ToLower(strings.TrimSpace(period))
	if period == "" {
		return Rate{}, fmt.Errorf("rate %q is not of the form 60/min", s)
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	unit, ok := units[period[0]]
	if !ok {
		return Rate{}, fmt.Errorf("rate %q: the period is one of s, m, h, d", s)
	}
	if n == 0 {
		return Rate{}, nil
	}
	return Rate{N: n, Period: unit}, nil
}

// Off reports that r limits nothing.
func (r Rate) Off() bool { return r.N <= 0 }

// Key names whom a count belongs to. Scopes are numbered by the caller.
type Key struct {
	Scope int
	User  int64
	Addr  netip.Addr
}

// ByUser is the key of a signed-in user.
func ByUser(scope int, user int64) Key { return Key{Scope: scope, User: user} }

// ByAddr is the key of a client address. Of IPv6 the first 64 bits count:
// they are what one customer gets.
func ByAddr(scope int, addr netip.Addr) Key {
	addr = addr.Unmap()
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	return Key{Scope: scope, Addr: addr}
}

const (
	shards = 64 // keeps callers on different locks

	// maxLog is the longest log that is kept exactly, 4 bytes an entry. Above
	// it the count is estimated from this and the previous period.
	maxLog = 4096

	// DefaultMaxKeys is how many callers are remembered.
	DefaultMaxKeys = 100_000
)

// Table remembers the requests of callers. It is safe for concurrent use.
type Table struct {
	seed   maphash.Seed
	epoch  time.Time
	per    int // entries per shard
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	entries map[Key]*entry
	// The list runs from the latest used to the longest unseen.
	newest, oldest *entry
}

type entry struct {
	key        Key
	prev, next *entry

	last   int64    // ms, of the last look at this entry
	log    []uint32 // ms modulo 2^32, a ring
	head   int
	count  int   // in log; or in the current window
	start  int64 // ms, of the current window
	before int   // count of the window before
}

// New makes a table of at most maxKeys callers; 0 means DefaultMaxKeys.
func New(maxKeys int, epoch time.Time) *Table {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	t := &Table{seed: maphash.MakeSeed(), epoch: epoch, per: max(1, maxKeys/shards)}
	for i := range t.shards {
		t.shards[i].entries = make(map[Key]*entry)
	}
	return t
}

// Len counts the callers that are remembered.
func (t *Table) Len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

func (t *Table) shard(k Key) *shard { return &t.shards[maphash.Comparable(t.seed, k)%shards] }

func (t *Table) ms(now time.Time) int64 { return now.Sub(t.epoch).Milliseconds() }

// Sliding counts a request unless r.N of them happened in the period before
// now. It returns 0 when the request may go on, else how long until the next
// one may; a refused request is not counted.
func (t *Table) Sliding(k Key, r Rate, now time.Time) time.Duration {
	if r.Off() {
		return 0
	}
	ms, period := t.ms(now), r.Period.Milliseconds()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(k, t.per, ms)
	if r.N > maxLog {
		return e.estimate(r.N, ms, period)
	}
	if ms-e.last >= period { // also keeps the short times of the log from wrapping around
		e.head, e.count = 0, 0
	}
	e.last = max(e.last, ms)
	for e.count > 0 && int64(uint32(ms)-e.log[e.head]) >= period {
		e.head = (e.head + 1) % len(e.log)
		e.count--
	}
	if e.count >= r.N {
		return time.Duration(period-int64(uint32(ms)-e.log[e.head])) * time.Millisecond
	}
	if e.count == len(e.log) {
		grown := make([]uint32, min(r.N, max(4, 2*len(e.log))))
		for i := range e.count {
			grown[i] = e.log[(e.head+i)%len(e.log)]
		}
		e.log, e.head = grown, 0
	}
	e.log[(e.head+e.count)%len(e.log)] = uint32(ms)
	e.count++
	return 0
}

// estimate counts in windows and weighs the previous one by how much of it
// still lies within the period.
func (e *entry) estimate(n int, ms, period int64) time.Duration {
	switch passed := ms - e.start; {
	case passed >= 2*period:
		e.start, e.count, e.before = ms, 0, 0
	case passed >= period:
		e.start, e.before, e.count = e.start+period, e.count, 0
	}
	left := period - (ms - e.start)
	if int64(e.count)+int64(e.before)*left/period >= int64(n) {
		return max(1, time.Duration(left)) * time.Millisecond
	}
	e.count++
	return 0
}

// Window counts a request in fixed periods, whose phase depends on the key. It
// returns 0, or how long until the next period begins.
func (t *Table) Window(k Key, r Rate, now time.Time) time.Duration {
	if r.Off() {
		return 0
	}
	ms, period := t.ms(now), r.Period.Milliseconds()
	phase := int64(maphash.Comparable(t.seed, k)>>1) % period
	begin := ms - (ms+phase)%period
	return t.count(k, r, ms, begin)
}

// Burst counts a request in a period that begins with the first one. It
// reports whether the request may go on.
func (t *Table) Burst(k Key, r Rate, now time.Time) bool {
	return r.Off() || t.count(k, r, t.ms(now), -1) == 0
}

func (t *Table) count(k Key, r Rate, ms, begin int64) time.Duration {
	period := r.Period.Milliseconds()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(k, t.per, ms)
	if begin < 0 { // the period began with the first request
		begin = e.start
		if e.count == 0 || ms-e.start >= period {
			begin = ms
		}
	}
	if begin != e.start {
		e.start, e.count = begin, 0
	}
	if e.count >= r.N {
		return time.Duration(max(1, e.start+period-ms)) * time.Millisecond
	}
	e.count++
	return 0
}

// get finds or makes the entry of k and marks it as the latest used.
func (s *shard) get(k Key, limit int, ms int64) *entry {
	e := s.entries[k]
	if e == nil {
		if len(s.entries) >= limit {
			old := s.oldest
			s.unlink(old)
			delete(s.entries, old.key)
		}
		e = &entry{key: k, last: ms}
		s.entries[k] = e
	} else if e == s.newest {
		return e
	} else {
		s.unlink(e)
	}
	e.next = s.newest
	if s.newest != nil {
		s.newest.prev = e
	}
	s.newest = e
	if s.oldest == nil {
		s.oldest = e
	}
	return e
}

func (s *shard) unlink(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.newest = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		s.oldest = e.prev
	}
	e.prev, e.next = nil, nil
}
