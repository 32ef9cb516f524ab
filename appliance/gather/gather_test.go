package gather_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/gather"
)

// double is a run under the test's control: each announces its inputs and
// waits for leave to end.
type double struct {
	began chan []int
	leave chan error
}

func newDouble() *double { return &double{began: make(chan []int, 100), leave: make(chan error)} }

func (d *double) run(ctx context.Context, in []int) ([]int, error) {
	d.began <- append([]int(nil), in...)
	select {
	case err := <-d.leave:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := make([]int, len(in))
	for i, n := range in {
		out[i] = 2 * n
	}
	return out, nil
}

// crowd starts calls and collects what they get.
type crowd struct {
	wait sync.WaitGroup
	mu   sync.Mutex
	out  map[int]int
	errs map[int]error
}

func (c *crowd) ask(ctx context.Context, g *gather.Group[int, int], n int) {
	c.wait.Go(func() {
		out, err := g.Do(ctx, n)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.out[n], c.errs[n] = out, err
	})
}

func newCrowd() *crowd { return &crowd{out: map[int]int{}, errs: map[int]error{}} }

// queued waits until n calls wait for a run.
func queued(t *testing.T, g *gather.Group[int, int], n int) {
	t.Helper()
	require.Eventually(t, func() bool { return g.Waiting() == n }, 60*time.Second, time.Millisecond)
}

func TestACrowdSharesRuns(t *testing.T) {
	t.Parallel()
	d, c := newDouble(), newCrowd()
	g, err := gather.New(gather.Options{Lanes: 1, Most: 3, Timeout: time.Minute}, d.run)
	require.NoError(t, err)
	c.ask(t.Context(), g, 1)
	require.Equal(t, []int{1}, <-d.began, "who comes alone runs alone")
	for n := 2; n <= 6; n++ {
		c.ask(t.Context(), g, n)
		queued(t, g, n-1)
	}
	d.leave <- nil
	require.Equal(t, []int{2, 3, 4}, <-d.began, "in the order of their coming, and no more than allowed")
	d.leave <- nil
	require.Equal(t, []int{5, 6}, <-d.began)
	d.leave <- nil
	c.wait.Wait()
	require.Equal(t, map[int]int{1: 2, 2: 4, 3: 6, 4: 8, 5: 10, 6: 12}, c.out)

	c.ask(t.Context(), g, 7)
	require.Equal(t, []int{7}, <-d.began, "the lane is free again")
	d.leave <- nil
	c.wait.Wait()
}

func TestLanesRunAtOnce(t *testing.T) {
	t.Parallel()
	d, c := newDouble(), newCrowd()
	g, err := gather.New(gather.Options{Lanes: 2, Most: 9, Timeout: time.Minute}, d.run)
	require.NoError(t, err)
	c.ask(t.Context(), g, 1)
	<-d.began
	c.ask(t.Context(), g, 2)
	require.Equal(t, []int{2}, <-d.began)
	c.ask(t.Context(), g, 3)
	queued(t, g, 1)
	for range 3 {
		d.leave <- nil
	}
	c.wait.Wait()
	require.Equal(t, map[int]int{1: 2, 2: 4, 3: 6}, c.out)
}

func TestAnErrorIsEverybodys(t *testing.T) {
	t.Parallel()
	d, c := newDouble(), newCrowd()
	g, err := gather.New(gather.Options{Lanes: 1, Most: 9, Timeout: time.Minute}, d.run)
	require.NoError(t, err)
	c.ask(t.Context(), g, 1)
	<-d.began
	c.ask(t.Context(), g, 2)
	queued(t, g, 1)
	c.ask(t.Context(), g, 3)
	queued(t, g, 2)
	d.leave <- nil
	<-d.began
	broken := errors.New("broken")
	d.leave <- broken
	c.wait.Wait()
	require.NoError(t, c.errs[1])
	require.ErrorIs(t, c.errs[2], broken)
	require.ErrorIs(t, c.errs[3], broken)
}

// Whoever goes leaves the others what they wait for, also when it was to run
// for them.
func TestCallsThatGo(t *testing.T) {
	t.Parallel()
	d, c := newDouble(), newCrowd()
	g, err := gather.New(gather.Options{Lanes: 1, Most: 9, Timeout: time.Minute}, d.run)
	require.NoError(t, err)
	leading, stopLeading := context.WithCancel(t.Context())
	waiting, stopWaiting := context.WithCancel(t.Context())
	c.ask(leading, g, 1)
	<-d.began
	c.ask(waiting, g, 2)
	queued(t, g, 1)
	c.ask(t.Context(), g, 3)
	queued(t, g, 2)
	stopWaiting()
	queued(t, g, 1)
	stopLeading()
	d.leave <- nil
	require.Equal(t, []int{3}, <-d.began)
	d.leave <- nil
	c.wait.Wait()
	require.NoError(t, c.errs[1], "a run does not end with the call that leads it")
	require.ErrorIs(t, c.errs[2], context.Canceled)
	require.Equal(t, 6, c.out[3])
}

func TestARunHasALimit(t *testing.T) {
	t.Parallel()
	d := newDouble()
	g, err := gather.New(gather.Options{Lanes: 1, Most: 1, Timeout: time.Millisecond}, d.run)
	require.NoError(t, err)
	_, err = g.Do(t.Context(), 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAPanicFreesTheOthers(t *testing.T) {
	t.Parallel()
	began, leave := make(chan struct{}), make(chan struct{})
	first := true
	g, err := gather.New(gather.Options{Lanes: 1, Most: 9, Timeout: time.Minute}, func(_ context.Context, in []int) ([]int, error) {
		if first {
			first = false
			close(began)
			<-leave
			panic("broken")
		}
		return in, nil
	})
	require.NoError(t, err)
	c := newCrowd()
	var panicked any
	c.wait.Go(func() {
		defer func() { panicked = recover() }()
		_, _ = g.Do(t.Context(), 1)
	})
	<-began
	c.ask(t.Context(), g, 2)
	queued(t, g, 1)
	close(leave)
	c.wait.Wait()
	require.Equal(t, "broken", panicked)
	require.Equal(t, 2, c.out[2])
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	runs := 0
	g, err := gather.New(gather.Options{Lanes: 2, Most: 64, Timeout: time.Minute}, func(_ context.Context, in []int) ([]int, error) {
		mu.Lock()
		runs++
		mu.Unlock()
		return in, nil
	})
	require.NoError(t, err)
	c := newCrowd()
	for n := range 2000 {
		c.ask(t.Context(), g, n)
	}
	c.wait.Wait()
	for n := range 2000 {
		require.NoError(t, c.errs[n])
		require.Equal(t, n, c.out[n])
	}
	require.LessOrEqual(t, runs, 2000)
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := gather.New[int, int](gather.Options{}, nil)
	require.Error(t, err)
}
