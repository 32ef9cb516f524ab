package trace

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"selflink/appliance/trace/tracedb"
)

const (
	// DefaultPage and MaxPage bound a page.
	DefaultPage = 50
	MaxPage     = 200

	// maxCursor is the longest cursor in bytes.
	maxCursor = 64

	// maxMicros keeps a forged cursor within what Postgres can hold.
	maxMicros = 200_000_000_000_000_000
)

// Query says which requests; what is zero does not choose.
type Query struct {
	Kind  string // failed or slow
	Route string // exactly, as in an item
	// Status is one status, or with 1 to 5 all that begin with that digit.
	Status int
	Cursor string // Next of the page before
	Limit  int    // most items, 0 for [DefaultPage]
}

// Item is one request.
type Item struct {
	ID         string    `json:"id"` // of the request; a client that sends its own may send it twice
	At         time.Time `json:"at"` // when it came
	Method     string    `json:"method"`
	Route      string    `json:"route"`
	Status     int       `json:"status"`
	DurationMS float64   `json:"duration_ms"`
	SQLMS      float64   `json:"sql_ms"`
	SQLCount   int       `json:"sql_count"`
	UserID     *string   `json:"user_id"`
	ClientIP   string    `json:"client_ip"`
	Node       string    `json:"node"`
	Error      string    `json:"error"`
	Slow       bool      `json:"slow"`
}

// Page is one page, the newest first.
type Page struct {
	Items []Item  `json:"items"`
	Next  *string `json:"next"`
}

// Requests reads the records that q chooses. It returns [ErrQuery] for a query
// that is none.
func (r *Recorder) Requests(ctx context.Context, q Query) (Page, error) {
	page := Page{Items: []Item{}}
	p, err := q.params()
	if err != nil {
		return page, err
	}
	var rows []tracedb.RequestRecord
	switch q.Kind {
	case "":
		rows, err = r.sql.Newest(ctx, p)
	case "failed":
		rows, err = r.sql.NewestFailed(ctx, tracedb.NewestFailedParams(p))
	case "slow":
		rows, err = r.sql.NewestSlow(ctx, tracedb.NewestSlowParams(p))
	default:
		return page, fmt.Errorf("%w: kind is failed or slow", ErrQuery)
	}
	if err != nil {
		return page, fmt.Errorf("trace: read the records of requests: %w", err)
	}
	if size := int(p.Count) - 1; len(rows) > size {
		rows = rows[:size]
		last := cursor{rows[size-1].At.UnixMicro(), rows[size-1].Seq}.String()
		page.Next = &last
	}
	for _, row := range rows {
		page.Items = append(page.Items, item(row))
	}
	return page, nil
}

// params are the query's values, one row more than the page holds.
func (q Query) params() (tracedb.NewestParams, error) {
	at := cursor{maxMicros, math.MaxInt64}
	if q.Cursor != "" {
		var err error
		if at, err = parseCursor(q.Cursor); err != nil {
			return tracedb.NewestParams{}, err
		}
	}
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultPage
	}
	p := tracedb.NewestParams{
		BeforeAt: time.UnixMicro(at.micros).UTC(), BeforeSeq: at.seq, Least: 0, Most: math.MaxInt16,
		Count: int32(min(limit, MaxPage)) + 1, //nolint:gosec // bounded
	}
	switch s := q.Status; {
	case s == 0:
	case s >= 1 && s <= 5:
		p.Least, p.Most = int16(s*100), int16(s*100+99) //nolint:gosec // three digits
	case s >= 100 && s <= 999:
		p.Least, p.Most = int16(s), int16(s) //nolint:gosec // three digits
	default:
		return p, fmt.Errorf("%w: there is no such status", ErrQuery)
	}
	if q.Route != "" {
		route := storable(q.Route, 4*textMost)
		p.Route = &route
	}
	return p, nil
}

func item(row tracedb.RequestRecord) Item {
	i := Item{
		ID: row.RequestID, At: row.At.UTC(), Method: row.Method, Route: row.Route, Status: int(row.Status),
		DurationMS: ms(row.TookUs), SQLMS: ms(row.SqlUs), SQLCount: int(row.SqlCount),
		ClientIP: row.ClientIp, Node: row.Node, Error: row.Error, Slow: row.Slow,
	}
	if row.UserID != nil {
		id := strconv.FormatInt(*row.UserID, 10)
		i.UserID = &id
	}
	return i
}

func ms(us int64) float64 { return float64(us) / 1000 }

// cursor is the position after one record.
type cursor struct{ micros, seq int64 }

func (c cursor) String() string {
	return strconv.FormatInt(c.micros, 36) + "." + strconv.FormatInt(c.seq, 36)
}

func parseCursor(text string) (cursor, error) {
	bad := fmt.Errorf("%w: cursor", ErrQuery)
	micros, seq, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxCursor {
		return cursor{}, bad
	}
	var c cursor
	var err error
	if c.micros, err = strconv.ParseInt(micros, 36, 64); err != nil || c.micros < 0 || c.micros > maxMicros {
		return cursor{}, bad
	}
	if c.seq, err = strconv.ParseInt(seq, 36, 64); err != nil || c.seq < 0 {
		return cursor{}, bad
	}
	return c, nil
}
