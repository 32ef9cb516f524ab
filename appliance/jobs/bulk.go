package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"selflink/appliance/database"
)

const (
	// bulkMost is the most jobs of one Bulk.
	bulkMost = 10_000

	// bulkPage is how many jobs one statement of it changes: their rows are
	// locked for some milliseconds.
	bulkPage = 500
)

// What may be done to jobs, and in which states.
var (
	retryable   = []State{Dead, Cancelled, Retrying, Scheduled}
	cancellable = []State{Queued, Scheduled, Retrying, Running}
	deletable   = []State{Succeeded, Dead, Cancelled}

	endings = map[State]string{
		Succeeded: "Done.",
		Dead:      "Failed for good.",
		Cancelled: "Cancelled.",
	}
)

// Action is what [Engine.Bulk] does.
type Action string

// The actions.
const (
	ActRetry  Action = "retry"
	ActCancel Action = "cancel"
	ActDelete Action = "delete"
)

// BulkResult tells what a Bulk did.
type BulkResult struct {
	Matching int64 `json:"matching"` // jobs that the action was possible for, counted up to 100 000
	Done     int64 `json:"done"`
	More     bool  `json:"more"` // call again for the others
}

// Delete forgets a job that has ended. Others it refuses with [ErrWrongState]:
// a waiting job is cancelled first, by [Engine.Cancel], which says farewell to
// it; so nothing that somebody waits for gets lost. It returns [ErrNotFound]
// for an unknown job.
func (e *Engine) Delete(ctx context.Context, id ID) error {
	n, err := e.sql.Delete(ctx, id)
	if err == nil && n == 0 {
		if err = e.whyNot(ctx, id); errors.Is(err, ErrWrongState) {
			err = fmt.Errorf("%w, cancel it first", err)
		}
	}
	if err != nil {
		return fmt.Errorf("jobs: delete %s: %w", id, err)
	}
	return nil
}

// Bulk does something to the jobs that a query fits, the oldest first, at most
// most of them and at most 10 000. With most 0 it only counts. What single
// jobs do not allow is skipped. It works in small statements, so a failure in
// the middle, which is returned beside what was done, leaves those before it
// done.
//
// It acts on jobs in the state of the query, which must allow the action, or
// else [ErrBadQuery] is returned. Without a state, retry acts on dead jobs
// alone (what somebody cancelled or put off should not come back by the way),
// cancel on all unfinished ones, and delete on all that have ended.
func (e *Engine) Bulk(ctx context.Context, action Action, q Query, most int) (BulkResult, error) {
	c, do, err := e.bulk(action, q)
	if err != nil {
		return BulkResult{}, fmt.Errorf("jobs: %s many: %w", short(string(action), 20), err)
	}
	var r BulkResult
	if r.Matching, err = e.count(ctx, c); err != nil {
		return r, err
	}
	if most <= 0 {
		r.More = r.Matching > 0
		return r, nil
	}
	most = min(most, bulkMost)
	for seen, after := 0, (ID{}); ; {
		batch, err := e.bulkBatch(ctx, c, after, min(bulkPage, most-seen))
		if err != nil {
			return r, fmt.Errorf("jobs: %s many: %w", action, err)
		}
		if len(batch) == 0 {
			// When nothing could be done to what is left, another call will
			// not do better.
			r.More = seen == most && r.Done > 0 && r.Matching > r.Done
			return r, nil
		}
		n, err := do(ctx, batch)
		r.Done += n
		if err != nil {
			return r, fmt.Errorf("jobs: %s many: %w", action, err)
		}
		seen, after = seen+len(batch), batch[len(batch)-1].ID
	}
}

// bulkRow is one job that an action is possible for.
type bulkRow struct {
	ID    uuid.UUID
	Kind  string
	State string
}

func (e *Engine) bulkBatch(ctx context.Context, c *conditions, after ID, most int) ([]bulkRow, error) {
	if most <= 0 {
		return nil, nil
	}
	from := conditions{texts: slices.Clone(c.texts), args: slices.Clone(c.args)}
	from.add("id > %s", after)
	rows, err := from.run(ctx, e.db, `SELECT id, kind, state FROM jobs`+from.where()+` ORDER BY id LIMIT `+strconv.Itoa(most))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[bulkRow])
}

