package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
	"selflink/appliance/health"
	"selflink/appliance/loopback"
)

// patience bounds what is waited for; a route comes back after about a second.
const patience = time.Minute

func newToken(t testing.TB) string {
	token, err := broker.NewToken()
	require.NoError(t, err)
	return token
}

// node is a broker with what belongs to it.
type node struct {
	*broker.Broker
	health  *health.Registry
	metrics *prometheus.Registry
	log     *lines
	dir     string
}

// lines is a log that tests read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newNode(t testing.TB, c broker.Cluster) *node {
	n := &node{health: &health.Registry{}, metrics: prometheus.NewRegistry(), log: &lines{}, dir: t.TempDir()}
	var err error
	n.Broker, err = broker.New(broker.Options{
		Dir: n.dir, Cluster: c, Health: n.health, Metrics: n.metrics, Logger: slog.New(slog.NewTextHandler(n.log, nil)),
	})
	require.NoError(t, err)
	return n
}

// startNode starts a node on a port of its own that knows peers.
func startNode(t testing.TB, token string, peers ...string) *node {
	n := newNode(t, broker.Cluster{Listen: "127.0.0.1:0", Peers: peers, Token: token, Node: "node of test"})
	require.NoError(t, n.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, n.Stop(context.Background())) })
	return n
}

func (n *node) addr() string { return n.ClusterAddr().String() }

// sees waits until n is connected to so many others.
func (n *node) sees(t testing.TB, others int) {
	t.Helper()
	require.Eventually(t, func() bool {
		connected, _ := n.Peers()
		return connected == others
	}, patience, time.Millisecond, n.log)
}

// listen subscribes and returns what comes.
func (n *node) listen(t testing.TB, subject string) <-chan string {
	got := make(chan string, 64)
	cancel, err := n.Subscribe(subject, func(_ string, data []byte) {
		select {
		case got <- string(data):
		default:
		}
	})
	require.NoError(t, err)
	t.Cleanup(cancel)
	return got
}

// reaches publishes on n until it arrives: word of a subscription takes a
// moment to cross, and nothing says when it has.
func (n *node) reaches(t testing.TB, subject, text string, got <-chan string) {
	t.Helper()
	require.Eventually(t, func() bool {
		require.NoError(t, n.Publish(subject, []byte(text)))
		for {
			select {
			case heard := <-got:
				if heard == text {
					return true
				}
			default:
				return false
			}
		}
	}, patience, time.Millisecond)
}

// clusterHealth is the result of the check, and whether the node is ready.
func (n *node) clusterHealth(t testing.TB) (health.Result, bool) {
	results, ready := n.health.Run(t.Context())
	for _, r := range results {
		if r.Name == "cluster" {
			require.False(t, r.Ready, "a missing peer is a warning")
			return r, ready
		}
	}
	require.Fail(t, "no check of the cluster")
	return health.Result{}, false
}

// gauge reads a number that has no labels.
func (n *node) gauge(t testing.TB, name string) float64 {
	families, err := n.metrics.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.Fail(t, "no such metric", name)
	return 0
}

// Nothing of this test runs in parallel: it looks at the whole process.
func TestClusterOpensOnePortAndLeavesNothing(t *testing.T) {
	before := listeners(t)
	token := newToken(t)
	a := newNode(t, broker.Cluster{Listen: "127.0.0.1:0", Token: token})
	require.NoError(t, a.Start(t.Context()))
	require.NoError(t, a.Start(t.Context()), "starting twice does nothing")
	require.Equal(t, before+1, listeners(t), "the routes' port and no other")
	b := newNode(t, broker.Cluster{Listen: "127.0.0.1:0", Token: token, Peers: []string{a.addr()}})
	require.NoError(t, b.Start(t.Context()))
	a.sees(t, 1)
	address := a.addr()

	for _, n := range []*node{a, b} {
		require.NoError(t, n.Stop(t.Context()))
		require.NoError(t, n.Stop(t.Context()), "stopping twice does nothing")
		require.Nil(t, n.ClusterAddr())
		require.ErrorIs(t, n.Publish("a", nil), broker.ErrStopped)
		result, ready := n.clusterHealth(t)
		require.False(t, result.OK)
		require.False(t, ready, "the broker itself is down")
	}
	require.Equal(t, before, listeners(t))
	_, err := net.Dial("tcp", address)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.Eventually(t, func() bool { return left() == "" }, patience, 10*time.Millisecond, "goroutines are left")
}

// listeners counts the listening sockets of this process.
func listeners(t *testing.T) int {
	listening := map[string]bool{}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" { // TCP_LISTEN
				listening["socket:["+f[9]+"]"] = true
			}
		}
	}
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		if target, err := os.Readlink("/proc/self/fd/" + file.Name()); err == nil && listening[target] {
			n++
		}
	}
	return n
}

