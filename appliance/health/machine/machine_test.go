package machine

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/health"
)

// This machine is in order as far as the tests need it, and every check can be
// asked.
func TestEveryCheckAnswers(t *testing.T) {
	t.Parallel()
	var r health.Registry
	Register(&r, filepath.Join(t.TempDir(), "not", "there", "yet"))
	results, ready := r.Run(t.Context())
	require.True(t, ready)
	for _, res := range results {
		require.NotContains(t, res.Error, "measure", res.Name)
		require.NotContains(t, res.Error, "no answer", res.Name)
	}
}

func TestSpace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s         space
		full, low bool
	}{
		"plenty":             {space{total: 100 * gib, free: 50 * gib}, false, false},
		"low":                {space{total: 100 * gib, free: 9 * gib}, false, true},
		"full":               {space{total: 100 * gib, free: 2 * gib}, true, true},
		"a large disk":       {space{total: 100_000 * gib, free: 30 * gib}, false, false},
		"a small disk":       {space{total: 4 * gib, free: 800 * mib}, false, true},
		"the last of it":     {space{total: 4 * gib, free: 100 * mib}, true, true},
		"out of inodes":      {space{total: 100 * gib, free: 50 * gib, inodes: 1000, freeInodes: 10}, true, false},
		"no count of inodes": {space{total: 100 * gib, free: 50 * gib}, false, false},
	} {
		require.Equal(t, c.full, c.s.full() != nil, name)
		require.Equal(t, c.low, c.s.low() != nil, name)
	}
	require.EqualError(t, space{total: 4 * gib, free: 100 * mib}.full(), "100 MiB of 4.0 GiB are free")
}

func TestForecast(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	// feed measures every minute, with what is free in GiB by the hour.
	feed := func(hours float64, free func(hour float64) float64) (f *forecast, last error) {
		f = &forecast{}
		for minute := range int(hours * 60) {
			at := begin.Add(time.Duration(minute) * time.Minute)
			last = f.note(uint64(free(float64(minute)/60)*gib), at)
		}
		return f, last
	}
	_, err := feed(12, func(h float64) float64 { return 100 - 2*h })
	require.ErrorContains(t, err, "GiB are free, and at the pace of the last 11h59m0s they are used up in 38h")
	require.ErrorContains(t, err, "on 2026-03-03 01:59 UTC")

	for name, free := range map[string]func(float64) float64{
		"steady":         func(float64) float64 { return 100 },
		"grows":          func(h float64) float64 { return 50 + h },
		"slow":           func(h float64) float64 { return 100 - h/2 },
		"one large file": func(h float64) float64 { return map[bool]float64{true: 100, false: 60}[h < 3] },
		"it has ended":   func(h float64) float64 { return 100 - 6*min(h, 7) },
		"just now":       func(h float64) float64 { return 100 - 6*max(0, h-11.9) },
		"breathes":       func(h float64) float64 { return 50 + 5*math.Sin(h*6) },
	} {
		_, err := feed(12, free)
		require.NoError(t, err, name)
	}
	_, err = feed(0.9, func(h float64) float64 { return 100 - 50*h })
	require.NoError(t, err, "too early to tell")

	f, _ := feed(48, func(h float64) float64 { return 1000 - 20*h })
	require.Len(t, f.samples, samplesMost)
	require.NoError(t, f.note(1, begin), "a clock that was set back begins anew")
	require.Len(t, f.samples, 1)
	require.Zero(t, pace([]sample{{begin, 1}, {begin, 2}, {begin, 3}}))
}

func TestLimits(t *testing.T) {
	t.Parallel()
	require.NoError(t, usage{used: 500 * mib, limit: math.MaxInt64}.tight())
	require.NoError(t, usage{used: 800 * mib, limit: 1000 * mib}.tight())
	require.EqualError(t, usage{used: 900 * mib, limit: 1000 * mib}.tight(), "900 MiB of the limit of 1000 MiB are in use and cannot be given back")
	require.Positive(t, memory().used)
	require.NoError(t, tooMany(10, 1024))
	require.EqualError(t, tooMany(1000, 1024), "1000 of 1024 are open")
}

func TestJump(t *testing.T) {
	t.Parallel()
	wall, steady := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Duration(0)
	w := &jumpWatch{wall: func() time.Time { return wall }, steady: func() time.Duration { return steady }}
	pass := func(byWall, bySteady time.Duration) error {
		wall, steady = wall.Add(byWall), steady+bySteady
		return w.check()
	}
	require.NoError(t, pass(0, 0))
	require.NoError(t, pass(5*time.Second, 5*time.Second))
	require.NoError(t, pass(8*time.Second, 5*time.Second), "slewed")
	require.EqualError(t, pass(time.Hour, 5*time.Second), "it went forward by 59m55s, 0s ago")
	require.ErrorContains(t, pass(time.Minute, time.Minute), "1m0s ago")
	require.NoError(t, pass(10*time.Minute, 10*time.Minute))
	require.ErrorContains(t, pass(-time.Minute, 0), "it went back by 1m0s")
}
