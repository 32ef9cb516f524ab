package realtime

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// runBytes bounds how many events are put together into one write.
	runBytes = 64 << 10

	// backlogBytes bounds what waits for a shard; whoever brings more waits.
	backlogBytes = 32 << 20

	// beat is how often connections are looked after.
	beat = time.Second
)

// shard owns a part of the connections: which channels they have, and the
// goroutine that tells them. Each connection belongs to one shard, so that its
// events stay in order; several shards keep several cores busy.
type shard struct {
	hub *Hub

	mu    sync.Mutex
	room  sync.Cond // backlog has shrunk
	work  []task
	bytes int
	wake  chan struct{}

	applied atomic.Int64 // every entry up to here was pushed to its connections

	// Only the loop uses these.
	sockets  map[*socket]struct{}
	channels map[Channel]*channel
	writer   *directWriter
	now      uint32 // unix seconds, as of the last beat
}

// task is one thing for the loop to do: entries, or a connection that comes,
// goes or wants to know where it stands.
type task struct {
	entries []*entry
	join    *socket
	at      chan<- int64 // told where the log stood when join was done
	leave   *socket
	beat    *socket
	each    func(*socket)
	look    func(*shard)
	rewind  *int64 // where another log begins
}

// channel is who is subscribed to one.
type channel struct {
	name    Channel
	members []member
	pace    pace
}

// member is a connection and which of its subscriptions this is.
type member struct {
	socket *socket
	sub    int
}

// subscription is where a connection stands among a channel's members.
type subscription struct {
	channel *channel
	at      int
}

func newShard(h *Hub) *shard {
	s := &shard{
		hub: h, wake: make(chan struct{}, 1),
		sockets: make(map[*socket]struct{}), channels: make(map[Channel]*channel), writer: newDirectWriter(), now: uint32(time.Now().Unix()),
	}
	s.room.L = &s.mu
	return s
}

// do queues a task. It waits while the backlog is full.
func (s *shard) do(t task, size int) {
	s.mu.Lock()
	for s.bytes > backlogBytes && size > 0 {
		s.room.Wait()
	}
	s.work = append(s.work, t)
	s.bytes += size
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// loop works until quit is closed and nothing is left to do.
func (s *shard) loop(quit <-chan struct{}) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var entries []*entry
	for {
		select {
		case <-quit:
			s.mu.Lock()
			left := len(s.work)
			s.mu.Unlock()
			if left == 0 {
				return
			}
		case now := <-ticker.C:
			s.now = uint32(now.Unix())
			s.lookAfter(now.Unix())
			if s == s.hub.shards[0] {
				s.hub.metrics.sample(now)
			}
			continue
		case <-s.wake:
		}
		s.mu.Lock()
		work := s.work
		s.work, s.bytes = nil, 0
		s.room.Broadcast()
		s.mu.Unlock()
		entries = entries[:0]
		for _, t := range work {
			if t.entries != nil {
				entries = append(entries, t.entries...)
				continue
			}
			s.tell(entries)
			entries = entries[:0]
			s.membership(t)
		}
		s.tell(entries)
		clear(entries)
	}
}

func (s *shard) membership(t task) {
	switch {
	case t.join != nil:
		s.join(t.join)
		t.at <- s.applied.Load()
	case t.leave != nil:
		s.leave(t.leave)
	case t.rewind != nil:
		s.applied.Store(*t.rewind)
	case t.beat != nil:
		t.beat.push(t.beat.ignored(), s.writer)
	case t.look != nil:
		t.look(s)
	case t.each != nil:
		for sock := range s.sockets {
			t.each(sock)
		}
	}
}

func (s *shard) join(sock *socket) {
	s.sockets[sock] = struct{}{}
	sock.subs = make([]subscription, len(sock.channels))
	for i, name := range sock.channels {
		c := s.channels[name]
		if c == nil {
			c = &channel{name: name}
			s.channels[name] = c
		}
		sock.subs[i] = subscription{c, len(c.members)}
		c.members = append(c.members, member{sock, i})
	}
}

func (s *shard) leave(sock *socket) {
	if _, ok := s.sockets[sock]; !ok {
		return
	}
	delete(s.sockets, sock)
	for _, sub := range sock.subs {
		c := sub.channel
		last := len(c.members) - 1
		moved := c.members[last]
		c.members[sub.at] = moved
		moved.socket.subs[moved.sub].at = sub.at
		c.members[last] = member{}
		c.members = c.members[:last]
		switch {
		case last == 0:
			delete(s.channels, c.name)
		case cap(c.members) > 64 && last < cap(c.members)/4:
			c.members = append(make([]member, 0, 2*last), c.members...)
		}
	}
	sock.subs = nil
}

// tell pushes entries to their connections, in order. Neighbours of one channel
// are put into one write.
func (s *shard) tell(entries []*entry) {
	for len(entries) > 0 {
		n, size := 1, len(entries[0].payload)
		for n < len(entries) && entries[n].channel == entries[0].channel && entries[n-1].closes == "" &&
			(entries[n].seq == 0) == (entries[0].seq == 0) && size+len(entries[n].payload) <= runBytes {
			size += len(entries[n].payload)
			n++
		}
		s.tellRun(entries[:n])
		entries = entries[n:]
	}
}

// tellRun pushes a run of one channel's entries.
func (s *shard) tellRun(run []*entry) {
	last := run[len(run)-1]
	if c := s.channels[run[0].channel]; c != nil {
		c.pace.count(len(run), s.now)
		var frames [forms][]byte
		for _, m := range c.members {
			sock := m.socket
			if sock.after >= run[0].seq && run[0].seq > 0 {
				s.tellLate(sock, run)
				continue
			}
			if frames[sock.form] == nil {
				frames[sock.form] = sock.form.encode(nil, run)
			}
			sock.push(frames[sock.form], s.writer)
		}
		s.hub.metrics.delivered.Add(int64(len(run) * len(c.members)))
		if last.closes != "" {
			for _, m := range c.members {
				if last.closes == everySession || last.closes == m.socket.who.SessionID {
					m.socket.close(codeAuth, reasonAuth)
				}
			}
		}
	}
	if last.seq > 0 {
		s.applied.Store(last.seq)
	}
}

// tellLate is for a connection that has seen more of the log on another node
// than this node had applied when it came.
func (s *shard) tellLate(sock *socket, run []*entry) {
	for len(run) > 0 && run[0].seq <= sock.after {
		run = run[1:]
	}
	if len(run) > 0 {
		sock.push(sock.form.encode(nil, run), s.writer)
	}
}

// lookAfter ends what has had its time, and asks the silent ones for a sign of
// life.
func (s *shard) lookAfter(now int64) {
	for sock := range s.sockets {
		heard := sock.heard.Load()
		silent := time.Duration(now-heard) * time.Second
		switch {
		case sock.who.ExpiresAt.Unix() <= now:
			sock.close(codeAuth, reasonAuth)
		case sock.form == streamed:
			if now-sock.beaten >= int64(streamBeat/time.Second) {
				sock.beaten = now
				sock.push(sock.heartbeat(), s.writer)
			}
		case silent >= idleWait:
			s.hub.metrics.cut("idle")
			sock.close(codeAway, reasonIdle)
		case silent >= pingAfter && sock.asked.CompareAndSwap(false, true):
			sock.push(pingFrame, s.writer)
		}
	}
}
