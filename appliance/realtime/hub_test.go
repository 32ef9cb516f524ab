package realtime_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/realtime"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// What is published arrives where it belongs, once and in order, as an old
// client expects it.
func TestFanOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.node(r.bus())
	ann, bob := r.person(1), r.person(2)
	a, ack := n.connect(ann, "channels=post:7,comment:9,user:2,post:0,post:x,post:7")
	require.JSONEq(t, `{"type":"ack","message":"connected"}`, ack.raw)
	again, _ := n.connect(ann, "")
	b, _ := n.connect(bob, "channels=post:7")

	n.publish(realtime.User(1), 1, 2)
	n.publish(realtime.User(2), 3)
	n.publish(realtime.Post(7), 4)
	n.publish(realtime.Comment(9), 5)
	n.publish(realtime.Post(8), 6)
	n.publish(realtime.Broadcast, 7)

	first := a.expect(1)
	require.Equal(t, `{"type":"test","n":1}`, first.raw)
	a.expect(2, 4, 5, 7)
	again.expect(1, 2, 7)
	b.expect(3, 4, 7)
	for _, c := range []*client{a, again, b} {
		c.quiet()
	}
}

// A rolled back transaction tells nobody anything.
func TestPublishIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.node(r.bus())
	c, _ := n.connect(r.person(1), "")
	undone := fmt.Errorf("undone")
	err := r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		require.NoError(t, n.publisher.Publish(t.Context(), tx, realtime.User(1), event{1}))
		return undone
	})
	require.ErrorIs(t, err, undone)
	require.NoError(t, r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		for i := range 3 {
			require.NoError(t, n.publisher.Publish(t.Context(), tx, realtime.User(1), event{i + 2}))
		}
		return nil
	}))
	c.expect(2, 3, 4)
	c.quiet()
}

// Who comes back with a position gets exactly what it missed, then what is new.
func TestRecovery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bus := r.bus()
	n := r.node(bus)
	ann := r.person(1)
	c, ack := n.connect(ann, "channels=post:7&positions=1")
	require.Equal(t, []string{"user:1", "broadcast", "post:7"}, ack.Channels)
	require.Len(t, ack.Position, 22)
	require.Nil(t, ack.Recovered)
	fresh := ack.Position

	n.publish(realtime.User(1), span(1, 5)...)
	seen := c.expect(span(1, 5)...).Position
	require.NotEmpty(t, seen)
	require.NoError(t, c.conn.CloseNow())
	n.publish(realtime.User(1), 6)
	n.publish(realtime.Post(7), 7)
	n.publish(realtime.Post(8), 8)
	n.publish(realtime.User(1), 9)

	check := func(at *node, since string, want bool, ids ...int) {
		t.Helper()
		c, ack := at.connect(ann, "channels=post:7&since="+since)
		require.NotNil(t, ack.Recovered)
		require.Equal(t, want, *ack.Recovered)
		c.expect(ids...)
		c.quiet()
	}
	check(n, seen, true, 6, 7, 9)
	check(n, fresh, true, 1, 2, 3, 4, 5, 6, 7, 9)
	check(n, "nonsense", false)
	check(n, strings.Repeat("A", 22), false)

	// Another node on the same database reads it from there.
	other := r.node(r.bus())
	check(other, seen, true, 6, 7, 9)
	c, ack = other.connect(ann, "channels=post:7&since="+seen)
	require.True(t, *ack.Recovered)
	c.expect(6, 7)
	other.publish(realtime.User(1), 10)
	last := c.expect(9, 10)
	check(n, last.Position, true)

	// A quiet client learns newer positions from its heartbeats.
	c.say(`{"type":"ping"}`)
	pong := c.next()
	require.Equal(t, "ignored", pong.Message)
	check(n, pong.Position, true)
}

