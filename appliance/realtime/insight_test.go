package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
	"selflink/appliance/realtime"
)

// buses are the brokers of two nodes that are connected.
func (r *rig) buses() (one, two *broker.Broker) {
	token, err := broker.NewToken()
	require.NoError(r.t, err)
	start := func(peers ...string) *broker.Broker {
		b, err := broker.New(broker.Options{
			Dir: filepath.Join(r.t.TempDir(), "broker"), Cluster: broker.Cluster{Listen: "127.0.0.1:0", Peers: peers, Token: token},
		})
		require.NoError(r.t, err)
		require.NoError(r.t, b.Start(r.t.Context()))
		r.t.Cleanup(func() { require.NoError(r.t, b.Stop(context.Background())) })
		return b
	}
	one = start()
	two = start(one.ClusterAddr().String())
	require.Eventually(r.t, func() bool {
		connected, _ := one.Peers()
		return connected == 1
	}, patience, time.Millisecond)
	return one, two
}

func (n *node) overview() realtime.Overview {
	o, err := n.hub.Overview(n.rig.t.Context())
	require.NoError(n.rig.t, err)
	return o
}

// One node tells of all.
func TestOverview(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, second := r.buses()
	r.options.Node, r.options.Connections = "one", 10
	one := r.node(first)
	r.options.Node = "two"
	two := r.node(second)
	require.Eventually(t, func() bool { return len(one.overview().Nodes) == 2 }, patience, time.Millisecond)

	ann, bob := r.person(1), r.person(2)
	a, _ := one.connect(ann, "channels=post:7")
	b, _ := two.connect(bob, "channels=post:7")
	two.stream(ann, "").next()
	one.publish(realtime.Post(7), span(1, 30)...)
	a.expect(span(1, 30)...)
	b.expect(span(1, 30)...)
	gone, _ := one.connect(bob, "since=nonsense")
	require.NoError(t, gone.conn.CloseNow())

	var seen realtime.Overview
	require.Eventually(t, func() bool {
		seen = two.overview()
		return seen.Totals == realtime.Totals{WebSockets: 2, Streams: 1, Users: 2, Limit: 20} && seen.Counters.Deliveries == 60
	}, patience, time.Millisecond)
	require.Equal(t, []realtime.NodeState{{Node: "one", WebSockets: 1, Users: 1}, {Node: "two", WebSockets: 1, Streams: 1, Users: 2}}, seen.Nodes)
	require.Equal(t, realtime.Post(7), seen.Channels[0].Channel)
	require.Equal(t, 2, seen.Channels[0].Subscribers)
	require.InDelta(t, 30, seen.Channels[0].PerMinute, 15, "they fade, and are counted once")
	require.Equal(t, realtime.ChannelPace{Channel: realtime.Broadcast, Subscribers: 3}, seen.Channels[1])
	require.EqualValues(t, 4, seen.Counters.Opened)
	require.EqualValues(t, 1, seen.Counters.Unrecovered)
	require.Contains(t, seen.Counters.Cut, "slow")

	list, err := one.hub.Connections(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, list, 3)
	list, err = one.hub.Connections(t.Context(), &ann.id)
	require.NoError(t, err)
	require.Len(t, list, 2)
	kinds := map[string]realtime.Connection{}
	for _, c := range list {
		kinds[c.Transport] = c
		require.EqualValues(t, 1, c.UserID)
		require.WithinDuration(t, time.Now(), c.OpenedAt, time.Minute)
	}
	require.Equal(t, "one", kinds["websocket"].Node)
	require.Equal(t, 3, kinds["websocket"].Channels)
	require.Equal(t, "two", kinds["stream"].Node)
	text, err := json.Marshal(list)
	require.NoError(t, err)
	require.Contains(t, string(text), `"user_id":"1"`)
	nobody := int64(99)
	list, err = one.hub.Connections(t.Context(), &nobody)
	require.NoError(t, err)
	require.NotNil(t, list)
	require.Empty(t, list)
}

