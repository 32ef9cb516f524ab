package realtime

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/realtime/realtimedb"
)

// Event is something that clients are told, as a struct that marshals to a JSON
// object without a member "type": that one is put first.
type Event interface {
	// EventType is the "type" of the object, the same for all of its kind.
	EventType() string
}

// maxPayload is the largest event. Bigger things are fetched by REST.
const maxPayload = 64 << 10

// ErrEventTooBig is returned for an event of more than 64 KiB.
var ErrEventTooBig = errors.New("realtime: an event must not exceed 64 KiB")

// encode writes an event as clients get it.
func encode(e Event) ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.EventType(), err)
	}
	if len(b) < 2 || b[0] != '{' {
		return nil, fmt.Errorf("encode event %s: it is no object", e.EventType())
	}
	kind, err := json.Marshal(e.EventType())
	if err != nil {
		return nil, fmt.Errorf("encode the type of event %s: %w", e.EventType(), err)
	}
	out := make([]byte, 0, len(b)+len(kind)+10)
	out = append(append(out, `{"type":`...), kind...)
	if rest := b[1:]; len(bytes.TrimSpace(rest)) > 1 {
		out = append(append(out, ','), rest...)
	} else {
		out = append(out, '}')
	}
	if len(out) > maxPayload {
		return nil, fmt.Errorf("event %s: %w", e.EventType(), ErrEventTooBig)
	}
	return out, nil
}

// Publisher puts events into the log. It needs nothing but the transaction, so
// a command beside the server can publish too: the server finds what it wrote
// within a second. It is safe for concurrent use.
type Publisher struct{ wake chan struct{} }

// NewPublisher makes the publisher of a process. The [Hub] of the same process
// is given it, and then follows at once.
func NewPublisher() *Publisher { return &Publisher{wake: make(chan struct{}, 1)} }

// nudge says that something may be new. It never blocks.
func (p *Publisher) nudge() {
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Publish tells the subscribers of a channel once tx has committed, on every
// node, and keeps the event in the channel's history. It happens with the
// transaction or not at all. Events that one transaction publishes, or that are
// published one commit after the other, arrive in that order.
func (p *Publisher) Publish(ctx context.Context, tx database.Tx, to Channel, e Event) error {
	payload, err := encode(e)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return p.add(ctx, tx, to, string(payload), "")
}

// everySession marks an event that ends all connections of a user.
const everySession = "*"

// SessionRevoked tells a user that one of its sessions has ended.
type SessionRevoked struct {
	// Session is as in the claim "sid" of its tokens; empty: all of them.
	Session string `json:"session"`
}

// EventType implements [Event].
func (SessionRevoked) EventType() string { return "session.revoked" }

// CloseSession tells a user that one of its sessions has ended, and closes that
// session's connections on every node, once tx has committed. It is part of the
// log, so no node misses it.
func (p *Publisher) CloseSession(ctx context.Context, tx database.Tx, user int64, session uuid.UUID) error {
	return p.revoke(ctx, tx, user, hex.EncodeToString(session[:]), session.String())
}

// CloseUser closes all connections of a user on every node once tx has
// committed, also those whose tokens name no session.
func (p *Publisher) CloseUser(ctx context.Context, tx database.Tx, user int64) error {
	return p.revoke(ctx, tx, user, "", everySession)
}

func (p *Publisher) revoke(ctx context.Context, tx database.Tx, user int64, named, closes string) error {
	payload, err := encode(SessionRevoked{Session: named})
	if err != nil {
		return fmt.Errorf("close sessions: %w", err)
	}
	return p.add(ctx, tx, User(user), string(payload), closes)
}

func (p *Publisher) add(ctx context.Context, tx database.Tx, to Channel, payload, closes string) error {
	if err := insert(ctx, tx, to, payload, closes); err != nil {
		return err
	}
	tx.AfterCommit(p.nudge)
	return nil
}

// insert adds an event to the log, without a number.
func insert(ctx context.Context, db database.Querier, to Channel, payload, closes string) error {
	err := realtimedb.New(db).AddEvent(ctx, realtimedb.AddEventParams{
		Channel: string(to), Payload: payload, Closes: closes, KeepSeconds: int64(to.age() / time.Second),
	})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", to, err)
	}
	return nil
}

// Tell tells who is subscribed to a channel right now, on every node. It is
// best effort: the event is in no history, and a node that cannot be reached
// misses it. It is for what is stale in seconds, such as presence.
func (h *Hub) Tell(to Channel, e Event) error {
	payload, err := encode(e)
	if err != nil {
		return fmt.Errorf("tell: %w", err)
	}
	if err := h.opts.Bus.Publish(subjectTell, encodeTell(to, payload)); err != nil {
		return fmt.Errorf("tell %s: %w", to, err)
	}
	return nil
}
