// Package realtime tells clients what happens, over WebSockets and server-sent
// events, on every node.
//
// Services publish in their transactions ([Publisher.Publish]). After the commit one
// node gives each event the next number of one log in Postgres, the broker
// carries it to all nodes, and each node tells its connections in the order of
// the numbers. A position is a place in that log, so one position resumes all
// channels of a connection: a client that comes back gets what it missed,
// exactly once and in order, or an honest "recovered": false. What the broker
// loses, a node reads from Postgres.
//
// A connection costs one goroutine that reads and no buffer for writing: the
// goroutine that fans an event out writes straight into the kernel, and only a
// connection whose kernel buffer is full gets a bounded queue and a goroutine to
// empty it. One that stays behind is cut and told to come back.
package realtime

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/httpapi/ratelimit"
	"selflink/appliance/realtime/realtimedb"
)

// Bus carries messages between nodes, best effort. *broker.Broker is one.
type Bus interface {
	Publish(subject string, data []byte) error
	Subscribe(subject string, handle func(subject string, data []byte)) (cancel func(), err error)
}

// Identity says who connects. *accounts.Service is one. Its errors are
// *auth.TokenError for a refusal, else those of the database.
type Identity interface {
	// Caller says whose access token it is.
	Caller(ctx context.Context, access string) (auth.Principal, error)
	// Confirm checks that a caller's account and session still are what they
	// were when its token was issued.
	Confirm(ctx context.Context, p auth.Principal) error
}

const (
	// DefaultConnections is how many connections a node takes.
	DefaultConnections = 20_000
	// DefaultQueueBytes is how much may wait for one connection.
	DefaultQueueBytes = 256 << 10

	// perUser is how many connections a user may have on a node. The app opens
	// three, on each of a person's devices.
	perUser = 100
)

// Options configure [New]. Zero values mean the default in parentheses.
type Options struct {
	DB       database.Pool // required
	Bus      Bus           // required
	Identity Identity      // required
	Secret   []byte        // makes positions; the same on all nodes; required

	Publisher *Publisher // of this process (one of its own)

	// Permit says whether a user may subscribe to the channel of a post or a
	// comment (every user).
	Permit func(ctx context.Context, user int64, c Channel) (bool, error)
	// Ended is told of each session that ends, wherever that was done, before
	// its connections are closed; of all of a user's, also those without an id,
	// with an empty one (nobody). Whoever remembers that it stood must forget:
	// the client may be back at once. It must not block.
	Ended func(user int64, session string)
	// Audience says who may see presence (nobody).
	Audience Audience

	// Surveyor asks the other nodes about their connections (the Bus, when it
	// is one; else a node knows of its own alone).
	Surveyor Surveyor
	Node     string // name of this node for people (what it calls itself among nodes)

	Connections  int            // most connections of this node (20 000)
	QueueBytes   int            // most bytes that wait for one connection (256 KiB)
	PublishToken string         // opens /internal/publish (nothing does)
	PublishRate  ratelimit.Rate // of /internal/publish, per address (no limit)

	Logger  *slog.Logger
	Health  *health.Registry
	Metrics prometheus.Registerer
}

// Hub is one node's connections and its share of the event log. It is safe for
// concurrent use.
type Hub struct {
	opts     Options
	log      *eventLog
	q        *realtimedb.Queries
	logger   *slog.Logger
	metrics  *meters
	presence *presence
	limits   *ratelimit.Table
	shards   []*shard
	readers  chan struct{}
	trimmed  atomic.Int64
	ids      atomic.Uint64
	known    reports

	mu      sync.Mutex
	started bool
	stopped bool
	total   int
	users   map[int64]int
	cancel  context.CancelFunc
	quit    chan struct{} // ends the shards
	leave   []func()      // subscriptions on the bus
	workers sync.WaitGroup
	loops   sync.WaitGroup
	conns   sync.WaitGroup // connections, until their reader has ended
	writers sync.WaitGroup
}

