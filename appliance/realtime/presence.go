package realtime

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

const (
	// presenceTick is how often changes are told to the other nodes and to
	// people: who opens three connections at once comes online once.
	presenceTick = 200 * time.Millisecond

	// presenceBeat is how often a node says that it lives.
	presenceBeat = 5 * time.Second

	// nodeGone is the silence after which a node's connections count as closed.
	nodeGone = 3 * presenceBeat

	// offlineAfter is how long somebody has to be without a connection before
	// others are told: apps reconnect all the time.
	offlineAfter = 3 * time.Second

	// saidEvery is how often the same word of a client is passed on.
	saidEvery = time.Second

	// presenceQueue bounds the announcements that wait for an [Audience]. What
	// does not fit is dropped: presence is stale in seconds.
	presenceQueue = 1024

	audienceWait = 5 * time.Second
)

// Audience says who may know what somebody is doing. The services that know
// threads and follows implement it.
type Audience interface {
	// WhoMaySee gives the accounts that may see a user's presence: with a
	// thread its other members, when the user is one of them, else everybody
	// who shares a thread with the user or follows it mutually.
	WhoMaySee(ctx context.Context, user int64, thread *int64) ([]int64, error)
}

// Presence tells that somebody came, went or types.
type Presence struct {
	UserID    int64     `json:"user_id"`
	ThreadID  *int64    `json:"thread_id"`
	Status    string    `json:"status"`
	Timestamp time.Time `json:"timestamp"`
}

// EventType implements [Event].
func (Presence) EventType() string { return "presence" }

// presenceWord is what nodes tell each other.
type presenceWord struct {
	Node    string  `json:"node"`
	Version uint64  `json:"version"` // of the sender's set of users
	On      []int64 `json:"on,omitempty"`
	Off     []int64 `json:"off,omitempty"`
	All     bool    `json:"all,omitempty"` // On is everybody
	Ask     string  `json:"ask,omitempty"` // the node that is asked to say everybody
	Bye     bool    `json:"bye,omitempty"`
}

// presenceNode is what is known of another node.
type presenceNode struct {
	users   map[int64]struct{}
	version uint64
	seen    time.Time
}

// presence knows who has a connection on any node, and tells those who may
// know. Every node knows everything; of the living ones one, chosen by the
// user's id, does the telling.
type presence struct {
	node     string
	bus      Bus
	audience Audience
	tell     func(Channel, Event) error
	log      *slog.Logger
	clock    func() time.Time

	mu      sync.Mutex
	here    map[int64]int // connections on this node
	version uint64
	on, off map[int64]struct{} // changes of here that are not told yet
	nodes   map[string]*presenceNode
	shown   map[int64]struct{}  // whom others take for online
	going   map[int64]time.Time // since when somebody shown has no connection
	fresh   map[int64]struct{}  // whose state has to be looked at
	words   map[saidKey]time.Time
	beaten  time.Time

	queue chan Presence
}

type saidKey struct {
	user   int64
	status string
}

func newPresence(node string, bus Bus, audience Audience, tell func(Channel, Event) error, log *slog.Logger) *presence {
	return &presence{
		node: node, bus: bus, audience: audience, tell: tell, log: log, clock: time.Now,
		here: make(map[int64]int), on: make(map[int64]struct{}), off: make(map[int64]struct{}),
		nodes: make(map[string]*presenceNode), shown: make(map[int64]struct{}), going: make(map[int64]time.Time),
		fresh: make(map[int64]struct{}), words: make(map[saidKey]time.Time), queue: make(chan Presence, presenceQueue),
	}
}

// connected counts one more connection of a user on this node.
func (p *presence) connected(user int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here[user]++
	if p.here[user] == 1 {
		p.on[user] = struct{}{}
		delete(p.off, user)
		p.fresh[user] = struct{}{}
	}
}

// disconnected counts one less.
func (p *presence) disconnected(user int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.here[user]--; p.here[user] <= 0 {
		delete(p.here, user)
		p.off[user] = struct{}{}
		delete(p.on, user)
		p.fresh[user] = struct{}{}
	}
}

// said takes a client's word about its own user. It reports whether the word is
// one that there is.
func (p *presence) said(user int64, status string, thread *int64) bool {
	switch status {
	case "online", "offline", "typing":
	default:
		return false
	}
	if p.audience == nil {
		return true
	}
	now := p.clock()
	p.mu.Lock()
	last, repeated := p.words[saidKey{user, status}]
	repeated = repeated && now.Sub(last) < saidEvery
	if !repeated {
		p.words[saidKey{user, status}] = now
	}
	p.mu.Unlock()
	if !repeated {
		p.announce(Presence{UserID: user, ThreadID: thread, Status: status, Timestamp: now.UTC()})
	}
	return true
}

func (p *presence) announce(what Presence) {
	select {
	case p.queue <- what:
	default:
	}
}

// Online counts users with a connection on any node.
func (p *presence) online() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[int64]struct{}, len(p.here))
	for user := range p.here {
		all[user] = struct{}{}
	}
	for _, n := range p.nodes {
		for user := range n.users {
			all[user] = struct{}{}
		}
	}
	return len(all)
}

// run works until ctx ends, then says good-bye to the other nodes.
func (p *presence) run(ctx context.Context) {
	ticker := time.NewTicker(presenceTick)
	defer ticker.Stop()
	p.send(presenceWord{Ask: everySession})
	for {
		select {
		case <-ctx.Done():
			p.send(presenceWord{Bye: true})
			return
		case <-ticker.C:
			p.tick()
		}
	}
}

