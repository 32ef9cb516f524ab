package realtime_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/realtime"
)

// Whatever one client sends gets a defined answer or close code, and the other
// notices nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	other, _ := n.connect(r.person(2), "")
	for name, c := range map[string]struct {
		send func(c *client)
		code int
	}{
		"10 MB in one frame": {func(c *client) {
			_ = c.conn.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat("x", 10<<20)))
		}, 1009},
		"10 000 frames at once": {func(c *client) {
			for range 10_000 {
				if c.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`)) != nil {
					return
				}
			}
		}, 1008},
		"text that is none": {func(c *client) {
			_ = c.conn.Write(t.Context(), websocket.MessageText, []byte{'"', 0xff, '"'})
		}, 1007},
	} {
		conn, _ := n.connect(r.person(1), "")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.send(conn)
		}()
		code, reason := conn.closed()
		require.Equal(t, c.code, code, name)
		require.NotRegexp(t, `(?i)expired\s*token|unauthorized`, reason)
		_ = conn.conn.CloseNow()
		<-sent
	}
	odd, _ := n.connect(r.person(1), "")
	for text, answer := range map[string]string{
		`{"type":`: "invalid-json", ``: "invalid-json", `nul`: "invalid-json", `"text"`: "ignored", `12`: "ignored", `null`: "ignored",
		`{"type":7}`: "ignored", `{"type":["a"]}`: "ignored", `{"type":"presence","status":1,"thread_id":null}`: "ignored",
		`{"type":"presence","status":"typing","thread_id":"x"}`: "ignored", `{"type":"presence","status":"typing","thread_id":-1}`: "ignored",
		strings.Repeat("[", 9000) + strings.Repeat("]", 7000): "invalid-json",
	} {
		odd.say(text)
		require.Equal(t, answer, odd.next().Message, text)
	}
	require.NoError(t, odd.conn.Write(t.Context(), websocket.MessageBinary, []byte{0, 1, 2}))
	require.Equal(t, "ignored", odd.next().Message)
	w, err := odd.conn.Writer(t.Context(), websocket.MessageText)
	require.NoError(t, err)
	for _, part := range []string{`{"type":`, `"pi`, `ng"}`} { // each Write is a fragment
		_, err := io.WriteString(w, part)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.Equal(t, "ignored", odd.next().Message)
	other.quiet()
}

// raw opens a connection by hand and returns it after the handshake.
func (n *node) raw(who person, query string) *net.TCPConn {
	t := n.rig.t
	u, err := url.Parse(n.Base)
	require.NoError(t, err)
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	tcp, ok := conn.(*net.TCPConn)
	require.True(t, ok)
	_, err = fmt.Fprintf(conn, "GET /ws%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", query, u.Host, who.token)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	var head []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); head = append(head, b[0]) {
		_, err := conn.Read(b)
		require.NoError(t, err)
	}
	require.True(t, strings.HasPrefix(string(head), "HTTP/1.1 101 "), string(head))
	require.Contains(t, string(head), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
	return tcp
}

// Garbage after the upgrade ends with a close frame, and with the connection.
func TestGarbage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	conn := n.raw(r.person(1), "")
	_, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	code := all[len(all)-2-len("protocol error"):]
	require.EqualValues(t, 1002, binary.BigEndian.Uint16(code), "%q", all)
	require.Eventually(t, func() bool { return n.open() == 0 }, patience, time.Millisecond)
}

// open is how many connections the node counts.
func (n *node) open() float64 {
	families, err := n.metrics.Gather()
	require.NoError(n.rig.t, err)
	total := 0.0
	for _, f := range families {
		if f.GetName() == "selflink_realtime_connections" {
			for _, m := range f.GetMetric() {
				total += m.GetGauge().GetValue()
			}
		}
	}
	return total
}

func (n *node) number(name string) float64 {
	families, err := n.metrics.Gather()
	require.NoError(n.rig.t, err)
	total := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}

// One user gets as many connections as one needs; the room is free again
// afterwards, and others are not turned away.
func TestCrowd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.options.Connections = 120
	n := r.nodeWithBus()
	ann := r.person(1)
	header := http.Header{"Authorization": {"Bearer " + ann.token}}
	var open []*client
	for range 100 {
		c, _ := n.dial("", header)
		require.NotNil(t, c)
		open = append(open, c)
	}
	refused, res := n.dial("", header)
	require.Nil(t, refused)
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	for i := range 20 {
		c, _ := n.dial("?token="+r.person(int64(2+i)).token, nil)
		require.NotNil(t, c)
	}
	refused, res = n.dial("?token="+r.person(50).token, nil)
	require.Nil(t, refused)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	for _, c := range open {
		require.NoError(t, c.conn.CloseNow())
	}
	require.Eventually(t, func() bool { return n.open() == 20 }, patience, time.Millisecond)
	c, _ := n.connect(ann, "")
	c.quiet()
}

// A reader that does not read is cut, and told to come back; the others have
// everything, and nothing stays queued.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	slow := n.raw(r.person(1), "?channels=post:7")
	fast, _ := n.connect(r.person(2), "channels=post:7")
	fast.conn.SetReadLimit(1 << 20)
	big := strings.Repeat("x", 60<<10)
	sent := 0
	for n.number("selflink_realtime_cuts_total") == 0 {
		require.Less(t, sent, 400, "24 MiB do not fit into any kernel's buffer")
		require.NoError(t, r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
			return n.publisher.Publish(t.Context(), tx, realtime.Post(7), bulk{N: sent, Text: big})
		}))
		require.Equal(t, sent, fast.next().N)
		sent++
	}
	all, err := io.ReadAll(slow)
	if err == nil { // else it was reset, since it read too late for the farewell
		farewell := all[len(all)-2-len("slow consumer"):]
		require.EqualValues(t, 1013, binary.BigEndian.Uint16(farewell))
	}
	require.Eventually(t, func() bool { return n.open() == 1 && n.number("selflink_realtime_queue_bytes") == 0 }, patience, time.Millisecond)
	fast.quiet()
	require.Equal(t, 1, testutil.CollectAndCount(n.metrics, "selflink_realtime_cuts_total"))
}

type bulk struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

// EventType implements realtime.Event.
func (bulk) EventType() string { return "test" }

// An event that is too big is refused where it is published.
func TestTooBig(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	err := r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		return n.publisher.Publish(t.Context(), tx, realtime.User(1), bulk{Text: strings.Repeat("x", 65<<10)})
	})
	require.ErrorIs(t, err, realtime.ErrEventTooBig)
}

// A node that stops tells everybody to come back and leaves nobody behind.
func TestStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	ann := r.person(1)
	var open []*client
	for range 20 {
		c, _ := n.connect(ann, "")
		open = append(open, c)
	}
	s := n.stream(ann, "")
	s.next()
	stopped := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- n.hub.Stop(ctx)
	}()
	for _, c := range open {
		code, reason := c.closed()
		require.Equal(t, 1012, code)
		require.Equal(t, "service restart", reason)
	}
	_, name, _ := s.next()
	require.Equal(t, "close", name)
	require.NoError(t, s.res.Body.Close())
	require.NoError(t, <-stopped)
	require.Zero(t, n.open())
	refused, res := n.dial("?token="+ann.token, nil)
	require.Nil(t, refused)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
}

// History ends by age and by count, and says so.
func TestTrim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	ann := r.person(1)
	c, ack := n.connect(ann, "positions=1&channels=post:7")
	n.publish(realtime.Post(7), span(1, 205)...)
	middle := ""
	for i := 1; i <= 205; i++ {
		f := c.expect(i)
		if i == 100 {
			middle = f.Position
		}
	}
	n.publish(realtime.User(1), 1, 2)
	after := c.expect(1, 2).Position
	gone, err := n.hub.Trim(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, gone, "a post keeps 200")
	_, err = r.db.Pool.Exec(t.Context(), `UPDATE realtime_events SET expires_at = now() - interval '1 minute' WHERE channel = 'user:1' AND payload LIKE '%1}'`)
	require.NoError(t, err)
	gone, err = n.hub.Trim(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, gone)

	fresh := r.node(r.bus()) // whose memory does not know better
	verdict := func(query string) bool {
		_, ack := fresh.connect(ann, query)
		return *ack.Recovered
	}
	require.False(t, verdict("channels=post:7&since="+ack.Position), "the first five are gone")
	require.False(t, verdict("channels=post:7&since="+middle), "and one of the user's")
	require.True(t, verdict("channels=post:7&since="+after), "nothing was missed")
	bob := r.person(2)
	_, again := fresh.connect(bob, "since="+ack.Position)
	require.True(t, *again.Recovered, "nothing of bob's is gone")

	// What is older than any history makes every position before it too old.
	_, err = r.db.Pool.Exec(t.Context(), `UPDATE realtime_events SET expires_at = now() - interval '1 minute', created_at = now() - interval '8 days'`)
	require.NoError(t, err)
	_, err = n.hub.Trim(t.Context())
	require.NoError(t, err)
	last := r.node(r.bus())
	_, again = last.connect(bob, "since="+ack.Position)
	require.False(t, *again.Recovered)
	_, again = last.connect(ann, "since="+after)
	require.True(t, *again.Recovered)
	var left int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM realtime_trimmed`).Scan(&left))
	require.Zero(t, left, "where channels were cut is forgotten below the floor")
}
