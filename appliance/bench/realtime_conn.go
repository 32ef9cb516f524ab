package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The states of a connection.
const (
	stateClosed = iota
	stateConnecting
	stateHandshake
	stateAck
	stateLive
)

// conn is one client. It keeps its counts when it is opened again.
type conn struct {
	fd, gen  int32
	state    uint8
	sse      bool
	chunked  bool
	count    uint32
	hash     uint64
	chunks   chunks
	rest     []byte // the beginning of a frame
	position []byte
}

const (
	// inFlight is how many handshakes are under way at once.
	inFlight = 256
	// slowSlot is the slot of the connection that is not read; nobody counts
	// there.
	slowSlot = -1
	// slowBuffer is its receive buffer in bytes, which the kernel doubles.
	slowBuffer = 4096
	channel    = "post:1"
)

// open brings the connections to o.Count and returns when each has its
// acknowledgement.
func (l *load) open(o order) error {
	old := len(l.conns)
	l.conns = append(l.conns, make([]conn, o.Count-old)...)
	l.seen = append(l.seen, make([]uint32, (o.Count-old)*publishers)...)
	for i := old; i < o.Count; i++ {
		l.conns[i].sse = o.Kind == "sse"
		if o.Positions {
			l.conns[i].position = make([]byte, 0, 128)
		}
		for p, n := range l.number {
			l.seen[i*publishers+p] = uint32(n)
		}
	}
	l.refused, l.opening, l.wanted = nil, 0, old
	return l.settle()
}

// settle opens the slots from l.wanted on and waits until all are live.
func (l *load) settle() error {
	last, before := time.Now(), l.live
	for l.live < len(l.conns) {
		for l.opening < inFlight && l.wanted < len(l.conns) {
			if err := l.dial(&l.conns[l.wanted], l.wanted); err != nil {
				return err
			}
			l.wanted++
		}
		if err := l.poll(100 * time.Millisecond); err != nil {
			return err
		}
		if l.refused != nil {
			return l.refused
		}
		if l.live != before {
			last, before = time.Now(), l.live
		} else if time.Since(last) > l.patience {
			return fmt.Errorf("%d of %d connections are open and no more come", l.live, len(l.conns))
		}
	}
	return nil
}

// openSlow opens the connection that is not read after its acknowledgement.
func (l *load) openSlow() error {
	l.slow = &conn{}
	if err := l.dial(l.slow, slowSlot); err != nil {
		return err
	}
	for end := time.Now().Add(l.patience); l.slow.state != stateLive; {
		if err := l.poll(100 * time.Millisecond); err != nil {
			return err
		}
		if l.refused != nil || time.Now().After(end) {
			return errors.Join(errors.New("the slow connection was not opened"), l.refused)
		}
	}
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, int(l.slow.fd), &unix.EpollEvent{Fd: slowID})
}

// dial begins a connection; the rest follows from poll.
func (l *load) dial(c *conn, slot int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	id := int32(slot)
	if slot == slowSlot {
		id = slowID
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, slowBuffer); err != nil {
			return fmt.Errorf("shrink a buffer: %w", err)
		}
	}
	c.fd, c.state, c.rest, c.chunks, c.chunked = int32(fd), stateConnecting, c.rest[:0], chunks{}, false
	c.gen++
	l.opening++
	address, err := sockaddr(l.setup.Addr)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect: %w", err)
	}
	return l.watch(c.fd, id, c.gen, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
}

// handshake asks for the connection.
func (l *load) handshake(c *conn, slot int) {
	b := append(l.say[:0], "GET "...)
	if c.sse {
		b = append(b, "/api/v1/events/stream/"...)
	} else {
		b = append(b, "/ws"...)
	}
	b = append(b, "?channels="+channel...)
	switch {
	case len(c.position) > 0:
		b = escape(append(b, "&since="...), c.position)
	case c.position != nil:
		b = append(b, "&positions=1"...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, l.setup.Addr...)
	b = append(b, "\r\nAuthorization: Bearer "...)
	b = append(b, l.setup.Tokens[max(slot, 0)%len(l.setup.Tokens)]...)
	if c.sse {
		b = append(b, "\r\nAccept: text/event-stream\r\n\r\n"...)
	} else {
		b = append(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+wsKey+"\r\n\r\n"...)
	}
	l.say = b
	c.state = stateHandshake
	l.write(c, slot, b)
}

// The key of all handshakes, and what the server must make of it (RFC 6455
// §1.3).
const (
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func (l *load) write(c *conn, slot int, b []byte) {
	if n, err := unix.Write(int(c.fd), b); err != nil || n < len(b) {
		l.drop(c, slot, fmt.Sprintf("write: %d of %d bytes, %v", n, len(b), err))
	}
}

// drop forgets a connection that ended. Before it is live that is a refusal.
func (l *load) drop(c *conn, slot int, why string) {
	_ = unix.Close(int(c.fd))
	if c.state == stateLive && slot != slowSlot {
		l.live--
	}
	if c.state != stateLive {
		l.opening--
		if l.refused == nil {
			l.refused = fmt.Errorf("connection %d was not opened: %s", slot, why)
		}
	}
	c.state = stateClosed
	l.closed[why]++
}

// serve reads what a connection has.
func (l *load) serve(c *conn, slot int, events uint32) {
	if c.state == stateConnecting {
		if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			l.drop(c, slot, "connect")
			return
		}
		if events&unix.EPOLLOUT == 0 {
			return
		}
		l.handshake(c, slot)
	}
	if slot == slowSlot && c.state == stateLive {
		l.drop(c, slot, "slow")
		return
	}
	over := events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	for c.state != stateClosed {
		held := copy(l.buf[:], c.rest)
		n, errno := receive(c.fd, l.buf[held:])
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return
		case errno != 0:
			l.drop(c, slot, errno.Error())
			return
		case n == 0:
			l.drop(c, slot, "end")
			return
		}
		l.reads++
		full := held+n == len(l.buf)
		l.take(c, slot, held, l.buf[:held+n])
		// What comes later is told anew; only the end of a connection that was
		// told with its last data is not.
		if !full && !over {
			return
		}
	}
}

