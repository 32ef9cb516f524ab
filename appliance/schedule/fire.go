package schedule

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/robfig/cron/v3"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/appliance/schedule/scheduledb"
)

// silent drops gocron's own log lines: outcomes are rows, failures are logged
// here.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Error(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}

// resume plans the entry's next firing and records what a downtime missed.
func (s *Scheduler) resume(ctx context.Context, e *entry, now time.Time) error {
	planned, err := s.sql.Plan(ctx, scheduledb.PlanParams{Name: e.Name, Cron: e.Cron, NextAt: e.times.Next(now)})
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := s.miss(ctx, e, planned.UTC(), now.Add(-late)); err != nil {
		return err
	}
	// What was due within the last minute is not missed but a little late.
	next := e.times.Next(now.Add(-late))
	if planned.After(next) {
		next = planned.UTC()
	}
	for !next.After(now) {
		s.launch(e, next)
		next = e.times.Next(next)
	}
	if err := s.sql.Advance(ctx, scheduledb.AdvanceParams{Name: e.Name, NextAt: next}); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	e.mu.Lock()
	e.planned = next
	e.mu.Unlock()
	return nil
}

// miss writes down the firings from first to last, and runs the last of them
// when the entry catches up. Who has fired or missed them already is asked by
// the same rows.
func (s *Scheduler) miss(ctx context.Context, e *entry, first, last time.Time) error {
	missed := missedBetween(e.times, first, last)
	if len(missed) > 0 {
		paused, err := s.sql.PausedAt(ctx, e.Name)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("ask whether it is paused: %w", err)
		}
		if paused != nil { // from then on it was not to fire
			missed = slices.DeleteFunc(missed, func(at time.Time) bool { return !at.Before(*paused) })
		}
	}
	for i, at := range missed {
		if e.CatchUp && i == len(missed)-1 {
			s.launch(e, at)
			continue
		}
		if err := s.sql.Miss(ctx, scheduledb.MissParams{Schedule: e.Name, FireAt: at, Host: s.host}); err != nil {
			return fmt.Errorf("record a missed firing: %w", err)
		}
	}
	if len(missed) > 0 {
		s.log.Warn("firings were missed", "schedule", e.Name, "missed", len(missed), "since", missed[0], "caught_up", e.CatchUp)
	}
	return nil
}

// missedBetween lists the firing times from first to last, only the newest
// missedMost of them.
func missedBetween(times cron.Schedule, first, last time.Time) []time.Time {
	var missed []time.Time
	for at := first; !at.IsZero() && !at.After(last); at = times.Next(at) {
		missed = append(missed, at)
		if len(missed) > missedMost {
			missed = missed[1:]
		}
	}
	return missed
}

// tick is the clock's call: it fires the planned time, if it has come. What
// passed while the machine slept counts as missed.
func (s *Scheduler) tick(e *entry) {
	now := time.Now().UTC()
	e.mu.Lock()
	at := e.planned
	// gocron's timer may be early by the resolution of the clock.
	if at.After(now.Add(time.Second)) {
		e.mu.Unlock()
		return
	}
	first := at
	for next := e.times.Next(at); !next.After(now); next = e.times.Next(at) {
		at = next
	}
	next := e.times.Next(at)
	e.planned = next
	e.mu.Unlock()
	s.wait.Go(func() {
		if err := s.plan(e, first, at, next); err != nil && s.running.Err() == nil {
			s.log.Warn("plan the next firing", "schedule", e.Name, "error", err)
		}
	})
	if now.Sub(at) <= late {
		s.launch(e, at)
	}
}

// plan notes the next firing, and what passed from first up to at without one.
func (s *Scheduler) plan(e *entry, first, at, next time.Time) error {
	ctx, cancel := context.WithTimeout(s.running, callTimeout)
	defer cancel()
	last := at
	if time.Since(at) <= late {
		last = at.Add(-time.Nanosecond)
	}
	if err := s.miss(ctx, e, first, last); err != nil {
		return err
	}
	return s.sql.Advance(ctx, scheduledb.AdvanceParams{Name: e.Name, NextAt: next})
}

