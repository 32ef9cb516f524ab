// Package search finds accounts by text, in Postgres or in an OpenSearch
// server, behind one interface.
//
// Postgres always can: it searches a table of folded texts that the database
// keeps up to date by itself. OpenSearch, when it is configured, is asked
// first; its index is a copy that may be thrown away and built again, and
// whenever it fails to answer Postgres does ([Fallback]).
//
// An engine gives ids, best first. Whoever asks reads the rows of those ids
// and decides there what the viewer may see.
package search

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Engine finds accounts.
type Engine interface {
	// Name is what people call it: "postgres" or "opensearch".
	Name() string
	// Search gives the ids of what matches, best first. It is safe for
	// concurrent use.
	Search(ctx context.Context, q Query) ([]int64, error)
}

// Query is one search. Text comes from [Clean] and is not empty.
type Query struct {
	Text   string
	Viewer int64 // who asks; 0: nobody known
	Limit  int   // most ids, at least 1
	Offset int   // ids to pass over
}

// MaxText is where a text to search for is cut, in characters: no name is
// longer.
const MaxText = 128

// Clean makes text from a request fit to be searched for: valid UTF-8 on one
// line, without outer blanks, cut at [MaxText]. What is left of a text without
// content is empty.
func Clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	text = strings.TrimSpace(text)
	if utf8.RuneCountInString(text) > MaxText {
		text = strings.TrimSpace(string([]rune(text)[:MaxText]))
	}
	return text
}