// deliver asks the audience and tells it, until ctx ends.
func (p *presence) deliver(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case what := <-p.queue:
			asking, cancel := context.WithTimeout(ctx, audienceWait)
			audience, err := p.audience.WhoMaySee(asking, what.UserID, what.ThreadID)
			cancel()
			if err != nil {
				p.log.Warn("presence was not told", "user_id", what.UserID, "error", err)
				continue
			}
			for _, user := range audience {
				if user == what.UserID || !p.isOnline(user) {
					continue
				}
				if err := p.tell(User(user), what); err != nil {
					p.log.Debug("presence was not told", "user_id", what.UserID, "error", err)
				}
			}
		}
	}
}

func (p *presence) isOnline(user int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connectedAnywhere(user)
}

// connectedAnywhere needs mu.
func (p *presence) connectedAnywhere(user int64) bool {
	if p.here[user] > 0 {
		return true
	}
	for _, n := range p.nodes {
		if _, ok := n.users[user]; ok {
			return true
		}
	}
	return false
}

// tick tells nodes and people what has changed.
func (p *presence) tick() {
	now := p.clock()
	p.mu.Lock()
	word := presenceWord{On: keys(p.on), Off: keys(p.off)}
	changed := len(word.On)+len(word.Off) > 0
	if changed {
		p.version++
		clear(p.on)
		clear(p.off)
	}
	beat := changed || now.Sub(p.beaten) >= presenceBeat
	if beat {
		p.beaten = now
	}
	word.Version = p.version
	for name, n := range p.nodes {
		if now.Sub(n.seen) > nodeGone {
			p.forget(name)
		}
	}
	tell := p.settle(now)
	for key, at := range p.words {
		if now.Sub(at) >= saidEvery {
			delete(p.words, key)
		}
	}
	p.mu.Unlock()
	if beat {
		p.send(word)
	}
	if p.audience != nil {
		for _, what := range tell {
			p.announce(what)
		}
	}
}

// settle finds who came and who went, and gives what this node has to tell.
// It needs mu.
func (p *presence) settle(now time.Time) (tell []Presence) {
	look := func(user int64) {
		_, shown := p.shown[user]
		since, going := p.going[user]
		switch online := p.connectedAnywhere(user); {
		case online && !shown:
			p.shown[user] = struct{}{}
			if p.mine(user) {
				tell = append(tell, Presence{UserID: user, Status: "online", Timestamp: now.UTC()})
			}
		case online:
			delete(p.going, user)
		case shown && !going:
			p.going[user] = now
		case shown && now.Sub(since) >= offlineAfter:
			delete(p.shown, user)
			delete(p.going, user)
			if p.mine(user) {
				tell = append(tell, Presence{UserID: user, Status: "offline", Timestamp: now.UTC()})
			}
		}
	}
	for user := range p.fresh {
		look(user)
	}
	clear(p.fresh)
	for user := range p.going {
		look(user)
	}
	return tell
}

// mine reports whether this node tells about a user: of all living nodes the
// one with the highest hash. It needs mu.
func (p *presence) mine(user int64) bool {
	weight := func(node string) uint64 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(node + "/" + strconv.FormatInt(user, 10)))
		return h.Sum64()
	}
	own := weight(p.node)
	for name := range p.nodes {
		if w := weight(name); w > own || w == own && name > p.node {
			return false
		}
	}
	return true
}

// forget drops a node. It needs mu.
func (p *presence) forget(name string) {
	for user := range p.nodes[name].users {
		p.fresh[user] = struct{}{}
	}
	delete(p.nodes, name)
}

func (p *presence) send(w presenceWord) {
	w.Node = p.node
	data, err := json.Marshal(w)
	if err == nil {
		err = p.bus.Publish(subjectPresence, data)
	}
	if err != nil {
		p.log.Debug("presence was not told to other nodes", "error", err)
	}
}

// heard takes what another node says.
func (p *presence) heard(_ string, data []byte) {
	var w presenceWord
	if err := json.Unmarshal(data, &w); err != nil || w.Node == "" {
		p.log.Warn("a word about presence was dropped", "error", err)
		return
	}
	if w.Node == p.node {
		return
	}
	if reply, ok := p.take(w); ok {
		p.send(reply)
	}
}

// take applies a node's word and gives what has to be answered.
func (p *presence) take(w presenceWord) (reply presenceWord, answer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.Bye {
		if p.nodes[w.Node] != nil {
			p.forget(w.Node)
		}
		return reply, false
	}
	if w.Ask != "" {
		if w.Ask != p.node && w.Ask != everySession {
			return reply, false
		}
		return presenceWord{All: true, On: keys(p.here), Version: p.version}, true
	}
	n := p.nodes[w.Node]
	known := n != nil
	if !known {
		n = &presenceNode{users: make(map[int64]struct{})}
		p.nodes[w.Node] = n
	}
	n.seen = p.clock()
	changes := len(w.On)+len(w.Off) > 0
	switch {
	case w.All:
		for user := range n.users {
			p.fresh[user] = struct{}{}
		}
		clear(n.users)
	case !known, changes && w.Version != n.version+1, !changes && w.Version != n.version:
		return presenceWord{Ask: w.Node}, true // something was missed
	}
	n.version = w.Version
	for _, user := range w.On {
		n.users[user] = struct{}{}
		p.fresh[user] = struct{}{}
	}
	for _, user := range w.Off {
		delete(n.users, user)
		p.fresh[user] = struct{}{}
	}
	return reply, false
}

func keys[V any](m map[int64]V) []int64 {
	out := make([]int64, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
