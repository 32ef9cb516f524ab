package realtime

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"selflink/appliance/realtime/websocket"
)

const (
	// frameLimit is the largest message of a client.
	frameLimit = 16 << 10

	// frameRate and frameBurst bound how much a client may say.
	frameRate  = 20.0 // a second
	frameBurst = 40.0
)

// budget is a token bucket for one connection's frames.
type budget struct {
	left float64
	last time.Time
}

// spend takes one frame off and reports whether it was there.
func (b *budget) spend(now time.Time) bool {
	if b.last.IsZero() {
		b.left = frameBurst
	} else {
		b.left = min(frameBurst, b.left+now.Sub(b.last).Seconds()*frameRate)
	}
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// read listens to the client until the connection ends.
func (s *socket) read(src io.Reader) {
	if s.form == streamed {
		// A client of a stream has nothing to say: its end is all there is.
		_, _ = io.Copy(io.Discard, src)
		return
	}
	r := websocket.NewReader(src, frameLimit)
	var frames budget
	for {
		op, payload, err := r.Next()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed):
			if closed.Remote {
				s.close(closed.Code, "")
			} else {
				s.hub.metrics.cut("protocol")
				s.close(closed.Code, closed.Reason)
			}
			s.linger(src)
			return
		case err != nil:
			return
		}
		now := time.Now()
		s.heard.Store(now.Unix())
		s.asked.Store(false)
		if op == websocket.Pong {
			continue
		}
		if !frames.spend(now) {
			s.hub.metrics.cut("flood")
			s.close(codePolicy, reasonFlood)
			s.linger(src)
			return
		}
		if op == websocket.Ping {
			s.push(websocket.AppendFrame(nil, websocket.Pong, payload), nil)
			continue
		}
		s.answer(op, payload)
	}
}

// lingerMost bounds what is read of a client that is being sent away.
const lingerMost = 16 << 20

// linger reads on for a moment after a close frame was sent: closing a socket
// with unread bytes resets it, and the client might never see why.
func (s *socket) linger(src io.Reader) {
	_ = s.conn.SetReadDeadline(time.Now().Add(closeWait))
	_, _ = io.CopyN(io.Discard, src, lingerMost)
}

// said is what a client may say.
type said struct {
	Type     string          `json:"type"`
	Status   string          `json:"status"`
	ThreadID json.RawMessage `json:"thread_id"`
}

// answer reacts to one message (contract 03 §3 and §7).
func (s *socket) answer(op websocket.Op, payload []byte) {
	if op != websocket.Text {
		s.ignore()
		return
	}
	var m said
	err := json.Unmarshal(payload, &m)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.push(frameInvalid, nil)
		return
	}
	if err == nil && m.Type == "presence" {
		thread, ok := threadID(m.ThreadID)
		if ok && s.hub.presence.said(s.who.UserID, m.Status, thread) {
			return
		}
	}
	s.ignore()
}

// ignore answers a message that is nothing but a sign of life.
func (s *socket) ignore() {
	if s.form != positioned {
		s.push(frameIgnored, nil)
		return
	}
	s.shard.do(task{beat: s}, 0)
}

// threadID reads the required member thread_id: a positive number or null.
func threadID(raw json.RawMessage) (*int64, bool) {
	if len(raw) == 0 {
		return nil, false
	}
	var id *int64
	if err := json.Unmarshal(raw, &id); err != nil || id != nil && *id <= 0 {
		return nil, false
	}
	return id, true
}
