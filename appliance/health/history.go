package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"selflink/appliance/health/healthdb"
)

const (
	// Retention is how long the history is kept.
	Retention = 90 * 24 * time.Hour

	// pastMost bounds the problems of one [History].
	pastMost = 1000
)

// ErrNoHistory means that the registry keeps none.
var ErrNoHistory = errors.New("health: no history is kept")

// History is what the database remembers, over all processes on it.
type History struct {
	Hours    []Hour `json:"hours"`    // the oldest first; one that is missing was watched by nobody
	Problems []Past `json:"problems"` // the newest first, at most 1000
}

// Hour is the worst of one hour.
type Hour struct {
	Start time.Time `json:"start"`
	Worst Severity  `json:"worst"`
	// Seen is how long a process watched; of several the one that watched
	// longest.
	Seen time.Duration `json:"seen_ns"`
}

// Past is a problem that was, or is.
type Past struct {
	Node     string     `json:"node"`
	Code     string     `json:"code"`
	Title    string     `json:"title"`
	Severity Severity   `json:"severity"`
	Text     string     `json:"text"`
	Since    time.Time  `json:"failing_since"`
	Appeared time.Time  `json:"appeared_at"`
	Cleared  *time.Time `json:"cleared_at,omitempty"` // nil: not over, as far as is known
}

// History reads the last days, at most those of [Retention]. It returns
// [ErrNoHistory] without [Registry.Keep].
func (r *Registry) History(ctx context.Context, days int) (History, error) {
	sql, err := r.kept()
	if err != nil {
		return History{}, err
	}
	past := min(max(time.Duration(days)*24*time.Hour, 0), Retention)
	since := r.now().Add(-past).Truncate(time.Hour)
	h := History{Hours: []Hour{}, Problems: []Past{}}
	hours, err := sql.Hours(ctx, since)
	if err != nil {
		return History{}, fmt.Errorf("health: read the hours: %w", err)
	}
	for _, row := range hours {
		h.Hours = append(h.Hours, Hour{Start: row.Hour.UTC(), Worst: Severity(row.Worst), Seen: time.Duration(float64(row.SeenSeconds) * float64(time.Second))})
	}
	problems, err := sql.Problems(ctx, healthdb.ProblemsParams{Since: since, Most: pastMost})
	if err != nil {
		return History{}, fmt.Errorf("health: read past problems: %w", err)
	}
	for _, row := range problems {
		h.Problems = append(h.Problems, Past{
			Node: row.Node, Code: row.Code, Title: row.Title, Severity: Severity(row.Severity), Text: row.Problem,
			Since: row.FailingSince, Appeared: row.AppearedAt, Cleared: row.ClearedAt,
		})
	}
	return h, nil
}

// Trim deletes what is older than [Retention] and returns how many rows; it
// also ends the problems of processes that died for good. It returns [ErrNoHistory] without [Registry.Keep].
func (r *Registry) Trim(ctx context.Context) (int64, error) {
	sql, err := r.kept()
	if err != nil {
		return 0, err
	}
	before := r.now().Add(-Retention)
	if err := sql.CloseLost(ctx, healthdb.CloseLostParams{Node: r.opts.Node, SilentSince: r.now().Add(-silentAfter)}); err != nil {
		return 0, fmt.Errorf("health: close what dead processes left: %w", err)
	}
	problems, err := sql.TrimProblems(ctx, before)
	if err != nil {
		return 0, fmt.Errorf("health: trim problems: %w", err)
	}
	hours, err := sql.TrimHours(ctx, before)
	if err != nil {
		return problems, fmt.Errorf("health: trim hours: %w", err)
	}
	return problems + hours, nil
}

func (r *Registry) kept() (*healthdb.Queries, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keeper == nil {
		return nil, ErrNoHistory
	}
	return r.keeper.sql, nil
}

// storable bounds a text and removes what Postgres does not take.
func storable(text string) string {
	if len(text) > textMost {
		text = text[:textMost] + " …"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
