// Package snowflake makes the 64-bit ids of rows.
//
// An id is ((ms since 2024-01-01T23:20:00Z) << 22) | (node << 12) | sequence
// (contract 00 §3). Ids of one process increase strictly.
//
// # Why no two processes make the same id
//
// A node number is leased in Postgres, and a lease is not "the number for as
// long as you live" but the number for an interval of id time: the process may
// put only milliseconds from the lease's begin up to, not including, its end
// into an id. The table hands out intervals of one number that never overlap:
// a new holder's begins at or after the end of the last one, and only the
// holder written in the row can extend its own. So uniqueness depends on
// nobody's clock, on no message arriving in time and on no process noticing
// that it was paused: a process that lost its lease while it slept can still
// only mint what is its own, and then nothing.
//
// Id time starts at the database's clock and goes on with the machine's
// monotonic one, so it never steps back within a process.
package snowflake

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// Epoch is the zero of id time: 2024-01-01T23:20:00Z in Unix milliseconds.
	Epoch int64 = 1704151200000
	// MaxNode is the greatest node number.
	MaxNode = 1<<nodeBits - 1

	nodeBits     = 10
	sequenceBits = 12
	maxSequence  = 1<<sequenceBits - 1

	// mintWait bounds the wait of Next for a lease that has run out to be
	// renewed. It runs out only when the database was away for a whole
	// [leaseTTL]; it is back in the second after the database is.
	mintWait = 3 * time.Second
	// spinPause is the look for the next millisecond when one is used up.
	spinPause = 50 * time.Microsecond
)

// Errors of a generator that may not mint.
var (
	// ErrNoLease means that the interval of the lease is used up and could not
	// be extended, because the database is away or another process took the
	// number.
	ErrNoLease = errors.New("snowflake: no lease of a node number")
	// ErrNode means that a node number is not within 0 and [MaxNode].
	ErrNode = errors.New("snowflake: node number out of range")
)

// interval is what one lease allows.
type interval struct {
	node        int64
	from, until int64 // Unix milliseconds; until is not included
}

// minter makes ids within its interval. It is safe for concurrent use.
type minter struct {
	clock func() time.Time // has a monotonic reading
	wait  time.Duration    // mintWait

	mu       sync.Mutex
	may      interval
	anchor   time.Time // where id time was base
	base     int64     // Unix milliseconds
	last     int64     // millisecond of the newest id
	sequence int64
	granted  chan struct{} // closed when may changes
	err      error         // why there is no lease
	final    bool          // nobody will grant one: there is nothing to wait for
}

func newMinter(clock func() time.Time) *minter {
	return &minter{clock: clock, wait: mintWait, granted: make(chan struct{}), final: true, err: fmt.Errorf("%w: not started", ErrNoLease)}
}

// grant sets what may be minted from now on. id time moves to from if it was
// behind, and never back.
func (m *minter) grant(i interval) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.node != m.may.node || m.err != nil {
		i.from = max(i.from, m.last+1) // ids keep increasing when the number changes
	}
	if now := m.now(); now < i.from || m.anchor.IsZero() {
		m.anchor, m.base = m.clock(), max(i.from, now)
	}
	m.may, m.err, m.final = i, nil, false
	close(m.granted)
	m.granted = make(chan struct{})
}

// catchUp moves id time forward to the given one: after the machine slept its
// monotonic clock is behind.
func (m *minter) catchUp(ms int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now() < ms {
		m.anchor, m.base = m.clock(), ms
	}
}

// revoke ends minting, for good when final, and returns the first millisecond
// that was not used.
func (m *minter) revoke(why error, final bool) (unused int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.final = why, final
	m.may.until = 0
	return m.last + 1
}

// now returns the id time. The caller holds mu.
func (m *minter) now() int64 {
	if m.anchor.IsZero() {
		return 0
	}
	return m.base + m.clock().Sub(m.anchor).Milliseconds()
}

// time returns the id time.
func (m *minter) time() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.now(), m.last)
}

// mint makes one id, waiting for the next millisecond when one is used up, and
// up to m.wait for a lease.
func (m *minter) mint() (int64, error) {
	var expired <-chan time.Time
	for {
		id, wait, err := m.try()
		if err == nil && wait == nil {
			return id, nil
		}
		if err == nil { // this millisecond is used up
			time.Sleep(spinPause)
			continue
		}
		if wait == nil {
			return 0, err
		}
		if expired == nil {
			timer := time.NewTimer(m.wait)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-wait:
		case <-expired:
			return 0, err
		}
	}
}

// try makes one id, or says what to wait for: with an error, for a lease; with
// none, for the next millisecond.
func (m *minter) try() (id int64, wait <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		if m.final {
			return 0, nil, m.err
		}
		return 0, m.granted, m.err
	}
	ms := max(m.now(), m.last)
	if ms >= m.may.until {
		return 0, m.granted, fmt.Errorf("%w: it has run out", ErrNoLease)
	}
	if ms > m.last {
		m.last, m.sequence = ms, 0
	} else if m.sequence == maxSequence {
		return 0, m.granted, nil
	} else {
		m.sequence++
	}
	return (ms-Epoch)<<(nodeBits+sequenceBits) | m.may.node<<sequenceBits | m.sequence, nil, nil
}

// Parts takes an id apart: when and under which node number it was made, and
// the how manieth of its millisecond it is.
func Parts(id int64) (at time.Time, node int, sequence int) {
	at = time.UnixMilli(id>>(nodeBits+sequenceBits) + Epoch).UTC()
	return at, int(id >> sequenceBits & MaxNode), int(id & maxSequence)
}

// First returns the smallest id of the moment, for ranges of ids by time.
func First(at time.Time) int64 { return max(at.UnixMilli()-Epoch, 0) << (nodeBits + sequenceBits) }
