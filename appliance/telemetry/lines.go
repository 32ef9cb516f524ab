package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultLines and MaxLines bound one page.
	DefaultLines = 50
	MaxLines     = 200

	// longestFilter bounds each text of a query in bytes.
	longestFilter = 200

	// tailComponent writes what a follower has missed.
	tailComponent = "logs"
)

// LineQuery says which lines; what is empty does not choose.
type LineQuery struct {
	Level     string // the least: debug, info, warning or error
	Component string
	RequestID string
	JobID     string
	Q         string // contained in the message or the fields, in any case
	Cursor    string // Next of the page before; for [Tail.Page] alone
	Limit     int    // most lines of a page, 0 for [DefaultLines]; for [Tail.Page] alone
}

// Line is one line of the log.
type Line struct {
	ID        string                     `json:"id"`
	At        time.Time                  `json:"at"`
	Level     string                     `json:"level"` // debug, info, warning or error
	Component string                     `json:"component"`
	Message   string                     `json:"message"`
	RequestID *string                    `json:"request_id"`
	JobID     *string                    `json:"job_id"`
	UserID    *string                    `json:"user_id"`
	Fields    map[string]json.RawMessage `json:"fields"` // all others
}

// LinePage is one page, the newest line first.
type LinePage struct {
	Items      []Line     `json:"items"`
	Next       *string    `json:"next"`
	OldestAt   *time.Time `json:"oldest_at"`  // of all lines that are kept
	Components []string   `json:"components"` // of all lines that are kept, in the order of their names
}

// levels are the public names in their order.
var levels = []string{"debug", "info", "warning", "error"}

// wanted is a query that is ready to be asked of many lines.
type wanted struct {
	level                   int
	component, request, job []byte // as they stand in a line; nil: any
	q                       string // in lower case
	query                   LineQuery
}

func (q LineQuery) prepare() (*wanted, error) {
	w := &wanted{query: q, q: strings.ToLower(q.Q)}
	if q.Level != "" {
		w.level = slices.Index(levels, q.Level)
		if w.level < 0 {
			return nil, fmt.Errorf("%w: level is one of %s", ErrLineQuery, strings.Join(levels, ", "))
		}
	}
	for _, text := range []string{q.Component, q.RequestID, q.JobID, q.Q, q.Cursor} {
		if len(text) > longestFilter {
			return nil, fmt.Errorf("%w: a filter is longer than %d bytes", ErrLineQuery, longestFilter)
		}
	}
	w.component, w.request, w.job = quoted(keyComponent, q.Component), quoted(keyRequest, q.RequestID), quoted(keyJob, q.JobID)
	return w, nil
}

// quoted is how a field stands in a line. What JSON has several spellings for
// is left to the decoded line.
func quoted(key, value string) []byte {
	if value == "" {
		return nil
	}
	for _, r := range value {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) {
			return []byte(`"` + key + `":"`)
		}
	}
	return []byte(`"` + key + `":"` + value + `"`)
}

// match decodes the line if it is wanted. Most that are not are told apart
// before, which takes a hundredth of the time.
func (w *wanted) match(raw []byte) (Line, bool) {
	if levelOf(raw) < w.level || !bytes.Contains(raw, w.component) || !bytes.Contains(raw, w.request) || !bytes.Contains(raw, w.job) {
		return Line{}, false
	}
	l, ok := decodeLine(raw)
	if !ok || !equals(&l.Component, w.query.Component) || !equals(l.RequestID, w.query.RequestID) || !equals(l.JobID, w.query.JobID) {
		return Line{}, false
	}
	return l, w.q == "" || w.contained(l)
}

func equals(have *string, want string) bool { return want == "" || have != nil && *have == want }

// contained looks for the text in what a reader of the line sees.
func (w *wanted) contained(l Line) bool {
	if strings.Contains(strings.ToLower(l.Message), w.q) {
		return true
	}
	for name, value := range l.Fields {
		text := string(value)
		var s string
		if json.Unmarshal(value, &s) == nil {
			text = s
		}
		if strings.Contains(strings.ToLower(name), w.q) || strings.Contains(strings.ToLower(text), w.q) {
			return true
		}
	}
	return false
}

// levelOf reads the level, which stands near the beginning.
func levelOf(raw []byte) int {
	const mark = `"` + keyLevel + `":"`
	i := bytes.Index(raw, []byte(mark))
	if i < 0 || i+len(mark) >= len(raw) {
		return 0
	}
	switch raw[i+len(mark)] {
	case 'I':
		return 1
	case 'W':
		return 2
	case 'E':
		return 3
	}
	return 0
}

// componentOf reads the component from the name of the logger; nothing that
// was logged can stand between quotes that are not escaped.
func componentOf(raw []byte) []byte {
	const mark = `,"` + keyName + `":"` + rootName + `.`
	i := bytes.Index(raw, []byte(mark))
	if i < 0 {
		return nil
	}
	rest := raw[i+len(mark):]
	return rest[:max(bytes.IndexByte(rest, '"'), 0)]
}

