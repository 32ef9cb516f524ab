package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// clusterName has to be the same on all nodes; the token tells clusters
	// apart.
	clusterName = "selflink"

	// routePing is how often a silent route is asked whether it lives, and
	// deadPings how many answers may be missing: a node whose machine lost
	// power is given up after about 15 s. The server's own 90 s are long for
	// people who wait for what it would have sent.
	routePing = 5 * time.Second
	deadPings = 2

	// watchEvery is how often the routes are looked at for the log.
	watchEvery = time.Second

	// readyPoll is how often the route listener is looked for at the start.
	readyPoll = 200 * time.Microsecond

	// noPort can't be listened on; see [bus.start].
	noPort = 1 << 16
)

// ErrListen is wrapped when the address of the routes can't be listened on.
var ErrListen = errors.New("broker: listen for the cluster")

// Cluster joins the brokers of several processes. The zero value joins none.
type Cluster struct {
	Listen string   // "host:port" of this node's routes, port 0: any; empty: clustering is off
	Peers  []string // "host:port" of other nodes; this one may be among them
	Token  string   // the secret that all nodes share, at least [MinToken] characters
	Node   string   // name of this node for people ("selflink"); need not be unique
}

// bus is the server that carries core subjects from node to node.
type bus struct {
	log   *slog.Logger
	creds credentials
	host  string
	port  int // as configured, 0: any
	node  string
	peers []string

	server *server.Server
	stop   chan struct{}
	done   sync.WaitGroup

	asking sync.Mutex // held while peers are asked; before mu

	mu    sync.Mutex
	known map[string]peer // by address
}

// newBus checks the options; it returns nil when clustering is off.
func newBus(c Cluster, log *slog.Logger) (*bus, error) {
	if c.Listen == "" {
		if len(c.Peers) > 0 {
			return nil, errors.New("broker: cluster peers without an address to listen on")
		}
		return nil, nil
	}
	host, port, err := splitAddress(c.Listen)
	if err != nil {
		return nil, err
	}
	creds, err := newCredentials(c.Token)
	if err != nil {
		return nil, err
	}
	for _, address := range c.Peers {
		if host, port, err := splitAddress(address); err != nil {
			return nil, err
		} else if host == "" || port == 0 {
			return nil, fmt.Errorf("broker: cluster address %q names no host or port", address)
		}
	}
	return &bus{log: log, creds: creds, host: host, port: port, node: plainName(c.Node), peers: c.Peers}, nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("broker: cluster address %q: %w", address, err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("broker: cluster address %q: the port is not a number up to 65535", address)
	}
	return host, int(n), nil
}

// plainName fits a name for people into a server's name, which has no spaces.
func plainName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return '-'
		}
		return r
	}, name)
	if name == "" {
		return "selflink"
	}
	return name
}

// start returns when the routes are listened for; whether any peer is there
// does not matter.
func (b *bus) start() (err error) {
	// The server tells a refused address by a line of text. Try it first for
	// an error that a caller can look into.
	if b.port != 0 {
		probe, err := net.Listen("tcp", net.JoinHostPort(b.host, strconv.Itoa(b.port)))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrListen, err)
		}
		_ = probe.Close()
	}
	suffix := make([]byte, 4)
	if _, err := rand.Read(suffix); err != nil {
		return fmt.Errorf("broker: name the node: %w", err)
	}
	port := b.port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	routes := make([]*url.URL, len(b.peers))
	for i, address := range b.peers {
		routes[i] = &url.URL{Scheme: "nats-route", Host: address, User: url.UserPassword(routeUser, b.creds.password)}
	}
	s, err := server.NewServer(&server.Options{
		// Two servers of one name refuse each other, and a process that comes
		// again may still be known by its old one.
		ServerName: b.node + "-" + hex.EncodeToString(suffix),
		// With DontListen this version of the server waits for ever for its
		// client port before it opens the routes, and hangs when it is shut
		// down. A client port that can't be opened has the wanted effect: it
		// says so (routeLog keeps that to itself) and goes on to the routes.
		Host:                  "127.0.0.1",
		Port:                  noPort,
		NoSigs:                true,
		NoSystemAccount:       true, // nobody asks it; without, it would offer JetStream
		MaxPayload:            maxPayload,
		ReconnectErrorReports: server.DEFAULT_CONNECT_ERROR_REPORTS,
		Routes:                routes,
		Cluster: server.ClusterOpts{
			Name:         clusterName,
			Host:         b.host,
			Port:         port,
			Username:     routeUser,
			Password:     b.creds.password,
			TLSConfig:    b.creds.tls,
			NoAdvertise:  true, // there is no client address to tell of
			PoolSize:     -1,   // one connection a peer: there is one account
			Compression:  server.CompressionOpts{Mode: server.CompressionOff},
			PingInterval: routePing,
			MaxPingsOut:  deadPings,
		},
	})
	if err != nil {
		return fmt.Errorf("broker: configure the cluster: %w", err)
	}
	failed := make(chan string, 1)
	s.SetLoggerV2(&routeLog{log: b.log, failed: failed}, false, false, false)
	s.Start()
	if err := listening(s, failed); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	b.server, b.stop = s, make(chan struct{})
	b.learn()
	b.done.Go(func() { b.watch(s, b.stop) })
	return nil
}