func (s *Scheduler) launch(e *entry, at time.Time) {
	s.wait.Go(func() {
		if err := s.fire(s.running, e, at); err != nil && s.running.Err() == nil {
			s.log.Error("a firing failed", "schedule", e.Name, "fire_at", at, "error", err)
		}
	})
}

// note remembers how a firing here went, for the health check. That it was
// interrupted says nothing of the schedule.
func (e *entry) note(err error) {
	if errors.Is(err, errStopping) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = err
}

// fire claims the firing and does its work; nil when another process has
// it or the schedule is paused.
func (s *Scheduler) fire(ctx context.Context, e *entry, at time.Time) (err error) {
	defer func() { e.note(err) }()
	mine, err := s.claim(ctx, e, at)
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	if !mine || e.Job != nil {
		return nil
	}
	return s.carryOut(ctx, e, at)
}

// carryOut does the work of a firing that is this process's and writes down
// how it went.
func (s *Scheduler) carryOut(ctx context.Context, e *entry, at time.Time) error {
	failed := s.call(ctx, e)
	finish := scheduledb.FinishParams{Schedule: e.Name, FireAt: at, Outcome: "succeeded"}
	if failed != nil {
		text := keepable(failed.Error())
		finish.Outcome, finish.Error = "failed", &text
	}
	// The outcome is written even when Stop ended the work.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer done()
	if err := s.sql.Finish(last, finish); err != nil {
		return errors.Join(failed, fmt.Errorf("write the outcome: %w", err))
	}
	return failed
}

// claim inserts the firing's row, with the job in the same transaction, and
// reports whether this process is the one. While the database is away it
// tries again until the firing counts as missed.
func (s *Scheduler) claim(ctx context.Context, e *entry, at time.Time) (mine bool, err error) {
	for deadline := time.Now().Add(late); ; {
		mine, err = s.claimOnce(ctx, e, at)
		away := errors.Is(err, database.ErrUnavailable) || errors.Is(err, database.ErrBusy)
		if !away || ctx.Err() != nil || time.Now().After(deadline) {
			return mine, err
		}
		timer := time.NewTimer(claimPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, context.Cause(ctx)
		}
	}
}

func (s *Scheduler) claimOnce(ctx context.Context, e *entry, at time.Time) (mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		sql := scheduledb.New(tx)
		// A firing that runs longer than it may belongs to a process that ended.
		if _, err := sql.Abandoned(ctx, scheduledb.AbandonedParams{Schedule: e.Name, Seconds: (e.Timeout + late).Seconds()}); err != nil {
			return err
		}
		mine, err = s.take(ctx, tx, e, at, false)
		return err
	})
	return mine && err == nil, err
}

// take inserts the firing's row in tx and enqueues its job, if it has one. It
// reports whether the firing is this process's.
func (s *Scheduler) take(ctx context.Context, tx database.Tx, e *entry, at time.Time, byHand bool) (mine bool, err error) {
	sql := scheduledb.New(tx)
	rows, err := sql.Claim(ctx, scheduledb.ClaimParams{Schedule: e.Name, FireAt: at, Host: s.host, ByHand: byHand})
	if err != nil || rows == 0 || e.Job == nil {
		return err == nil && rows == 1, err
	}
	if _, err := s.jobs.Enqueue(ctx, tx, e.Job, jobs.EnqueueOptions{}); err != nil {
		return false, err
	}
	return true, sql.Finish(ctx, scheduledb.FinishParams{Schedule: e.Name, FireAt: at, Outcome: "succeeded"})
}

// call runs the entry's work. A panic in it is an error like others.
func (s *Scheduler) call(ctx context.Context, e *entry) (err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			s.log.ErrorContext(ctx, "a firing panicked", "schedule", e.Name, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	if err := e.Run(ctx); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errStopping) {
			return fmt.Errorf("%w: %w", errStopping, err)
		}
		return err
	}
	return nil
}

// keepable bounds a text and removes what Postgres does not store.
func keepable(text string) string { return short(text, maxError) }

// short is keepable with another bound, in bytes.
func short(text string, most int) string {
	if len(text) > most {
		text = text[:most] + " …"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
