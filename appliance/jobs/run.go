package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/jobs/jobsdb"
)

const (
	// maxError is how much of an error's text is kept per attempt, in bytes.
	maxError = 2000

	// maxCrashes is how many processes a job may see die before it is taken
	// for the cause.
	maxCrashes = 20

	// unavailableWait is the pause of a job whose run met a database that was
	// away. It is the appliance's fault, not the job's, so no attempt counts.
	unavailableWait = time.Second

	// unknownWait is the pause of a job that this binary has no handler for;
	// during an upgrade the other one may have it.
	unknownWait = 30 * time.Second

	// jitter spreads retries by this part to both sides, so that jobs that
	// failed together do not come back together.
	jitter = 0.2

	// finishWait bounds how long the end of a run tries to be written while
	// the engine stops; what is not written is taken over by the next start.
	finishWait = 15 * time.Second
)

// finished is a plain success on its way to the ledger.
type finished struct {
	id    ID
	run   int32
	queue string
	kind  string
}

// execute runs one claimed job to its end.
func (e *Engine) execute(aborted context.Context, q *queue, job *Job) {
	if job.kind == nil {
		e.log.Warn("no handler for a job's kind: putting it off", "job_id", job.ID, "kind", job.Kind)
		e.handBack(aborted, []uuid.UUID{job.ID}, unknownWait)
		return
	}
	begin := time.Now()
	e.metrics.started(q.name, begin.Sub(job.runAt))
	var err error
	if job.crashes >= maxCrashes {
		err = Permanent(fmt.Errorf("%d processes ended while it ran", job.crashes))
	} else {
		err = e.work(aborted, job)
	}
	took := time.Since(begin)
	// A moving mean over about eight runs.
	q.meanRun.Store((7*q.meanRun.Load() + int64(took)) / 8)
	switch {
	case job.complete:
		e.metrics.ended(q.name, job.Kind, Succeeded, took)
		e.announce(job.ID, Succeeded)
	case err == nil:
		e.metrics.ended(q.name, job.Kind, Succeeded, took)
		e.done <- finished{id: job.ID, run: job.run, queue: q.name, kind: job.Kind}
	default:
		e.fail(aborted, q, job, err, took)
	}
}

// work calls the handler with a context that says why it ends.
func (e *Engine) work(aborted context.Context, job *Job) (err error) {
	ctx, cancel := context.WithCancelCause(e.context(aborted, job.ID))
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, job.kind.policy.Timeout, ErrTimeout)
	defer stop()
	e.mu.Lock()
	e.running[job.ID] = cancel
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.running, job.ID)
		e.mu.Unlock()
		if cause := recover(); cause != nil {
			e.log.ErrorContext(ctx, "a job panicked", "job_id", job.ID, "kind", job.Kind, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	if err := job.kind.work(ctx, job, job.args); err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	return nil
}

// fail decides what a failed run means and writes it down.
func (e *Engine) fail(aborted context.Context, q *queue, job *Job, cause error, took time.Duration) {
	// The run's end must be written even while the engine stops.
	ctx, cancel := context.WithCancel(context.WithoutCancel(aborted))
	defer cancel()
	defer context.AfterFunc(aborted, func() { time.AfterFunc(finishWait, cancel) })()

	log := e.log.With("job_id", job.ID, "kind", job.Kind, "attempt", job.Attempt)
	var permanent permanentError
	switch {
	case errors.Is(cause, ErrLost):
		log.Info("a job's claim was lost; another run has it")
	case errors.Is(cause, ErrShutdown):
		e.handBack(ctx, []uuid.UUID{job.ID}, 0)
	case errors.Is(cause, ErrCancelled):
		e.metrics.ended(q.name, job.Kind, Cancelled, took)
		log.Info("a running job was cancelled")
		e.end(ctx, job, Cancelled, cause)
	case errors.Is(cause, database.ErrUnavailable) || errors.Is(cause, database.ErrBusy):
		log.Warn("the database was away during a job: trying again", "error", cause)
		e.handBack(ctx, []uuid.UUID{job.ID}, unavailableWait)
	case errors.As(cause, &permanent) || job.Attempt >= job.kind.policy.Attempts:
		e.metrics.ended(q.name, job.Kind, Dead, took)
		log.Error("a job failed for good", "error", cause)
		e.end(ctx, job, Dead, cause)
	default:
		wait := spread(job.kind.policy.Backoff(job.Attempt))
		log.Warn("a job failed and will be tried again", "error", cause, "wait", wait.String())
		e.metrics.ended(q.name, job.Kind, Retrying, took)
		e.retry(ctx, job, wait, cause)
	}
}

// spread applies the jitter.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64()))
}

// failure is what is kept of one failed attempt.
type failure struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
}

func (j *Job) failure(cause error) json.RawMessage {
	text := cause.Error()
	if len(text) > maxError {
		text = text[:maxError]
		for len(text) > 0 && !utf8.ValidString(text[len(text)-min(len(text), utf8.UTFMax):]) {
			text = text[:len(text)-1]
		}
		text += " …"
	}
	encoded, err := json.Marshal([]failure{{Attempt: j.Attempt, At: time.Now().UTC(), Error: text}})
	if err != nil {
		return json.RawMessage(`[]`)
	}
	return encoded
}

