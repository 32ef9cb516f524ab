package realtime

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// topChannels is how many channels an overview has, nodeChannels how many
	// each node tells of: what is busy on one may be quiet on another.
	topChannels  = 20
	nodeChannels = 200

	// maxListed is how many connections are listed.
	maxListed = 200
)

// Overview is what people see of the connections on all nodes. It marshals to
// what the dashboard answers.
type Overview struct {
	Totals   Totals        `json:"totals"`
	Nodes    []NodeState   `json:"nodes"`
	Channels []ChannelPace `json:"channels"` // the busiest 20
	Counters Counters      `json:"counters"`
}

// Totals are open connections, the users that have any, and how many
// connections the nodes take together.
type Totals struct {
	WebSockets int64 `json:"websockets"`
	Streams    int64 `json:"streams"`
	Users      int   `json:"users"`
	Limit      int   `json:"limit"`
}

// NodeState is one node's part of it.
type NodeState struct {
	Node       string `json:"node"`
	WebSockets int64  `json:"websockets"`
	Streams    int64  `json:"streams"`
	Users      int    `json:"users"`
	Waiting    int64  `json:"waiting_bytes"`
}

// ChannelPace is how busy a channel with subscribers is.
type ChannelPace struct {
	Channel     Channel `json:"channel"`
	Subscribers int     `json:"subscribers"`
	PerMinute   float64 `json:"events_per_minute"`
}

// Counters count since the nodes started.
type Counters struct {
	Opened      int64            `json:"opened"`
	Cut         map[string]int64 `json:"cut"` // by reason
	Recovered   int64            `json:"recovered"`
	Unrecovered int64            `json:"unrecovered"`
	Deliveries  int64            `json:"deliveries"`
	PerSecond   float64          `json:"deliveries_per_second"`
}

// Connection is one open connection.
type Connection struct {
	ID        string    `json:"id"`
	Node      string    `json:"node"`
	Transport string    `json:"transport"` // websocket, stream
	UserID    int64     `json:"user_id,string"`
	OpenedAt  time.Time `json:"opened_at"`
	Channels  int       `json:"channels"`
	Waiting   int       `json:"waiting_bytes"`
}

// Overview tells how the connections of all nodes stand. A node that does not
// answer within a second is left out. It fails only while this hub does not
// run, or when ctx ends.
func (h *Hub) Overview(ctx context.Context) (Overview, error) {
	answers, err := h.ask(ctx, question{Kind: askState})
	if err != nil {
		return Overview{}, err
	}
	out := Overview{Nodes: []NodeState{}, Channels: []ChannelPace{}, Counters: Counters{Cut: map[string]int64{}}}
	channels := map[Channel]ChannelPace{}
	for _, a := range answers {
		if a.State == nil {
			continue
		}
		s := a.State
		out.Nodes = append(out.Nodes, s.Node)
		out.Totals.WebSockets += s.Node.WebSockets
		out.Totals.Streams += s.Node.Streams
		out.Totals.Limit += s.Limit
		out.Counters.add(s.Counters)
		for _, c := range s.Channels {
			sum := channels[c.Channel]
			channels[c.Channel] = ChannelPace{c.Channel, sum.Subscribers + c.Subscribers, max(sum.PerMinute, c.PerMinute)}
		}
	}
	out.Totals.Users = h.Online()
	busiest := busiestOf(slices.Collect(maps.Values(channels)), topChannels)
	out.Channels = append(out.Channels, busiest...)
	slices.SortStableFunc(out.Nodes, func(a, b NodeState) int { return strings.Compare(a.Node, b.Node) })
	return out, nil
}

func (c *Counters) add(o Counters) {
	c.Opened += o.Opened
	c.Recovered += o.Recovered
	c.Unrecovered += o.Unrecovered
	c.Deliveries += o.Deliveries
	c.PerSecond = tenth(c.PerSecond + o.PerSecond)
	for reason, n := range o.Cut {
		c.Cut[reason] += n
	}
}

// Connections lists open connections of all nodes, those for which most waits
// first, at most 200; of one user when user is not nil.
func (h *Hub) Connections(ctx context.Context, user *int64) ([]Connection, error) {
	answers, err := h.ask(ctx, question{Kind: askConnections, User: user})
	if err != nil {
		return nil, err
	}
	out := []Connection{}
	for _, a := range answers {
		out = append(out, a.Connections...)
	}
	return heaviest(out, maxListed), nil
}

// CloseUser ends the open connections of a user on every node, and returns how
// many were told to end. The close code asks the client to come back, with
// what it missed: nobody is signed out. A node that does not answer within a
// second may have closed its connections all the same.
func (h *Hub) CloseUser(ctx context.Context, user int64) (int, error) {
	answers, err := h.ask(ctx, question{Kind: askClose, User: &user})
	closed := 0
	for _, a := range answers {
		closed += a.Closed
	}
	return closed, err
}

