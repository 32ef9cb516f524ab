package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
)

const (
	// HeartbeatInterval is the longest silence of an event stream by default.
	// Proxies cut silent connections, and clients take silence for death.
	HeartbeatInterval = 10 * time.Second

	typeEvents = "text/event-stream"
)

// ErrStreamEnded is returned by an EventWriter whose client is gone or whose
// server stops.
var ErrStreamEnded = errors.New("httpapi: the event stream has ended")

// EventWriter writes server-sent events. Every event is flushed at once. Its
// methods are safe for concurrent use; once one has failed, all others fail
// too, with an error that wraps [ErrStreamEnded].
//
// It frames what it writes by itself and hands it to the connection in one
// write: a stream costs no pipe, no second goroutine and no copy.
type EventWriter struct {
	mu      sync.Mutex
	head    []byte // of the response, until the first write
	conn    net.Conn
	timeout time.Duration
	silence time.Duration
	beat    *time.Timer
	buf     []byte
	sent    int64
	err     error
	cancel  context.CancelFunc
}

// Data sends one unnamed event. Data must be a single line, usually JSON.
func (e *EventWriter) Data(data []byte) error { return e.Event("", "", data) }

// JSON sends v as one unnamed event.
func (e *EventWriter) JSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("httpapi: encode event: %w", err)
	}
	return e.Data(b)
}

// Event sends one event with an id and a name; either may be empty. None of
// the three may contain a line break.
func (e *EventWriter) Event(id, name string, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.frame()
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	if name != "" {
		b = append(append(append(b, "event: "...), name...), '\n')
	}
	return e.write(append(append(append(b, "data: "...), data...), "\n\n"...))
}

// Comment sends a line that clients skip.
func (e *EventWriter) Comment(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write(append(append(append(e.frame(), ": "...), text...), "\n\n"...))
}

// chunkHead is the room for the length of a chunk, in hexadecimal.
const chunkHead = len("0000000\r\n")

// frame gives the buffer of the next chunk, what goes before its content
// already in it. The caller holds mu.
func (e *EventWriter) frame() []byte {
	return append(append(e.buf[:0], e.head...), "0000000\r\n"...)
}

// write sends a frame and puts off the next heartbeat. The caller holds mu.
func (e *EventWriter) write(frame []byte) error {
	if e.err != nil {
		return e.err
	}
	content := len(e.head) + chunkHead
	n := len(frame) - content
	for i, left := content-3, n; left > 0; i, left = i-1, left>>4 {
		frame[i] = "0123456789abcdef"[left&15]
	}
	frame = append(frame, "\r\n"...)
	e.buf = frame[:0]
	e.beat.Reset(e.silence)
	if err := e.send(frame); err != nil {
		return err
	}
	e.head = nil
	e.sent += int64(n)
	return nil
}

// send writes to the connection. The caller holds mu.
func (e *EventWriter) send(b []byte) error {
	if e.err != nil {
		return e.err
	}
	err := e.conn.SetWriteDeadline(time.Now().Add(e.timeout))
	if err == nil {
		_, err = e.conn.Write(b)
	}
	if err != nil {
		e.fail(err)
		return e.err
	}
	return nil
}

// takeBack ends the writer when nothing was sent, and reports whether that is
// so: then the connection is the caller's to answer on.
func (e *EventWriter) takeBack() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.head == nil || e.err != nil {
		return false
	}
	e.beat.Stop()
	e.err = ErrStreamEnded
	return true
}

// end sends what completes the response.
func (e *EventWriter) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.beat.Stop()
	_ = e.send(append(e.head, "0\r\n\r\n"...)) // who is gone does not miss it
}

func (e *EventWriter) fail(err error) {
	if e.err == nil {
		e.err = fmt.Errorf("%w: %w", ErrStreamEnded, err)
		e.beat.Stop()
		e.cancel()
	}
}

// heartbeat runs when nothing was sent for a while.
func (e *EventWriter) heartbeat() { _ = e.Comment("ping") }

// watch notices that the client is gone by reading: a client of a stream has
// nothing more to say, so whatever ends the reading ends the stream.
func (e *EventWriter) watch() {
	var b [64]byte
	for {
		if _, err := e.conn.Read(b[:]); err != nil {
			e.mu.Lock()
			e.fail(err)
			e.mu.Unlock()
			return
		}
	}
}

// ServeEvents answers a [Stream] operation with events written by f, which
// runs after the handler has returned, in a goroutine of its own. The context
// given to f carries what the handler's did; it ends when the client is gone,
// when the server begins to stop, or at Operation.Timeout. Heartbeats are sent
// while f is silent. The stream ends when f returns. An error of f is answered
// like a handler's as long as nothing was sent, and logged otherwise, unless it
// is the end of the stream itself. The connection is not used again.
//
// What takes long belongs into f: the request's buffers serve another request
// as soon as the handler has returned.
func ServeEvents(c *fiber.Ctx, f func(ctx context.Context, w *EventWriter) error) error {
	rc, ok := c.Locals(requestLocal{}).(*request)
	if !ok {
		return errors.New("httpapi: ServeEvents outside of a Stream operation")
	}
	if rc.api.streaming.Err() != nil {
		return Unavailable()
	}
	rc.streaming = true
	fctx := c.Context()
	fctx.SetConnectionClose()
	s := &stream{rc: rc, run: f, parent: rc.context(), method: strings.Clone(c.Method()), status: c.Response().StatusCode()}
	fctx.HijackSetNoResponse(true)
	fctx.Hijack(func(conn net.Conn) {
		if whole, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
			conn = whole.UnsafeConn() // the wrapper holds on to the request's read buffer
		}
		s.header = sharedHeader(fctx)
		rc.api.streams.serve(conn, s)
	})
	return nil
}

// RefuseEvents answers a stream with a status and one event,
// {"event":"error","detail":text}.
func RefuseEvents(c *fiber.Ctx, status int, text string) error {
	c.Status(status).Set(fiber.HeaderContentType, typeEvents)
	b := append([]byte("data: "), object("event", "error", "detail", text)...)
	return c.Send(append(b, "\n\n"...))
}
