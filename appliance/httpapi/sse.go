package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
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
type EventWriter struct {
	mu      sync.Mutex
	w       *bufio.Writer
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
	b := e.buf[:0]
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	if name != "" {
		b = append(append(append(b, "event: "...), name...), '\n')
	}
	b = append(append(append(b, "data: "...), data...), "\n\n"...)
	e.buf = b[:0]
	return e.write(b)
}

// Comment sends a line that clients skip.
func (e *EventWriter) Comment(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write([]byte(": " + text + "\n\n"))
}

// write sends b and puts off the next heartbeat. The caller holds mu.
func (e *EventWriter) write(b []byte) error {
	if e.err != nil {
		return e.err
	}
	e.beat.Reset(e.silence)
	// The server sets one deadline for a whole response; a stream needs one
	// for each write.
	err := e.conn.SetWriteDeadline(time.Now().Add(e.timeout))
	if err == nil {
		_, err = e.w.Write(b)
	}
	if err == nil {
		err = e.w.Flush()
	}
	if err != nil {
		e.fail(err)
		return e.err
	}
	e.sent += int64(len(b))
	return nil
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
// while f is silent. The stream ends when f returns; its error is logged
// unless it is the end of the stream itself. The connection is not used again.
func ServeEvents(c *fiber.Ctx, f func(ctx context.Context, w *EventWriter) error) error {
	rc, ok := c.Locals(requestLocal{}).(*request)
	if !ok {
		return errors.New("httpapi: ServeEvents outside of a Stream operation")
	}
	if rc.api.streaming.Err() != nil {
		return Unavailable()
	}
	rc.streaming = true
	c.Set(fiber.HeaderContentType, typeEvents)
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set("X-Accel-Buffering", "no")
	fctx := c.Context()
	fctx.SetConnectionClose()
	conn, method, status := fctx.Conn(), c.Method(), c.Response().StatusCode()
	parent := rc.context()
	fctx.SetBodyStreamWriter(func(w *bufio.Writer) { rc.stream(parent, w, conn, method, status, f) })
	return nil
}

// stream runs f and everything around it; it owns the goroutines it starts.
func (rc *request) stream(parent context.Context, w *bufio.Writer, conn net.Conn, method string, status int, f func(context.Context, *EventWriter) error) {
	a := rc.api
	a.observe.streams.Add(1)
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(a.streaming, cancel)
	e := &EventWriter{w: w, conn: conn, timeout: a.opts.WriteTimeout, silence: a.opts.Heartbeat, cancel: cancel}
	e.beat = time.AfterFunc(e.silence, e.heartbeat)
	var watching sync.WaitGroup
	watching.Go(e.watch)
	defer func() {
		if p := recover(); p != nil {
			a.log.LogAttrs(a.base, levelError, "panic in a stream", logID(rc.id), logRoute(rc), logPanic(p), logStack(debug.Stack()))
		}
		stop()
		cancel()
		e.beat.Stop()
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // wakes the watcher
		watching.Wait()
		a.observe.streams.Add(-1)
		a.reportAs(rc, method, status, e.sent)
		rc.finish()
	}()
	if err := f(ctx, e); err != nil && !errors.Is(err, ErrStreamEnded) && ctx.Err() == nil {
		a.log.LogAttrs(a.base, levelError, "stream failed", logID(rc.id), logRoute(rc), logError(err))
	}
}

// RefuseEvents answers a stream with a status and one event,
// {"event":"error","detail":text}.
func RefuseEvents(c *fiber.Ctx, status int, text string) error {
	c.Status(status).Set(fiber.HeaderContentType, typeEvents)
	b := append([]byte("data: "), object("event", "error", "detail", text)...)
	return c.Send(append(b, "\n\n"...))
}
