package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/schedule/scheduledb"
)

// Info is a schedule with its last firing.
type Info struct {
	Name string
	Cron string
	Next time.Time
	Last *Firing // nil: never fired
}

// Firing is one firing as it was written down.
type Firing struct {
	FireAt     time.Time
	Outcome    string // running, succeeded, failed or missed
	Host       string
	StartedAt  time.Time
	FinishedAt *time.Time
	Error      string
}

// Duration is how long the firing ran; 0 while it runs and for missed ones.
func (f Firing) Duration() time.Duration {
	if f.FinishedAt == nil {
		return 0
	}
	return f.FinishedAt.Sub(f.StartedAt)
}

// List returns all schedules of this process in the order of their registration.
func (s *Scheduler) List(ctx context.Context) ([]Info, error) {
	entries := s.all()
	list := make([]Info, 0, len(entries))
	for _, e := range entries {
		info := Info{Name: e.Name, Cron: e.Cron, Next: e.times.Next(time.Now().UTC())}
		row, err := s.sql.Last(ctx, e.Name)
		switch {
		case err == nil:
			firing := firingOf(row)
			info.Last = &firing
		case !errors.Is(err, pgx.ErrNoRows):
			return nil, fmt.Errorf("schedule %s: %w", e.Name, err)
		}
		list = append(list, info)
	}
	return list, nil
}

// Firings returns up to most firings of a schedule before a time, newest first.
func (s *Scheduler) Firings(ctx context.Context, name string, before time.Time, most int) ([]Firing, error) {
	rows, err := s.sql.Firings(ctx, scheduledb.FiringsParams{Schedule: name, Before: before, Most: int32(min(most, 500))})
	if err != nil {
		return nil, fmt.Errorf("schedule %s: %w", name, err)
	}
	list := make([]Firing, len(rows))
	for i, row := range rows {
		list[i] = firingOf(row)
	}
	return list, nil
}

func firingOf(r scheduledb.ScheduleFiring) Firing {
	f := Firing{FireAt: r.FireAt, Outcome: r.Outcome, Host: r.Host, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt}
	if r.Error != nil {
		f.Error = *r.Error
	}
	return f
}

// Purge deletes firings older than before and returns how many.
func (s *Scheduler) Purge(ctx context.Context, before time.Time) (int64, error) {
	n, err := s.sql.Purge(ctx, before)
	if err != nil {
		return n, fmt.Errorf("schedule: purge: %w", err)
	}
	return n, nil
}