// Closing a user's connections asks them back; it signs nobody out and touches
// nobody else.
func TestCloseUserConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, second := r.buses()
	one, two := r.node(first), r.node(second)
	require.Eventually(t, func() bool { return len(one.overview().Nodes) == 2 }, patience, time.Millisecond)
	ann := r.person(1)
	here, ack := one.connect(ann, "positions=1")
	there, _ := two.connect(ann, "")
	stream := two.stream(ann, "")
	stream.next()
	other, _ := two.connect(r.person(2), "")
	closed, err := one.hub.CloseUser(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, 3, closed)
	for _, c := range []*client{here, there} {
		code, reason := c.closed()
		require.Equal(t, 1012, code)
		require.Equal(t, "reconnect", reason)
		require.NotRegexp(t, `(?i)expired\s*token|unauthorized`, reason)
	}
	_, name, f := stream.next()
	require.Equal(t, "close", name)
	require.JSONEq(t, `{"code":1012,"reason":"reconnect"}`, f.raw)
	other.quiet()

	one.publish(realtime.User(1), 1)
	back, ack := one.connect(ann, "since="+ack.Position)
	require.True(t, *ack.Recovered)
	back.expect(1)
	closed, err = two.hub.CloseUser(t.Context(), 77)
	require.NoError(t, err)
	require.Zero(t, closed)
}

// Without a bus that can ask, and with one that fails, a node tells of itself.
func TestOverviewAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bus := r.bus()
	for name, n := range map[string]*node{"no bus to ask": r.node(loser{}), "stopped": r.node(bus)} {
		c, _ := n.connect(r.person(1), "")
		if name == "stopped" {
			require.NoError(t, bus.Stop(t.Context()))
		}
		require.Eventually(t, func() bool { return n.overview().Totals.WebSockets == 1 }, patience, time.Millisecond)
		closed, err := n.hub.CloseUser(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, 1, closed)
		c.closed()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		require.NoError(t, n.hub.Stop(ctx))
		cancel()
		_, err = n.hub.Overview(t.Context())
		require.Error(t, err)
		_, err = n.hub.Connections(t.Context(), nil)
		require.Error(t, err)
	}
}

// Who reads nothing is listed first, with what waits; the sum agrees, also
// after it is gone.
func TestWaitingBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	reader, _ := n.connect(r.person(2), "channels=post:7")
	stalled := n.raw(r.person(1), "?channels=post:7")
	text := strings.Repeat("x", 30<<10)
	// What waits may be on its way for a moment, and the reader's too: told on
	// until all three say that it is the stalled one's.
	require.Eventually(t, func() bool {
		require.NoError(t, n.hub.Tell(realtime.Post(7), bulk{Text: text}))
		_ = reader.next()
		list, err := n.hub.Connections(t.Context(), nil)
		require.NoError(t, err)
		return len(list) == 2 && list[0].Waiting > 0 && list[0].UserID == 1 &&
			n.number("selflink_realtime_queue_bytes") > 0 && n.overview().Nodes[0].Waiting > 0
	}, patience, time.Millisecond)
	require.NoError(t, stalled.Close())
	require.Eventually(t, func() bool { return n.number("selflink_realtime_queue_bytes") == 0 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return n.overview().Nodes[0].Waiting == 0 }, patience, time.Millisecond)
}

// However many channels there are, an overview has twenty.
func TestOverviewIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	c, _ := n.connect(r.person(1), "")
	for i := range 15 {
		list := ""
		for j := range 20 {
			list += fmt.Sprintf("post:%d,", 1+20*i+j)
		}
		n.connect(r.person(int64(2+i)), "channels="+list)
	}
	n.publish(realtime.User(1), span(1, 5)...)
	c.expect(span(1, 5)...)
	require.Eventually(t, func() bool {
		o := n.overview()
		return len(o.Channels) == 20 && o.Channels[0].Channel == realtime.User(1) && o.Totals.WebSockets == 16
	}, patience, time.Millisecond)
	require.Zero(t, testutil.CollectAndCount(n.metrics, "selflink_realtime_cuts_total"))
}
