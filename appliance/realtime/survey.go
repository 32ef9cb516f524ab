package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Surveyor asks every node one question. *broker.Broker is one.
type Surveyor interface {
	// Survey gives what came within wait; a node that says nothing is no error.
	Survey(ctx context.Context, subject string, question []byte, wait time.Duration) ([][]byte, error)
	// Answer answers surveys until cancel is called.
	Answer(subject string, answer func(question []byte) []byte) (cancel func(), err error)
}

const (
	// surveyWait is how long other nodes have to answer.
	surveyWait = time.Second

	// ownWait bounds what a node does for an answer: its loops never wait, so
	// it takes milliseconds.
	ownWait = surveyWait * 3 / 4

	// reportLife is how long a node repeats what it last said of itself,
	// however many look.
	reportLife = 500 * time.Millisecond
)

// What may be asked.
const (
	askState       = "state"
	askConnections = "connections"
	askClose       = "close"
)

// question is what one node asks all.
type question struct {
	From string `json:"from"` // the node that asks, which need not be told of itself
	Kind string `json:"kind"`
	User *int64 `json:"user,omitempty"`
}

// answer is what a node says.
type answer struct {
	From        string       `json:"from"`
	State       *nodeState   `json:"state,omitempty"`
	Connections []Connection `json:"connections,omitempty"`
	Closed      int          `json:"closed,omitempty"`
}

// nodeState is a node's part of an [Overview].
type nodeState struct {
	Node     NodeState     `json:"node"`
	Limit    int           `json:"limit"`
	Channels []ChannelPace `json:"channels"`
	Counters Counters      `json:"counters"`
}

// reports keeps what a node last said of itself.
type reports struct {
	mu   sync.Mutex
	last *nodeState
	at   time.Time
}

// errIdle is returned for questions to a hub that does not run.
var errIdle = errors.New("realtime: the hub does not run")

// ask puts a question to this node and all others; this node's answer comes
// first.
func (h *Hub) ask(ctx context.Context, q question) ([]answer, error) {
	q.From = h.presence.node
	own, err := h.reply(ctx, q)
	if err != nil {
		return nil, err
	}
	answers := []answer{own}
	if h.opts.Surveyor == nil {
		return answers, nil
	}
	text, err := json.Marshal(q)
	if err != nil {
		return answers, fmt.Errorf("realtime: ask the other nodes: %w", err)
	}
	others, err := h.opts.Surveyor.Survey(ctx, subjectAsk, text, surveyWait)
	if err != nil {
		h.logger.Debug("the other nodes were not asked", "error", err)
	}
	seen := map[string]bool{q.From: true}
	for _, text := range others {
		var a answer
		if err := json.Unmarshal(text, &a); err != nil {
			h.logger.Warn("a node's answer cannot be read", "error", err)
			continue
		}
		if !seen[a.From] {
			seen[a.From] = true
			answers = append(answers, a)
		}
	}
	return answers, nil
}

// answer answers a node's question.
func (h *Hub) answer(text []byte) []byte {
	var q question
	if err := json.Unmarshal(text, &q); err != nil {
		return nil
	}
	a := answer{From: h.presence.node}
	if q.From != a.From { // it only wants to know that all have answered
		var err error
		if a, err = h.reply(context.Background(), q); err != nil {
			h.logger.Debug("a question of another node was not answered", "error", err)
			return nil
		}
	}
	out, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return out
}

// reply does what is asked on this node.
func (h *Hub) reply(ctx context.Context, q question) (a answer, err error) {
	h.mu.Lock()
	running := h.started && !h.stopped
	h.mu.Unlock()
	if !running {
		return a, errIdle
	}
	ctx, cancel := context.WithTimeout(ctx, ownWait)
	defer cancel()
	a.From = h.presence.node
	switch {
	case q.Kind == askState:
		a.State, err = h.report(ctx)
	case q.Kind == askConnections:
		a.Connections, err = h.connections(ctx, q.User)
	case q.Kind == askClose && q.User != nil:
		a.Closed, err = h.closeUser(ctx, *q.User)
	}
	if err != nil {
		return a, fmt.Errorf("realtime: look at the connections: %w", err)
	}
	return a, nil
}

// report gives the node's state, which is not made anew for each who looks.
func (h *Hub) report(ctx context.Context) (*nodeState, error) {
	h.known.mu.Lock()
	defer h.known.mu.Unlock()
	if h.known.last != nil && time.Since(h.known.at) < reportLife {
		return h.known.last, nil
	}
	now, err := h.state(ctx)
	if err != nil {
		return nil, err
	}
	h.known.last, h.known.at = now, time.Now()
	return now, nil
}
