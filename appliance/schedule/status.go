package schedule

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/schedule/scheduledb"
)

const (
	// pageDefault and pageMost are the sizes of a page of firings.
	pageDefault = 50
	pageMost    = 200
)

// ErrBadCursor means that a cursor is not one that [Scheduler.Page] gave.
var ErrBadCursor = errors.New("schedule: not a cursor of this list")

// Status is how a schedule is doing on all nodes together.
type Status struct {
	Name          string     `json:"name"`
	Cron          string     `json:"cron"`
	NextAt        *time.Time `json:"next_at"` // nil while it is paused
	Paused        bool       `json:"paused"`
	PausedBy      *string    `json:"paused_by"`
	PausedAt      *time.Time `json:"paused_at"`
	Running       bool       `json:"running"`
	Last          *Fired     `json:"last"` // nil: never fired
	LastSuccessAt *time.Time `json:"last_success_at"`
	Missed        int64      `json:"missed_30d"`
	Failed        int64      `json:"failed_30d"`
}

// Fired is one firing as it was written down.
type Fired struct {
	FireAt     time.Time  `json:"fire_at"`
	Outcome    string     `json:"outcome"` // running, succeeded, failed or missed
	Node       string     `json:"node"`    // the host that fired it, or wrote down that nobody did
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	DurationMS *int64     `json:"duration_ms"` // nil while it runs, and for missed ones
	Error      *string    `json:"error"`
}

// FiringPage is a part of a schedule's firings, the newest first.
type FiringPage struct {
	Items []Fired `json:"items"`
	Next  *string `json:"next"` // cursor of the next page; nil: this is the last
}

// Overview tells how all schedules of this process are doing on all nodes, in
// the order of their registration.
func (s *Scheduler) Overview(ctx context.Context) ([]Status, error) {
	return s.overview(ctx, s.all())
}

// Status is one schedule of the overview, or [ErrNotFound].
func (s *Scheduler) Status(ctx context.Context, name string) (Status, error) {
	e := s.find(name)
	if e == nil {
		return Status{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	list, err := s.overview(ctx, []*entry{e})
	if err != nil {
		return Status{}, err
	}
	return list[0], nil
}

func (s *Scheduler) overview(ctx context.Context, entries []*entry) ([]Status, error) {
	now := time.Now().UTC()
	list := make([]Status, len(entries))
	params := scheduledb.OverviewParams{Names: make([]string, len(entries)), Seconds: make([]float64, len(entries))}
	byName := make(map[string]*Status, len(entries))
	for i, e := range entries {
		next := e.times.Next(now)
		list[i] = Status{Name: e.Name, Cron: e.Cron, NextAt: &next}
		params.Names[i], params.Seconds[i] = e.Name, (e.Timeout + late).Seconds()
		byName[e.Name] = &list[i]
	}
	rows, err := s.sql.Overview(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("schedule: overview: %w", err)
	}
	for _, row := range rows {
		st := byName[row.Name]
		st.Running, st.Missed, st.Failed = row.Running, row.Missed, row.Failed
		if row.PausedAt != nil {
			st.Paused, st.PausedBy, st.PausedAt, st.NextAt = true, row.PausedBy, utc(row.PausedAt), nil
		}
	}
	lasts, err := s.sql.Lasts(ctx, params.Names)
	if err != nil {
		return nil, fmt.Errorf("schedule: overview: %w", err)
	}
	for _, row := range lasts {
		fired := firedOf(row)
		byName[row.Schedule].Last = &fired
	}
	successes, err := s.sql.LastSuccesses(ctx, params.Names)
	if err != nil {
		return nil, fmt.Errorf("schedule: overview: %w", err)
	}
	for _, row := range successes {
		byName[row.Schedule].LastSuccessAt = utc(&row.FinishedAt)
	}
	return list, nil
}

// Page returns firings of a schedule, the newest first: limit of them (0 is
// 50), at most 200, from cursor on, which is Next of the page before or empty.
// It returns [ErrNotFound] or [ErrBadCursor].
func (s *Scheduler) Page(ctx context.Context, name, cursor string, limit int) (FiringPage, error) {
	if s.find(name) == nil {
		return FiringPage{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	before := time.Now().Add(time.Hour) // clocks may differ a little
	if cursor != "" {
		var err error
		if before, err = parseCursor(cursor); err != nil {
			return FiringPage{}, err
		}
	}
	if limit <= 0 {
		limit = pageDefault
	}
	limit = min(limit, pageMost)
	rows, err := s.sql.Firings(ctx, scheduledb.FiringsParams{Schedule: name, Before: before, Most: int32(limit + 1)})
	if err != nil {
		return FiringPage{}, fmt.Errorf("schedule %s: %w", name, err)
	}
	page := FiringPage{Items: make([]Fired, 0, len(rows))}
	for i, row := range rows {
		if i == limit {
			next := cursorOf(page.Items[limit-1].FireAt)
			page.Next = &next
			break
		}
		page.Items = append(page.Items, firedOf(row))
	}
	return page, nil
}

// A cursor is the time of the last firing of the page, in microseconds, which
// is what Postgres keeps.
func cursorOf(at time.Time) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro())))
}

func parseCursor(text string) (time.Time, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 8 {
		return time.Time{}, ErrBadCursor
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(raw))).UTC()
	if at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}, ErrBadCursor
	}
	return at, nil
}

func firedOf(r scheduledb.ScheduleFiring) Fired {
	f := Fired{FireAt: r.FireAt.UTC(), Outcome: r.Outcome, Node: r.Host, Error: r.Error}
	if r.Outcome == "missed" {
		return f // it has no times of its own
	}
	f.StartedAt, f.FinishedAt = utc(&r.StartedAt), utc(r.FinishedAt)
	if r.FinishedAt != nil {
		took := max(0, r.FinishedAt.Sub(r.StartedAt).Milliseconds())
		f.DurationMS = &took
	}
	return f
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}
