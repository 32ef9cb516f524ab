package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/health"
)

// overdue is how long after its planned time a firing is missing from the
// clock: more than late, after which the next tick writes it down as missed.
const overdue = 2 * late

// registerChecks tells r what may go wrong here.
func (s *Scheduler) registerChecks(r *health.Registry) {
	r.Add(health.Check{
		Code: "schedules", Title: "The last firing of a schedule failed",
		Impact:    "What it does is not done until its next firing: what should be deleted stays, for example.",
		Remedy:    "See why in the lines of component schedule of the log; it is tried again at its next time.",
		DependsOn: []string{database.CheckPostgres, database.CheckPooled},
		Run:       s.checkFailed,
	})
	r.Add(health.Check{
		Code: "schedules.missed", Title: "A schedule did not fire at its time", Severity: health.Low, Every: 30 * time.Second,
		Impact:    "What it does is not done until its next firing.",
		Remedy:    "Nothing after a downtime: it fires again at its next time. Otherwise restart: systemctl restart selflink",
		DependsOn: []string{database.CheckPostgres, database.CheckPooled},
		Run:       s.checkMissed,
	})
	r.Add(health.Check{
		Code: "schedules.paused", Title: "A schedule is paused", Severity: health.Low, Every: 15 * time.Second,
		Impact:    "What it does is not done until somebody resumes it.",
		Remedy:    "Resume it in the dashboard when the reason is gone.",
		DependsOn: []string{database.CheckPostgres, database.CheckPooled},
		Run:       s.checkPaused,
	})
}

// checkFailed asks how the last firing of each schedule here went.
func (s *Scheduler) checkFailed(context.Context) error {
	var failed []error
	for _, e := range s.all() {
		e.mu.Lock()
		if e.failed != nil {
			failed = append(failed, fmt.Errorf("the last firing of %s failed: %w", e.Name, e.failed))
		}
		e.mu.Unlock()
	}
	return errors.Join(failed...)
}

// checkPaused names the paused schedules and who paused them.
func (s *Scheduler) checkPaused(ctx context.Context) error {
	rows, err := s.sql.Paused(ctx, s.names())
	if err != nil {
		return fmt.Errorf("schedule: read which are paused: %w", err)
	}
	var texts []error
	for _, row := range rows {
		if row.PausedBy != nil && row.PausedAt != nil {
			texts = append(texts, fmt.Errorf("%s is paused by %s since %s", row.Name, *row.PausedBy, row.PausedAt.UTC().Format(time.RFC3339)))
		}
	}
	return errors.Join(texts...)
}

func (s *Scheduler) names() []string {
	entries := s.all()
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	return names
}

// checkMissed looks for schedules whose last firing nobody did, and for
// planned ones that the clock forgot.
func (s *Scheduler) checkMissed(ctx context.Context) error {
	var missed []error
	for _, e := range s.all() {
		e.mu.Lock()
		if !e.planned.IsZero() && time.Since(e.planned) > overdue {
			missed = append(missed, fmt.Errorf("%s should have fired at %s", e.Name, e.planned.Format(time.RFC3339)))
		}
		e.mu.Unlock()
	}
	rows, err := s.sql.LastMissed(ctx, s.names())
	if err != nil {
		return fmt.Errorf("schedule: look for missed firings: %w", err)
	}
	for _, row := range rows {
		missed = append(missed, fmt.Errorf("%s missed its firing of %s", row.Schedule, row.FireAt.UTC().Format(time.RFC3339)))
	}
	return errors.Join(missed...)
}

func (s *Scheduler) all() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*entry(nil), s.entries...)
}
