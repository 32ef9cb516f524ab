package trace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/telemetry"
	"selflink/appliance/trace/tracedb"
)

const (
	// maxID is the longest id of a request (httpapi takes none that is longer).
	maxID = 128

	// recordsMost is how many requests with one id are told of: a client may
	// send the same id again and again.
	recordsMost = 5

	// jobsMost is how many jobs of a request are told of.
	jobsMost = 50

	// entriesMost bounds a timeline; of a longer one the end is left out.
	entriesMost = 500
)

// Timeline is what is known of one request or job.
type Timeline struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"` // request or job
	Title     string    `json:"title"`
	StartedAt time.Time `json:"started_at"`
	// DurationMS is null while it is not over, or not known.
	DurationMS *float64 `json:"duration_ms"`
	Entries    []Entry  `json:"entries"` // the earliest first
}

// Entry is one thing that happened.
type Entry struct {
	At         time.Time `json:"at"`
	OffsetMS   float64   `json:"offset_ms"` // since StartedAt; negative: before
	Kind       string    `json:"kind"`      // request, sql, job, attempt or log
	Level      string    `json:"level"`     // info, warning or error
	Text       string    `json:"text"`
	DurationMS *float64  `json:"duration_ms"`
	Ref        string    `json:"ref"` // the id of what it is about: a request, a job, a line; or empty
}

// Explain tells what is known of the request or the job with that id. Of a
// request it knows the record, if it failed or was slow, the jobs it led to,
// and the lines of this process's log; of a job also the request that led to
// it. It returns [ErrUnknown] when that is nothing.
func (r *Recorder) Explain(ctx context.Context, id string) (Timeline, error) {
	if !validID(id) {
		return Timeline{}, ErrUnknown
	}
	t := timeline{redact: r.opts.Redact, seen: map[string]bool{}}
	t.ID = id
	job, err := r.job(ctx, id)
	if err != nil {
		return Timeline{}, err
	}
	request := id
	if job != nil {
		t.ID, request = job.ID.String(), job.RequestID
		t.aboutJob(*job)
	}
	if request != "" {
		if err := r.addRequest(ctx, &t, request); err != nil {
			return Timeline{}, err
		}
	}
	if err := r.addLines(&t, request); err != nil {
		return Timeline{}, err
	}
	return t.finish()
}

// validID reports whether it can be the id of anything: harmless characters,
// not too many.
func validID(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxID
}

// job finds the job with that id; nil: there is none.
func (r *Recorder) job(ctx context.Context, id string) (*JobTrace, error) {
	const canonical = 36 // other spellings are ids of requests
	if r.opts.Jobs == nil || len(id) != canonical {
		return nil, nil
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, nil
	}
	job, err := r.opts.Jobs.ByID(ctx, parsed)
	switch {
	case errors.Is(err, ErrUnknown):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("trace: read the job: %w", err)
	}
	return &job, nil
}

// addRequest adds a request's records and its jobs.
func (r *Recorder) addRequest(ctx context.Context, t *timeline, id string) error {
	rows, err := r.sql.ByRequest(ctx, tracedb.ByRequestParams{RequestID: id, Count: recordsMost})
	if err != nil {
		return fmt.Errorf("trace: read the record of the request: %w", err)
	}
	for i, row := range rows {
		if i == 0 && t.Kind == "" {
			t.about(row)
		}
		t.addRecord(row)
	}
	if r.opts.Jobs == nil {
		return nil
	}
	jobs, err := r.opts.Jobs.ByRequest(ctx, id)
	if err != nil {
		return fmt.Errorf("trace: read the jobs of the request: %w", err)
	}
	for _, j := range jobs[:min(len(jobs), jobsMost)] {
		t.addJob(j)
	}
	return nil
}

// addLines adds what was logged about the request and about every job so far.
func (r *Recorder) addLines(t *timeline, request string) error {
	if r.opts.Logs == nil {
		return nil
	}
	queries := []telemetry.LineQuery{}
	if request != "" {
		queries = append(queries, telemetry.LineQuery{RequestID: request, Limit: telemetry.MaxLines})
	}
	if len(t.jobs) == 0 && request == t.ID {
		queries = append(queries, telemetry.LineQuery{JobID: t.ID, Limit: telemetry.MaxLines}) // a job that is deleted
	}
	for _, id := range t.jobs {
		queries = append(queries, telemetry.LineQuery{JobID: id, Limit: telemetry.MaxLines})
	}
	const most = 10 // each goes through the whole tail
	for _, q := range queries[:min(len(queries), most)] {
		page, err := r.opts.Logs.Page(q)
		if err != nil {
			return fmt.Errorf("trace: read the log: %w", err)
		}
		for _, l := range page.Items {
			t.addLine(l)
		}
	}
	return nil
}

// timeline is one that is being put together.
type timeline struct {
	Timeline
	redact func(string) string
	seen   map[string]bool // ids of jobs and lines that are in it
	jobs   []string
}

func (t *timeline) add(e Entry) { t.Entries = append(t.Entries, e) }

