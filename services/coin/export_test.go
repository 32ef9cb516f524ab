package coin

import (
	"context"

	"selflink/appliance/database"
)

// Posting is an entry of a test.
type Posting struct {
	Account, Direction string
	Cents              int64
}

// Post writes an event as the operations of later will.
func (s *Service) Post(ctx context.Context, tx database.Tx, kind string, postings ...Posting) error {
	entries := make([]entry, len(postings))
	for i, p := range postings {
		entries[i] = entry{p.Account, p.Direction, p.Cents}
	}
	_, err := s.post(ctx, tx, event{kind: kind}, entries)
	return err
}

// CursorRoundTrip decodes a cursor and writes it again; ok is false for what is
// none.
func CursorRoundTrip(cursor string) (again string, ok bool) {
	p, ok := decodeCursor(cursor)
	if !ok {
		return "", false
	}
	return encodeCursor(p), true
}
