package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/schedule/scheduledb"
)

// whoMost is how much of the name of who paused is kept, in bytes.
const whoMost = 200

// Errors of acting on a schedule.
var (
	// ErrRunning means that a run of the schedule goes on, on some node.
	ErrRunning = errors.New("schedule: it runs already")
	// ErrStopped means that the scheduler does not run, so that nobody would
	// look after a run.
	ErrStopped = errors.New("schedule: not running")
)

// RunNow fires a schedule outside its times, also a paused one, and waits for
// it. It returns what [Scheduler.Trigger] does, and why the run failed.
func (s *Scheduler) RunNow(ctx context.Context, name string) error {
	e := s.find(name)
	if e == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	at, err := s.takeByHand(ctx, e)
	if err != nil || e.Job != nil {
		return err
	}
	err = s.carryOut(ctx, e, at)
	e.note(err)
	return err
}

// Trigger fires a schedule outside its times, also a paused one, and returns
// while it runs; how it went is written down as of any firing. Stop waits for
// the run as for others. It returns [ErrNotFound], [ErrStopped], or
// [ErrRunning] when a run of the schedule goes on on any node, which makes two
// operators' clicks one run. A firing at its planned time does not ask that.
func (s *Scheduler) Trigger(ctx context.Context, name string) (startedAt time.Time, err error) {
	e := s.find(name)
	if e == nil {
		return time.Time{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	s.mu.Lock()
	running := s.running
	if s.clock == nil {
		s.mu.Unlock()
		return time.Time{}, fmt.Errorf("run %s: %w", name, ErrStopped)
	}
	s.wait.Add(1) // while Stop cannot be waiting yet
	s.mu.Unlock()
	at, err := s.takeByHand(ctx, e)
	if err != nil || e.Job != nil {
		s.wait.Done()
		return at, err
	}
	go func() {
		defer s.wait.Done()
		err := s.carryOut(running, e, at)
		e.note(err)
		if err != nil && running.Err() == nil {
			s.log.Error("a firing failed", "schedule", e.Name, "fire_at", at, "error", err)
		}
	}()
	return at, nil
}

// takeByHand claims a firing at this moment, unless one goes on. The row of
// the schedule makes two who try that wait for each other.
func (s *Scheduler) takeByHand(ctx context.Context, e *entry) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	at = time.Now().UTC().Truncate(time.Microsecond)
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		sql := scheduledb.New(tx)
		if err := sql.Lock(ctx, scheduledb.LockParams{Name: e.Name, Cron: e.Cron, NextAt: e.times.Next(at)}); err != nil {
			return err
		}
		if _, err := sql.Abandoned(ctx, scheduledb.AbandonedParams{Schedule: e.Name, Seconds: (e.Timeout + late).Seconds()}); err != nil {
			return err
		}
		runs, err := sql.Runs(ctx, e.Name)
		if err != nil {
			return err
		}
		if runs {
			return ErrRunning
		}
		mine, err := s.take(ctx, tx, e, at, true)
		if err == nil && !mine { // fired at this very microsecond
			return ErrRunning
		}
		return err
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("run %s: %w", e.Name, err)
	}
	return at, nil
}

// Pause keeps a schedule from firing on every node until [Scheduler.Resume];
// what runs goes on to its end. It is stored and survives restarts. Firings
// that do not happen because of it are not written down as missed, and none is
// caught up. by says who did it, for people. A paused schedule stays as it is,
// with who paused it first. It returns [ErrNotFound] for a schedule that is
// not registered here.
func (s *Scheduler) Pause(ctx context.Context, name, by string) error {
	e := s.find(name)
	if e == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	err := s.sql.Pause(ctx, scheduledb.PauseParams{
		Name: name, Cron: e.Cron, NextAt: e.times.Next(time.Now().UTC()), By: short(by, whoMost),
	})
	if err != nil {
		return fmt.Errorf("schedule: pause %s: %w", name, err)
	}
	s.log.Info("a schedule was paused", "schedule", name, "by", by)
	return nil
}

// Resume ends a pause: the schedule fires again at its next time. Resuming one
// that is not paused does nothing. It returns [ErrNotFound].
func (s *Scheduler) Resume(ctx context.Context, name string) error {
	e := s.find(name)
	if e == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	err := s.sql.Resume(ctx, scheduledb.ResumeParams{Name: name, NextAt: e.times.Next(time.Now().UTC())})
	if err != nil {
		return fmt.Errorf("schedule: resume %s: %w", name, err)
	}
	s.log.Info("a schedule was resumed", "schedule", name)
	return nil
}
