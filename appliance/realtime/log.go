package realtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"selflink/appliance/realtime/realtimedb"
)

const (
	// numberMost is how many events get their numbers in one transaction.
	numberMost = 1000

	// readMost is how many entries are read at once to catch up.
	readMost = 1000

	// lookEvery is how often a node looks into the log unasked: for events
	// whose node died before it numbered them, and for what the broker lost.
	lookEvery = time.Second

	// pauseMost bounds the pause between attempts while the database is away.
	pauseMost = 5 * time.Second
)

// eventLog numbers committed events, follows the log, and hands each entry on
// exactly once, in order. Postgres is the log; the broker only makes it fast.
type eventLog struct {
	q         *realtimedb.Queries
	bus       Bus
	positions positions
	log       *slog.Logger
	deliver   func(entries []*entry)           // called in order, one at a time
	replaced  func(end int64)                  // another log begins after end
	ended     func(user int64, session string) // nil: nobody is told, see [Options.Ended]

	publisher *Publisher

	epoch atomic.Int64

	mu      sync.Mutex // held while entries are handed on
	applied int64
	ring    ring

	numbered atomic.Int64 // events that this node has numbered, for metrics
	healed   atomic.Int64 // entries that the broker had not brought
	failing  atomic.Pointer[error]
}

// open reads the end of the log and the recent history.
func (l *eventLog) open(ctx context.Context) error {
	head, err := l.q.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the end of the event log: %w", err)
	}
	recent, err := l.q.RecentEvents(ctx, realtimedb.RecentEventsParams{Until: head.LastSeq, Most: ringEntries})
	if err != nil {
		return fmt.Errorf("read recent events: %w", err)
	}
	// After the rows: what retention deletes meanwhile must not look kept.
	trimmed, err := l.q.LastTrimmed(ctx)
	if err != nil {
		return fmt.Errorf("read what is trimmed: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch.Store(head.Epoch)
	l.applied = head.LastSeq
	floor := trimmed
	if len(recent) == ringEntries {
		floor = max(floor, recent[len(recent)-1].Seq-1)
	}
	l.ring.reset(min(floor, head.LastSeq))
	for i := len(recent) - 1; i >= 0; i-- {
		if r := recent[i]; r.Seq > floor {
			l.ring.add(l.entry(r.Seq, r.Channel, r.Payload, r.Closes))
		}
	}
	return nil
}

func (l *eventLog) entry(seq int64, channel, payload, closes string) *entry {
	return &entry{
		seq: seq, channel: Channel(channel), payload: []byte(payload), closes: closes,
		position: l.positions.text(place{l.epoch.Load(), seq}),
	}
}

// run works until ctx ends.
func (l *eventLog) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	pause := time.Duration(0)
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-l.publisher.wake:
			err = l.number(ctx)
		case <-ticker.C:
			err = l.look(ctx)
		}
		if err == nil {
			if was := l.failing.Swap(nil); was != nil {
				l.log.Info("the event log goes on")
			}
			pause = 0
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if was := l.failing.Swap(&err); was == nil {
			l.log.Warn("the event log waits for the database", "error", err)
		}
		pause = min(pauseMost, max(50*time.Millisecond, 2*pause))
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		l.publisher.nudge()
	}
}

// look checks that nothing was left or lost.
func (l *eventLog) look(ctx context.Context) error {
	head, err := l.q.Head(ctx)
	if err != nil {
		return fmt.Errorf("look at the event log: %w", err)
	}
	if head.Waiting {
		return l.number(ctx)
	}
	return l.catchUp(ctx, head.Epoch, head.LastSeq)
}

// number gives numbers to what is committed and tells all nodes.
func (l *eventLog) number(ctx context.Context) error {
	for {
		fresh, err := l.q.NumberEvents(ctx, numberMost)
		if err != nil {
			return fmt.Errorf("number events: %w", err)
		}
		if err := l.catchUp(ctx, fresh.Epoch, fresh.Before); err != nil {
			return err
		}
		if len(fresh.Channels) == 0 {
			return nil
		}
		entries := make([]*entry, len(fresh.Channels))
		for i := range entries {
			entries[i] = l.entry(fresh.Before+1+int64(i), fresh.Channels[i], fresh.Payloads[i], fresh.Closes[i])
		}
		l.numbered.Add(int64(len(entries)))
		l.accept(fresh.Epoch, entries) // first, since others wait for the broker anyway
		l.announce(fresh.Epoch, entries)
		if len(entries) < numberMost {
			return nil
		}
	}
}

