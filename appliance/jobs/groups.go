package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"selflink/appliance/jobs/jobsdb"
)

const (
	// groupsMost bounds the groups, groupedMost the dead jobs that are looked
	// at for them, the newest.
	groupsMost  = 100
	groupedMost = 10_000

	// errorRead is how much of an error is looked at for its group, in
	// characters, and groupError how much is left of it, in bytes.
	errorRead  = 250
	groupError = 200

	// hexLeast is the shortest run of hexadecimal digits, not all letters,
	// that is taken for a name made by a machine.
	hexLeast = 8
)

// ErrorGroup is what dead jobs of one kind have in common.
type ErrorGroup struct {
	Kind     string    `json:"kind"`
	Error    string    `json:"error"` // without the numbers and ids in which the errors differ
	Count    int64     `json:"count"`
	FirstAt  time.Time `json:"first_at"`
	LastAt   time.Time `json:"last_at"`
	SampleID ID        `json:"sample_id"` // the newest of them
}

// ErrorGroups tells what dead jobs died of, the most frequent first, at most
// 100 groups. It looks at the newest 10 000 dead jobs.
func (e *Engine) ErrorGroups(ctx context.Context) ([]ErrorGroup, error) {
	rows, err := e.sql.DeadErrors(ctx, jobsdb.DeadErrorsParams{Length: errorRead, Most: groupedMost})
	if err != nil {
		return nil, fmt.Errorf("jobs: read the errors of dead jobs: %w", err)
	}
	type key struct{ kind, text string }
	groups := map[key]*ErrorGroup{}
	for _, row := range rows {
		if row.FinishedAt == nil {
			continue
		}
		at := row.FinishedAt.UTC()
		k := key{row.Kind, normal(row.Error)}
		g := groups[k]
		if g == nil {
			g = &ErrorGroup{Kind: row.Kind, Error: e.redact.Text(k.text, errorShown), FirstAt: at, LastAt: at, SampleID: row.ID}
			groups[k] = g
		}
		g.Count++
		if at.Before(g.FirstAt) {
			g.FirstAt = at
		}
		if at.After(g.LastAt) {
			g.LastAt, g.SampleID = at, row.ID
		}
	}
	list := make([]ErrorGroup, 0, len(groups))
	for _, g := range groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b ErrorGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.LastAt.Compare(a.LastAt), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Error, b.Error))
	})
	return list[:min(len(list), groupsMost)], nil
}

// normal reduces an error to what it has in common with others of its sort:
// its first line, with <id> for UUIDs, <hex> for long hexadecimal names and
// <n> for other numbers, at most groupError bytes long.
func normal(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	var out strings.Builder
	for i := 0; i < len(text) && out.Len() < groupError; {
		if !wordy(text[i]) {
			r, size := utf8.DecodeRuneInString(text[i:])
			out.WriteRune(r)
			i += size
			continue
		}
		if isUUID(text[i:]) {
			out.WriteString("<id>")
			i += uuidLength
			continue
		}
		end := i
		for end < len(text) && wordy(text[end]) {
			end++
		}
		out.WriteString(placeholder(text[i:end]))
		i = end
	}
	return strings.TrimSpace(short(out.String(), groupError))
}

func wordy(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

const uuidLength = 36

// isUUID reports that text begins with a UUID as it is usually written.
func isUUID(text string) bool {
	if len(text) < uuidLength || len(text) > uuidLength && wordy(text[uuidLength]) {
		return false
	}
	for i := range uuidLength {
		switch i {
		case 8, 13, 18, 23:
			if text[i] != '-' {
				return false
			}
		default:
			if !hexDigit(text[i]) {
				return false
			}
		}
	}
	return true
}

// placeholder stands for a word of ASCII letters and digits, which stays when
// there is no number in it.
func placeholder(word string) string {
	if !strings.ContainsAny(word, "0123456789") {
		return word
	}
	digits := strings.TrimPrefix(word, "0x")
	hex := len(digits) > 0
	for i := range len(digits) {
		hex = hex && hexDigit(digits[i])
	}
	number := strings.Trim(word, "0123456789") == ""
	if hex && !number && (len(digits) >= hexLeast || digits != word) {
		return "<hex>"
	}
	var out strings.Builder
	for i := 0; i < len(word); {
		if word[i] < '0' || word[i] > '9' {
			out.WriteByte(word[i])
			i++
			continue
		}
		out.WriteString("<n>")
		for i < len(word) && word[i] >= '0' && word[i] <= '9' {
			i++
		}
	}
	return out.String()
}