// about makes the timeline one of a request.
func (t *timeline) about(row tracedb.RequestRecord) {
	t.Kind, t.Title = "request", fmt.Sprintf("%s %s: %d", row.Method, row.Route, row.Status)
	t.StartedAt = row.At.UTC()
	t.DurationMS = pointer(ms(row.TookUs))
}

// aboutJob makes the timeline one of a job.
func (t *timeline) aboutJob(j JobTrace) {
	t.Kind, t.Title, t.StartedAt = "job", j.Kind+": "+j.State, j.CreatedAt.UTC()
	if j.FinishedAt != nil {
		t.DurationMS = between(j.CreatedAt, *j.FinishedAt)
	}
	t.addJob(j)
}

func pointer(f float64) *float64 { return &f }

func between(from, to time.Time) *float64 {
	return pointer(ms(max(0, to.Sub(from).Microseconds())))
}

func (t *timeline) addRecord(row tracedb.RequestRecord) {
	level := "info"
	switch {
	case row.Failed:
		level = "error"
	case row.Slow:
		level = "warning"
	}
	text := fmt.Sprintf("%s %s came on %s", row.Method, row.Route, row.Node)
	if row.UserID != nil {
		text += ", from user " + strconv.FormatInt(*row.UserID, 10)
	}
	t.add(Entry{At: row.At, Kind: "request", Level: "info", Text: text, Ref: row.RequestID})
	var list []statement
	if json.Unmarshal(row.Statements, &list) != nil {
		list = nil // of a later version: the sum is still right
	}
	if row.SqlCount > 0 {
		t.add(Entry{
			At: row.At, Kind: "sql", Level: "info", Text: "statements in all: " + strconv.Itoa(int(row.SqlCount)), DurationMS: pointer(ms(row.SqlUs)),
		})
	}
	for _, s := range list {
		text := s.Name
		if s.Count > 1 {
			text = fmt.Sprintf("%s, %d times", s.Name, s.Count)
		}
		t.add(Entry{At: s.At, Kind: "sql", Level: "info", Text: text, DurationMS: pointer(ms(s.US))})
	}
	text = fmt.Sprintf("answered %d", row.Status)
	if row.Error != "" {
		text += ": " + row.Error
	}
	t.add(Entry{
		At: row.At.Add(time.Duration(row.TookUs) * time.Microsecond), Kind: "request", Level: level, Text: text,
		DurationMS: pointer(ms(row.TookUs)), Ref: row.RequestID,
	})
}

func (t *timeline) addJob(j JobTrace) {
	id := j.ID.String()
	if t.seen[id] {
		return
	}
	t.seen[id] = true
	t.jobs = append(t.jobs, id)
	t.add(Entry{At: j.CreatedAt, Kind: "job", Level: "info", Text: j.Kind + " was enqueued", Ref: id})
	for _, f := range j.Failures {
		t.add(Entry{
			At: f.At, Kind: "attempt", Level: "warning", Ref: id, DurationMS: pointer(ms(f.Took.Microseconds())),
			Text: fmt.Sprintf("attempt %d of %s failed: %s", f.Attempt, j.Kind, storable(t.redact(f.Error), errorMost)),
		})
	}
	if j.StartedAt != nil {
		t.add(Entry{At: *j.StartedAt, Kind: "attempt", Level: "info", Text: "the last attempt of " + j.Kind + " began", Ref: id})
	}
	if j.FinishedAt == nil {
		return
	}
	level := "info"
	if j.State == "dead" {
		level = "error"
	}
	e := Entry{At: *j.FinishedAt, Kind: "job", Level: level, Text: j.Kind + " ended: " + j.State, Ref: id}
	if j.StartedAt != nil {
		e.DurationMS = between(*j.StartedAt, *j.FinishedAt)
	}
	t.add(e)
}

func (t *timeline) addLine(l telemetry.Line) {
	if t.seen[l.ID] {
		return
	}
	t.seen[l.ID] = true
	level := l.Level
	if level == "debug" {
		level = "info"
	}
	text := l.Message
	if l.Component != "" {
		text = l.Component + ": " + text
	}
	var why string
	if json.Unmarshal(l.Fields["error"], &why) == nil && why != "" {
		text += ": " + why
	}
	t.add(Entry{At: l.At, Kind: "log", Level: level, Text: text, Ref: l.ID})
}

// finish puts the entries in their order.
func (t *timeline) finish() (Timeline, error) {
	if len(t.Entries) == 0 {
		return Timeline{}, ErrUnknown
	}
	slices.SortStableFunc(t.Entries, func(a, b Entry) int { return a.At.Compare(b.At) })
	t.Entries = t.Entries[:min(len(t.Entries), entriesMost)]
	if t.Kind == "" { // neither recorded nor a job: only heard of
		t.Kind, t.Title, t.StartedAt = "request", "request "+t.ID, t.Entries[0].At
	}
	t.StartedAt = t.StartedAt.UTC()
	for i := range t.Entries {
		e := &t.Entries[i]
		e.At = e.At.UTC()
		e.OffsetMS = ms(e.At.Sub(t.StartedAt).Microseconds())
	}
	return t.Timeline, nil
}
