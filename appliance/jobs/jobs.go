// Package jobs runs work in the background, at least once, whose effects
// happen once.
//
// A job is a row written in the caller's transaction. After the commit its id
// goes through JetStream to a worker, which claims the row, runs the job and
// commits effect and completion together. A sweeper finds what a crash left
// behind. Postgres is the judge of every state; the stream only carries ids.
package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/database"
)

// ID names a job. It is a UUID because clients of the old backend expect one
// in task ids.
type ID = uuid.UUID

// State is where a job stands.
type State string

// The states of a job. The last three are final.
const (
	Queued    State = "queued"    // waits for a worker
	Scheduled State = "scheduled" // waits for its time
	Retrying  State = "retrying"  // failed, waits for its next attempt
	Running   State = "running"
	Succeeded State = "succeeded"
	Dead      State = "dead" // failed for good
	Cancelled State = "cancelled"
)

// Final reports whether the job will not run again by itself.
func (s State) Final() bool { return s == Succeeded || s == Dead || s == Cancelled }

// Args is a job's typed arguments: a small JSON-encodable struct. Kind is its
// stable name ("mentor.answer"), which is stored and must not change.
type Args interface{ Kind() string }

// Policy says how jobs of a kind run. Zero values mean the default in
// parentheses.
type Policy struct {
	Queue    string                          // queue name ("default")
	Attempts int                             // most runs in all (3)
	Timeout  time.Duration                   // of one run (1 minute)
	Backoff  func(attempt int) time.Duration // wait after failed run number attempt, from 1; ±20 % jitter is added (Exponential(5s))
	Priority int                             // higher first among waiting jobs of a queue (0)
	Retain   time.Duration                   // how long a finished row is kept (24 hours)
}

// Exponential doubles first with each attempt, up to one hour.
func Exponential(first time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		d := first
		for i := 1; i < attempt && d < time.Hour; i++ {
			d *= 2
		}
		return min(d, time.Hour)
	}
}

// EnqueueOptions are the choices of one Enqueue.
type EnqueueOptions struct {
	ID     ID        // chosen by the caller with [NewID], because lists and searches by time trust it; zero: a new one
	RunAt  time.Time // not before; zero: at once
	Unique string    // while a job of the kind with this key is unfinished, Enqueue returns that one's id and adds nothing
}

// Enqueuer adds jobs. *Engine is one.
type Enqueuer interface {
	// Enqueue stores a job in tx. The job runs after tx commits, never if it
	// rolls back.
	Enqueue(ctx context.Context, tx database.Tx, args Args, opts EnqueueOptions) (ID, error)
}