// receive is recv(2) without the scheduler's bookkeeping, which a call that
// never blocks does not need. b must not be empty.
func receive(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// take handles data, of which the first held bytes were there before, and
// keeps what is incomplete.
func (l *load) take(c *conn, slot, held int, b []byte) {
	if c.state == stateHandshake {
		head := bytes.Index(b, []byte("\r\n\r\n"))
		if head < 0 {
			c.rest = append(c.rest[:0], b...)
			return
		}
		if status := httpStatus(b); !accepted(c, status, b[:head]) {
			l.drop(c, slot, "status "+strconv.Itoa(status)+": "+string(b[head+4:min(len(b), head+104)]))
			return
		}
		c.chunked = c.sse && bytes.Contains(bytes.ToLower(b[:head]), []byte("transfer-encoding: chunked"))
		c.state, held, b = stateAck, 0, b[head+4:]
	}
	if c.sse {
		b = l.takeEvents(c, slot, held, b)
	} else {
		b = l.takeFrames(c, slot, b)
	}
	c.rest = append(c.rest[:0], b...)
}

func accepted(c *conn, status int, head []byte) bool {
	if c.sse {
		return status == 200
	}
	return status == 101 && bytes.Contains(head, []byte(wsAccept))
}

func (l *load) takeEvents(c *conn, slot, held int, b []byte) []byte {
	if c.chunked {
		b = b[:held+len(c.chunks.strip(b[held:]))]
	}
	now := time.Now().UnixNano()
	for c.state != stateClosed {
		data, size := nextEvent(b)
		if size == 0 {
			break
		}
		b = b[size:]
		if len(data) > 0 {
			l.message(c, slot, data, now)
		}
	}
	if c.chunks.ended && c.state != stateClosed {
		l.drop(c, slot, "end of the stream")
	}
	return b
}

func (l *load) takeFrames(c *conn, slot int, b []byte) []byte {
	now := time.Now().UnixNano()
	for c.state != stateClosed {
		op, payload, size := nextFrame(b)
		if size == 0 {
			break
		}
		b = b[size:]
		switch op {
		case opText:
			l.message(c, slot, payload, now)
		case opPing:
			l.say = clientFrame(l.say[:0], opPong, payload)
			l.write(c, slot, l.say)
		case opPong:
		case opClose:
			code := 0
			if len(payload) >= 2 {
				code = int(binary.BigEndian.Uint16(payload))
			}
			l.drop(c, slot, "close "+strconv.Itoa(code))
		default:
			l.drop(c, slot, "bad frame")
		}
	}
	return b
}

// message handles one JSON object.
func (l *load) message(c *conn, slot int, b []byte, now int64) {
	if c.state == stateAck {
		l.acknowledged(c, slot, b)
		return
	}
	id, sent, ok := l.place.read(b)
	if !ok || slot == slowSlot {
		return // of another kind
	}
	p, number := eventNumber(id)
	if p < 0 {
		return
	}
	last := &l.seen[slot*publishers+p]
	switch {
	case number == *last+1:
		*last = number
	case number > *last:
		l.gaps += int(number - *last - 1)
		*last = number
	default:
		l.back++
	}
	c.count++
	c.hash = (c.hash ^ uint64(id)) * 0x100000001b3
	l.deliveries++
	l.times.add(now - sent)
	if id == l.current {
		l.missing--
	}
	if c.position != nil {
		c.position = append(c.position[:0], positionOf(b)...)
	}
}

func (l *load) acknowledged(c *conn, slot int, b []byte) {
	if !bytes.Contains(b, []byte(`"type":"ack"`)) {
		l.drop(c, slot, "no acknowledgement: "+string(b[:min(len(b), 100)]))
		return
	}
	if c.position != nil {
		if len(c.position) > 0 {
			if bytes.Contains(b, []byte(`"recovered":true`)) {
				l.recovered++
			} else {
				l.behind++
			}
		}
		c.position = append(c.position[:0], positionOf(b)...)
	}
	c.state = stateLive
	l.opening--
	if slot != slowSlot {
		l.live++
	}
}
