package realtime_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/realtime"
)

// Nodes that share the broker tell each other at once: events, tickets, ended
// sessions.
func TestNodes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bus := r.bus()
	one, two := r.node(bus), r.node(bus)
	ann := r.person(1)
	a, _ := one.connect(ann, "channels=post:7")
	b, _ := two.connect(ann, "channels=post:7")
	for i := range 20 {
		[]*node{one, two}[i%2].publish(realtime.Post(7), i)
	}
	a.expect(span(0, 19)...)
	b.expect(span(0, 19)...)

	res := one.As(ann.token).Do(t, "POST", "/api/v1/realtime/ticket/", "")
	var out struct{ Ticket string }
	res.JSON(t, &out)
	c, _ := two.dial("?ticket="+out.Ticket, nil)
	require.NotNil(t, c, "a ticket of one node opens a connection on the other")
	again, _ := one.dial("?ticket="+out.Ticket, nil)
	require.Nil(t, again, "once")

	require.NoError(t, one.hub.Tell(realtime.Post(7), event{99}))
	a.expect(99)
	b.expect(99)
}

// loser is a broker that loses everything it is asked to carry.
type loser struct{}

func (loser) Publish(string, []byte) error { return nil }

func (loser) Subscribe(string, func(string, []byte)) (func(), error) { return func() {}, nil }

// What the broker loses is read from the database.
func TestLossyBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := r.node(loser{}), r.node(loser{})
	a, _ := one.connect(r.person(1), "channels=post:7")
	b, _ := two.connect(r.person(1), "channels=post:7")
	one.publish(realtime.Post(7), span(1, 50)...)
	two.publish(realtime.Post(7), span(51, 60)...)
	a.expect(span(1, 60)...)
	b.expect(span(1, 60)...)
}

// Publishers on several nodes at once: every client sees the same order.
func TestOneOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bus := r.bus()
	nodes := []*node{r.node(bus), r.node(bus), r.node(loser{})}
	var clients []*client
	for _, n := range nodes {
		c, _ := n.connect(r.person(1), "channels=post:7")
		clients = append(clients, c)
	}
	const each = 100
	var publishing sync.WaitGroup
	for i, n := range nodes {
		publishing.Go(func() { n.publish(realtime.Post(7), span(i*each, i*each+each-1)...) })
	}
	var orders [3][]int
	var reading sync.WaitGroup
	for i, c := range clients {
		reading.Go(func() {
			for range 3 * each {
				f, err := c.read()
				if err != nil {
					return
				}
				orders[i] = append(orders[i], f.N)
			}
		})
	}
	publishing.Wait()
	reading.Wait()
	require.Len(t, orders[0], 3*each)
	require.Equal(t, orders[0], orders[1])
	require.Equal(t, orders[0], orders[2])
	last := map[int]int{}
	for _, n := range orders[0] {
		require.Greater(t, n+1, last[n/each], "a publisher's own order is kept")
		last[n/each] = n
	}
}

// circle is an audience: everybody may see everybody in it.
type circle []int64

func (c circle) WhoMaySee(_ context.Context, _ int64, thread *int64) ([]int64, error) {
	if thread != nil && *thread != 5 {
		return nil, nil
	}
	return c, nil
}

// Presence is about the caller, goes to whom the audience names, once for any
// number of connections on any node.
func TestPresence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.options.Audience = circle{1, 2}
	bus := r.bus()
	one, two := r.node(bus), r.node(bus)
	bob, _ := two.connect(r.person(2), "")
	stranger, _ := one.connect(r.person(3), "")
	require.Eventually(t, func() bool { return one.hub.Online() == 2 && two.hub.Online() == 2 }, patience, time.Millisecond)

	first, _ := one.connect(r.person(1), "")
	second, _ := two.connect(r.person(1), "")
	next := func() frame {
		for {
			if f := bob.next(); f.UserID != 3 { // the stranger's coming may be told too
				return f
			}
		}
	}
	seen := next()
	require.Equal(t, "presence", seen.Type)
	require.EqualValues(t, 1, seen.UserID)
	require.Equal(t, "online", seen.Status)

	first.say(`{"type":"presence","user_id":2,"status":"typing","thread_id":5}`)
	seen = next()
	require.EqualValues(t, 1, seen.UserID, "whatever the frame says")
	require.Equal(t, "typing", seen.Status)
	first.say(`{"type":"presence","status":"typing","thread_id":6}`)
	first.say(`{"type":"presence","status":"dancing","thread_id":5}`)
	first.say(`{"type":"presence","status":"typing"}`)
	first.say(`{"type":"message","thread_id":5,"message_id":1,"sender_id":2,"body":"I am bob"}`)
	for range 3 {
		for {
			if f := first.next(); f.Type == "ack" {
				require.Equal(t, "ignored", f.Message)
				break
			}
		}
	}

	require.NoError(t, first.conn.CloseNow())
	bob.quiet() // still connected on the other node
	require.NoError(t, second.conn.CloseNow())
	seen = next()
	require.EqualValues(t, 1, seen.UserID)
	require.Equal(t, "offline", seen.Status)
	stranger.quiet()
	require.Eventually(t, func() bool { return one.hub.Online() == 2 && two.hub.Online() == 2 }, patience, time.Millisecond)

	// A node that stops takes its people along.
	stop, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, two.hub.Stop(stop))
	require.Eventually(t, func() bool { return one.hub.Online() == 1 }, patience, time.Millisecond)
}

// A log that was replaced, as by a restored backup, is an honest "not
// recovered", and what comes after it arrives.
func TestReplacedLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	c, _ := n.connect(r.person(1), "positions=1")
	n.publish(realtime.User(1), span(1, 9)...)
	seen := c.expect(span(1, 9)...).Position
	_, err := r.db.Pool.Exec(t.Context(), `WITH gone AS (DELETE FROM realtime_events WHERE seq > 3) UPDATE realtime_log SET last_seq = 3, epoch = epoch + 1`)
	require.NoError(t, err)
	code, _ := c.closed()
	require.Equal(t, 1012, code)
	back, ack := n.connect(r.person(1), "since="+seen)
	require.False(t, *ack.Recovered)
	n.publish(realtime.User(1), 10)
	last := back.expect(10)
	n.publish(realtime.User(1), 11)
	again, ack := n.connect(r.person(1), "since="+last.Position)
	require.True(t, *ack.Recovered)
	again.expect(11)
}
