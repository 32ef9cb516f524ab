package health_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/health"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// away is a database that can be taken away.
type away struct {
	database.Pool
	gone  atomic.Bool
	tries atomic.Int64
}

func (a *away) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	a.tries.Add(1)
	if a.gone.Load() {
		return pgconn.CommandTag{}, errors.New("away")
	}
	return a.Pool.Exec(ctx, sql, args...)
}

// history reads until it is as the test wants it.
func (r *rig) history(t testing.TB, what string, wanted func(h health.History) bool) health.History {
	var h health.History
	require.Eventually(t, func() bool {
		var err error
		h, err = r.History(t.Context(), 90)
		require.NoError(t, err)
		return wanted(h)
	}, 60*time.Second, 5*time.Millisecond, what)
	return h
}

func TestHistory(t *testing.T) {
	t.Parallel()
	db := &away{Pool: databasetest.New(t).Pool}
	var p part
	life := func() *rig {
		r := newRig(health.Check{Code: "part", Title: "It fails", Severity: health.High, Run: p.Run})
		r.Keep(db)
		return r
	}
	first := life()
	// The loop would hold rounds of its own: here only the writer runs.
	health.Write(first.Registry, t)

	first.after(t, 0)
	h := first.history(t, "the first hour", func(h health.History) bool { return len(h.Hours) == 1 })
	require.Equal(t, health.Healthy, h.Hours[0].Worst)
	require.Equal(t, first.clock.Now(), h.Hours[0].Start)

	// A problem that comes and goes while nothing can be written is written
	// later, in one piece and with its times.
	db.gone.Store(true)
	before := db.tries.Load()
	p.fail("broken\x00\xff")
	first.after(t, 10*time.Second)
	appeared := first.clock.Now()
	require.Eventually(t, func() bool { return db.tries.Load() > before }, 60*time.Second, time.Millisecond)
	first.after(t, 10*time.Second)
	p.mend()
	first.after(t, 10*time.Second)
	db.gone.Store(false)
	first.after(t, 59*time.Second) // nothing new: written with the next minute
	first.after(t, 2*time.Second)
	h = first.history(t, "what was not written", func(h health.History) bool { return len(h.Problems) == 1 && h.Hours[0].Seen > 50*time.Second })
	require.Equal(t, health.High, h.Hours[0].Worst)
	require.Equal(t, "part", h.Problems[0].Code)
	require.Equal(t, "here", h.Problems[0].Node)
	require.Equal(t, "broken\uFFFD\uFFFD", h.Problems[0].Text)
	require.WithinDuration(t, appeared, h.Problems[0].Appeared, 0)
	require.WithinDuration(t, appeared.Add(20*time.Second), *h.Problems[0].Cleared, 0)

	// The next hour is healthy again; then the process dies with a problem.
	first.after(t, time.Hour)
	p.fail("for good")
	first.after(t, time.Hour)
	died := first.clock.Now()
	h = first.history(t, "an open problem", func(h health.History) bool { return len(h.Problems) == 2 && len(h.Hours) == 3 })
	require.Nil(t, h.Problems[0].Cleared)
	require.Equal(t, []health.Severity{health.High, health.Healthy, health.High},
		[]health.Severity{h.Hours[0].Worst, h.Hours[1].Worst, h.Hours[2].Worst})

	// Its successor closes what it left.
	p.mend()
	second := life()
	second.clock.Add(5 * time.Hour)
	health.Write(second.Registry, t)
	second.after(t, 0)
	h = second.history(t, "the bar survives a restart", func(h health.History) bool { return len(h.Hours) == 4 })
	require.NotNil(t, h.Problems[0].Cleared)
	require.WithinDuration(t, died, *h.Problems[0].Cleared, 0, "with its last sign of life")

	// Retention.
	second.clock.Add(health.Retention - 4*time.Hour)
	n, err := second.Trim(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, n, "an hour and a problem are too old")
	h, err = second.History(t.Context(), 1)
	require.NoError(t, err)
	require.Empty(t, h.Hours)
	require.Empty(t, h.Problems)
}

func TestWithoutHistory(t *testing.T) {
	t.Parallel()
	var r health.Registry
	_, err := r.History(t.Context(), 1)
	require.ErrorIs(t, err, health.ErrNoHistory)
	_, err = r.Trim(t.Context())
	require.ErrorIs(t, err, health.ErrNoHistory)
}

// Stop writes what is left.
func TestStopWritesTheLastHour(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t).Pool
	r := health.New(health.Options{Node: "here", Interval: time.Hour})
	r.Keep(db)
	var p part
	p.fail("odd")
	r.Add(health.Check{Code: "part", Run: p.Run})
	require.NoError(t, r.Start(t.Context()))
	require.Eventually(t, func() bool { return len(r.Problems()) == 1 }, 60*time.Second, time.Millisecond)
	require.NoError(t, r.Stop(t.Context()))
	h, err := r.History(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, h.Hours, 1)
	require.Len(t, h.Problems, 1)
}
