package coin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/coin/coindb"
)

const (
	defaultLimit = 50
	maxLimit     = 200

	// maxCursor is the longest cursor that is looked at, in characters.
	maxCursor = 512
)

// Balance is what somebody has.
type Balance struct {
	AccountKey   string `json:"account_key"`
	BalanceCents int64  `json:"balance_cents"`
	Currency     string `json:"currency"`
}

// Recipient is what a payer needs to know of somebody.
type Recipient struct {
	AccountKey string `json:"account_key"`
}

// Entry is one line of somebody's ledger.
type Entry struct {
	ID            int64             `json:"id"`
	EventID       int64             `json:"event_id"`
	EventType     string            `json:"event_type"`
	OccurredAt    httpapi.Timestamp `json:"occurred_at"`
	AccountKey    string            `json:"account_key"`
	AmountCents   int64             `json:"amount_cents"`
	Currency      string            `json:"currency"`
	Direction     string            `json:"direction"`
	Note          string            `json:"note"`
	EventMetadata json.RawMessage   `json:"event_metadata"`
	Metadata      json.RawMessage   `json:"metadata"`
	CreatedAt     httpapi.Timestamp `json:"created_at"`
}

// Ledger is a page of entries, oldest first. NextCursor is set exactly when the
// page is full.
type Ledger struct {
	Results    []Entry `json:"results"`
	NextCursor *string `json:"next_cursor"`
}

// Balance gives what a user has; an account is opened when there is none.
func (s *Service) Balance(ctx context.Context, user int64) (Balance, error) {
	out := Balance{AccountKey: userAccount(user), Currency: Currency}
	cents, err := s.q.Balance(ctx, user)
	if database.IsNoRows(err) {
		if err := s.q.OpenAccount(ctx, user); err != nil {
			return Balance{}, fmt.Errorf("open coin account: %w", err)
		}
		return out, nil
	}
	if err != nil {
		return Balance{}, fmt.Errorf("read balance: %w", err)
	}
	out.BalanceCents = cents
	return out, nil
}

// position is the place after an entry.
type position struct {
	at time.Time
	id int64
}

// entries gives a page of a user's ledger. The limit and the cursor are as the
// client sent them.
func (s *Service) entries(ctx context.Context, user int64, limit httpapi.Opt[string], cursor string) (Ledger, error) {
	most := defaultLimit
	if limit.Set {
		var ok bool
		if most, ok = parseLimit(limit.Value); !ok {
			return Ledger{}, httpapi.Detail(http.StatusBadRequest, "Invalid limit.")
		}
	}
	account := userAccount(user)
	after := position{id: math.MinInt64}
	if cursor != "" {
		var err error
		if after, err = s.position(ctx, account, cursor); err != nil {
			return Ledger{}, err
		}
	}
	rows, err := s.q.Entries(ctx, coindb.EntriesParams{Account: account, At: after.at, After: after.id, Most: int32(most)})
	if err != nil {
		return Ledger{}, fmt.Errorf("read ledger: %w", err)
	}
	page := Ledger{Results: make([]Entry, len(rows))}
	for i, r := range rows {
		page.Results[i] = Entry{
			ID: r.ID, EventID: r.EventID, EventType: r.EventType, OccurredAt: httpapi.Timestamp(r.OccurredAt),
			AccountKey: r.AccountKey, AmountCents: r.AmountCents, Currency: r.Currency, Direction: r.Direction, Note: r.Note,
			EventMetadata: r.EventMetadata, Metadata: r.Metadata, CreatedAt: httpapi.Timestamp(r.CreatedAt),
		}
	}
	if len(rows) == most {
		last := rows[most-1]
		next := encodeCursor(position{last.CreatedAt, last.ID})
		page.NextCursor = &next
	}
	return page, nil
}

// parseLimit reads a limit and brings it into its bounds.
func parseLimit(text string) (int, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return int(min(max(n, 1), maxLimit)), true
}

func badCursor() error { return httpapi.Detail(http.StatusBadRequest, "Invalid cursor.") }

// position reads a cursor: one of ours, or the id of an entry of the account as
// clients of long ago have it.
func (s *Service) position(ctx context.Context, account, cursor string) (position, error) {
	if strings.Trim(cursor, "0123456789") != "" {
		at, ok := decodeCursor(cursor)
		if !ok {
			return position{}, badCursor()
		}
		return at, nil
	}
	id, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil {
		return position{}, badCursor()
	}
	at, err := s.q.EntryPosition(ctx, coindb.EntryPositionParams{ID: id, Account: account})
	if database.IsNoRows(err) {
		return position{}, badCursor()
	}
	if err != nil {
		return position{}, fmt.Errorf("find the entry of a cursor: %w", err)
	}
	return position{at, id}, nil
}

// encodeCursor writes a position the way the old backend did, so that apps may
// keep theirs over the move.
func encodeCursor(p position) string {
	layout := "2006-01-02T15:04:05.000000-07:00"
	if p.at.Nanosecond()/1000 == 0 {
		layout = "2006-01-02T15:04:05-07:00"
	}
	b := fmt.Appendf(nil, `{"id":%d,"ts":"%s"}`, p.id, p.at.UTC().Format(layout))
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor reads what encodeCursor wrote, and other spellings of the same.
func decodeCursor(cursor string) (position, bool) {
	if len(cursor) > maxCursor {
		return position{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(cursor, "="))
	if err != nil {
		return position{}, false
	}
	var c struct {
		ID *int64  `json:"id"`
		TS *string `json:"ts"`
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if dec.Decode(&c) != nil || c.ID == nil || c.TS == nil {
		return position{}, false
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return position{}, false
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999-07:00"} {
		at, err := time.Parse(layout, *c.TS)
		if err == nil && at.UTC().Year() >= 1 && at.UTC().Year() <= 9999 {
			return position{at.UTC(), *c.ID}, true
		}
	}
	return position{}, false
}