// bulk says which jobs an action acts on and how.
func (e *Engine) bulk(action Action, q Query) (c *conditions, do func(context.Context, []bulkRow) (int64, error), err error) {
	var allowed, byItself []State
	switch action {
	case ActRetry:
		allowed, byItself, do = retryable, []State{Dead}, e.retryMany
	case ActCancel:
		allowed, byItself, do = cancellable, cancellable, e.cancelMany
	case ActDelete:
		allowed, byItself, do = deletable, deletable, e.deleteMany
	default:
		return nil, nil, fmt.Errorf("%w: nothing is called that", ErrBadQuery)
	}
	if c, err = q.conditions(); err != nil {
		return nil, nil, err
	}
	switch {
	case q.State == "":
		c.states(byItself...)
	case !slices.Contains(allowed, q.State):
		return nil, nil, fmt.Errorf("%w: not possible for jobs that are %s", ErrBadQuery, q.State)
	}
	switch action {
	case ActRetry: // an unfinished job with its unique key does the work already
		c.texts = append(c.texts, `(unique_key IS NULL OR finished_at IS NULL OR NOT EXISTS (
    SELECT 1 FROM jobs AS r WHERE r.kind = jobs.kind AND r.unique_key = jobs.unique_key AND r.finished_at IS NULL))`)
	case ActCancel:
		c.texts = append(c.texts, "NOT cancel_requested")
	}
	return c, do, nil
}

func (e *Engine) deleteMany(ctx context.Context, batch []bulkRow) (int64, error) {
	return e.sql.DeleteMany(ctx, idsOf(batch))
}

func (e *Engine) retryMany(ctx context.Context, batch []bulkRow) (int64, error) {
	rows, err := e.sql.RetryMany(ctx, idsOf(batch))
	if database.IsUniqueViolation(err, "jobs_unique") {
		return e.oneByOne(ctx, batch, e.Retry)
	}
	if err != nil {
		return 0, err
	}
	sends := make([]dispatch, len(rows))
	for i, row := range rows {
		sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority), run: row.Run}
	}
	if len(sends) > 0 {
		e.send(sends)
	}
	return int64(len(rows)), nil
}

// cancelMany cancels as [Engine.Cancel] does: jobs with a farewell each in a
// transaction of its own, the others together.
func (e *Engine) cancelMany(ctx context.Context, batch []bulkRow) (done int64, err error) {
	var running, plain, unknown, each []bulkRow
	for _, row := range batch {
		switch k := e.kinds[row.Kind]; {
		case State(row.State) == Running:
			running = append(running, row)
		case k == nil:
			unknown = append(unknown, row)
		case k.giveUp == nil:
			plain = append(plain, row)
		default:
			each = append(each, row)
		}
	}
	if len(running) > 0 {
		asked, err := e.sql.RequestCancelMany(ctx, idsOf(running))
		if err != nil {
			return done, err
		}
		done += int64(len(asked))
		for _, id := range asked {
			e.tellCancel(id)
		}
	}
	if len(plain) > 0 {
		cancelled, err := e.sql.CancelWaitingMany(ctx, idsOf(plain))
		if err != nil {
			return done, err
		}
		done += int64(len(cancelled))
		for _, id := range cancelled {
			e.announce(id, Cancelled)
		}
	}
	if len(unknown) > 0 {
		asked, err := e.sql.RequestEndMany(ctx, idsOf(unknown))
		if err != nil {
			return done, err
		}
		done += int64(len(asked))
		sends := make([]dispatch, len(asked))
		for i, row := range asked {
			sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority), run: row.Run}
		}
		if len(sends) > 0 {
			e.send(sends)
		}
	}
	n, err := e.oneByOne(ctx, each, e.Cancel)
	return done + n, err
}

// oneByOne acts on each job and skips those that do not allow it.
func (e *Engine) oneByOne(ctx context.Context, batch []bulkRow, act func(context.Context, ID) error) (done int64, err error) {
	for _, row := range batch {
		switch err := act(ctx, row.ID); {
		case err == nil:
			done++
		case ctx.Err() != nil, passing(err):
			return done, err
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrWrongState):
		default: // a farewell that fails; the others go on
			e.log.Warn("one of many jobs was left as it was", "job_id", row.ID, "error", err)
		}
	}
	return done, nil
}

func idsOf(batch []bulkRow) []uuid.UUID {
	ids := make([]uuid.UUID, len(batch))
	for i, row := range batch {
		ids[i] = row.ID
	}
	return ids
}
