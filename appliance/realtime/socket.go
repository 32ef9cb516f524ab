package realtime

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"selflink/appliance/auth"
)

// form is how a connection wants its events.
type form uint8

const (
	plain      form = iota // WebSocket frames as the old backend sent them
	positioned             // WebSocket frames with positions
	streamed               // server-sent events
	forms
)

// state is how far a connection has come.
type state uint8

const (
	joining state = iota // subscribed; what comes waits for what was missed
	open
	closing // the last bytes are on their way, nothing is added
	closed
)

const (
	// writeWait bounds one write to a connection that does not read.
	writeWait = 10 * time.Second

	// closeWait bounds the last write.
	closeWait = 2 * time.Second

	// sendBuffer is the kernel's buffer per connection. Without it the kernel
	// gives a slow reader some megabytes that no limit of ours counts.
	sendBuffer = 256 << 10
)

// socket is one connection. Its fields are set before it joins, but for those
// under mu.
type socket struct {
	id       uint64
	conn     net.Conn
	raw      syscall.RawConn // nil: writes may block, so a goroutine does them
	form     form
	opened   uint32 // unix seconds
	who      auth.Principal
	channels []Channel // its own ones first
	after    int64     // entries up to this number were seen elsewhere
	hub      *Hub
	shard    *shard

	// subs is where the shard keeps it; only the shard's loop uses it.
	subs []subscription

	heard  atomic.Int64 // unix seconds of the last sign of life
	asked  atomic.Bool  // a ping waits for an answer
	beaten int64        // unix seconds of the last heartbeat; the shard's loop's

	// mu is taken by the shard's loop for each event: nothing under it blocks.
	mu      sync.Mutex
	state   state
	flight  uint32        // bytes that are being written by drain
	queue   [][]byte      // shared with other connections, never changed
	queued  int           // bytes in queue
	writing bool          // somebody is writing to conn; others only queue
	left    chan struct{} // made when closing, closed when the last byte is written
}

// push sends b or queues it behind what waits. b is shared and must not change.
// w is the caller's own, nil when it has none. A connection whose queue is full
// is cut.
func (s *socket) push(b []byte, w *directWriter) {
	s.mu.Lock()
	switch {
	case s.state >= closing:
		s.mu.Unlock()
		return
	case s.queued+len(b) > s.hub.opts.QueueBytes && (s.writing || s.state == joining):
		s.mu.Unlock()
		s.hub.metrics.cut("slow")
		s.close(codeTryAgain, reasonSlow)
		return
	case s.writing || s.state == joining || s.raw == nil || w == nil:
		s.queue = append(s.queue, b)
		s.queued += len(b)
		s.hub.metrics.queued.Add(int64(len(b)))
		if !s.writing && s.state == open {
			s.writing = true
			s.hub.writers.Go(s.drain)
		}
		s.mu.Unlock()
		return
	}
	s.writing = true
	s.mu.Unlock()
	n, err := w.write(s.raw, b)
	s.mu.Lock()
	if err == nil && n == len(b) && len(s.queue) == 0 && s.state == open {
		s.writing = false
		s.mu.Unlock()
		return
	}
	if err != nil {
		s.fail()
		s.mu.Unlock()
		return
	}
	// The kernel's buffer is full, or more came meanwhile: the rest is written
	// by a goroutine that may wait.
	if rest := b[n:]; len(rest) > 0 {
		s.queue = append([][]byte{rest}, s.queue...)
		s.queued += len(rest)
		s.hub.metrics.queued.Add(int64(len(rest)))
	}
	s.hub.writers.Go(s.drain)
	s.mu.Unlock()
}

// waiting is how many bytes the client has not taken yet, without those that
// the kernel holds; ending: it was told to go.
func (s *socket) waiting() (bytes int, ending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued + int(s.flight), s.state >= closing
}

