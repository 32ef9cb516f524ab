package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/jobs/jobsdb"
)

const (
	// errorShown and valueShown are how much is shown of an error and of one
	// text in arguments or a result, in bytes.
	errorShown = maxError + 100
	valueShown = 500

	// byRequestMost bounds the jobs of one request.
	byRequestMost = 50
)

// Detail is one job as an operator sees it: without secrets, and without what
// a person wrote.
type Detail struct {
	Item
	Args      json.RawMessage `json:"args"`
	Result    json.RawMessage `json:"result"` // null: none
	UniqueKey *string         `json:"unique_key"`
	RequestID *string         `json:"request_id"` // of the request that caused it
	Node      *string         `json:"node"`       // host of its last run
	Failures  []Attempt       `json:"failures"`
	Timeline  []Moment        `json:"timeline"` // the oldest first
	Can       Can             `json:"can"`
}

// Attempt is one failed run.
type Attempt struct {
	Attempt    int       `json:"attempt"`
	At         time.Time `json:"at"`
	Error      string    `json:"error"`
	DurationMS *int64    `json:"duration_ms"` // nil: not known, or it did not begin
}

// Moment is a step in a job's life.
type Moment struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // created, scheduled, started, failed, retrying, succeeded, dead or cancelled
	Text string    `json:"text"`
}

// Can says which actions a job's state allows.
type Can struct {
	Retry  bool `json:"retry"`
	Cancel bool `json:"cancel"`
	Delete bool `json:"delete"`
}

func canOf(s State) Can {
	return Can{
		Retry:  slices.Contains(retryable, s),
		Cancel: slices.Contains(cancellable, s),
		Delete: s.Final(),
	}
}

// Detail returns one job, or [ErrNotFound].
func (e *Engine) Detail(ctx context.Context, id ID) (Detail, error) {
	row, err := e.sql.Show(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Detail{}, fmt.Errorf("jobs: show %s: %w", id, err)
	}
	return e.detail(row)
}

// ByRequest returns the first 50 jobs that a request caused, the oldest first.
func (e *Engine) ByRequest(ctx context.Context, requestID string) ([]Detail, error) {
	list := []Detail{}
	if requestID = short(requestID, requestMost); requestID == "" {
		return list, nil
	}
	rows, err := e.sql.ByRequest(ctx, jobsdb.ByRequestParams{RequestID: requestID, Most: byRequestMost})
	if err != nil {
		return nil, fmt.Errorf("jobs: find the jobs of a request: %w", err)
	}
	for _, row := range rows {
		detail, err := e.detail(jobsdb.ShowRow(row))
		if err != nil {
			return nil, err
		}
		list = append(list, detail)
	}
	return list, nil
}

func (e *Engine) detail(r jobsdb.ShowRow) (Detail, error) {
	d := Detail{
		Item: e.item(itemRow{
			ID: r.ID, Kind: r.Kind, Queue: r.Queue, State: r.State, Priority: r.Priority, Attempt: r.Attempt,
			CreatedAt: r.CreatedAt, RunAt: r.RunAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, LastError: r.LastError,
		}),
		Args: e.redact.JSON(r.Args, valueShown), Result: e.redact.JSON(r.Result, valueShown),
		UniqueKey: r.UniqueKey, RequestID: r.RequestID, Node: r.Node,
		Failures: []Attempt{}, Can: canOf(State(r.State)),
	}
	var failures []Failure
	if err := json.Unmarshal(r.Failures, &failures); err != nil {
		return Detail{}, fmt.Errorf("jobs: decode the failures of %s: %w", r.ID, err)
	}
	for _, f := range failures {
		d.Failures = append(d.Failures, Attempt{
			Attempt: f.Attempt, At: f.At.UTC(), Error: e.redact.Text(f.Error, errorShown), DurationMS: f.DurationMS,
		})
	}
	d.Timeline = timeline(d, r.CancelRequested)
	return d, nil
}

// timeline tells the job's life from what its row remembers: of runs that were
// interrupted or succeeded after a retry by hand it knows the last alone.
func timeline(d Detail, cancelAsked bool) []Moment {
	list := []Moment{{d.CreatedAt, "created", "Added to queue " + d.Queue + "."}}
	// The steps are told in their order. Their times are of the clocks of
	// nodes and of Postgres, which need not agree to the millisecond.
	tell := func(at time.Time, what, format string, args ...any) {
		if last := list[len(list)-1].At; at.Before(last) {
			at = last
		}
		list = append(list, Moment{at, what, fmt.Sprintf(format, args...)})
	}
	due := d.RunAt.Format(time.RFC3339)
	if d.State == Scheduled || len(d.Failures) == 0 && d.RunAt.Sub(d.CreatedAt) >= time.Second && d.State != Retrying {
		tell(d.CreatedAt, "scheduled", "Due at %s.", due)
	}
	var ended time.Time // of the last failure
	for i, f := range d.Failures {
		if f.DurationMS != nil {
			tell(f.At.Add(-time.Duration(*f.DurationMS)*time.Millisecond), "started", "Attempt %d.", f.Attempt)
		}
		ended = f.At
		if d.State == Cancelled && i == len(d.Failures)-1 && strings.HasPrefix(f.Error, ErrCancelled.Error()) {
			continue // it is the end itself
		}
		tell(f.At, "failed", "Attempt %d: %s", f.Attempt, f.Error)
	}
	// The last start belongs to a failure when that came after it.
	if d.StartedAt != nil && (ended.IsZero() || d.StartedAt.After(ended)) {
		where := ""
		if d.Node != nil {
			where = " on " + *d.Node
		}
		tell(*d.StartedAt, "started", "Attempt %d%s.", d.Attempt, where)
	}
	switch d.State {
	case Retrying:
		at := d.CreatedAt
		if !ended.IsZero() {
			at = ended
		} else if d.StartedAt != nil {
			at = *d.StartedAt
		}
		tell(at, "retrying", "Tried again at %s.", due)
	case Succeeded, Dead, Cancelled:
		if d.FinishedAt != nil {
			tell(*d.FinishedAt, string(d.State), "%s", endings[d.State])
		}
	}
	if cancelAsked && !d.State.Final() {
		list[len(list)-1].Text += " Somebody has cancelled it."
	}
	return list
}
