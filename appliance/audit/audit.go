// Package audit keeps what people with rights did: an append-only chain of
// events in Postgres (contract 00 §13).
//
// Each event's hash covers the event and the hash of the one before it, so a
// row that was changed, removed or slipped in shows in [Log.Verify]. The
// database refuses to change or delete rows. An event that is recorded in the
// transaction of what it tells about is there exactly when that happened.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"selflink/appliance/audit/auditdb"
	"selflink/appliance/database"
)

const (
	// maxName is the longest action, object type or object id in characters
	// (contract 00 §13).
	maxName = 128

	// defaultVerifyTime is how long [Log.Verify] walks: some hundred thousand
	// events.
	defaultVerifyTime = 20 * time.Second
)

// ErrEntry means that an entry cannot be recorded: it has no action, a name is
// too long, or its metadata are no JSON or too large.
var ErrEntry = errors.New("audit: not a valid entry")

// Options are what [New] needs. DB is required.
type Options struct {
	DB database.Pool
	// Names gives the names of accounts, for [Log.Page]; who is unknown is left
	// out. nil: no names.
	Names      func(ctx context.Context, ids []int64) (map[int64]string, error)
	VerifyTime time.Duration // longest walk of Verify (20 s)
	Logger     *slog.Logger  // nil: silent
}

// Log is the audit trail. It is safe for concurrent use.
type Log struct {
	db         database.Pool
	q          *auditdb.Queries
	names      func(ctx context.Context, ids []int64) (map[int64]string, error)
	verifyTime time.Duration
	log        *slog.Logger
}

// New makes the trail over the database.
func New(o Options) (*Log, error) {
	if o.DB == nil {
		return nil, errors.New("audit: a database is needed")
	}
	if o.VerifyTime < 0 {
		return nil, errors.New("audit: the time to verify cannot be negative")
	}
	if o.VerifyTime == 0 {
		o.VerifyTime = defaultVerifyTime
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Log{db: o.DB, q: auditdb.New(o.DB), names: o.Names, verifyTime: o.VerifyTime, log: o.Logger.With("component", "audit")}, nil
}

// Entry is something that happened.
type Entry struct {
	Actor      *int64 // account that did it; nil: nobody's, such as a command's
	ActorIP    string // its address; what is none is left out
	Action     string // "accounts.deactivated"; up to 128 characters
	ObjectType string // "user"; up to 128 characters
	ObjectID   string // cut to 128 characters
	// Metadata are anything that JSON can hold except NaN and infinities, up to
	// 16 KiB. Long texts are cut, and what is kept under a name like "password"
	// or "token" is replaced.
	Metadata map[string]any
}

// Record appends an entry in a transaction of its own.
func (l *Log) Record(ctx context.Context, e Entry) error {
	return l.db.Tx(ctx, func(tx database.Tx) error { return l.RecordTx(ctx, tx, e) })
}

// RecordTx appends an entry with tx. From here until tx ends everybody else who
// records waits, so it belongs at the end of a transaction: after all locks
// and with nothing slow behind it.
func (l *Log) RecordTx(ctx context.Context, tx database.Tx, e Entry) error {
	metadata, err := prepare(&e)
	if err != nil {
		return err
	}
	q := auditdb.New(tx)
	head, err := q.LockHead(ctx)
	if err != nil {
		return fmt.Errorf("audit: find the end of the trail: %w", err)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("audit: make an id: %w", err)
	}
	row := auditdb.AddEventParams{
		ID: id, Seq: head.Seq + 1, CreatedAt: head.Now.UTC(), ActorUser: e.Actor, ActorIp: address(e.ActorIP),
		Action: e.Action, ObjectType: e.ObjectType, ObjectID: e.ObjectID, Metadata: metadata, HashPrev: head.Hash,
	}
	row.HashSelf = hash(covered{
		action: row.Action, actor: row.ActorUser, at: row.CreatedAt, metadata: metadata,
		objectID: row.ObjectID, objectType: row.ObjectType, prev: row.HashPrev,
	})
	n, err := q.AddEvent(ctx, row)
	if err == nil && n != 1 {
		err = fmt.Errorf("the end of the trail is %d rows", n)
	}
	if err != nil {
		return fmt.Errorf("audit: record %s: %w", e.Action, err)
	}
	return nil
}

// prepare checks an entry, makes its texts storable and writes its metadata.
func prepare(e *Entry) ([]byte, error) {
	e.Action, e.ObjectType, e.ObjectID = clean(e.Action), clean(e.ObjectType), clean(e.ObjectID)
	switch {
	case e.Action == "":
		return nil, fmt.Errorf("%w: it has no action", ErrEntry)
	case utf8.RuneCountInString(e.Action) > maxName, utf8.RuneCountInString(e.ObjectType) > maxName:
		return nil, fmt.Errorf("%w: action and object type have at most %d characters", ErrEntry, maxName)
	}
	e.ObjectID = cut(e.ObjectID, maxName)
	metadata := e.Metadata
	if metadata == nil {
		metadata = map[string]any{}
	}
	out, err := canonical(metadata)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	return out, nil
}

// clean makes a text harmless to Postgres, which holds no NUL and no broken
// UTF-8.
func clean(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "") }

// cut keeps the first most characters.
func cut(s string, most int) string {
	for i := range s {
		if most == 0 {
			return s[:i]
		}
		most--
	}
	return s
}

// address is the usual form of an IP address, or nothing.
func address(s string) *string {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return nil
	}
	text := a.Unmap().WithZone("").String()
	return &text
}