// New makes a hub that is not started yet.
func New(o Options) (*Hub, error) {
	if o.DB == nil || o.Bus == nil || o.Identity == nil || len(o.Secret) == 0 {
		return nil, errors.New("realtime: a database, a bus, an identity and a secret are needed")
	}
	if o.Connections <= 0 {
		o.Connections = DefaultConnections
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = DefaultQueueBytes
	}
	if o.Publisher == nil {
		o.Publisher = NewPublisher()
	}
	if o.Surveyor == nil {
		o.Surveyor, _ = o.Bus.(Surveyor)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	pos, err := newPositions(o.Secret)
	if err != nil {
		return nil, fmt.Errorf("realtime: %w", err)
	}
	var node [8]byte
	if _, err := rand.Read(node[:]); err != nil {
		return nil, fmt.Errorf("realtime: name the node: %w", err)
	}
	logger := o.Logger.With("component", "realtime")
	h := &Hub{
		opts: o, q: realtimedb.New(o.DB), logger: logger, limits: ratelimit.New(1000, time.Now()),
		readers: make(chan struct{}, readers), users: make(map[int64]int), quit: make(chan struct{}),
	}
	h.log = &eventLog{q: h.q, bus: o.Bus, positions: pos, log: logger, deliver: h.fanOut, replaced: h.startOver, ended: o.Ended, publisher: o.Publisher}
	if h.opts.Node == "" {
		h.opts.Node = hex.EncodeToString(node[:])
	}
	h.presence = newPresence(hex.EncodeToString(node[:]), o.Bus, o.Audience, h.Tell, logger)
	for range max(1, runtime.GOMAXPROCS(0)) {
		h.shards = append(h.shards, newShard(h))
	}
	if h.metrics, err = newMeters(h, o.Metrics); err != nil {
		return nil, fmt.Errorf("realtime: %w", err)
	}
	if o.Health != nil {
		h.registerChecks(o.Health)
	}
	return h, nil
}

// Start reads the end of the log and begins to follow it. A second call does
// nothing.
func (h *Hub) Start(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started {
		return nil
	}
	if err := h.log.open(ctx); err != nil {
		return fmt.Errorf("realtime: %w", err)
	}
	for _, s := range h.shards {
		s.applied.Store(h.log.now().seq)
		h.loops.Go(func() { s.loop(h.quit) })
	}
	for subject, handle := range map[string]func(string, []byte){
		subjectLog: h.log.announced, subjectTell: h.told, subjectPresence: h.presence.heard,
	} {
		cancel, err := h.opts.Bus.Subscribe(subject, handle)
		if err != nil {
			return fmt.Errorf("realtime: %w", err)
		}
		h.leave = append(h.leave, cancel)
	}
	if h.opts.Surveyor != nil {
		cancel, err := h.opts.Surveyor.Answer(subjectAsk, h.answer)
		if err != nil {
			return fmt.Errorf("realtime: %w", err)
		}
		h.leave = append(h.leave, cancel)
	}
	running, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	h.workers.Go(func() { h.log.run(running) })
	h.workers.Go(func() { h.presence.run(running) })
	if h.opts.Audience != nil {
		h.workers.Go(func() { h.presence.deliver(running) })
	}
	h.opts.Publisher.nudge()
	h.started = true
	return nil
}

// Stop tells all connections that the service restarts, waits until they are
// gone or ctx ends, and stops following the log. A second call does nothing.
func (h *Hub) Stop(ctx context.Context) error {
	h.mu.Lock()
	if !h.started || h.stopped {
		h.mu.Unlock()
		return nil
	}
	h.stopped = true
	h.mu.Unlock()

	h.eachSocket(func(s *socket) { s.close(codeRestart, reasonRestart) })
	gone := make(chan struct{})
	go func() {
		h.conns.Wait()
		close(gone)
	}()
	var err error
	select {
	case <-gone:
	case <-ctx.Done():
		err = fmt.Errorf("realtime: connections were cut: %w", ctx.Err())
		h.eachSocket(func(s *socket) { _ = s.conn.Close() })
		<-gone
	}
	h.writers.Wait()
	h.cancel()
	h.workers.Wait()
	for _, cancel := range h.leave {
		cancel()
	}
	close(h.quit)
	h.loops.Wait()
	return err
}

func (h *Hub) eachSocket(f func(*socket)) {
	for _, s := range h.shards {
		s.do(task{each: f}, 0)
	}
}

// fanOut hands entries to the shards.
func (h *Hub) fanOut(entries []*entry) {
	size := 0
	for _, e := range entries {
		size += len(e.payload)
	}
	for _, s := range h.shards {
		s.do(task{entries: entries}, size)
	}
}

// startOver follows another log: whoever is connected has to come back, since
// its position means nothing any more.
func (h *Hub) startOver(end int64) {
	for _, s := range h.shards {
		s.do(task{rewind: &end}, 0)
	}
	h.eachSocket(func(s *socket) { s.close(codeRestart, reasonRestart) })
}

// told takes an event that is kept nowhere.
func (h *Hub) told(_ string, data []byte) {
	e, err := decodeTell(data)
	if err != nil {
		h.logger.Warn("an event was dropped", "error", err)
		return
	}
	h.fanOut([]*entry{e})
}

// errFull says why a connection is not taken.
var (
	errFull     = errors.New("realtime: the node has all the connections it takes")
	errCrowded  = errors.New("realtime: the user has all the connections that one may have")
	errStopping = errors.New("realtime: the node is stopping")
)

// admit counts a connection in.
func (h *Hub) admit(user int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopped || !h.started:
		return errStopping
	case h.total >= h.opts.Connections:
		return errFull
	case h.users[user] >= perUser:
		return errCrowded
	}
	h.total++
	h.users[user]++
	h.conns.Add(1)
	return nil
}

// release counts it out.
func (h *Hub) release(user int64) {
	h.mu.Lock()
	h.total--
	if h.users[user]--; h.users[user] == 0 {
		delete(h.users, user)
	}
	h.mu.Unlock()
	h.conns.Done()
}

// Online counts the users that have a connection on any node.
func (h *Hub) Online() int { return h.presence.online() }