// drain writes what is queued until nothing is. Whoever starts it has set
// writing.
func (s *socket) drain() {
	for {
		s.mu.Lock()
		batch := net.Buffers(s.queue)
		s.hub.metrics.queued.Add(-int64(s.flight))
		s.queue, s.queued, s.flight = nil, 0, uint32(s.queued)
		last := s.state == closing
		if len(batch) == 0 {
			s.writing = false
			s.mu.Unlock()
			if last {
				s.finish()
			}
			return
		}
		s.mu.Unlock()
		wait := writeWait
		if last {
			wait = closeWait
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(wait))
		if _, err := batch.WriteTo(s.conn); err != nil {
			s.mu.Lock()
			s.fail()
			s.mu.Unlock()
			return
		}
		_ = s.conn.SetWriteDeadline(time.Time{})
	}
}

// begin sends the first bytes, then what came while the socket was joining, and
// opens it. first is not bounded by the queue's limit.
func (s *socket) begin(first []byte) {
	s.mu.Lock()
	if s.state >= closing { // cut while joining: what is queued is its farewell
		s.queue = append([][]byte{first}, s.queue...)
		s.mu.Unlock()
		s.drain()
		return
	}
	s.state, s.writing = open, true
	s.mu.Unlock()
	n := 0
	if s.raw != nil {
		var err error
		if n, err = newDirectWriter().write(s.raw, first); err != nil {
			s.mu.Lock()
			s.fail()
			s.mu.Unlock()
			return
		}
	}
	s.mu.Lock()
	if n == len(first) && len(s.queue) == 0 && s.state == open {
		s.writing = false
		s.mu.Unlock()
		return
	}
	if n < len(first) {
		s.queue = append([][]byte{first[n:]}, s.queue...)
	}
	s.hub.writers.Go(s.drain)
	s.mu.Unlock()
}

// close ends the connection with a code after what is being written right now.
// What is queued is dropped: the client reads it again when it comes back.
func (s *socket) close(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state >= closing {
		return
	}
	was := s.state
	s.state = closing
	s.left = make(chan struct{})
	s.hub.metrics.queued.Add(-int64(s.queued))
	s.queue, s.queued = nil, 0
	if farewell := s.form.farewell(code, reason); farewell != nil {
		s.queue = [][]byte{farewell}
	}
	if s.writing {
		_ = s.conn.SetWriteDeadline(time.Now().Add(closeWait))
		return
	}
	s.writing = true
	if was == open {
		s.hub.writers.Go(s.drain)
	}
}

// fail gives the connection up: the reader notices. It needs mu; writing stays
// set, so nobody writes any more.
func (s *socket) fail() {
	s.end()
	s.hub.metrics.queued.Add(-int64(s.queued) - int64(s.flight))
	s.queue, s.queued, s.flight = nil, 0, 0
	_ = s.conn.Close()
}

// end marks that nothing will be written any more. It needs mu.
func (s *socket) end() {
	if s.state != closed && s.left != nil {
		close(s.left)
	}
	s.state, s.writing = closed, true
}

// farewell waits until the last bytes of a connection that is closing are
// written: closing it under them would take them away.
func (s *socket) farewell() {
	s.mu.Lock()
	left := s.left
	s.mu.Unlock()
	if left == nil {
		return
	}
	select {
	case <-left:
	case <-time.After(closeWait):
	}
}

// finish shuts the sending half, which the client sees as the end, and lets the
// reader wait shortly for the client to do the same.
func (s *socket) finish() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	_ = s.conn.SetReadDeadline(time.Now().Add(closeWait))
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() == nil {
			return
		}
	}
	_ = s.conn.Close()
}

// directWriter writes to a connection without waiting. It is used by one
// goroutine; it exists so that a write makes no garbage.
type directWriter struct {
	b   []byte
	n   int
	err error
	try func(fd uintptr) bool
}

func newDirectWriter() *directWriter {
	w := new(directWriter)
	w.try = w.attempt
	return w
}

// write returns how much the kernel took, which may be less than all of b.
func (w *directWriter) write(raw syscall.RawConn, b []byte) (int, error) {
	w.b, w.n, w.err = b, 0, nil
	err := raw.Write(w.try)
	w.b = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}

// attempt is called with the connection's descriptor. It always says that it
// is done, so that nobody waits for the connection.
func (w *directWriter) attempt(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), w.b)
		switch err { //nolint:errorlint // a bare errno
		case nil:
			w.n += n
			w.b = w.b[n:]
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return true
		}
		w.err = err
		return true
	}
}
