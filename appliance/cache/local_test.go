package cache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
	"selflink/appliance/cache"
)

func local(t *testing.T, bus cache.Bus) *cache.Local[cache.ID, string] {
	c, err := cache.NewLocal[cache.ID, string](cache.Options{Name: "test", TTL: time.Hour, Bus: bus})
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, c.Stop(context.Background())) })
	return c
}

func TestGetLoadsOnce(t *testing.T) {
	t.Parallel()
	c := local(t, nil)
	var loads atomic.Int64
	entered, release := make(chan struct{}), make(chan struct{})
	load := func(context.Context) (string, error) {
		if loads.Add(1) == 1 {
			close(entered)
			<-release
		}
		return "value", nil
	}
	var wait sync.WaitGroup
	wait.Go(func() { _, _ = c.Get(t.Context(), 1, load) })
	<-entered
	for range 10 {
		wait.Go(func() {
			value, err := c.Get(t.Context(), 1, load)
			require.NoError(t, err)
			require.Equal(t, "value", value)
		})
	}
	close(release)
	wait.Wait()
	_, err := c.Get(t.Context(), 1, load)
	require.NoError(t, err)
	require.EqualValues(t, 1, loads.Load())
}

func TestErrorsAreNotKept(t *testing.T) {
	t.Parallel()
	c := local(t, nil)
	broken := errors.New("broken")
	_, err := c.Get(t.Context(), 1, func(context.Context) (string, error) { return "", broken })
	require.ErrorIs(t, err, broken)
	value, err := c.Get(t.Context(), 1, func(context.Context) (string, error) { return "ok", nil })
	require.NoError(t, err)
	require.Equal(t, "ok", value)
}

func TestPanicOfALoadIsAnError(t *testing.T) {
	t.Parallel()
	c := local(t, nil)
	_, err := c.Get(t.Context(), 1, func(context.Context) (string, error) { panic("oops") })
	require.ErrorContains(t, err, "oops")
	value, err := c.Get(t.Context(), 1, func(context.Context) (string, error) { return "ok", nil })
	require.NoError(t, err)
	require.Equal(t, "ok", value)
}

func TestValuesExpireAndSizeIsBounded(t *testing.T) {
	t.Parallel()
	c, err := cache.NewLocal[cache.Text, int](cache.Options{Name: "short", TTL: time.Nanosecond, Size: 2})
	require.NoError(t, err)
	loads := 0
	load := func(context.Context) (int, error) { loads++; return loads, nil }
	for want := 1; want <= 3; want++ {
		got, err := c.Get(t.Context(), "a", load)
		require.NoError(t, err)
		require.Equal(t, want, got, "a nanosecond has passed")
	}
	c, err = cache.NewLocal[cache.Text, int](cache.Options{Name: "small", TTL: time.Hour, Size: 2})
	require.NoError(t, err)
	for _, key := range []cache.Text{"a", "b", "c"} {
		_, err := c.Get(t.Context(), key, load)
		require.NoError(t, err)
	}
	before := loads
	_, err = c.Get(t.Context(), "a", load)
	require.NoError(t, err)
	require.Equal(t, before+1, loads, "the oldest fell out")
}

// An invalidation during a load must win: the load read the old row.
func TestInvalidationDuringLoadIsNotLost(t *testing.T) {
	t.Parallel()
	c := local(t, nil)
	value, err := c.Get(t.Context(), 7, func(context.Context) (string, error) {
		c.Invalidate(7)
		return "old", nil
	})
	require.NoError(t, err)
	require.Equal(t, "old", value)
	value, err = c.Get(t.Context(), 7, func(context.Context) (string, error) { return "new", nil })
	require.NoError(t, err)
	require.Equal(t, "new", value)
}

func TestGoneCallerDoesNotWait(t *testing.T) {
	t.Parallel()
	c := local(t, nil)
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Get(ctx, 1, func(context.Context) (string, error) { <-release; return "", nil })
	require.ErrorIs(t, err, context.Canceled)
}

func TestInvalidateReachesOtherCaches(t *testing.T) {
	t.Parallel()
	bus, err := broker.New(broker.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, bus.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, bus.Stop(context.Background())) })
	here, there := local(t, bus), local(t, bus)

	old := func(context.Context) (string, error) { return "old", nil }
	_, err = there.Get(t.Context(), 5, old)
	require.NoError(t, err)
	here.Invalidate(5)
	require.Eventually(t, func() bool {
		value, err := there.Get(t.Context(), 5, func(context.Context) (string, error) { return "new", nil })
		return err == nil && value == "new"
	}, 60*time.Second, time.Millisecond)
}

func BenchmarkGet(b *testing.B) {
	c, err := cache.NewLocal[cache.ID, string](cache.Options{Name: "bench", TTL: time.Hour})
	require.NoError(b, err)
	load := func(context.Context) (string, error) { return "value", nil }
	for b.Loop() {
		_, err = c.Get(context.Background(), 1<<60, load)
	}
	require.NoError(b, err)
}
