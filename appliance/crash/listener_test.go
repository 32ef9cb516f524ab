//go:build crash

package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// hangUps is one in how many frames a listener drops its connection after, as
// phones do. After the answer to a ping it is one in four: that answer carries
// a position too, and it has to be as good as an event's.
const hangUps = 300

// listener is a client that keeps coming back with its last position until the
// last event.
type listener struct {
	number   int
	base     string
	who      account
	channels []string
	stream   bool // server-sent events, else a WebSocket
	random   *rand.Rand

	acked atomic.Int64 // unix nanoseconds of the last acknowledgement
	done  chan struct{}

	// Only the listener uses these until it is done.
	position string
	seen     []string // keys of events, in the order of their coming
	resumes  int
	hungUp   int
	pinged   time.Time
	ends     map[string]int // how connections ended that it did not drop
	fault    string         // what must never happen, and ended it
}

// frame is anything that a listener gets.
type frame struct {
	Type      string
	Message   string
	ID        json.Number
	Session   string
	Position  string
	Recovered *bool
	Channels  []string
	Code      int
	Reason    string
}

// connection is a WebSocket or a stream of server-sent events.
type connection interface {
	next(ctx context.Context) (frame, error)
	ping(ctx context.Context) error
	hangUp()
}

// refusal is an answer in place of a connection.
type refusal struct {
	status int
	body   string
}

func (r *refusal) Error() string { return fmt.Sprintf("refused with %d %s", r.status, r.body) }

func (l *listener) String() string {
	kind := "WebSocket"
	if l.stream {
		kind = "event stream"
	}
	return fmt.Sprintf("listener %d (%s)", l.number, kind)
}

// run comes back until the last event has arrived, something happens that must
// not, or ctx ends.
func (l *listener) run(ctx context.Context) {
	defer close(l.done)
	for ctx.Err() == nil && l.fault == "" {
		over, err := l.listen(ctx)
		if over || ctx.Err() != nil {
			return
		}
		l.judge(err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(10+l.random.IntN(390)) * time.Millisecond):
		}
	}
}

// judge notes why a connection ended. The server may go away, be busy or cut
// who is slow; it may not say that the user is somebody else now.
func (l *listener) judge(err error) {
	if err == nil {
		return
	}
	var refused *refusal
	var closed websocket.CloseError
	switch {
	case errors.As(err, &refused):
		l.ends[fmt.Sprint("refused with ", refused.status)]++
		if refused.status != http.StatusServiceUnavailable && refused.status != http.StatusTooManyRequests {
			l.fault = err.Error()
		}
	case errors.As(err, &closed):
		l.ends[fmt.Sprint("closed with ", int(closed.Code))]++
		if !slices.Contains([]int{1011, 1012, 1013}, int(closed.Code)) {
			l.fault = err.Error()
		}
	default:
		l.ends["gone"]++
	}
}

// listen is one connection. over is true when the last event has arrived or
// l.fault is set.
func (l *listener) listen(ctx context.Context) (over bool, err error) {
	since := l.position
	conn, err := l.open(ctx)
	if err != nil {
		return false, err
	}
	defer conn.hangUp()
	ack, err := conn.next(ctx)
	if err != nil {
		return false, err
	}
	if l.fault = l.check(ack, since); l.fault != "" {
		return true, nil
	}
	if since != "" {
		l.resumes++
	}
	l.position = ack.Position
	l.acked.Store(time.Now().UnixNano())
	for {
		f, err := conn.next(ctx)
		if err != nil {
			return false, err
		}
		if f.Position != "" {
			l.position = f.Position
		}
		drop := hangUps
		switch f.Type {
		case "gift.received":
			l.seen = append(l.seen, giftKey(f.ID))
			if f.ID == number(lastID) {
				return true, nil
			}
		case "session.revoked":
			l.seen = append(l.seen, sessionKey(f.Session))
		case "ack":
			drop = 4
		case "":
		default:
			l.fault = fmt.Sprintf("got %+v", f)
			return true, nil
		}
		if l.random.IntN(drop) == 0 {
			l.hungUp++
			return false, nil
		}
		if time.Since(l.pinged) > 200*time.Millisecond {
			l.pinged = time.Now()
			if err := conn.ping(ctx); err != nil {
				return false, err
			}
		}
	}
}

// check reads the first frame.
func (l *listener) check(ack frame, since string) string {
	switch {
	case ack.Type != "ack" || ack.Message != "connected":
		return fmt.Sprintf("the first frame is %+v", ack)
	case since == "" && ack.Recovered != nil:
		return "recovered without a question"
	case since != "" && (ack.Recovered == nil || !*ack.Recovered):
		return "came back with its position and was not recovered"
	case ack.Position == "":
		return "no position in the acknowledgement"
	case !slices.Equal(ack.Channels, append([]string{l.who.channel, "broadcast"}, l.channels...)):
		return fmt.Sprint("has the channels ", ack.Channels)
	}
	return ""
}

func (l *listener) open(ctx context.Context) (connection, error) {
	query := url.Values{"channels": {strings.Join(l.channels, ",")}}
	header := http.Header{"Authorization": {"Bearer " + l.who.token}}
	if l.stream {
		if l.position != "" {
			header.Set("Last-Event-ID", l.position)
		}
		return openStream(ctx, l.base+"/api/v1/events/stream/?"+query.Encode(), header)
	}
	query.Set("positions", "1")
	if l.position != "" {
		query.Set("since", l.position)
	}
	return openSocket(ctx, l.base+"/ws?"+query.Encode(), header)
}

// openWait bounds how long a connection takes to open: longer than the server
// waits for its database.
const openWait = 15 * time.Second

// socket is a connection by an implementation of WebSockets that is not ours.
type socket struct{ conn *websocket.Conn }

func openSocket(ctx context.Context, address string, header http.Header) (connection, error) {
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: listeners, HTTPHeader: header})
	if err != nil && response != nil {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return nil, &refusal{response.StatusCode, string(body)}
	}
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(1 << 20)
	return socket{conn}, nil
}

func (s socket) next(ctx context.Context) (f frame, err error) {
	_, data, err := s.conn.Read(ctx)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(data, &f)
}

func (s socket) ping(ctx context.Context) error {
	return s.conn.Write(ctx, websocket.MessageText, []byte(`{"type":"ping"}`))
}

func (s socket) hangUp() { _ = s.conn.CloseNow() }

// stream is a connection of server-sent events.
type stream struct {
	body  io.ReadCloser
	lines *bufio.Reader
}

// listeners opens connections that last.
var listeners = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func openStream(ctx context.Context, address string, header http.Header) (connection, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header = header
	response, err := listeners.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		_ = response.Body.Close()
		return nil, &refusal{response.StatusCode, string(body)}
	}
	return stream{response.Body, bufio.NewReader(response.Body)}, nil
}

// next reads up to the blank line that ends an event: what is cut off before it
// has not happened. An event without data only moves the position.
func (s stream) next(context.Context) (f frame, err error) {
	var id, name, data string
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return frame{}, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		}
	}
	if data != "" {
		if err := json.Unmarshal([]byte(data), &f); err != nil {
			return frame{}, err
		}
	}
	if name == "close" {
		return frame{}, websocket.CloseError{Code: websocket.StatusCode(f.Code), Reason: f.Reason}
	}
	f.Position = id
	return f, nil
}

func (s stream) ping(context.Context) error { return nil }

func (s stream) hangUp() { _ = s.body.Close() }