// listening waits for the route listener.
func listening(s *server.Server, failed <-chan string) error {
	limit := time.NewTimer(readyWait)
	defer limit.Stop()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for s.ClusterAddr() == nil {
		select {
		case text := <-failed:
			return fmt.Errorf("broker: the cluster's server: %s", text)
		case <-limit.C:
			return fmt.Errorf("broker: the cluster's server is not ready within %s", readyWait)
		case <-tick.C:
		}
	}
	return nil
}

// shutdown ends routes and listener. The next start may follow.
func (b *bus) shutdown() {
	if b.server == nil {
		return
	}
	close(b.stop)
	b.done.Wait()
	b.server.Shutdown()
	b.server.WaitForShutdown()
	b.server = nil
}

// watch tells the log who comes and goes until stop is closed.
func (b *bus) watch(s *server.Server, stop <-chan struct{}) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	before := map[string]route{}
	for {
		now := joined(s)
		for id, r := range now {
			if _, ok := before[id]; !ok {
				b.log.Info("a node is connected", "component", "cluster", "node", r.name, "address", r.address, "nodes", len(now))
			}
		}
		for id, r := range before {
			if _, ok := now[id]; !ok {
				b.log.Warn("a node is no longer connected", "component", "cluster", "node", r.name, "address", r.address, "nodes", len(now))
			}
		}
		before = now
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
	}
}

// route is a connection to another node.
type route struct {
	name       string
	address    string // its host as seen from here
	configured bool   // it is one of the peers, whoever of the two dialed
}

// joined lists the routes by the id of the node at their other end.
func joined(s *server.Server) map[string]route {
	out := map[string]route{}
	list, err := s.Routez(nil)
	if err != nil { // it has none
		return out
	}
	for _, r := range list.Routes {
		if r.RemoteID == "" { // not introduced yet
			continue
		}
		out[r.RemoteID] = route{
			name:       r.RemoteName,
			address:    r.IP,
			configured: r.IsConfigured || out[r.RemoteID].configured,
		}
	}
	return out
}

// Peers tells how many other nodes are connected, and how many the options
// name besides this one. More may be connected than are named: nodes tell each
// other of third ones. Without clustering, or while stopped, none is connected.
func (b *Broker) Peers() (connected, configured int) {
	if b.bus == nil {
		return 0, 0
	}
	if s := b.busServer(); s != nil {
		connected = len(joined(s))
	}
	return connected, b.bus.named()
}

// ClusterAddr is where this node's routes are listened for, or nil when
// clustering is off or the broker is stopped.
func (b *Broker) ClusterAddr() net.Addr {
	if s := b.busServer(); s != nil {
		if address := s.ClusterAddr(); address != nil {
			return address
		}
	}
	return nil
}

// busServer is the running server of the routes, or nil. Its methods are
// called without the broker's lock, which publishing needs.
func (b *Broker) busServer() *server.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bus == nil {
		return nil
	}
	return b.bus.server
}

// checkCluster is the health check: every named peer is connected. No node
// needs the others to work, so it is a warning.
func (b *Broker) checkCluster(ctx context.Context) error {
	s := b.busServer()
	if s == nil {
		return ErrStopped
	}
	return b.bus.missing(ctx, s)
}