// decodeLine reads a line as the handler writes it.
func decodeLine(raw []byte) (Line, bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return Line{}, false
	}
	text := func(key string) *string {
		value, ok := fields[key]
		delete(fields, key)
		if !ok || string(value) == "null" {
			return nil
		}
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = string(value) // a number
		}
		return &s
	}
	var l Line
	take := func(into *string, key string) {
		if s := text(key); s != nil {
			*into = *s
		}
	}
	var at, level, name string
	take(&at, keyTime)
	take(&level, keyLevel)
	take(&name, keyName)
	take(&l.Component, keyComponent)
	take(&l.Message, keyMessage)
	l.RequestID, l.JobID, l.UserID = text(keyRequest), text(keyJob), text(keyUser)
	var err error
	if l.At, err = time.Parse(timeLayout, at); err != nil {
		return Line{}, false
	}
	l.Level = levels[max(0, slices.Index(levels, strings.ToLower(level)))]
	l.Fields = fields
	return l, true
}

// Page reads the lines of this process that q chooses. It returns
// [ErrLineQuery] for a query that is none. A cursor of a process that is gone
// leads to an empty page: what was before it is gone too.
func (t *Tail) Page(q LineQuery) (LinePage, error) {
	page := LinePage{Items: []Line{}, Components: []string{}}
	w, err := q.prepare()
	if err != nil {
		return page, err
	}
	_, next := t.bounds()
	before := next
	if q.Cursor != "" {
		number, ours, err := t.number(q.Cursor)
		if err != nil {
			return page, fmt.Errorf("%w: cursor", err)
		}
		if before = number; !ours {
			before = 0
		}
	}
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultLines
	}
	t.collect(&page, w, next, before, min(limit, MaxLines))
	return page, nil
}

// collect goes through all lines once, from the newest on.
func (t *Tail) collect(page *LinePage, w *wanted, next, before uint64, limit int) {
	var b batch
	components := map[string]struct{}{}
	var oldest []byte
	for at := next; ; at = b.lines[len(b.lines)-1].number {
		t.older(&b, at)
		if len(b.lines) == 0 {
			break
		}
		for _, p := range b.lines {
			raw := b.line(p)
			if c := componentOf(raw); len(c) > 0 {
				components[string(c)] = struct{}{}
			}
			if p.number >= before || page.Next != nil {
				continue
			}
			l, ok := w.match(raw)
			if ok && len(page.Items) == limit {
				page.Next = &page.Items[limit-1].ID
			} else if ok {
				l.ID = t.id(p.number)
				page.Items = append(page.Items, l)
			}
		}
		oldest = append(oldest[:0], b.line(b.lines[len(b.lines)-1])...)
	}
	for c := range components {
		page.Components = append(page.Components, c)
	}
	slices.Sort(page.Components)
	if l, ok := decodeLine(oldest); ok {
		page.OldestAt = &l.At
	}
}

// Follow calls emit with each line that q chooses, in their order, until ctx
// ends or emit fails, and returns why. It begins after the line with the id
// after: with the next one that is logged when after is empty, and with the
// oldest that is kept when after is another process's.
//
// Who is too slow misses lines, and gets one of the component "logs" that says
// how many. It returns [ErrFollowers] when too many follow already.
func (t *Tail) Follow(ctx context.Context, q LineQuery, after string, emit func(Line) error) error {
	w, err := q.prepare()
	if err != nil {
		return err
	}
	first, at := t.bounds()
	if after != "" {
		number, ours, err := t.number(after)
		if err != nil {
			return fmt.Errorf("%w: id of a line", err)
		}
		if !ours {
			at = first
		} else if number < at {
			at = number + 1
		}
	}
	f, err := t.join()
	if err != nil {
		return err
	}
	defer t.leave(f)
	var b batch
	for {
		if missed := t.newer(&b, at); missed > 0 {
			at += missed
			if err := emit(t.missed(at-1, missed)); err != nil {
				return err
			}
		}
		for _, p := range b.lines {
			if l, ok := w.match(b.line(p)); ok {
				l.ID = t.id(p.number)
				if err := emit(l); err != nil {
					return err
				}
			}
			at = p.number + 1
		}
		if len(b.lines) > 0 && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // it says all there is to say
		case <-f.wake:
		}
	}
}

// missed is the line in place of those that were overwritten before they were
// read.
func (t *Tail) missed(last, count uint64) Line {
	return Line{
		ID: t.id(last), At: time.Now().UTC().Truncate(time.Millisecond), Level: "warning", Component: tailComponent,
		Message: fmt.Sprintf("%d lines came too fast to be read, and were passed over before any filter", count),
		Fields:  map[string]json.RawMessage{"missed": fmt.Append(nil, count)},
	}
}