// More events than memory keeps come from the store; more than a connection
// may be sent are an honest no.
func TestRecoveryBeyondMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.node(r.bus())
	ann := r.person(1)
	c, ack := n.connect(ann, "positions=1")
	require.NoError(t, c.conn.CloseNow())
	fill := func(to realtime.Channel, from, count int) {
		require.NoError(t, r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
			for i := range count {
				if err := n.publisher.Publish(t.Context(), tx, to, event{from + i}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	fill(realtime.User(1), 1, 10)
	fill(realtime.User(2), 1, 4200) // pushes ann's out of memory
	sentinel, _ := n.connect(r.person(3), "")
	n.publish(realtime.User(3), 1)
	sentinel.expect(1)

	c, again := n.connect(ann, "since="+ack.Position)
	require.True(t, *again.Recovered)
	c.expect(span(1, 10)...)
	c.quiet()

	_, again = n.connect(r.person(2), "since="+ack.Position)
	require.False(t, *again.Recovered, "4200 events are too many for one connection")
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.node(r.bus())
	ann := r.person(1)
	s := n.stream(ann, "?channels=post:7")
	id, name, ack := s.next()
	require.Equal(t, "connected", ack.Message)
	require.Empty(t, name)
	require.NotEmpty(t, id)
	n.publish(realtime.Post(7), 1, 2)
	first, _, f := s.next()
	require.Equal(t, 1, f.N)
	require.Equal(t, `{"type":"test","n":1}`, f.raw, "the position is the id alone")
	_, _, f = s.next()
	require.Equal(t, 2, f.N)
	require.NoError(t, s.res.Body.Close())

	back := n.stream(ann, "?channels=post:7", "Last-Event-ID", first)
	_, _, ack = back.next()
	require.True(t, *ack.Recovered)
	_, _, f = back.next()
	require.Equal(t, 2, f.N)
	lost := n.stream(ann, "?since=gone")
	_, _, ack = lost.next()
	require.False(t, *ack.Recovered)
}

// Every way to prove who one is, and every way to fail, without the words that
// log the mobile app out.
func TestWhoConnects(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.node(r.bus())
	ann := r.person(1)
	bearer := http.Header{"Authorization": {"Bearer " + ann.token}}
	ticket := func() string {
		res := n.As(ann.token).Do(t, http.MethodPost, "/api/v1/realtime/ticket/", "")
		require.Equal(t, http.StatusCreated, res.Status, res.Body)
		var out struct {
			Ticket    string `json:"ticket"`
			ExpiresIn int    `json:"expires_in"`
		}
		res.JSON(t, &out)
		require.Equal(t, 30, out.ExpiresIn)
		return out.Ticket
	}
	used := ticket()
	for _, query := range []string{"?token=" + ann.token, "?ticket=" + used} {
		c, _ := n.dial(query, nil)
		require.NotNil(t, c, query)
		require.Equal(t, "connected", c.next().Message)
	}
	c, _ := n.dial("/", bearer)
	require.NotNil(t, c, "a slash at the end is fine")
	c, res := n.dial("", nil, "selflink.v1", "bearer."+ann.token)
	require.NotNil(t, c)
	require.Equal(t, "selflink.v1", res.Header.Get("Sec-WebSocket-Protocol"))

	refresh := r.person(1, func(c *auth.Claims) { c.Type = auth.Refresh })
	past := r.person(1, func(c *auth.Claims) { c.ExpiresAt = time.Now().Add(-time.Minute) })
	out := r.person(1)
	r.identity.revoke(out.session.String())
	for name, c := range map[string]struct {
		query  string
		header http.Header
	}{
		"nothing":        {},
		"nonsense":       {query: "?token=abc"},
		"past its time":  {query: "?token=" + past.token},
		"refresh token":  {query: "?token=" + refresh.token},
		"ended session":  {query: "?token=" + out.token},
		"used ticket":    {query: "?ticket=" + used},
		"made-up ticket": {query: "?ticket=" + strings.Repeat("A", 32)},
		"bad ticket":     {query: "?ticket=x&token=" + ann.token},
		"bad header":     {header: http.Header{"Authorization": {"Bearer x"}}, query: "?token=" + ann.token},
		"empty header":   {header: http.Header{"Authorization": {"Bearer"}}},
	} {
		conn, res := n.dial(c.query, c.header)
		require.Nil(t, conn, name)
		require.Equal(t, http.StatusForbidden, res.StatusCode, name)
	}
	stream := n.Do(t, http.MethodGet, "/api/v1/events/stream/?token="+ann.token, "")
	require.Equal(t, http.StatusForbidden, stream.Status, "no token in the address of a stream")
	require.JSONEq(t, `{"detail":"auth_failed"}`, stream.Body)
	require.Equal(t, http.StatusUnauthorized, n.Do(t, http.MethodPost, "/api/v1/realtime/ticket/", "").Status)
	plain := n.Do(t, http.MethodGet, "/ws", "")
	require.Equal(t, http.StatusNotFound, plain.Status)
	require.JSONEq(t, `{"detail":"Not Found"}`, plain.Body)
	broken := n.Do(t, http.MethodGet, "/ws", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "8", "Sec-WebSocket-Key", "x")
	require.Equal(t, http.StatusBadRequest, broken.Status)
}

// A session that ends takes its connections along, and only its own.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ended := make(chan string, 2)
	r.options.Ended = func(user int64, session string) { ended <- fmt.Sprint(user, " ", session) }
	n := r.node(r.bus())
	phone, tablet, old := r.person(1), r.person(1), r.person(1)
	a, _ := n.connect(phone, "")
	b, _ := n.connect(tablet, "")
	s := n.stream(phone, "")
	s.next()
	other, _ := n.connect(r.person(2), "")
	expired, _ := n.connect(r.person(1, func(c *auth.Claims) { c.ExpiresAt = time.Now().Add(2 * time.Second) }), "")

	tx := func(f func(tx database.Tx) error) { require.NoError(t, r.db.Pool.Tx(t.Context(), f)) }
	tx(func(tx database.Tx) error { return n.publisher.CloseSession(t.Context(), tx, 1, phone.session) })
	told := b.next()
	require.Equal(t, "session.revoked", told.Type)
	require.Equal(t, strings.ReplaceAll(phone.session.String(), "-", ""), told.Session, "as in its tokens")
	code, reason := a.closed()
	require.Equal(t, 4401, code)
	require.Len(t, ended, 1, "told before the connections are closed")
	require.Equal(t, "1 "+phone.session.String(), <-ended)
	require.Equal(t, "auth_failed", reason)
	s.next() // session.revoked
	_, name, _ := s.next()
	require.Equal(t, "close", name)
	b.quiet()

	code, _ = expired.closed()
	require.Equal(t, 4401, code, "a connection ends with its token")

	c, _ := n.connect(old, "")
	tx(func(tx database.Tx) error { return n.publisher.CloseUser(t.Context(), tx, 1) })
	for _, conn := range []*client{b, c} {
		code, _ := conn.closed()
		require.Equal(t, 4401, code)
	}
	require.Equal(t, "1 ", <-ended)
	other.quiet()
}

// The position in the answer to a ping is never behind an event that came
// before it, even while the node still tells others of that event: whoever
// resumed from there would get the event twice.
func TestPingIsAnsweredInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.node(r.bus())
	c, _ := n.connect(r.person(1), "channels=post:7&positions=1")
	for i := range 3 {
		other := r.person(int64(i + 2))
		for range 60 {
			n.connect(other, "channels=post:7")
		}
	}
	for i := range 30 {
		n.publish(realtime.Post(7), i)
		told := c.expect(i)
		c.say(`{"type":"ping"}`)
		require.Equal(t, told.Position, c.next().Position, "after event %d", i)
	}
}
