package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// publishers is the most connections that publish at once. Each numbers its
// own events, because the log's order between them is nobody's promise; that
// all clients see one order is checked beside.
const publishers = 16

// Event numbers have ten digits: 1ppnnnnnnn for the n-th event of publisher p.
const (
	firstNumber = 1_000_000_000
	perPublish  = 10_000_000
)

func eventID(publisher, number int) int64 {
	return firstNumber + int64(publisher)*perPublish + int64(number)
}

// eventNumber is the other way; p is negative for numbers of others.
func eventNumber(id int64) (p int, number uint32) {
	id -= firstNumber
	if id < 0 || id >= publishers*perPublish {
		return -1, 0
	}
	return int(id / perPublish), uint32(id % perPublish)
}

// publisher is one keep-alive connection to /internal/publish.
type publisher struct {
	fd     int32
	number int // which it is
	open   int // requests without an answer
	rest   []byte
}

func sockaddr(address string) (*unix.SockaddrInet4, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().Is4() {
		return nil, fmt.Errorf("no address of IPv4: %s", address)
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
}

func (l *load) openPublishers(n, pad int) error {
	if n > publishers {
		return fmt.Errorf("%d publishers are too many", n)
	}
	l.prepare(pad)
	address, err := sockaddr(l.setup.Addr)
	if err != nil {
		return err
	}
	for i := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket: %w", err)
		}
		l.pubs = append(l.pubs, publisher{fd: int32(fd), number: i, rest: make([]byte, 0, 4096)})
		if err := unix.Connect(fd, address); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
		if err := l.watch(int32(fd), int32(publisherID+i), 0, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) closePublishers() {
	for _, p := range l.pubs {
		_ = unix.Close(int(p.fd))
	}
	l.pubs = l.pubs[:0]
}

// prepare makes the request that all events are patched into.
func (l *load) prepare(pad int) {
	body := fmt.Sprintf(`{"channel":%q,"payload":{"type":"gift.received","id":%d,"sent":%d`, channel, firstNumber, time.Now().UnixNano())
	if pad > 0 {
		body += `,"pad":"` + strings.Repeat("x", pad) + `"`
	}
	body += "}}"
	head := fmt.Sprintf("POST /internal/publish HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		l.setup.Addr, l.setup.Publish, len(body))
	l.template, l.bodyAt = []byte(head+body), len(head)
}

// send publishes the next event of p and returns its number as the clients
// will see it.
func (l *load) send(p *publisher) (int64, error) {
	l.number[p.number]++
	id := eventID(p.number, l.number[p.number])
	body := l.template[l.bodyAt:]
	at := bytes.Index(body, idKey) + len(idKey)
	put(body[at:at+idDigits], id)
	at += idDigits + len(`,"sent":`)
	put(body[at:at+sentDigits], time.Now().UnixNano())
	n, err := unix.Write(int(p.fd), l.template)
	if err != nil || n < len(l.template) {
		return 0, fmt.Errorf("publish: %d of %d bytes, %w", n, len(l.template), err)
	}
	p.open++
	l.unsaid++
	return id, nil
}

// put writes n with leading zeros.
func put(b []byte, n int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// answer reads what a publisher was answered. An error stays in l.publish.
func (l *load) answer(p *publisher) {
	held := len(p.rest)
	n, errno := receive(p.fd, p.rest[held:cap(p.rest)])
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 || n == 0 {
		l.publish = errors.Join(l.publish, fmt.Errorf("publisher %d: the connection ended: %v", p.number, errno))
		_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, int(p.fd), nil)
		return
	}
	b := p.rest[:held+n]
	for {
		status, body, size := httpAnswer(b)
		if size == 0 {
			break
		}
		p.open--
		l.unsaid--
		if status != 200 && l.publish == nil {
			l.publish = fmt.Errorf("publish: status %d %.200s", status, body)
		}
		b = b[size:]
	}
	p.rest = p.rest[:copy(p.rest[:cap(p.rest)], b)]
}

// runClosed publishes one event, waits until every connection has it, and goes
// on.
func (l *load) runClosed(o order, r *report) error {
	begin := time.Now()
	end := begin.Add(time.Duration(o.Seconds * float64(time.Second)))
	for now := begin; ; now = time.Now() {
		if o.UntilCut && r.Cut == 0 {
			if err := l.watchSlow(begin, now, r); err != nil {
				return err
			}
			if r.Cut > 0 {
				end = now.Add(time.Duration(o.Seconds * float64(time.Second)))
			}
		} else if now.After(end) {
			break
		}
		id, err := l.send(&l.pubs[0])
		if err != nil {
			return err
		}
		r.Events++
		l.current, l.missing = id, len(l.conns)
		for late := now.Add(l.patience); l.missing > 0; {
			if err := l.poll(l.patience); err != nil {
				return err
			}
			if l.publish != nil || l.live < len(l.conns) || l.missing > 0 && time.Now().After(late) {
				r.Elapsed = time.Since(begin)
				return errors.Join(fmt.Errorf("event %d: %d of %d connections lack it", r.Events, l.missing, len(l.conns)), l.publish)
			}
		}
	}
	r.Elapsed = time.Since(begin)
	return l.drain(r, begin)
}

const (
	// poke is how often the slow client shows that it is there.
	poke = 100 * time.Millisecond
	// slowLimit is how long a run waits for it to be cut.
	slowLimit = 45 * time.Second
)

// watchSlow sends a pong nobody asked for to learn whether the other end is
// still there: nothing else tells somebody who does not read.
func (l *load) watchSlow(begin, now time.Time, r *report) error {
	if l.slow.state == stateClosed {
		r.Cut, r.P99Cut = now.Sub(begin), l.times.percentile(99)
		return nil
	}
	if now.Sub(begin) > slowLimit {
		return fmt.Errorf("the slow connection was not cut after %d events in %s", r.Events, slowLimit)
	}
	if now.Sub(l.poked) >= poke {
		l.poked = now
		l.say = clientFrame(l.say[:0], opPong, nil)
		l.write(l.slow, slowSlot, l.say)
	}
	return nil
}

// runBurst publishes all events as fast as they are taken and waits until
// every connection has them.
func (l *load) runBurst(o order, r *report) error {
	begin := time.Now()
	last, before := begin, 0
	want := o.Events * len(l.conns)
	for l.deliveries < want || l.unsaid > 0 {
		for i := range l.pubs {
			for p := &l.pubs[i]; p.open < 1 && r.Events < o.Events; {
				if _, err := l.send(p); err != nil {
					return err
				}
				r.Events++
			}
		}
		if err := l.poll(100 * time.Millisecond); err != nil {
			return err
		}
		if r.Published == 0 && r.Events == o.Events && l.unsaid == 0 {
			r.Published = time.Since(begin)
		}
		now := time.Now()
		if l.deliveries != before {
			last, before = now, l.deliveries
		}
		if l.publish != nil || now.Sub(last) > l.patience {
			r.Elapsed = last.Sub(begin)
			return errors.Join(fmt.Errorf("%d of %d deliveries came and no more", l.deliveries, want), l.publish)
		}
	}
	r.Elapsed = last.Sub(begin)
	return nil
}

// away is for how long a connection is gone that comes back: some events are
// missed by each.
const away = 200 * time.Millisecond

// runPaced publishes o.Rate events a second and, when o.Churn says so, closes
// a part of the connections each second to have them back with their position.
func (l *load) runPaced(o order, r *report) error {
	begin := time.Now()
	gap := time.Second / time.Duration(o.Rate)
	events := int(o.Seconds * float64(o.Rate))
	part := int(o.Churn * float64(len(l.conns)))
	from, closeAt, openAt := 0, begin.Add(time.Second/2), time.Time{}
	for r.Events < events {
		now := time.Now()
		for ; r.Events < events && !now.Before(begin.Add(time.Duration(r.Events)*gap)); r.Events++ {
			if _, err := l.send(&l.pubs[0]); err != nil {
				return err
			}
		}
		wait := begin.Add(time.Duration(r.Events) * gap).Sub(now)
		if part > 0 && openAt.IsZero() && !now.Before(closeAt) {
			l.leave(from, part)
			openAt = now.Add(away)
		}
		if !openAt.IsZero() && !now.Before(openAt) {
			if err := l.comeBack(from, part); err != nil {
				return err
			}
			r.Reconnects += part
			from, closeAt, openAt = (from+part)%len(l.conns), closeAt.Add(time.Second), time.Time{}
		}
		if !openAt.IsZero() {
			wait = min(wait, openAt.Sub(now))
		}
		if err := l.poll(wait); err != nil {
			return err
		}
		if err := errors.Join(l.publish, l.refused); err != nil {
			return err
		}
	}
	if !openAt.IsZero() {
		if err := l.comeBack(from, part); err != nil {
			return err
		}
		r.Reconnects += part
	}
	err := l.drain(r, begin)
	r.Elapsed = time.Since(begin)
	return err
}

// leave closes connections without a word.
func (l *load) leave(from, part int) {
	for i := range part {
		c := &l.conns[(from+i)%len(l.conns)]
		if c.state == stateLive {
			_ = unix.Close(int(c.fd))
			c.state = stateClosed
			l.live--
		}
	}
}

// comeBack begins to open them again, all at once.
func (l *load) comeBack(from, part int) error {
	for i := range part {
		slot := (from + i) % len(l.conns)
		if c := &l.conns[slot]; c.state == stateClosed {
			if err := l.dial(c, slot); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain waits for the answers and deliveries that are under way.
func (l *load) drain(r *report, begin time.Time) error {
	last, before := time.Now(), l.deliveries
	for l.unsaid > 0 || l.deliveries < r.Events*len(l.conns) || l.live < len(l.conns) {
		if err := l.poll(100 * time.Millisecond); err != nil {
			return err
		}
		if l.deliveries != before {
			last, before = time.Now(), l.deliveries
		}
		if l.publish != nil || l.refused != nil || time.Since(last) > l.patience {
			return errors.Join(fmt.Errorf("%d of %d deliveries came and no more", l.deliveries, r.Events*len(l.conns)), l.publish, l.refused)
		}
	}
	r.Published = time.Since(begin)
	return nil
}
