package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/jobs/jobsdb"
)

const (
	// doneMost is how many plain successes may wait for the ledger; past it
	// workers wait too.
	doneMost = 4096

	// completeMost is the most successes of one statement.
	completeMost = 1000

	// endTries is how often a kind's farewell is tried at once, and endWait
	// how long the job then waits for the next time. Its worker goes on to
	// other jobs meanwhile.
	endTries = 3
	endWait  = 30 * time.Second
)

// finished is a plain success on its way to the ledger.
type finished struct{ job *Job }

// unwritten logs an end that could not be written. The claim is no longer
// held, so the heartbeat, or the next start, queues the job again.
func (e *Engine) unwritten(err error, what string, ended ...*Job) {
	e.drop(ended...)
	e.log.Error(what+"; they run again", "jobs", len(ended), "job_id", ended[0].ID, "error", err)
}

// retry puts the job off. A cancellation that came meanwhile ends it instead.
func (e *Engine) retry(s *lifetime, job *Job, wait time.Duration, cause error) {
	var rows int64
	err := e.insist(s.writing, "put a failed job off", func(ctx context.Context) (err error) {
		rows, err = e.sql.Retry(ctx, jobsdb.RetryParams{
			ID: job.ID, Run: job.run, Instance: &s.instance, WaitSeconds: wait.Seconds(), Failure: job.failure(cause),
		})
		return err
	})
	switch {
	case err != nil:
		e.unwritten(err, "a failed run is not written down", job)
	case rows == 0:
		e.end(s, job, Cancelled, ErrCancelled)
	default:
		e.drop(job)
		e.wakeDue()
	}
}

// end finishes the job without success, with the kind's own farewell in the
// same transaction.
func (e *Engine) end(s *lifetime, job *Job, state State, cause error) {
	var err error
	for try := range endTries {
		err = e.insist(s.writing, "end a job", func(ctx context.Context) error {
			return e.db.Tx(ctx, func(tx database.Tx) error {
				rows, err := jobsdb.New(tx).Finish(ctx, jobsdb.FinishParams{
					ID: job.ID, Run: job.run, Instance: &s.instance, State: string(state), Failure: job.failure(cause),
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
		if err == nil {
			e.drop(job)
			e.announce(job.ID, state)
			return
		}
		if errors.Is(err, ErrLost) {
			e.drop(job)
			return
		}
		pause(s.writing, retryFirst<<try)
	}
	e.log.Error("a job's farewell fails; it is tried again later", "job_id", job.ID, "kind", job.Kind, "error", err)
	err = e.insist(s.writing, "put a job's end off", func(ctx context.Context) error {
		_, err := e.sql.PutOff(ctx, jobsdb.PutOffParams{ID: job.ID, Run: job.run, Instance: &s.instance, WaitSeconds: endWait.Seconds()})
		return err
	})
	if err != nil {
		e.unwritten(err, "a job's end is not written down", job)
		return
	}
	e.drop(job)
	e.wakeDue()
}

// giveUp calls the kind's farewell. A panic in it is an error like others.
func (e *Engine) giveUp(ctx context.Context, tx database.Tx, k *kind, id ID, args json.RawMessage, cause error) (err error) {
	if k == nil || k.giveUp == nil {
		return nil
	}
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return k.giveUp(ctx, tx, id, args, cause)
}

// succeed marks the job of a run as done, or says that it is not the run's.
func (e *Engine) succeed(ctx context.Context, tx database.Tx, j *Job, result json.RawMessage) error {
	rows, err := jobsdb.New(tx).Succeed(ctx, jobsdb.SucceedParams{ID: j.ID, Run: j.run, Instance: &j.life.instance, Result: result})
	if err != nil {
		return fmt.Errorf("complete job: %w", err)
	}
	if rows == 0 {
		return ErrLost
	}
	return nil
}

// handBack returns claimed jobs to their queues without counting an attempt;
// crashed counts that something broke under them.
func (e *Engine) handBack(s *lifetime, back []*Job, wait time.Duration, crashed bool) {
	if len(back) == 0 {
		return
	}
	params := jobsdb.HandBackParams{
		Instance: &s.instance, WaitSeconds: wait.Seconds(), Ids: make([]uuid.UUID, len(back)), Runs: make([]int32, len(back)),
	}
	if crashed {
		params.Crashed = 1
	}
	for i, job := range back {
		params.Ids[i], params.Runs[i] = job.ID, job.run
	}
	if err := e.handBackRows(s.writing, params); err != nil {
		e.unwritten(err, "interrupted jobs are not handed back", back...)
		return
	}
	e.drop(back...)
}

func (e *Engine) handBackRows(ctx context.Context, params jobsdb.HandBackParams) error {
	var rows []jobsdb.HandBackRow
	err := e.insist(ctx, "hand jobs back", func(ctx context.Context) (err error) {
		rows, err = e.sql.HandBack(ctx, params)
		return err
	})
	if err != nil {
		return err
	}
	if params.WaitSeconds > 0 {
		e.wakeDue()
		return nil
	}
	sends := make([]dispatch, len(rows))
	for i, row := range rows {
		sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority), run: row.Run}
	}
	e.send(sends)
	return nil
}

// completeLoop writes plain successes down, all that came during the last
// statement with the next one.
func (e *Engine) completeLoop(s *lifetime) {
	batch := make([]*Job, 0, completeMost)
	for first := range s.done {
		batch = append(batch[:0], first.job)
	more:
		for len(batch) < completeMost {
			select {
			case next, ok := <-s.done:
				if !ok {
					break more
				}
				batch = append(batch, next.job)
			default:
				break more
			}
		}
		e.completeBatch(s, batch)
	}
}

func (e *Engine) completeBatch(s *lifetime, batch []*Job) {
	params := jobsdb.SucceedManyParams{Instance: &s.instance, Ids: make([]uuid.UUID, len(batch)), Runs: make([]int32, len(batch))}
	for i, job := range batch {
		params.Ids[i], params.Runs[i] = job.ID, job.run
	}
	var written []uuid.UUID
	err := e.insist(s.writing, "complete jobs", func(ctx context.Context) (err error) {
		written, err = e.sql.SucceedMany(ctx, params)
		return err
	})
	if err != nil {
		e.unwritten(err, "finished jobs are not marked", batch...)
		return
	}
	e.drop(batch...)
	if lost := len(batch) - len(written); lost > 0 {
		// Another run has them, or the answer to an earlier try was lost.
		e.log.Info("finished jobs that were no longer running in the ledger", "jobs", lost)
	}
	for _, id := range written {
		e.announce(id, Succeeded)
	}
}
