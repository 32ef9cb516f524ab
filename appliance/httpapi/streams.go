package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// stream is one event stream from its handler's return to its end.
type stream struct {
	rc     *request
	run    func(context.Context, *EventWriter) error
	parent context.Context
	method string
	status int
	header []byte // lines that every answer has
}

// sharedHeader writes the header lines that do not depend on what is answered.
func sharedHeader(fctx *fasthttp.RequestCtx) []byte {
	b := make([]byte, 0, 512)
	for key, value := range fctx.Response.Header.All() {
		switch string(key) {
		case fiber.HeaderContentLength, fiber.HeaderTransferEncoding, fiber.HeaderContentType:
			continue
		}
		b = append(append(append(append(b, key...), ": "...), value...), "\r\n"...)
	}
	return append(fasthttp.AppendHTTPDate(append(b, "Date: "...), time.Now()), "\r\n"...)
}

// head begins a response.
func (s *stream) head(status int) []byte {
	b := make([]byte, 0, len(s.header)+256)
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10)
	b = append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
	return append(b, s.header...)
}

// eventsHead is the head of events, in chunks.
func (s *stream) eventsHead() []byte {
	return append(s.head(s.status), "Content-Type: "+typeEvents+"\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"...)
}

// refusal is a whole response that is no stream.
func (s *stream) refusal(e *Error) []byte {
	b := s.head(e.Status)
	for _, h := range e.Header {
		b = append(append(append(append(b, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	b = append(b, "Content-Type: "+typeJSON+"\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(e.Body)), 10), "\r\n\r\n"...)
	return append(b, e.Body...)
}

// serve runs the stream on its connection; it owns the goroutines it starts.
func (s *stream) serve(conn net.Conn) {
	a, rc := s.rc.api, s.rc
	a.observe.streams.Add(1)
	ctx, cancel := context.WithCancel(s.parent)
	stop := context.AfterFunc(a.streaming, cancel)
	e := &EventWriter{head: s.eventsHead(), conn: conn, timeout: a.opts.WriteTimeout, silence: a.opts.Heartbeat, cancel: cancel}
	e.beat = time.AfterFunc(e.silence, e.heartbeat)
	var watching sync.WaitGroup
	watching.Go(e.watch)
	defer func() {
		stop()
		cancel()
		_ = conn.Close() // wakes the watcher
		watching.Wait()
		a.observe.streams.Add(-1)
		a.reportAs(rc, s.method, s.status, e.sent)
		rc.finish()
	}()
	if err := s.call(ctx, e); err == nil || !s.refuse(ctx, e, err) {
		e.end()
	}
}

// call runs the stream's function; a panic in it ends the stream.
func (s *stream) call(ctx context.Context, e *EventWriter) error {
	defer func() {
		if p := recover(); p != nil {
			a := s.rc.api
			s.rc.failure = fmt.Errorf("panic: %v", p)
			a.log.LogAttrs(a.base, levelError, "panic in a stream", logID(s.rc.id), logRoute(s.rc), logPanic(p), logStack(debug.Stack()))
		}
	}()
	return s.run(ctx, e)
}

// refuse answers with err when nothing was sent, and reports whether it did.
func (s *stream) refuse(ctx context.Context, e *EventWriter, err error) bool {
	a := s.rc.api
	if !e.takeBack() {
		if !errors.Is(err, ErrStreamEnded) && ctx.Err() == nil {
			s.rc.failure = err
			a.log.LogAttrs(a.base, levelError, "stream failed", logID(s.rc.id), logRoute(s.rc), logError(err))
		}
		return false
	}
	s.rc.streaming = false  // it has not become one
	answer := Unavailable() // the server stops, or nobody is there to read it
	if ctx.Err() == nil {
		answer = a.toError(s.rc, err)
	}
	s.status = answer.Status
	if e.conn.SetWriteDeadline(time.Now().Add(e.timeout)) == nil {
		_, _ = e.conn.Write(s.refusal(answer)) // who is gone does not miss it
	}
	return true
}

// streams are the event streams under way. They live outside of the server's
// own count of connections, so Stop waits for them here.
type streams struct {
	mu       sync.Mutex
	stopping bool
	open     map[net.Conn]struct{}
	running  sync.WaitGroup
}

// serve runs a stream in a goroutine of its own. One that comes when Stop waits
// already finds its connection closed.
func (s *streams) serve(conn net.Conn, what *stream) {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		_ = conn.Close()
		what.serve(conn)
		return
	}
	if s.open == nil {
		s.open = make(map[net.Conn]struct{})
	}
	s.open[conn] = struct{}{}
	s.running.Go(func() {
		what.serve(conn)
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	})
	s.mu.Unlock()
}

// hold counts a connection among the streams until release is called. It is
// false when Stop waits already.
func (s *streams) hold(conn net.Conn) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return func() {}, false
	}
	if s.open == nil {
		s.open = make(map[net.Conn]struct{})
	}
	s.open[conn] = struct{}{}
	s.running.Add(1)
	return func() {
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
		s.running.Done()
	}, true
}

// wait returns when all streams have ended, or with ctx's error. No other may
// begin from here on.
func (s *streams) wait(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cut closes the connections of all streams and returns how many there were.
func (s *streams) cut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		_ = conn.Close()
	}
	return len(s.open)
}
