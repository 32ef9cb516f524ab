package jobs

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/jobs/jobsdb"
)

// backlogMost is how many jobs a [Backlog] counts.
const backlogMost = 10_000

// Backlog is what is unfinished of one kind.
type Backlog struct {
	Unfinished int64      `json:"unfinished"`
	More       bool       `json:"more"`      // there are more than were counted
	Retrying   int64      `json:"retrying"`  // of them have failed before
	Oldest     *time.Time `json:"oldest_at"` // when the oldest of the counted was made; nil: none is there
}

// Backlog counts the unfinished jobs of a kind whose jobs have unique keys, at
// most 10 000 of them.
func (e *Engine) Backlog(ctx context.Context, kind string) (Backlog, error) {
	r, err := e.sql.Backlog(ctx, jobsdb.BacklogParams{Kind: kind, Most: backlogMost + 1})
	if err != nil {
		return Backlog{}, fmt.Errorf("jobs: count what is unfinished of %s: %w", kind, err)
	}
	out := Backlog{Unfinished: min(r.Unfinished, backlogMost), More: r.Unfinished > backlogMost, Retrying: min(r.Retrying, backlogMost)}
	if r.Unfinished > 0 {
		at := r.Oldest.UTC()
		out.Oldest = &at
	}
	return out, nil
}
