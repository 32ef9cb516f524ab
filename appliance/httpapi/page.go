package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Page sizes (contract 00 §5).
const (
	DefaultPageSize = 20
	MaxPageSize     = 100
)

// PageQuery is embedded in the input of a paginated list.
type PageQuery struct {
	Cursor   string `query:"cursor" raw:"true" doc:"Opaque position, from next or previous of another page."`
	PageSize string `query:"page_size" raw:"true" doc:"Rows per page, 1 to 100; 20 when missing or not a number."`
	Ordering string `query:"ordering" raw:"true" doc:"Field to order by; a leading minus means descending. Unknown names are ignored."`
}

// Size gives the number of rows per page. What is not a positive number counts
// as the default, what is above the maximum as the maximum.
func (q PageQuery) Size() int {
	n, err := strconv.Atoi(strings.TrimSpace(q.PageSize))
	switch {
	case err != nil && strings.Trim(q.PageSize, "0123456789") == "" && len(q.PageSize) > 9:
		return MaxPageSize
	case err != nil || n <= 0:
		return DefaultPageSize
	}
	return min(n, MaxPageSize)
}

// Order is a field of the output and a direction.
type Order struct {
	Field string
	Desc  bool
}

// Newest is the order of lists that declare none.
var Newest = Order{Field: "created_at", Desc: true}

func (o Order) String() string {
	if o.Desc {
		return "-" + o.Field
	}
	return o.Field
}

// Keyset says which rows make a page. Rows are ordered by (Order.Field, id),
// both in the same direction.
//
// When Set, fetch the rows strictly after (Key, ID) in the direction that
// [Keyset.Desc] gives: with Desc the rows where (field, id) < (Key, ID) by
// descending order, else those where it is greater by ascending order. Without
// Set there is no lower bound. Always fetch Limit rows, which is one more than
// the page holds.
type Keyset struct {
	Order    Order
	Set      bool
	Backward bool   // the page before the position: rows come in reverse, BuildPage turns them
	Key      string // text of the order field in the boundary row
	ID       int64
	Limit    int
}

// Desc reports the direction in which to fetch.
func (k Keyset) Desc() bool { return k.Order.Desc != k.Backward }

// Time reads Key as a moment written by [TimeKey].
func (k Keyset) Time() (time.Time, error) {
	if !k.Set {
		return time.Time{}, nil
	}
	us, err := strconv.ParseInt(k.Key, 10, 64)
	if err != nil || us > maxKeyMicros || us < -maxKeyMicros {
		return time.Time{}, badCursor()
	}
	return time.UnixMicro(us).UTC(), nil
}

// maxKeyMicros keeps a forged cursor within what Postgres can hold.
const maxKeyMicros = 200_000_000_000_000_000 // about the year 8300

// TimeKey writes a moment as the key of a cursor.
func TimeKey(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }

// Keyset reads the cursor and the wished order. Only names in allowed may be
// ordered by (the fallback always may). A cursor that is broken or that was
// made for another order is 404 "Invalid cursor".
func (q PageQuery) Keyset(fallback Order, allowed ...string) (Keyset, error) {
	k := Keyset{Order: fallback, Limit: q.Size() + 1}
	for name := range strings.SplitSeq(q.Ordering, ",") {
		name = strings.TrimSpace(name)
		field, desc := strings.CutPrefix(name, "-")
		if field == fallback.Field || contains(allowed, field) {
			k.Order = Order{Field: field, Desc: desc}
			break
		}
	}
	if q.Cursor == "" {
		return k, nil
	}
	if err := k.decode(q.Cursor); err != nil {
		return Keyset{}, err
	}
	return k, nil
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name && name != "" {
			return true
		}
	}
	return false
}

// A cursor is base64url of: version, flags, order (length and text), id
// (varint), key, and a checksum of all that, which tells a mangled cursor from
// a whole one. It names the order it was made for, so a position in one order
// is never read as a position in another. It holds nothing that the client did
// not see in the page it came with.
const (
	cursorVersion  = 1
	cursorBackward = 1 << 0
	maxCursor      = 1024 // characters; the longest key is a name of 255 characters
)

func badCursor() *Error { return Detail(http.StatusNotFound, textBadCursor) }

func (k *Keyset) encode() string {
	order := k.Order.String()
	b := make([]byte, 0, 64)
	var flags byte
	if k.Backward {
		flags |= cursorBackward
	}
	b = append(b, cursorVersion, flags, byte(len(order)))
	b = append(b, order...)
	b = binary.AppendVarint(b, k.ID)
	b = append(b, k.Key...)
	return sealCursor(b)
}

// cursorSum is the length of the checksum in bytes.
const cursorSum = 4

func sealCursor(b []byte) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)))
}

func (k *Keyset) decode(s string) error {
	if len(s) > maxCursor {
		return badCursor()
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 4+cursorSum {
		return badCursor()
	}
	b, sum := b[:len(b)-cursorSum], b[len(b)-cursorSum:]
	if crc32.ChecksumIEEE(b) != binary.BigEndian.Uint32(sum) || b[0] != cursorVersion || b[1]&^cursorBackward != 0 {
		return badCursor()
	}
	flags, n := b[1], int(b[2])
	b = b[3:]
	if n > len(b) || string(b[:n]) != k.Order.String() {
		return badCursor()
	}
	b = b[n:]
	id, used := binary.Varint(b)
	if used <= 0 {
		return badCursor()
	}
	key := b[used:]
	if !utf8.Valid(key) || strings.IndexByte(string(key), 0) >= 0 {
		return badCursor()
	}
	k.Set, k.Backward, k.ID, k.Key = true, flags&cursorBackward != 0, id, string(key)
	return nil
}

// Page is one page of a list. Next and Previous are absolute addresses or
// null.
type Page[T any] struct {
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []T     `json:"results"`
}

// BuildPage makes the page of k from the rows that were fetched for it, in the
// order they came. Position gives the key (text of the order field, TimeKey
// for moments) and id of a row, item its public form.
func BuildPage[R, T any](ctx context.Context, k Keyset, rows []R, position func(R) (key string, id int64), item func(R) T) Page[T] {
	size := k.Limit - 1
	more := len(rows) > size
	if more {
		rows = rows[:size]
	}
	page := Page[T]{Results: make([]T, len(rows))}
	for i, r := range rows {
		if k.Backward {
			page.Results[len(rows)-1-i] = item(r)
		} else {
			page.Results[i] = item(r)
		}
	}
	link := func(row int, backward bool) *string {
		at := k
		at.Backward = backward
		if len(rows) > 0 {
			at.Key, at.ID = position(rows[row])
		} else if at.Desc() {
			at.ID++ // the page is empty: the boundary row itself is the nearest one
		} else {
			at.ID--
		}
		u := pageURL(ctx, at.encode())
		return &u
	}
	last := max(len(rows)-1, 0)
	if k.Backward {
		if k.Set {
			page.Next = link(0, false)
		}
		if more {
			page.Previous = link(last, true)
		}
		return page
	}
	if more {
		page.Next = link(last, false)
	}
	if k.Set {
		page.Previous = link(0, true)
	}
	return page
}

// pageURL is the address of the current request with another cursor.
func pageURL(ctx context.Context, cursor string) string {
	info := RequestInfo(ctx)
	var b strings.Builder
	b.WriteString(info.BaseURL)
	b.WriteString(info.Path)
	b.WriteString("?cursor=")
	b.WriteString(cursor)
	for pair := range strings.SplitSeq(info.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if pair == "" || name == "cursor" {
			continue
		}
		b.WriteByte('&')
		b.WriteString(pair)
	}
	return b.String()
}
