package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"selflink/appliance/database"
	"selflink/appliance/jobs/jobsdb"
)

const (
	// cancelSubject carries the id of a running job that somebody cancels.
	cancelSubject = "jobs.cancel"

	// waitRecheck is how often Wait reads the row although no news came: the
	// news is best effort.
	waitRecheck = 2 * time.Second
)

// Errors of looking at jobs and acting on them. They come wrapped in what was
// being done to which job.
var (
	// ErrNotFound means that there is no such job, or none any more.
	ErrNotFound = errors.New("no such job")
	// ErrWrongState means that a job's state does not allow what was asked.
	ErrWrongState = errors.New("not possible in the job's state")
)

// Failure is one failed attempt.
type Failure = failure

// Info is all that is kept of one job.
type Info struct {
	ID         ID              `json:"id"`
	Kind       string          `json:"kind"`
	Queue      string          `json:"queue"`
	State      State           `json:"state"`
	Priority   int             `json:"priority"` // 0 to 2, 2 the most urgent
	Attempt    int             `json:"attempt"`  // runs begun that were not interrupted
	Args       json.RawMessage `json:"args"`
	Result     json.RawMessage `json:"result,omitempty"`
	Failures   []Failure       `json:"failures"`
	Unique     string          `json:"unique_key,omitempty"`
	RequestID  string          `json:"request_id,omitempty"` // of the request that caused it
	Instance   *uuid.UUID      `json:"instance,omitempty"`   // of the process that runs it
	Node       string          `json:"node,omitempty"`       // host of its last run
	CreatedAt  time.Time       `json:"created_at"`
	RunAt      time.Time       `json:"run_at"`
	StartedAt  *time.Time      `json:"started_at,omitempty"`
	FinishedAt *time.Time      `json:"finished_at,omitempty"`
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func given(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func infoOf(r jobsdb.ShowRow) (Info, error) {
	info := Info{
		ID: r.ID, Kind: r.Kind, Queue: r.Queue, State: State(r.State), Priority: int(r.Priority), Attempt: int(r.Attempt),
		Args: r.Args, Result: r.Result, Instance: r.ClaimedBy,
		CreatedAt: r.CreatedAt, RunAt: r.RunAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
	}
	info.Unique, info.RequestID, info.Node = given(r.UniqueKey), given(r.RequestID), given(r.Node)
	if err := json.Unmarshal(r.Failures, &info.Failures); err != nil {
		return Info{}, fmt.Errorf("jobs: decode the failures of %s: %w", r.ID, err)
	}
	return info, nil
}

// Show returns one job, or [ErrNotFound].
func (e *Engine) Show(ctx context.Context, id ID) (Info, error) {
	row, err := e.sql.Show(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Info{}, fmt.Errorf("jobs: show %s: %w", id, err)
	}
	return infoOf(row)
}

// Retry queues a job that is dead, cancelled or waiting for later, with all
// its attempts anew. It returns [ErrNotFound] or [ErrWrongState].
func (e *Engine) Retry(ctx context.Context, id ID) error {
	row, err := e.sql.RetryNow(ctx, id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		err = e.whyNot(ctx, id)
	case database.IsUniqueViolation(err, "jobs_unique"):
		err = fmt.Errorf("%w: another job with its unique key is unfinished", ErrWrongState)
	}
	if err != nil {
		return fmt.Errorf("jobs: retry %s: %w", id, err)
	}
	e.send([]dispatch{{id: id, queue: row.Queue, level: int(row.Priority), run: row.Run}})
	return nil
}

// Cancel ends a waiting job at once and asks a running one to stop, on
// whichever node it runs. A waiting job whose kind has no handler here is
// ended by a process that has one. It returns [ErrNotFound] or [ErrWrongState].
func (e *Engine) Cancel(ctx context.Context, id ID) error {
	var cancelled bool
	var elsewhere []dispatch
	err := e.db.Tx(ctx, func(tx database.Tx) error {
		sql := jobsdb.New(tx)
		row, err := sql.Show(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		if k := e.kinds[row.Kind]; k != nil {
			rows, err := sql.CancelWaiting(ctx, id)
			if err != nil {
				return err
			}
			if cancelled = rows > 0; cancelled {
				return e.giveUp(ctx, tx, k, id, row.Args, ErrCancelled)
			}
		} else if asked, err := sql.RequestEnd(ctx, id); err == nil {
			elsewhere = []dispatch{{id: id, queue: asked.Queue, level: int(asked.Priority), run: asked.Run}}
			return nil
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		rows, err := sql.RequestCancel(ctx, id)
		if err == nil && rows == 0 {
			return e.whyNot(ctx, id)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("jobs: cancel %s: %w", id, err)
	case cancelled:
		e.announce(id, Cancelled)
	case elsewhere != nil:
		e.send(elsewhere)
	default:
		e.tellCancel(id)
	}
	return nil
}

// tellCancel makes a running job stop, on whichever node. Whoever misses this
// finds the request with the next heartbeat.
func (e *Engine) tellCancel(id ID) {
	if e.broker == nil {
		return
	}
	if err := e.broker.Publish(cancelSubject, id[:]); err != nil {
		e.log.Warn("tell the running job", "job_id", id, "error", err)
	}
}

// whyNot explains why an action found no row.
func (e *Engine) whyNot(ctx context.Context, id ID) error {
	state, err := e.sql.State(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: it is %s", ErrWrongState, state)
}

func (e *Engine) onCancel(_ string, data []byte) {
	if id, err := uuid.FromBytes(data); err == nil {
		e.interrupt(id)
	}
}

// interrupt ends the run of a job, if it runs here.
func (e *Engine) interrupt(id ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if job := e.held[id]; job != nil {
		if job.interrupt != nil {
			job.interrupt(ErrCancelled)
		}
	}
}

func doneSubject(id ID) string { return "jobs.done." + id.String() }

// announce tells who waits, on every node.
func (e *Engine) announce(id ID, state State) {
	if e.broker == nil {
		return
	}
	if err := e.broker.Publish(doneSubject(id), []byte(state)); err != nil {
		e.log.Debug("announce a job's end", "job_id", id, "error", err)
	}
}

// Wait returns when the job has ended, with its final state, or with the
// state it is in and ctx's error when ctx ends first. It returns [ErrNotFound]
// for an unknown job.
func (e *Engine) Wait(ctx context.Context, id ID) (State, error) {
	news := make(chan struct{}, 1)
	if e.broker != nil {
		cancel, err := e.broker.Subscribe(doneSubject(id), func(string, []byte) {
			select {
			case news <- struct{}{}:
			default:
			}
		})
		if err != nil {
			return "", fmt.Errorf("jobs: wait for %s: %w", id, err)
		}
		defer cancel()
	}
	ticker := time.NewTicker(waitRecheck)
	defer ticker.Stop()
	for {
		text, err := e.sql.State(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrNotFound
		}
		if err != nil {
			return "", fmt.Errorf("jobs: wait for %s: %w", id, err)
		}
		if state := State(text); state.Final() {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return State(text), ctx.Err()
		case <-news:
		case <-ticker.C:
		}
	}
}

// Purge deletes finished jobs whose time to be kept is over and returns how
// many. It works in batches, so it holds no lock for long.
func (e *Engine) Purge(ctx context.Context) (int64, error) {
	total := int64(0)
	for {
		n, err := e.sql.Purge(ctx, page)
		total += n
		if err != nil {
			return total, fmt.Errorf("jobs: purge: %w", err)
		}
		if n < page {
			return total, nil
		}
	}
}
