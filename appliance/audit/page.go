package audit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/audit/auditdb"
)

// Sizes of a [Page].
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// ErrCursor means that a cursor is not one of this trail's.
var ErrCursor = errors.New("audit: not a cursor of the trail")

// Query narrows [Log.Page]; empty fields do not.
type Query struct {
	Action   string // exactly
	Actor    int64  // account id
	ObjectID string // exactly
	Cursor   string // Next of the page before
	Limit    int    // events (50), up to 200
}

// Page is a part of the trail, the newest first.
type Page struct {
	Items []Item  `json:"items"`
	Next  *string `json:"next"` // cursor of the page after; nil: there is none
}

// Item is one event as the dashboard shows it.
type Item struct {
	ID         string          `json:"id"`
	CreatedAt  time.Time       `json:"created_at"`
	ActorUser  *string         `json:"actor_user"`
	ActorName  string          `json:"actor_name"` // empty: nobody, or nobody that is known any more
	ActorIP    *string         `json:"actor_ip"`
	Action     string          `json:"action"`
	ObjectType string          `json:"object_type"`
	ObjectID   string          `json:"object_id"`
	Metadata   json.RawMessage `json:"metadata"`
	HashPrev   string          `json:"hash_prev"`
	HashSelf   string          `json:"hash_self"`
}

// Page gives a part of the trail. It fails with [ErrCursor].
func (l *Log) Page(ctx context.Context, q Query) (Page, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	limit = min(limit, MaxLimit)
	w := where{desc: true, limit: limit + 1}
	if q.Cursor != "" {
		seq, err := readCursor(q.Cursor)
		if err != nil {
			return Page{}, err
		}
		w.add("seq < ", seq)
	}
	if q.Action != "" {
		w.add("action = ", clean(q.Action))
	}
	if q.Actor != 0 {
		w.add("actor_user = ", q.Actor)
	}
	if q.ObjectID != "" {
		w.add("object_id = ", clean(q.ObjectID))
	}
	rows, err := l.read(ctx, w)
	if err != nil {
		return Page{}, err
	}
	var out Page
	if len(rows) > limit {
		rows = rows[:limit]
		next := writeCursor(rows[limit-1].Seq)
		out.Next = &next
	}
	names, err := l.namesOf(ctx, rows)
	if err != nil {
		return Page{}, err
	}
	out.Items = make([]Item, len(rows))
	for i, r := range rows {
		item := Item{
			ID: r.ID.String(), CreatedAt: r.CreatedAt.UTC(), ActorIP: r.ActorIp, Action: r.Action,
			ObjectType: r.ObjectType, ObjectID: r.ObjectID, Metadata: r.Metadata, HashPrev: r.HashPrev, HashSelf: r.HashSelf,
		}
		if r.ActorUser != nil {
			id := strconv.FormatInt(*r.ActorUser, 10)
			item.ActorUser, item.ActorName = &id, names[*r.ActorUser]
		}
		out.Items[i] = item
	}
	return out, nil
}

// namesOf asks once for the names of all actors of a page.
func (l *Log) namesOf(ctx context.Context, rows []auditdb.AuditEvent) (map[int64]string, error) {
	seen := map[int64]bool{}
	var ids []int64
	for _, r := range rows {
		if r.ActorUser != nil && !seen[*r.ActorUser] {
			seen[*r.ActorUser] = true
			ids = append(ids, *r.ActorUser)
		}
	}
	if l.names == nil || len(ids) == 0 {
		return nil, nil
	}
	names, err := l.names(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("audit: find the names of actors: %w", err)
	}
	return names, nil
}

// where is the condition of a list. Everything that callers choose is an
// argument; the text is made of constants alone.
type where struct {
	conditions []string
	args       []any
	desc       bool
	limit      int
}

// add takes a condition that ends where its argument belongs.
func (w *where) add(condition string, arg any) {
	w.args = append(w.args, arg)
	w.conditions = append(w.conditions, condition+"$"+strconv.Itoa(len(w.args)))
}

func (w *where) sql() (string, []any) {
	var b strings.Builder
	b.WriteString("SELECT id, seq, created_at, actor_user, actor_ip, action, object_type, object_id, metadata, hash_prev, hash_self FROM audit_events")
	if len(w.conditions) > 0 {
		b.WriteString(" WHERE " + strings.Join(w.conditions, " AND "))
	}
	b.WriteString(" ORDER BY seq")
	if w.desc {
		b.WriteString(" DESC")
	}
	args := append(w.args, w.limit)
	b.WriteString(" LIMIT $" + strconv.Itoa(len(args)))
	return b.String(), args
}

func (l *Log) read(ctx context.Context, w where) ([]auditdb.AuditEvent, error) {
	sql, args := w.sql()
	rows, err := l.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("audit: read the trail: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[auditdb.AuditEvent])
	if err != nil {
		return nil, fmt.Errorf("audit: read the trail: %w", err)
	}
	return out, nil
}

// A cursor is the place of the last event that was seen.
func writeCursor(seq int64) string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendInt([]byte("a"), seq, 36))
}

func readCursor(s string) (int64, error) {
	if len(s) > 40 {
		return 0, ErrCursor
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return 0, ErrCursor
	}
	digits, ok := strings.CutPrefix(string(b), "a")
	seq, err := strconv.ParseInt(digits, 36, 64)
	if !ok || err != nil || seq <= 0 {
		return 0, ErrCursor
	}
	return seq, nil
}