// retry puts the job off. A cancellation that came meanwhile ends it instead.
func (e *Engine) retry(ctx context.Context, job *Job, wait time.Duration, cause error) {
	var rows int64
	err := e.insist(ctx, "put a failed job off", func(ctx context.Context) (err error) {
		rows, err = e.sql.Retry(ctx, jobsdb.RetryParams{
			ID: job.ID, Attempt: job.run, Instance: &e.instance, WaitSeconds: wait.Seconds(), Failure: job.failure(cause),
		})
		return err
	})
	switch {
	case err != nil:
		e.log.Error("a failed job's end is not written; the next start takes it over", "job_id", job.ID, "error", err)
	case rows == 0:
		e.end(ctx, job, Cancelled, ErrCancelled)
	default:
		e.wakeDue()
	}
}

// end finishes the job without success, with the kind's own farewell in the
// same transaction.
func (e *Engine) end(ctx context.Context, job *Job, state State, cause error) {
	err := e.insist(ctx, "end a job", func(ctx context.Context) error {
		return e.db.Tx(ctx, func(tx database.Tx) error {
			rows, err := jobsdb.New(tx).Finish(ctx, jobsdb.FinishParams{
				ID: job.ID, Attempt: job.run, Instance: &e.instance, State: string(state), Failure: job.failure(cause),
			})
			if err != nil {
				return err
			}
			if rows == 0 {
				return ErrLost
			}
			return e.giveUp(ctx, tx, job.kind, job.ID, job.args, cause)
		})
	})
	switch {
	case errors.Is(err, ErrLost):
	case err != nil:
		e.log.Error("a job's end is not written; the next start takes it over", "job_id", job.ID, "error", err)
	default:
		e.announce(job.ID, state)
	}
}

func (e *Engine) giveUp(ctx context.Context, tx database.Tx, k *kind, id ID, args json.RawMessage, cause error) error {
	if k == nil || k.giveUp == nil {
		return nil
	}
	return k.giveUp(ctx, tx, id, args, cause)
}

// succeed marks the job of a run as done, or says that it is not the run's.
func (e *Engine) succeed(ctx context.Context, tx database.Tx, j *Job, result json.RawMessage) error {
	rows, err := jobsdb.New(tx).Succeed(ctx, jobsdb.SucceedParams{ID: j.ID, Attempt: j.run, Instance: &e.instance, Result: result})
	if err != nil {
		return fmt.Errorf("complete job: %w", err)
	}
	if rows == 0 {
		return ErrLost
	}
	return nil
}

// handBack returns claimed jobs to their queues without counting an attempt.
func (e *Engine) handBack(ctx context.Context, ids []uuid.UUID, wait time.Duration) {
	var rows []jobsdb.HandBackRow
	err := e.insist(ctx, "hand jobs back", func(ctx context.Context) (err error) {
		rows, err = e.sql.HandBack(ctx, jobsdb.HandBackParams{Ids: ids, Instance: &e.instance, WaitSeconds: wait.Seconds()})
		return err
	})
	if err != nil {
		e.log.Error("jobs are not handed back; the next start takes them over", "jobs", len(ids), "error", err)
		return
	}
	if wait > 0 {
		e.wakeDue()
		return
	}
	sends := make([]dispatch, len(rows))
	for i, row := range rows {
		sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority)}
	}
	e.send(sends)
}

// completeMost is the most successes of one statement.
const completeMost = 1000

// completeLoop writes plain successes down, all that came during the last
// statement with the next one.
func (e *Engine) completeLoop() {
	batch := make([]finished, 0, completeMost)
	for first := range e.done {
		batch = append(batch[:0], first)
	more:
		for len(batch) < completeMost {
			select {
			case next, ok := <-e.done:
				if !ok {
					break more
				}
				batch = append(batch, next)
			default:
				break more
			}
		}
		e.completeBatch(batch)
	}
}

func (e *Engine) completeBatch(batch []finished) {
	params := jobsdb.SucceedManyParams{Instance: &e.instance, Ids: make([]uuid.UUID, len(batch)), Attempts: make([]int32, len(batch))}
	for i, f := range batch {
		params.Ids[i], params.Attempts[i] = f.id, f.run
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*finishWait)
	defer cancel()
	var written []uuid.UUID
	err := e.insist(ctx, "complete jobs", func(ctx context.Context) (err error) {
		written, err = e.sql.SucceedMany(ctx, params)
		return err
	})
	if err != nil {
		e.log.Error("finished jobs are not marked; they will run again", "jobs", len(batch), "error", err)
		return
	}
	if lost := len(batch) - len(written); lost > 0 {
		e.log.Info("finished jobs whose claim was lost; another run has them", "jobs", lost)
	}
	for _, id := range written {
		e.announce(id, Succeeded)
	}
}
