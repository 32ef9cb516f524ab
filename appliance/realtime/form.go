package realtime

import (
	"encoding/json"
	"strconv"
	"time"

	"selflink/appliance/realtime/websocket"
)

// Close codes and reasons. No reason may hold the words by which the mobile app
// recognises a dead session (contract 03 §2).
const (
	codeAuth     = 4401
	codeAway     = websocket.CodeGoingAway
	codePolicy   = websocket.CodePolicy
	codeRestart  = websocket.CodeRestart
	codeTryAgain = websocket.CodeTryAgain
	codeInternal = websocket.CodeInternal

	reasonAuth    = "auth_failed"
	reasonIdle    = "idle"
	reasonFlood   = "too many frames"
	reasonRestart = "service restart"
	reasonReturn  = "reconnect"
	reasonSlow    = "slow consumer"
	reasonBroken  = "server error"
)

const (
	// pingAfter is the silence after which a client is asked for a sign of
	// life; the mobile app sends one of its own every 25 s.
	pingAfter = 25 * time.Second

	// idleWait is the silence after which a client is taken for gone.
	idleWait = 75 * time.Second

	// streamBeat is how often a stream of server-sent events gets a heartbeat:
	// proxies cut silent ones, and clients take silence for death. It is a
	// named event, since browsers hide comments from scripts.
	streamBeat = 20 * time.Second
)

// pingFrame is shared by all connections.
var pingFrame = websocket.AppendFrame(nil, websocket.Ping, nil)

// encode appends entries as a connection of this form gets them.
func (f form) encode(dst []byte, entries []*entry) []byte {
	if dst == nil {
		size := 0
		for _, e := range entries {
			size += len(e.payload) + 64
		}
		dst = make([]byte, 0, size)
	}
	for _, e := range entries {
		switch {
		case f == streamed:
			dst = appendStreamed(dst, e.position, e.payload)
		case f == positioned && e.position != "":
			dst = websocket.AppendHead(dst, websocket.Text, len(e.payload)+len(`,"position":""`)+len(e.position))
			dst = append(dst, e.payload[:len(e.payload)-1]...)
			dst = append(append(append(dst, `,"position":"`...), e.position...), `"}`...)
		default:
			dst = websocket.AppendFrame(dst, websocket.Text, e.payload)
		}
	}
	return dst
}

func appendStreamed(dst []byte, position string, data []byte) []byte {
	if position != "" {
		dst = append(append(append(dst, "id: "...), position...), '\n')
	}
	return append(append(append(dst, "data: "...), data...), "\n\n"...)
}

// farewell is the last thing that a connection gets.
func (f form) farewell(code int, reason string) []byte {
	if f == streamed {
		return []byte("event: close\ndata: {\"code\":" + strconv.Itoa(code) + ",\"reason\":\"" + reason + "\"}\n\n")
	}
	return websocket.AppendClose(nil, code, reason)
}

// acknowledged is the first frame. The order of its members is the contract's.
type acknowledged struct {
	Type      string    `json:"type"`
	Message   string    `json:"message"`
	Channels  []Channel `json:"channels,omitempty"`
	Position  string    `json:"position,omitempty"`
	Recovered *bool     `json:"recovered,omitempty"`
}

// acknowledgement builds the first frame of a connection. recovered is nil when
// the client did not ask for what it missed.
func (s *socket) acknowledgement(position string, recovered *bool) []byte {
	ack := acknowledged{Type: "ack", Message: "connected"}
	if s.form != plain {
		ack.Channels, ack.Position, ack.Recovered = s.channels, position, recovered
	}
	object, err := json.Marshal(ack)
	if err != nil { // strings and a bool: it cannot fail
		object = []byte(`{"type":"ack","message":"connected"}`)
	}
	if s.form == streamed {
		return appendStreamed(nil, position, object)
	}
	return websocket.AppendFrame(nil, websocket.Text, object)
}

// Answers to what clients send.
var (
	ackIgnored = []byte(`{"type":"ack","message":"ignored"}`)
	ackInvalid = []byte(`{"type":"ack","message":"invalid-json"}`)

	frameIgnored = websocket.AppendFrame(nil, websocket.Text, ackIgnored)
	frameInvalid = websocket.AppendFrame(nil, websocket.Text, ackInvalid)
)

// ignored is the answer to a heartbeat of who asked for positions: it learns
// the current one, so that a quiet connection does not grow old. Only the
// shard's loop may make it: anywhere else, an event may have been pushed to the
// connection already that [socket.at] does not count yet, and who resumed from
// there would get it twice.
func (s *socket) ignored() []byte {
	position := s.hub.log.positions.text(place{s.hub.log.epoch.Load(), s.at()})
	object := append(append([]byte(`{"type":"ack","message":"ignored","position":"`), position...), `"}`...)
	return websocket.AppendFrame(nil, websocket.Text, object)
}

// heartbeat keeps a stream of server-sent events alive, and its position young.
// Like [socket.ignored] it is the shard's loop's.
func (s *socket) heartbeat() []byte {
	position := s.hub.log.positions.text(place{s.hub.log.epoch.Load(), s.at()})
	return []byte("id: " + position + "\nevent: ping\ndata: {}\n\n")
}

// at is up to where everything has been pushed to the connection.
func (s *socket) at() int64 { return max(s.shard.applied.Load(), s.after) }