// announce tells the other nodes. What gets lost on the way they read from
// Postgres.
func (l *eventLog) announce(epoch int64, entries []*entry) {
	start := func() []byte { return binary.BigEndian.AppendUint64(nil, uint64(epoch)) }
	b := start()
	send := func() {
		if err := l.bus.Publish(subjectLog, b); err != nil {
			l.log.Debug("events were not announced to other nodes", "error", err)
		}
		b = start()
	}
	for _, e := range entries {
		if len(b) > 8 && len(b)+len(e.payload) > maxBatch {
			send()
		}
		b = appendEntry(b, e)
	}
	send()
}

// announced takes what a node has announced, this one's own too.
func (l *eventLog) announced(_ string, data []byte) {
	epoch, entries, err := decodeEntries(data)
	if err != nil {
		l.log.Warn("announced events were dropped", "error", err)
		return
	}
	if !l.accept(epoch, entries) {
		l.publisher.nudge() // reads what is missing
	}
}

// accept hands on what is next in the log. It returns false when something is
// missing before it, which then has to be read.
func (l *eventLog) accept(epoch int64, entries []*entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch.Load() {
		return false
	}
	for len(entries) > 0 && entries[0].seq <= l.applied {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return true
	}
	if entries[0].seq != l.applied+1 {
		return false
	}
	l.hand(entries)
	return true
}

// hand passes entries on. The caller holds mu.
func (l *eventLog) hand(entries []*entry) {
	for _, e := range entries {
		if e.position == "" {
			e.position = l.positions.text(place{l.epoch.Load(), e.seq})
		}
		l.ring.add(e)
		if user, ok := e.channel.user(); ok && e.closes != "" && l.ended != nil {
			l.ended(user, strings.TrimSuffix(e.closes, everySession))
		}
	}
	l.applied = entries[len(entries)-1].seq
	l.deliver(entries)
}

// errRestored is the log of another time in place of the one that was followed.
var errRestored = errors.New("realtime: the event log was replaced, for example by a restored backup")

// catchUp reads and hands on what is in the log up to a number.
func (l *eventLog) catchUp(ctx context.Context, epoch, until int64) error {
	for {
		l.mu.Lock()
		applied, same := l.applied, epoch == l.epoch.Load() && until >= l.applied
		l.mu.Unlock()
		switch {
		case !same && epoch == l.epoch.Load():
			return nil // read before another step of this node went on
		case !same:
			l.log.Warn("positions of before are unknown from now on", "error", errRestored)
			if err := l.open(ctx); err != nil {
				return err
			}
			l.replaced(l.now().seq)
			return nil
		case applied >= until:
			return nil
		}
		rows, err := l.q.EventsAfter(ctx, realtimedb.EventsAfterParams{After: applied, Until: until, Most: readMost})
		if err != nil {
			return fmt.Errorf("read the event log: %w", err)
		}
		entries := make([]*entry, len(rows))
		for i, r := range rows {
			entries[i] = l.entry(r.Seq, r.Channel, r.Payload, r.Closes)
		}
		l.mu.Lock()
		for len(entries) > 0 && entries[0].seq <= l.applied { // the broker was faster
			entries = entries[1:]
		}
		if len(entries) > 0 {
			l.healed.Add(int64(len(entries)))
			l.hand(entries)
		}
		if len(rows) < readMost {
			l.applied = max(l.applied, until) // what is missing in between is deleted
		}
		l.mu.Unlock()
	}
}

// now is where the log is applied to.
func (l *eventLog) now() place {
	l.mu.Lock()
	defer l.mu.Unlock()
	return place{l.epoch.Load(), l.applied}
}

// recent gives what was published in channels after one place up to a number,
// when memory still holds it.
func (l *eventLog) recent(after place, until int64, channels []Channel) (missed []*entry, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if after.epoch != l.epoch.Load() {
		return nil, false
	}
	return l.ring.between(after.seq, until, channels)
}
