// Package broker runs the embedded NATS server: the nervous system of the
// appliance. It dispatches and fans out; it is never the only place where
// something is kept, so its directory may be deleted while the appliance is
// stopped.
//
// # Several processes
//
// [Broker.Publish] and [Broker.Subscribe] are core NATS: at most once, to who
// listens now. With [Cluster] they reach every node. Streams do not: each node
// has its own, because they only dispatch what Postgres keeps. A node
// dispatches the jobs that it accepted, and its sweeper takes up what others
// left. So no copy has to be agreed on: there is no leader to elect (which
// takes this server 4 to 9 s), no quorum to lose, and two nodes are as good as
// three.
//
// nats-server joins its streams as soon as it has routes. So with clustering
// on there are two servers in the process: one with streams and no routes, and
// "the bus" with routes and no streams. With clustering off the first serves
// both.
//
// Nodes know each other by one secret, the token: from it all derive the same
// certificate authority, by which each signs its own certificate, and the
// routes' password. Routes speak TLS 1.3 and nothing is said to who shows no
// certificate of that authority.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/health"
)

const (
	defaultMemory = 64 << 20
	defaultDisk   = 1 << 30

	// syncInterval is how often JetStream flushes to disk. Everything in it
	// can be rebuilt, so its default is fine (a flush per message costs ten
	// times the throughput).
	syncInterval = 2 * time.Minute

	// readyWait bounds the start of the server, which takes about 10 ms.
	readyWait = 10 * time.Second

	// callTimeout bounds one request to JetStream's API.
	callTimeout = 5 * time.Second

	// maxPayload bounds one message; ids and invalidations are far below.
	maxPayload = 1 << 20
)

// Options says where the broker lives and what it may take. Zero values mean
// the default in parentheses.
type Options struct {
	Dir       string // its directory; required
	Name      string // of the server with the streams ("selflink")
	MaxMemory int64  // bytes of memory streams (64 MiB)
	MaxDisk   int64  // bytes of file streams (1 GiB)
	Cluster   Cluster
	Logger    *slog.Logger
	Health    *health.Registry
	Metrics   prometheus.Registerer
}

// Broker is the embedded server and its connections. It is safe for
// concurrent use.
type Broker struct {
	opts Options
	bus  *bus // nil: clustering is off

	mu      sync.Mutex
	server  *server.Server // with the streams
	pub     *nats.Conn     // to the bus, or the server when there is none
	sub     *nats.Conn     // likewise
	streams *nats.Conn     // to the server; pub when there is no bus
	js      jetstream.JetStream

	refused refusals
}

// New checks the options and registers the health checks. It starts nothing.
func New(o Options) (*Broker, error) {
	if o.Dir == "" {
		return nil, errors.New("broker: a directory is needed")
	}
	if o.Name == "" {
		o.Name = "selflink"
	}
	if o.MaxMemory <= 0 {
		o.MaxMemory = defaultMemory
	}
	if o.MaxDisk <= 0 {
		o.MaxDisk = defaultDisk
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	joint, err := newBus(o.Cluster, o.Logger)
	if err != nil {
		return nil, err
	}
	b := &Broker{opts: o, bus: joint}
	if o.Health != nil {
		b.registerChecks(o.Health)
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(&collector{broker: b}); err != nil {
			return nil, fmt.Errorf("broker: register metrics: %w", err)
		}
	}
	return b, nil
}

// Start runs the server, connects to it inside the process, and makes every
// stream of [Table] that is missing. With clustering it also listens for routes
// and begins to dial the peers, which it does not wait for: see [Broker.Peers].
// Starting a running broker does nothing.
func (b *Broker) Start(ctx context.Context) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return nil
	}
	if err := os.MkdirAll(b.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("broker: make directory: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName:         b.opts.Name,
		DontListen:         true,
		NoSigs:             true, // signals belong to the appliance
		JetStream:          true,
		StoreDir:           b.opts.Dir,
		JetStreamMaxMemory: b.opts.MaxMemory,
		JetStreamMaxStore:  b.opts.MaxDisk,
		SyncInterval:       syncInterval,
		MaxPayload:         maxPayload,
	})
	if err != nil {
		return fmt.Errorf("broker: configure: %w", err)
	}
	s.SetLoggerV2(serverLog{b.opts.Logger}, false, false, false)
	s.Start()
	defer func() {
		if err != nil {
			b.closeConns()
			if b.bus != nil {
				b.bus.shutdown()
			}
			s.Shutdown()
			s.WaitForShutdown()
			b.server = nil
		}
	}()
	if !s.ReadyForConnections(readyWait) {
		return fmt.Errorf("broker: not ready within %s", readyWait)
	}
	if !s.JetStreamEnabled() {
		return fmt.Errorf("broker: JetStream did not start: is %s writable and not full?", b.opts.Dir)
	}
	b.server = s
	core := s
	if b.bus != nil {
		if err := b.bus.start(); err != nil {
			return err
		}
		core = b.bus.server
	}
	// Two connections: a slow subscriber must not delay a publish.
	if b.pub, err = b.connect(core, "publish"); err != nil {
		return err
	}
	if b.sub, err = b.connect(core, "subscribe"); err != nil {
		return err
	}
	b.streams = b.pub
	if core != s {
		if b.streams, err = b.connect(s, "streams"); err != nil {
			return err
		}
	}
	b.js, err = jetstream.New(b.streams,
		jetstream.WithPublishAsyncMaxPending(8192),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { b.refused.note(m.Subject, err, time.Now()) }),
		jetstream.WithDefaultTimeout(callTimeout))
	if err != nil {
		return fmt.Errorf("broker: JetStream client: %w", err)
	}
	return b.declare(ctx)
}