// left gives the stacks of goroutines that belong to brokers.
func left() string {
	var out bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&out, 1)
	var found []string
	for _, stack := range strings.Split(out.String(), "\n\n") {
		if strings.Contains(stack, "nats-server/v2/server") || strings.Contains(stack, "nats.go.") || strings.Contains(stack, "appliance/broker.(") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}

func TestNodesHearEachOther(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	a := startNode(t, token)
	connected, configured := a.Peers()
	require.Equal(t, []int{0, 0}, []int{connected, configured})
	b := startNode(t, token, a.addr())
	// Named by its neighbour alone; the nodes tell each other of the rest.
	c := startNode(t, token, b.addr())
	all := []*node{a, b, c}
	for _, n := range all {
		n.sees(t, 2)
	}
	for _, from := range all {
		for _, to := range all {
			from.reaches(t, "some.subject", "hello", to.listen(t, "some.*"))
		}
	}
	for _, n := range all {
		result, ready := n.clusterHealth(t)
		require.True(t, result.OK, result.Error)
		require.True(t, ready)
		require.Equal(t, 2.0, n.gauge(t, "selflink_cluster_routes"))
	}
	require.Eventually(t, func() bool {
		return strings.Count(a.log.String(), "a node is connected") == 2
	}, patience, time.Millisecond)
	require.Contains(t, a.log.String(), "node-of-test-")
	require.NotContains(t, a.log.String(), "WARN")
}

// All nodes may have the same list: a node finds itself in it.
func TestSameListOnEveryNode(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	first, second := loopback.Address(t), loopback.Address(t)
	// One of the addresses is a name, which shows only when it is asked.
	_, port, err := net.SplitHostPort(second)
	require.NoError(t, err)
	list := []string{first, "localhost:" + port}
	var nodes []*node
	for _, address := range []string{first, second} {
		n := newNode(t, broker.Cluster{Listen: address, Peers: list, Token: token})
		require.NoError(t, n.Start(t.Context()))
		t.Cleanup(func() { require.NoError(t, n.Stop(context.Background())) })
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.sees(t, 1)
		require.Eventually(t, func() bool {
			result, _ := n.clusterHealth(t)
			connected, configured := n.Peers()
			return result.OK && connected == 1 && configured == 1
		}, patience, 10*time.Millisecond)
	}
}

func TestMissingPeerIsAWarning(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	here := startNode(t, token)
	nobody, stranger := loopback.Address(t), startNode(t, newToken(t))
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	require.NoError(t, err)
	defer silent.Close()

	n := startNode(t, token, here.addr(), nobody, stranger.addr(), silent.Addr().String())
	n.sees(t, 1)
	connected, configured := n.Peers()
	require.Equal(t, []int{1, 4}, []int{connected, configured})
	result, ready := n.clusterHealth(t)
	require.True(t, ready)
	require.False(t, result.OK)
	require.Equal(t, "1 of 4 peers connected; "+
		nobody+": nothing listens there; "+
		stranger.addr()+": has another CLUSTER_TOKEN; "+
		silent.Addr().String()+": no answer within 1s", result.Error)
}

// Who has another token gets no route and hears nothing.
func TestWrongTokenIsRefused(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	a := startNode(t, token)
	friend := startNode(t, token, a.addr())
	stranger := startNode(t, newToken(t), a.addr())
	heard := stranger.listen(t, ">")
	a.reaches(t, "secret", "a", friend.listen(t, "secret"))
	// It was refused, at both ends and not only so far.
	require.Eventually(t, func() bool { return strings.Contains(stranger.log.String(), "handshake error") }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(a.log.String(), "handshake error") }, patience, time.Millisecond)
	a.reaches(t, "secret", "b", friend.listen(t, "secret"))
	require.Empty(t, heard)
	connected, _ := stranger.Peers()
	require.Zero(t, connected)
	a.sees(t, 1)
	require.Equal(t, 1, strings.Count(stranger.log.String(), "handshake error"), "told once")
}

