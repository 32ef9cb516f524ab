package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"selflink/appliance/database"
)

const (
	defaultQueue    = "default"
	defaultAttempts = 3
	defaultTimeout  = time.Minute
	defaultBackoff  = 5 * time.Second
	defaultRetain   = 24 * time.Hour
)

// withDefaults fills in the zero values.
func (p Policy) withDefaults() Policy {
	if p.Queue == "" {
		p.Queue = defaultQueue
	}
	if p.Attempts <= 0 {
		p.Attempts = defaultAttempts
	}
	if p.Timeout <= 0 {
		p.Timeout = defaultTimeout
	}
	if p.Backoff == nil {
		p.Backoff = Exponential(defaultBackoff)
	}
	if p.Retain <= 0 {
		p.Retain = defaultRetain
	}
	return p
}

// level is the priority as one of three levels, 2 the most urgent.
func (p Policy) level() int {
	switch {
	case p.Priority > 0:
		return 2
	case p.Priority < 0:
		return 0
	}
	return 1
}

// kind is what the engine knows of one kind of job.
type kind struct {
	policy Policy
	work   func(ctx context.Context, job *Job, args json.RawMessage) error
	giveUp func(ctx context.Context, tx database.Tx, id ID, args json.RawMessage, cause error) error
}

// Handle registers what runs jobs of T's kind. work runs on a goroutine of its
// own with a context that ends at the policy's timeout, on cancellation and on
// shutdown; it must return soon after. A nil return completes the job; an
// error fails the run, which is tried again as the policy says unless it is
// [Permanent]. Work that changes the database does so in [Job.Complete].
//
// Handle must be called before Start. It fails for a kind that has a handler
// and for a queue without workers.
func Handle[T Args](e *Engine, policy Policy, work func(ctx context.Context, job *Job, args T) error) error {
	var zero T
	name := zero.Kind()
	policy = policy.withDefaults()
	if _, ok := e.kinds[name]; ok {
		return fmt.Errorf("jobs: %s has a handler already", name)
	}
	if _, ok := e.queues[policy.Queue]; !ok {
		return fmt.Errorf("jobs: %s goes to queue %q, which has no workers", name, policy.Queue)
	}
	e.kinds[name] = &kind{policy: policy, work: func(ctx context.Context, job *Job, raw json.RawMessage) error {
		var args T
		if err := json.Unmarshal(raw, &args); err != nil {
			return Permanent(fmt.Errorf("decode arguments: %w", err))
		}
		return work(ctx, job, args)
	}}
	return nil
}

// OnGiveUp registers what happens when a job of T's kind ends without success:
// its last attempt failed, it was cancelled, or its failure is permanent. f
// runs in the transaction that ends the job; an error of f leaves the job
// unfinished, to be tried again. It must be called after [Handle].
func OnGiveUp[T Args](e *Engine, f func(ctx context.Context, tx database.Tx, id ID, args T, cause error) error) error {
	var zero T
	k, ok := e.kinds[zero.Kind()]
	if !ok {
		return fmt.Errorf("jobs: %s has no handler", zero.Kind())
	}
	k.giveUp = func(ctx context.Context, tx database.Tx, id ID, raw json.RawMessage, cause error) error {
		var args T
		if err := json.Unmarshal(raw, &args); err != nil {
			return fmt.Errorf("decode arguments: %w", err)
		}
		return f(ctx, tx, id, args, cause)
	}
	return nil
}

// Errors of runs.
var (
	// ErrLost means that the claim on a job is gone: another process took it
	// over or somebody cancelled it. What the run did in [Job.Complete] is
	// rolled back; the run should just return.
	ErrLost = errors.New("jobs: the claim is lost")
	// ErrCancelled is the cause of a run's context when somebody cancels it.
	ErrCancelled = errors.New("jobs: cancelled")
	// ErrShutdown is the cause of a run's context when the engine stops. The
	// job runs again later and no attempt is counted.
	ErrShutdown = errors.New("jobs: the engine is stopping")
	// ErrTimeout is the cause of a run's context when the policy's timeout is
	// over.
	ErrTimeout = errors.New("jobs: the run took too long")
)

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks err as one that another attempt cannot mend: the job is dead
// at once.
func Permanent(err error) error { return permanentError{err} }

// Job is one run of a job.
type Job struct {
	ID      ID
	Kind    string
	Attempt int // runs that failed before this one, plus one

	engine    *Engine
	life      *lifetime // of the claim
	run       int32     // number of the claim, which guards completion
	args      json.RawMessage
	kind      *kind
	crashes   int
	cancelled bool // somebody asked for it before this claim
	runAt     time.Time
	began     time.Time // of the run; zero: it was ended without one
	complete  atomic.Bool

	// Guarded by the engine's mu.
	interrupt context.CancelCauseFunc // while it runs
	missed    int                     // looks that did not find the claim
}

// Complete ends the job as succeeded and runs effect in the same transaction:
// both happen, or neither. result, which may be nil, is kept as JSON until the
// row is purged. It returns [ErrLost] when the job is no longer this run's.
func (j *Job) Complete(ctx context.Context, result any, effect func(tx database.Tx) error) error {
	encoded, err := json.Marshal(result)
	if err != nil {
		return Permanent(fmt.Errorf("encode result: %w", err))
	}
	err = j.engine.db.Tx(ctx, func(tx database.Tx) error {
		// The guard comes first: it locks the row, so a rival waits here.
		if err := j.engine.succeed(ctx, tx, j, encoded); err != nil {
			return err
		}
		if effect == nil {
			return nil
		}
		return effect(tx)
	})
	if err == nil {
		j.complete.Store(true)
	}
	return err
}