func (b *Broker) connect(s *server.Server, name string) (*nats.Conn, error) {
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.Name(name),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			b.opts.Logger.Warn("broker connection", "component", "broker", "connection", name, "subject", subject, "error", err)
		}))
	if err != nil {
		return nil, fmt.Errorf("broker: connect in process: %w", err)
	}
	return conn, nil
}

// declare makes or updates every stream.
func (b *Broker) declare(ctx context.Context) error {
	for _, stream := range Table() {
		if _, err := b.js.CreateOrUpdateStream(ctx, stream.config()); err != nil {
			return fmt.Errorf("broker: make stream %s: %w", stream.Name, err)
		}
	}
	return nil
}

// Stop ends the connections, the routes and the server. Stopping twice does
// nothing.
func (b *Broker) Stop(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil
	}
	b.closeConns()
	if b.bus != nil {
		b.bus.shutdown()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
	b.server = nil
	return nil
}

func (b *Broker) closeConns() {
	for _, conn := range []*nats.Conn{b.pub, b.sub, b.streams} {
		if conn != nil {
			conn.Close() // closing twice does nothing
		}
	}
	b.pub, b.sub, b.streams, b.js = nil, nil, nil, nil
}

// ErrStopped is returned by calls on a broker that does not run.
var ErrStopped = errors.New("broker: not running")

// JetStream is the streams' client, or [ErrStopped].
func (b *Broker) JetStream() (jetstream.JetStream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.js == nil {
		return nil, ErrStopped
	}
	return b.js, nil
}

// Publish tells all current subscribers of subject, on every node. It is
// best effort: nobody listening is no error.
func (b *Broker) Publish(subject string, data []byte) error {
	b.mu.Lock()
	conn := b.pub
	b.mu.Unlock()
	if conn == nil {
		return ErrStopped
	}
	if err := conn.Publish(subject, data); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}

// Subscribe calls handle for each message on subject, one after the other,
// until cancel is called. data must not be kept after handle returns. Once it
// returns, nothing is missed that this node publishes; other nodes hear of the
// subscription a moment later, after one way of the network.
func (b *Broker) Subscribe(subject string, handle func(subject string, data []byte)) (cancel func(), err error) {
	b.mu.Lock()
	conn := b.sub
	b.mu.Unlock()
	if conn == nil {
		return nil, ErrStopped
	}
	sub, err := conn.Subscribe(subject, func(m *nats.Msg) { handle(m.Subject, m.Data) })
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	// The caller publishes on the other connection: without the round trip
	// an answer could overtake the subscription.
	if err := conn.Flush(); err != nil {
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}
