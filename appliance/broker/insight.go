package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// insightWait bounds one [Broker.Insight].
	insightWait = 3 * time.Second

	// maxConsumers is how many consumers of a stream are told.
	maxConsumers = 100
)

// Insight is what people see of the broker. It marshals to what the dashboard
// answers.
type Insight struct {
	Node    string        `json:"node"`
	Version string        `json:"version"` // of nats-server
	Peers   PeersInsight  `json:"peers"`
	Memory  Usage         `json:"memory"`
	Disk    Usage         `json:"disk"`
	Streams []StreamState `json:"streams"`
	Buckets []string      `json:"buckets"` // there are none
}

// PeersInsight counts the other nodes, as [Broker.Peers] does.
type PeersInsight struct {
	Connected  int `json:"connected"`
	Configured int `json:"configured"`
}

// Usage is what streams take of a budget.
type Usage struct {
	Used  uint64 `json:"used_bytes"`
	Limit int64  `json:"limit_bytes"`
}

// StreamState is a declared stream and what is in it.
type StreamState struct {
	Name      string     `json:"name"`
	Subjects  []string   `json:"subjects"`
	Storage   string     `json:"storage"` // memory, file
	Replicas  int        `json:"replicas"`
	Messages  uint64     `json:"messages"`
	Bytes     uint64     `json:"bytes"`
	MaxBytes  int64      `json:"max_bytes"`
	MaxAge    float64    `json:"max_age_seconds"` // 0: until consumed
	Discard   string     `json:"discard"`         // when full: old, new
	Sync      float64    `json:"sync_seconds"`
	Lost      string     `json:"lost_if_power_fails"`
	Consumers []Consumer `json:"consumers"`
}

// Consumer is who reads a stream.
type Consumer struct {
	Name        string     `json:"name"`
	Pending     uint64     `json:"pending"`     // waits to be fetched
	AckPending  int        `json:"ack_pending"` // fetched and not done
	Redelivered int        `json:"redelivered"`
	Last        *time.Time `json:"last_delivered_at"`
}

// Insight tells how this node's broker stands. It takes at most 3 s, and
// returns [ErrStopped] while the broker does not run.
func (b *Broker) Insight(ctx context.Context) (Insight, error) {
	ctx, cancel := context.WithTimeout(ctx, insightWait)
	defer cancel()
	js, err := b.JetStream()
	if err != nil {
		return Insight{}, err
	}
	account, err := js.AccountInfo(ctx)
	if err != nil {
		return Insight{}, fmt.Errorf("broker: ask for what is used: %w", err)
	}
	out := Insight{
		Node: b.opts.Name, Version: server.VERSION,
		Memory:  Usage{account.Memory, b.opts.MaxMemory},
		Disk:    Usage{account.Store, b.opts.MaxDisk},
		Streams: []StreamState{}, Buckets: []string{},
	}
	if b.opts.Cluster.Node != "" {
		out.Node = b.opts.Cluster.Node
	}
	out.Peers.Connected, out.Peers.Configured = b.Peers()
	for _, stream := range Table() {
		state, err := stream.state(ctx, js)
		if err != nil {
			return Insight{}, err
		}
		out.Streams = append(out.Streams, state)
	}
	return out, nil
}

// state asks how full a stream is and who reads it.
func (s Stream) state(ctx context.Context, js jetstream.JetStream) (StreamState, error) {
	out := StreamState{
		Name: s.Name, Subjects: s.Subjects, Storage: strings.ToLower(s.Storage.String()), Replicas: s.Replicas,
		MaxBytes: s.MaxBytes, MaxAge: s.MaxAge.Seconds(), Discard: "new", Sync: s.Sync.Seconds(), Lost: s.Lost,
		Consumers: []Consumer{},
	}
	if s.Discard == jetstream.DiscardOld {
		out.Discard = "old"
	}
	handle, err := js.Stream(ctx, s.Name)
	if err != nil {
		return out, fmt.Errorf("broker: stream %s does not answer: %w", s.Name, err)
	}
	info := handle.CachedInfo()
	out.Messages, out.Bytes = info.State.Msgs, info.State.Bytes
	list := handle.ListConsumers(ctx)
	for c := range list.Info() { // to its end, or its goroutine would stay
		if len(out.Consumers) == maxConsumers {
			continue
		}
		out.Consumers = append(out.Consumers, Consumer{
			Name: c.Name, Pending: c.NumPending, AckPending: c.NumAckPending, Redelivered: c.NumRedelivered, Last: utc(c.Delivered.Last),
		})
	}
	if err := list.Err(); err != nil {
		return out, fmt.Errorf("broker: list the consumers of %s: %w", s.Name, err)
	}
	slices.SortFunc(out.Consumers, func(a, b Consumer) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil || t.IsZero() {
		return nil
	}
	at := t.UTC()
	return &at
}
