package snowflake

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hands is a clock that tests move.
type hands struct {
	mu sync.Mutex
	at time.Time
}

func (h *hands) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

func (h *hands) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

const begin = Epoch + 1_000_000 // an id time

func stopped(t *testing.T) (*minter, *hands) {
	t.Helper()
	h := &hands{at: time.Now()}
	m := newMinter(h.now)
	m.wait = 0
	return m, h
}

func TestLayout(t *testing.T) {
	t.Parallel()
	m, h := stopped(t)
	m.grant(interval{node: 7, from: begin, until: begin + 1000})
	id, err := m.mint()
	require.NoError(t, err)
	require.Equal(t, int64(1_000_000<<22|7<<12), id, "ms since the epoch, node, sequence (contract 00 §3)")
	id, err = m.mint()
	require.NoError(t, err)
	require.Equal(t, int64(1_000_000<<22|7<<12|1), id)
	h.move(time.Millisecond)
	id, err = m.mint()
	require.NoError(t, err)
	require.Equal(t, int64(1_000_001<<22|7<<12), id)

	at, node, sequence := Parts(id)
	require.Equal(t, time.UnixMilli(begin+1).UTC(), at)
	require.Equal(t, 7, node)
	require.Zero(t, sequence)
	require.Equal(t, id&^(1<<22-1), First(at))
	require.Equal(t, "2024-01-01T23:20:00Z", time.UnixMilli(Epoch).UTC().Format(time.RFC3339))
}

func TestFullMillisecondWaitsForTheNext(t *testing.T) {
	t.Parallel()
	m, h := stopped(t)
	m.grant(interval{node: 1, from: begin, until: begin + 1000})
	var last int64
	for range maxSequence + 1 {
		id, err := m.mint()
		require.NoError(t, err)
		require.Greater(t, id, last)
		last = id
	}
	_, wait, err := m.try()
	require.NoError(t, err)
	require.NotNil(t, wait, "the millisecond is used up")

	next := make(chan int64)
	go func() {
		id, _ := m.mint() //nolint:errcheck // 0 fails the test
		next <- id
	}()
	h.move(time.Millisecond)
	require.Equal(t, last&^maxSequence+1<<22, <-next)
}

func TestIntervalEnds(t *testing.T) {
	t.Parallel()
	m, h := stopped(t)
	m.grant(interval{node: 1, from: begin, until: begin + 5})
	h.move(4 * time.Millisecond)
	_, err := m.mint()
	require.NoError(t, err)
	h.move(time.Millisecond)
	_, err = m.mint()
	require.ErrorIs(t, err, ErrNoLease)

	m.grant(interval{node: 1, until: begin + 10}) // renewed
	id, err := m.mint()
	require.NoError(t, err)
	at, _, _ := Parts(id)
	require.Equal(t, begin+5, at.UnixMilli())
}

func TestRenewalReleasesThoseWhoWait(t *testing.T) {
	t.Parallel()
	m, h := stopped(t)
	m.wait = time.Hour
	m.grant(interval{node: 1, from: begin, until: begin + 5})
	h.move(5 * time.Millisecond)
	got := make(chan error)
	go func() {
		_, err := m.mint()
		got <- err
	}()
	m.grant(interval{node: 1, until: begin + 50})
	require.NoError(t, <-got)
}

func TestNextIntervalBeginsInTheFuture(t *testing.T) {
	t.Parallel()
	m, _ := stopped(t)
	m.grant(interval{node: 1, from: begin, until: begin + 5})
	_, err := m.mint()
	require.NoError(t, err)
	require.Equal(t, begin+1, m.revoke(ErrNoLease, false))
	_, err = m.mint()
	require.ErrorIs(t, err, ErrNoLease)

	m.grant(interval{node: 2, from: begin + 60_000, until: begin + 120_000})
	id, err := m.mint()
	require.NoError(t, err)
	at, node, _ := Parts(id)
	require.Equal(t, begin+60_000, at.UnixMilli())
	require.Equal(t, 2, node)
}

func TestNewNumberKeepsOrder(t *testing.T) {
	t.Parallel()
	m, _ := stopped(t)
	m.grant(interval{node: 9, from: begin, until: begin + 100})
	first, err := m.mint()
	require.NoError(t, err)
	m.revoke(ErrNoLease, false)
	m.grant(interval{node: 3, from: begin, until: begin + 100}) // lower, within the same millisecond
	second, err := m.mint()
	require.NoError(t, err)
	require.Greater(t, second, first)
}

func TestIdTimeNeverStepsBack(t *testing.T) {
	t.Parallel()
	m, h := stopped(t)
	m.grant(interval{node: 1, from: begin, until: begin + 10_000})
	m.catchUp(begin + 500) // the machine slept
	first, err := m.mint()
	require.NoError(t, err)
	m.catchUp(begin + 100) // the database's clock was set back
	h.move(-time.Second)
	second, err := m.mint()
	require.NoError(t, err)
	require.Greater(t, second, first)
}

func TestConcurrentIdsAreUnique(t *testing.T) {
	t.Parallel()
	g, err := Fixed(1)
	require.NoError(t, err)
	const goroutines, each = 8, 5000
	ids := make([][]int64, goroutines)
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for range each {
				ids[i] = append(ids[i], g.Next())
			}
		})
	}
	wg.Wait()
	seen := make(map[int64]bool, goroutines*each)
	for _, list := range ids {
		last := int64(0)
		for _, id := range list {
			require.Greater(t, id, last)
			last = id
			require.False(t, seen[id])
			seen[id] = true
		}
	}
}

func TestNodeNumberIsChecked(t *testing.T) {
	t.Parallel()
	for _, node := range []int{-1, 1024} {
		_, err := Fixed(node)
		require.ErrorIs(t, err, ErrNode)
	}
}

func BenchmarkNext(b *testing.B) {
	g, err := Fixed(1)
	require.NoError(b, err)
	for b.Loop() {
		g.Next()
	}
}
