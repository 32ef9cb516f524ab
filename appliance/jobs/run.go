package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"selflink/appliance/database"
)

const (
	// maxError is how much of an error's text is kept per attempt, in bytes.
	maxError = 2000

	// maxCrashes is how often a job may see its process die or the database
	// go away under it before it is taken for the cause.
	maxCrashes = 20

	// unavailableWait is the first pause of a job whose run met a database
	// that was away; it doubles up to 32 times with each further time. It is
	// the appliance's fault, not the job's, so no attempt counts.
	unavailableWait = time.Second

	// unknownWait is the pause of a job that this binary has no handler for;
	// during an upgrade the other one may have it.
	unknownWait = 30 * time.Second

	// jitter spreads retries by this part to both sides, so that jobs that
	// failed together do not come back together.
	jitter = 0.2
)

// execute runs one claimed job to its end.
func (e *Engine) execute(s *lifetime, q *queue, job *Job) {
	if job.kind == nil {
		e.log.Warn("no handler for a job's kind: putting it off", "job_id", job.ID, "kind", job.Kind)
		e.handBack(s, []*Job{job}, unknownWait, false)
		return
	}
	begin := time.Now()
	e.metrics.started(q.name, begin.Sub(job.runAt))
	err := job.verdict()
	if err == nil {
		job.began = begin
		err = e.work(s.aborted, job)
	}
	took := time.Since(begin)
	// A moving mean over about eight runs.
	q.meanRun.Store((7*q.meanRun.Load() + int64(took)) / 8)
	switch {
	case job.complete.Load():
		e.drop(job)
		e.metrics.ended(q.name, job.Kind, Succeeded, took)
		e.announce(job.ID, Succeeded)
	case err == nil:
		e.metrics.ended(q.name, job.Kind, Succeeded, took)
		s.done <- finished{job}
	default:
		e.fail(s, q, job, err, took)
	}
}

// verdict is non-nil for a job that is not to be run but ended.
func (j *Job) verdict() error {
	switch {
	case j.cancelled:
		return ErrCancelled
	case j.crashes >= maxCrashes:
		return Permanent(fmt.Errorf("%d times the process or the database went away while it ran", j.crashes))
	case j.Attempt > j.kind.policy.Attempts:
		return Permanent(errors.New("all attempts are used up, and the end could not be written before"))
	}
	return nil
}

// work calls the handler with a context that says why it ends.
func (e *Engine) work(aborted context.Context, job *Job) (err error) {
	ctx, cancel := context.WithCancelCause(e.context(aborted, job.ID))
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, job.kind.policy.Timeout, ErrTimeout)
	defer stop()
	e.mu.Lock()
	job.interrupt = cancel
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		job.interrupt = nil
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
func (e *Engine) fail(s *lifetime, q *queue, job *Job, cause error, took time.Duration) {
	log := e.log.With("job_id", job.ID, "kind", job.Kind, "attempt", job.Attempt)
	var permanent permanentError
	switch {
	case errors.Is(cause, ErrLost):
		e.drop(job)
		log.Info("a job's claim was lost; another run has it")
	case errors.Is(cause, ErrShutdown):
		e.handBack(s, []*Job{job}, 0, false)
	case errors.Is(cause, ErrCancelled):
		e.metrics.ended(q.name, job.Kind, Cancelled, took)
		log.Info("a job was cancelled")
		e.end(s, job, Cancelled, cause)
	case errors.Is(cause, database.ErrUnavailable) || errors.Is(cause, database.ErrBusy):
		log.Warn("the database was away during a job: trying again", "error", cause)
		e.handBack(s, []*Job{job}, spread(unavailableWait<<min(job.crashes, 5)), true)
	case errors.As(cause, &permanent) || job.Attempt >= job.kind.policy.Attempts:
		e.metrics.ended(q.name, job.Kind, Dead, took)
		log.Error("a job failed for good", "error", cause)
		e.end(s, job, Dead, cause)
	default:
		wait := spread(job.kind.policy.Backoff(job.Attempt))
		log.Warn("a job failed and will be tried again", "error", cause, "wait", wait.String())
		e.metrics.ended(q.name, job.Kind, Retrying, took)
		e.retry(s, job, wait, cause)
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
	// DurationMS is how long the attempt ran, in milliseconds; nil for one
	// that was ended before it began, and for those of older versions.
	DurationMS *int64 `json:"duration_ms,omitempty"`
}

func (j *Job) failure(cause error) json.RawMessage {
	f := failure{Attempt: j.Attempt, At: time.Now().UTC(), Error: keepable(cause.Error())}
	if !j.began.IsZero() {
		took := f.At.Sub(j.began).Milliseconds()
		f.DurationMS = &took
	}
	encoded, err := json.Marshal([]failure{f})
	if err != nil {
		return json.RawMessage(`[]`)
	}
	return encoded
}

// keepable bounds a text and removes what Postgres does not store: other
// people's servers write error texts too.
func keepable(text string) string { return short(text, maxError) }

// short is keepable with another bound, in bytes.
func short(text string, most int) string {
	kept := text[:min(len(text), most)]
	if len(kept) < len(text) {
		for len(kept) > 0 && !utf8.RuneStart(text[len(kept)]) {
			kept = kept[:len(kept)-1]
		}
		kept += " …"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(kept, "\uFFFD"), "\x00", "\uFFFD")
}
