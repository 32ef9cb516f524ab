package telemetry

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultTail is the size of a [Tail] in bytes by default: some ten
	// thousand lines.
	DefaultTail = 4 << 20

	// MaxFollowers is how many may follow one [Tail] at once.
	MaxFollowers = 64

	// leastTail is the smallest size.
	leastTail = 4 << 10

	// shortestLine bounds the number of lines that are kept: a shorter one
	// does not come.
	shortestLine = 64

	// batchBytes is about how much is copied out of the ring at once: whoever
	// logs meanwhile waits for that, some microseconds.
	batchBytes = 64 << 10
	batchLines = 512
)

// Errors of a tail that callers branch on.
var (
	// ErrLineQuery means that a query names a level that there is not, has a
	// broken cursor, or is too long.
	ErrLineQuery = errors.New("telemetry: not a query for lines")
	// ErrFollowers means that [MaxFollowers] follow already.
	ErrFollowers = errors.New("telemetry: too many follow the log")
)

// Tail is the end of this process's log in memory: its newest lines as they
// were written, after redaction, so it holds no secret. It is safe for
// concurrent use, and whoever reads never makes who logs wait for long. Lines
// longer than a quarter of it are left out.
type Tail struct {
	boot string // tells this process's line ids from those of others

	mu        sync.Mutex
	ring      []byte
	written   uint64 // bytes that have ever come
	entries   []entry
	first     uint64 // number of the oldest line that is kept
	next      uint64 // number of the line that comes next
	followers []*follower
}

// entry is where a line lies: entries[number % len].
type entry struct {
	at   uint64 // of all bytes that have ever come
	size uint32
}

type follower struct{ wake chan struct{} }

// NewTail returns a tail of so many bytes, 0 for [DefaultTail]. Memory is
// touched as it fills.
func NewTail(bytes int) *Tail {
	if bytes <= 0 {
		bytes = DefaultTail
	}
	return &Tail{
		boot:    strconv.FormatInt(time.Now().UnixMicro(), 36),
		ring:    make([]byte, max(bytes, leastTail)),
		entries: make([]entry, 64),
	}
}

// tee is the writer of a log that has a tail.
type tee struct {
	io.Writer
	tail *Tail
}

// Write implements [io.Writer]. The JSON handler calls it once per record.
func (t tee) Write(line []byte) (int, error) {
	t.tail.add(line)
	return t.Writer.Write(line) //nolint:wrapcheck // slog hands it on
}

// add keeps one line and wakes who follows.
func (t *Tail) add(line []byte) {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	size := len(t.ring)
	if len(line) == 0 || len(line) > size/4 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	end := t.written + uint64(len(line))
	for t.first < t.next && end-t.entry(t.first).at > uint64(size) {
		t.first++
	}
	if t.next-t.first == uint64(len(t.entries)) {
		t.grow()
	}
	*t.entry(t.next) = entry{at: t.written, size: uint32(len(line))} //nolint:gosec // at most a quarter of the ring
	t.next++
	n := copy(t.ring[t.written%uint64(size):], line)
	copy(t.ring, line[n:])
	t.written = end
	for _, f := range t.followers {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (t *Tail) entry(number uint64) *entry { return &t.entries[number%uint64(len(t.entries))] }

// grow makes room for one more line: by more entries up to what the ring can
// need, then by forgetting the oldest. mu is held.
func (t *Tail) grow() {
	if len(t.entries) >= len(t.ring)/shortestLine {
		t.first++
		return
	}
	bigger := make([]entry, 2*len(t.entries))
	for n := t.first; n < t.next; n++ {
		bigger[n%uint64(len(bigger))] = *t.entry(n)
	}
	t.entries = bigger
}

// batch is a few lines copied out of the ring.
type batch struct {
	text  []byte
	lines []placed
}

// placed is one line of a batch.
type placed struct {
	number     uint64
	start, end int
}

func (b *batch) reset() { b.text, b.lines = b.text[:0], b.lines[:0] }

func (b *batch) line(p placed) []byte { return b.text[p.start:p.end] }

func (b *batch) full() bool { return len(b.text) >= batchBytes || len(b.lines) >= batchLines }

// take copies a line out. mu is held.
func (t *Tail) take(b *batch, number uint64) {
	e := *t.entry(number)
	start, from := len(b.text), e.at%uint64(len(t.ring))
	to := min(from+uint64(e.size), uint64(len(t.ring)))
	b.text = append(b.text, t.ring[from:to]...)
	b.text = append(b.text, t.ring[:uint64(e.size)-(to-from)]...)
	b.lines = append(b.lines, placed{number, start, len(b.text)})
}

// older takes lines before number, the newest first; none is left when it
// takes none.
func (t *Tail) older(b *batch, number uint64) {
	b.reset()
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := min(number, t.next); n > t.first && !b.full(); n-- {
		t.take(b, n-1)
	}
}

// newer takes lines from number on, the oldest first, and tells how many of
// them are gone.
func (t *Tail) newer(b *batch, number uint64) (missed uint64) {
	b.reset()
	t.mu.Lock()
	defer t.mu.Unlock()
	if number < t.first {
		missed = t.first - number
		number = t.first
	}
	for n := number; n < t.next && !b.full(); n++ {
		t.take(b, n)
	}
	return missed
}

// id is the public name of a line.
func (t *Tail) id(number uint64) string { return t.boot + "-" + strconv.FormatUint(number, 36) }

// number reads an id; of another process's it says so.
func (t *Tail) number(id string) (number uint64, ours bool, err error) {
	const longest = 40
	boot, rest, ok := strings.Cut(id, "-")
	if !ok || len(id) > longest || boot == "" {
		return 0, false, ErrLineQuery
	}
	if _, err := strconv.ParseUint(boot, 36, 64); err != nil {
		return 0, false, ErrLineQuery
	}
	if number, err = strconv.ParseUint(rest, 36, 64); err != nil {
		return 0, false, ErrLineQuery
	}
	return number, boot == t.boot, nil
}

// bounds are the numbers of the oldest line and of the next one.
func (t *Tail) bounds() (first, next uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first, t.next
}

// join adds a follower; leave takes it away.
func (t *Tail) join() (*follower, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.followers) >= MaxFollowers {
		return nil, ErrFollowers
	}
	f := &follower{wake: make(chan struct{}, 1)}
	t.followers = append(t.followers, f)
	return f, nil
}

func (t *Tail) leave(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range t.followers {
		if other == f {
			last := len(t.followers) - 1
			t.followers[i] = t.followers[last]
			t.followers[last] = nil
			t.followers = t.followers[:last]
			return
		}
	}
}
