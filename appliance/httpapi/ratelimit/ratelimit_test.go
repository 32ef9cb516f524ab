package ratelimit

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"240/min":  {240, time.Minute},
		"3/second": {3, time.Second},
		" 5 / h ":  {5, time.Hour},
		"1/day":    {1, 24 * time.Hour},
		"":         {},
		"0/min":    {},
	} {
		got, err := ParseRate(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"5", "x/min", "5/", "5/w", "-1/min", "5/min/x/", "/"} {
		_, err := ParseRate(text)
		if text == "5/min/x/" {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, text)
	}
}

func TestSliding(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	table := New(0, start)
	key, rate := ByUser(1, 7), Rate{3, time.Minute}
	at := func(seconds float64) time.Duration {
		return table.Sliding(key, rate, start.Add(time.Duration(seconds*float64(time.Second))))
	}
	require.Zero(t, at(0))
	require.Zero(t, at(10))
	require.Zero(t, at(20))
	require.Equal(t, 39500*time.Millisecond, at(20.5), "until the first of the three leaves the period")
	require.Equal(t, time.Second, at(59), "a refused request was not counted")
	require.Zero(t, at(60))
	require.Equal(t, 10*time.Second, at(60))
	require.Zero(t, table.Sliding(ByUser(1, 8), rate, start), "another caller has a count of its own")
	require.Zero(t, table.Sliding(ByUser(2, 7), rate, start), "so has another scope")
	require.Zero(t, at(1e7), "after a long silence nothing is left")
}

// TestSlidingAgainstModel compares with a plain list of times.
func TestSlidingAgainstModel(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []Rate{{1, time.Second}, {7, time.Second}, {100, time.Minute}} {
		table := New(0, start)
		var log []int64
		now := int64(0)
		for range 5000 {
			now += rnd.Int64N(2 * rate.Period.Milliseconds() / int64(rate.N))
			for len(log) > 0 && now-log[0] >= rate.Period.Milliseconds() {
				log = log[1:]
			}
			want := time.Duration(0)
			if len(log) >= rate.N {
				want = time.Duration(log[0]+rate.Period.Milliseconds()-now) * time.Millisecond
			} else {
				log = append(log, now)
			}
			require.Equal(t, want, table.Sliding(ByUser(1, 1), rate, start.Add(time.Duration(now)*time.Millisecond)))
		}
	}
}

func TestEstimateOfLargeRates(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	table := New(0, start)
	key, rate := ByUser(1, 1), Rate{maxLog + 1, time.Minute}
	for range rate.N {
		require.Zero(t, table.Sliding(key, rate, start))
	}
	require.Equal(t, time.Minute, table.Sliding(key, rate, start))
	soon := start.Add(time.Minute + time.Millisecond)
	require.Zero(t, table.Sliding(key, rate, soon))
	require.NotZero(t, table.Sliding(key, rate, soon), "the period before still weighs")
	require.Zero(t, table.Sliding(key, rate, start.Add(90*time.Second)))
}

func TestWindowAndBurst(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	table := New(0, start)
	rate := Rate{2, time.Minute}
	var wait time.Duration
	now := start.Add(time.Hour)
	for range 3 {
		wait = table.Window(ByUser(1, 1), rate, now)
	}
	require.Positive(t, wait)
	require.LessOrEqual(t, wait, time.Minute)
	require.Zero(t, table.Window(ByUser(1, 1), rate, now.Add(wait)), "the next period begins when it was said to")

	second := Rate{2, time.Second}
	require.True(t, table.Burst(ByUser(2, 1), second, now))
	require.True(t, table.Burst(ByUser(2, 1), second, now.Add(900*time.Millisecond)))
	require.False(t, table.Burst(ByUser(2, 1), second, now.Add(999*time.Millisecond)))
	require.True(t, table.Burst(ByUser(2, 1), second, now.Add(time.Second)))
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	start := time.Now()
	table := New(640, start)
	for i := range int64(100_000) {
		table.Sliding(ByUser(1, i), Rate{5, time.Minute}, start)
	}
	require.LessOrEqual(t, table.Len(), 640)
}

func TestAddrKeys(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	require.Equal(t, ByAddr(1, addr("2001:db8::1")), ByAddr(1, addr("2001:db8::2")))
	require.NotEqual(t, ByAddr(1, addr("2001:db8::1")), ByAddr(1, addr("2001:db8:0:1::1")))
	require.Equal(t, ByAddr(1, addr("10.0.0.1")), ByAddr(1, addr("::ffff:10.0.0.1")))
	require.NotEqual(t, ByAddr(1, addr("10.0.0.1")), ByAddr(1, addr("10.0.0.2")))
}

func BenchmarkSliding(b *testing.B) {
	start := time.Now()
	table := New(0, start)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			table.Sliding(ByUser(1, 1), Rate{1000, time.Minute}, start)
		}
	})
}
