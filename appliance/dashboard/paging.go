package dashboard

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"selflink/appliance/httpapi"
)

// PageInput is embedded in the input of a list.
type PageInput struct {
	Cursor string `query:"cursor" raw:"true" doc:"Opaque position, from next of another page."`
	Limit  string `query:"limit" raw:"true" doc:"Rows of a page, 1 to 200; 50 when missing."`
}

type pageInput = PageInput

// Page sizes.
const (
	defaultLimit = 50
	maxLimit     = 200
)

// Size is how many rows the page has at most.
func (p PageInput) Size() int {
	n, err := strconv.Atoi(strings.TrimSpace(p.Limit))
	if err != nil || n < 1 {
		return defaultLimit
	}
	return min(n, maxLimit)
}

// badCursor answers a forged or outdated cursor.
func badCursor() error { return httpapi.Invalid("cursor", "This is no cursor of this list.") }

// Place is a position in a list that goes from the newest to the oldest, rows
// of one moment by their key.
type Place struct {
	At  time.Time
	Key string
}

const (
	// maxPlace is the longest cursor in bytes: keys have at most 512.
	maxPlace = 1024
	// maxMicros keeps a forged moment within what Postgres can hold: the end of
	// the year 9999.
	maxMicros = 253402300799_000000
)

// Cursor is the text by which a client comes back to p.
func (p Place) Cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.At.UnixMicro(), 36) + " " + p.Key))
}

// Place reads the cursor; without one it is the beginning of the list, before
// every row. The error is for the client.
func (p PageInput) Place() (Place, error) {
	if p.Cursor == "" {
		return Place{At: time.UnixMicro(maxMicros).UTC()}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(p.Cursor) > maxPlace || !utf8.Valid(raw) || strings.ContainsRune(string(raw), 0) {
		return Place{}, badCursor()
	}
	at, key, ok := strings.Cut(string(raw), " ")
	micros, err := strconv.ParseInt(at, 36, 64)
	if err != nil || !ok || micros < 0 || micros > maxMicros {
		return Place{}, badCursor()
	}
	return Place{time.UnixMicro(micros).UTC(), key}, nil
}

// ID reads the cursor of a list whose rows are known by numbers alone, the
// greatest first; see [IDCursor].
func (p PageInput) ID() (int64, error) {
	if p.Cursor == "" {
		return math.MaxInt64, nil
	}
	id, err := strconv.ParseInt(p.Cursor, 10, 64)
	if err != nil || id < 1 {
		return 0, badCursor()
	}
	return id, nil
}

// IDCursor is the cursor after the row of an id.
func IDCursor(id int64) string { return strconv.FormatInt(id, 10) }

// List is a page of a list.
type List[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next" doc:"Cursor of the page after this one; null: there is none."`
}

// ListOf makes a page of at most size of rows, of which one more was asked for
// than the page has: then there is another page, after the place of the last
// that is shown.
func ListOf[Row, T any](rows []Row, size int, cursor func(Row) string, show func(Row) T) List[T] {
	out := List[T]{Items: make([]T, 0, min(len(rows), size))}
	for i, r := range rows {
		if i == size {
			next := cursor(rows[i-1])
			out.Next = &next
			break
		}
		out.Items = append(out.Items, show(r))
	}
	return out
}
