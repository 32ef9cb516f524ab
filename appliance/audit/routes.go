package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"selflink/appliance/audit/auditdb"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
)

// Event is one event as the API shows it (contract 00 §13).
type Event struct {
	ID         string            `json:"id"`
	CreatedAt  httpapi.Timestamp `json:"created_at"`
	ActorUser  *int64            `json:"actor_user"`
	ActorIP    *string           `json:"actor_ip"`
	Action     string            `json:"action"`
	ObjectType string            `json:"object_type"`
	ObjectID   string            `json:"object_id"`
	Metadata   json.RawMessage   `json:"metadata"`
	HashPrev   string            `json:"hash_prev"`
	HashSelf   string            `json:"hash_self"`
}

func eventOf(r auditdb.AuditEvent) Event {
	return Event{
		ID: r.ID.String(), CreatedAt: httpapi.Timestamp(r.CreatedAt), ActorUser: r.ActorUser, ActorIP: r.ActorIp,
		Action: r.Action, ObjectType: r.ObjectType, ObjectID: r.ObjectID, Metadata: r.Metadata, HashPrev: r.HashPrev, HashSelf: r.HashSelf,
	}
}

// Register adds the routes of the trail to api. They are for the staff.
func (l *Log) Register(api *httpapi.API) {
	op := func(path, id, summary string) httpapi.Operation {
		return httpapi.Operation{
			Method: http.MethodGet, Path: "audit/events/" + path, ID: "audit_events_" + id, Tag: "audit", Summary: summary,
			Access: httpapi.AccessStaff,
		}
	}
	httpapi.Handle(api, op("", "list", "The audit trail, newest first."), func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Event], error) {
		return l.list(ctx, *in)
	})
	httpapi.Handle(api, op("{id}/", "detail", "One event of the audit trail."), func(ctx context.Context, in *struct {
		ID string `path:"id"`
	}) (Event, error) {
		return l.event(ctx, in.ID)
	})
}

// list gives a page. The trail's places are in the order of its times, so a
// position is a place.
func (l *Log) list(ctx context.Context, in httpapi.PageQuery) (httpapi.Page[Event], error) {
	k, err := in.Keyset(httpapi.Newest)
	if err != nil {
		return httpapi.Page[Event]{}, err
	}
	w := where{desc: k.Desc(), limit: k.Limit}
	switch {
	case k.Set && w.desc:
		w.add("seq < ", k.ID)
	case k.Set:
		w.add("seq > ", k.ID)
	}
	rows, err := l.read(ctx, w)
	if err != nil {
		return httpapi.Page[Event]{}, err
	}
	position := func(r auditdb.AuditEvent) (string, int64) { return httpapi.TimeKey(r.CreatedAt), r.Seq }
	return httpapi.BuildPage(ctx, k, rows, position, eventOf), nil
}

func (l *Log) event(ctx context.Context, text string) (Event, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != len(id.String()) {
		return Event{}, httpapi.NoSuchPath()
	}
	row, err := l.q.Event(ctx, id)
	if database.IsNoRows(err) {
		return Event{}, httpapi.NotFound("AuditEvent")
	}
	if err != nil {
		return Event{}, fmt.Errorf("audit: read an event: %w", err)
	}
	return eventOf(row), nil
}