// state is this node's own part of an overview.
func (h *Hub) state(ctx context.Context) (*nodeState, error) {
	m := h.metrics
	out := &nodeState{
		Node:  NodeState{Node: h.opts.Node, WebSockets: m.sockets.Load(), Streams: m.streams.Load(), Waiting: max(0, m.queued.Load())},
		Limit: h.opts.Connections,
		Counters: Counters{
			Opened: m.all.Load(), Cut: make(map[string]int64, len(cutReasons)),
			Recovered: m.complete.Load(), Unrecovered: m.gaps.Load(),
			Deliveries: m.delivered.Load(), PerSecond: tenth(m.pace.perSecond()),
		},
	}
	for i, reason := range cutReasons {
		out.Counters.Cut[reason] = m.cutOff[i].Load()
	}
	h.mu.Lock()
	out.Node.Users = len(h.users)
	h.mu.Unlock()
	parts, err := eachShard(ctx, h, func(s *shard) []ChannelPace {
		var top []ChannelPace
		for name, c := range s.channels {
			top = append(top, ChannelPace{name, len(c.members), tenth(c.pace.perMinute(s.now))})
			if len(top) == 2*nodeChannels {
				top = busiestOf(top, nodeChannels)
			}
		}
		return busiestOf(top, nodeChannels)
	})
	if err != nil {
		return nil, err
	}
	sums := map[Channel]ChannelPace{}
	for _, part := range parts {
		for _, c := range part {
			sum := sums[c.Channel]
			sums[c.Channel] = ChannelPace{c.Channel, sum.Subscribers + c.Subscribers, max(sum.PerMinute, c.PerMinute)}
		}
	}
	out.Channels = busiestOf(slices.Collect(maps.Values(sums)), nodeChannels)
	return out, nil
}

// connections lists this node's own, see [Hub.Connections].
func (h *Hub) connections(ctx context.Context, user *int64) ([]Connection, error) {
	parts, err := eachShard(ctx, h, func(s *shard) []Connection {
		var list []Connection
		for sock := range s.sockets {
			if user != nil && sock.who.UserID != *user {
				continue
			}
			waiting, ending := sock.waiting()
			if ending {
				continue
			}
			transport := "websocket"
			if sock.form == streamed {
				transport = "stream"
			}
			list = append(list, Connection{
				ID: h.presence.node + "-" + strconv.FormatUint(sock.id, 10), Node: h.opts.Node, Transport: transport,
				UserID: sock.who.UserID, OpenedAt: time.Unix(int64(sock.opened), 0).UTC(), Channels: len(sock.channels), Waiting: waiting,
			})
			if len(list) == 2*maxListed {
				list = heaviest(list, maxListed)
			}
		}
		return list
	})
	return heaviest(slices.Concat(parts...), maxListed), err
}

// closeUser ends this node's own, see [Hub.CloseUser].
func (h *Hub) closeUser(ctx context.Context, user int64) (int, error) {
	parts, err := eachShard(ctx, h, func(s *shard) int {
		closed := 0
		for sock := range s.sockets {
			if sock.who.UserID != user {
				continue
			}
			if _, ending := sock.waiting(); !ending {
				sock.close(codeRestart, reasonReturn)
				closed++
			}
		}
		return closed
	})
	sum := 0
	for _, n := range parts {
		sum += n
	}
	return sum, err
}

// eachShard asks all shards, each in its own loop, where its tables are.
func eachShard[T any](ctx context.Context, h *Hub, look func(*shard) T) ([]T, error) {
	answers := make(chan T, len(h.shards))
	for _, s := range h.shards {
		s.do(task{look: func(s *shard) { answers <- look(s) }}, 0)
	}
	out := make([]T, 0, len(h.shards))
	for range h.shards {
		select {
		case a := <-answers:
			out = append(out, a)
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
	return out, nil
}

// busiestOf gives the first most by events, then by subscribers. It reorders
// list.
func busiestOf(list []ChannelPace, most int) []ChannelPace {
	slices.SortFunc(list, func(a, b ChannelPace) int {
		return cmp.Or(cmp.Compare(b.PerMinute, a.PerMinute), cmp.Compare(b.Subscribers, a.Subscribers), cmp.Compare(a.Channel, b.Channel))
	})
	return list[:min(len(list), most)]
}

// heaviest gives the first most by what waits, then by age. It reorders list.
func heaviest(list []Connection, most int) []Connection {
	slices.SortFunc(list, func(a, b Connection) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), a.OpenedAt.Compare(b.OpenedAt), cmp.Compare(a.ID, b.ID))
	})
	return list[:min(len(list), most)]
}

func tenth(x float64) float64 { return math.Round(10*x) / 10 }