// A connection without the certificate is told nothing, not even what this is.
func TestStrangersGetNothing(t *testing.T) {
	t.Parallel()
	a := startNode(t, newToken(t))
	read := func(conn net.Conn) string {
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, _ = conn.Write([]byte("CONNECT {\"user\":\"selflink\"}\r\nPING\r\n"))
		text, err := io.ReadAll(conn)
		require.False(t, os.IsTimeout(err), "it is hung up on")
		return string(text)
	}
	plain, err := net.Dial("tcp", a.addr())
	require.NoError(t, err)
	require.NotContains(t, read(plain), "INFO")

	quiet, err := net.Dial("tcp", a.addr())
	require.NoError(t, err)
	defer quiet.Close()
	require.NoError(t, quiet.SetDeadline(time.Now().Add(patience)))
	_, err = bufio.NewReader(quiet).ReadByte()
	require.ErrorIs(t, err, io.EOF, "who says nothing is told nothing")

	other, err := tls.Dial("tcp", a.addr(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err == nil { // with TLS 1.3 a refused client learns it when it reads
		require.Empty(t, read(other))
	}
	_, err = tls.Dial("tcp", a.addr(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	require.Error(t, err)
	connected, _ := a.Peers()
	require.Zero(t, connected)
}

func TestRouteComesBack(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	address := loopback.Address(t)
	peer := newNode(t, broker.Cluster{Listen: address, Token: token})
	// The peer is not there yet: that keeps nobody from starting.
	n := startNode(t, token, address)
	require.NoError(t, peer.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, peer.Stop(context.Background())) })
	got := n.listen(t, "news")
	for _, text := range []string{"one", "two", "three"} {
		n.sees(t, 1)
		peer.reaches(t, "news", text, got)
		n.reaches(t, "news", text, peer.listen(t, "news"))

		require.NoError(t, peer.Stop(t.Context()))
		n.sees(t, 0)
		result, ready := n.clusterHealth(t)
		require.True(t, ready)
		require.Contains(t, result.Error, "0 of 1 peers connected; "+address)
		require.NoError(t, peer.Start(t.Context()))
	}
	n.sees(t, 1)
	result, _ := n.clusterHealth(t)
	require.True(t, result.OK, result.Error)
	// The log tells of whoever stays for a moment, and of the end.
	logged := func(what string) func() bool { return func() bool { return strings.Contains(n.log.String(), what) } }
	require.Eventually(t, logged("a node is connected"), patience, time.Millisecond)
	require.NoError(t, peer.Stop(t.Context()))
	require.Eventually(t, logged("a node is no longer connected"), patience, time.Millisecond)
}

// Each node's stream holds what it took, and its interface answers for it.
func TestStreamsStaySeparate(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	a := startNode(t, token)
	b := startNode(t, token, a.addr())
	a.sees(t, 1)
	b.sees(t, 1)
	got := b.listen(t, "jobs.>")
	streams := make([]jetstream.Stream, 2)
	for i, n := range []*node{a, b} {
		js, err := n.JetStream()
		require.NoError(t, err)
		streams[i], err = js.Stream(t.Context(), broker.JobsStream)
		require.NoError(t, err)
		for range i + 1 { // one in the first, two in the second
			_, err = js.Publish(t.Context(), broker.JobsSubject("default", 1), []byte("x"))
			require.NoError(t, err)
		}
	}
	a.reaches(t, "jobs.done.x", "succeeded", got)
	for range len(got) { // repetitions at most
		require.Equal(t, "succeeded", <-got, "what goes to a stream is not heard on the bus")
	}
	for i, stream := range streams {
		info, err := stream.Info(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, i+1, info.State.Msgs)
		require.Empty(t, info.Cluster.RaftGroup, "a stream of its own, which nobody votes on")
		require.Empty(t, info.Cluster.Replicas)
	}
	// What is said on the bus goes to no stream.
	require.NoError(t, a.Publish(broker.JobsSubject("default", 1), []byte("y")))
	a.reaches(t, "jobs.done.x", "again", got)
	info, err := streams[0].Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, info.State.Msgs)
}

func TestClusterOptionsAreChecked(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	require.GreaterOrEqual(t, len(token), broker.MinToken)
	require.NotEqual(t, token, newToken(t))
	for want, c := range map[string]broker.Cluster{
		"without an address to listen on": {Peers: []string{"127.0.0.1:1"}, Token: token},
		"shorter than 32 characters":      {Listen: "127.0.0.1:0"},
		"missing port in address":         {Listen: "127.0.0.1", Token: token},
		"port is not a number":            {Listen: "127.0.0.1:http", Token: token},
		"names no host or port":           {Listen: "127.0.0.1:0", Token: token, Peers: []string{":6222"}},
		"too many colons":                 {Listen: "127.0.0.1:0", Token: token, Peers: []string{"::1:6222"}},
	} {
		_, err := broker.New(broker.Options{Dir: t.TempDir(), Cluster: c})
		require.ErrorContains(t, err, want)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	n := newNode(t, broker.Cluster{Listen: taken.Addr().String(), Token: token})
	err = n.Start(t.Context())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorIs(t, err, broker.ErrListen)
	require.ErrorIs(t, n.Publish("a", nil), broker.ErrStopped)
	require.NoError(t, taken.Close())
	require.NoError(t, n.Start(t.Context()), "it can be tried again")
	require.NoError(t, n.Stop(t.Context()))

	off, err := broker.New(broker.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	connected, configured := off.Peers()
	require.Equal(t, []int{0, 0}, []int{connected, configured})
	require.Nil(t, off.ClusterAddr())
}
