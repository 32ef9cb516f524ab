package search_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/health"
	"selflink/appliance/search"
	"selflink/appliance/search/searchtest"
)

// ledger is a second engine that knows one account.
type ledger struct{ err error }

func (ledger) Name() string { return "postgres" }

func (l ledger) Search(_ context.Context, q search.Query) ([]int64, error) {
	if q.Offset > 0 {
		return nil, l.err
	}
	return []int64{77}, l.err
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func metric(t testing.TB, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestFallback(t *testing.T) {
	t.Parallel()
	server := searchtest.New(t)
	first := client(t, server)
	built(t, first, document(1, 1, "Ann"), document(2, 1, "Ann"), document(3, 1, "Ann"))
	now := &clock{now: time.Now()}
	metrics, registry := prometheus.NewRegistry(), health.New(health.Options{})
	f, err := search.NewFallback(search.FallbackOptions{First: first, Second: ledger{}, Metrics: metrics, Health: registry, Clock: now.Now})
	require.NoError(t, err)
	find := func(enough int) (found []int64) {
		t.Helper()
		err := f.Find(t.Context(), search.Query{Text: "ann", Limit: 2}, func(_ context.Context, ids []int64) (bool, error) {
			found = append(found, ids...)
			return len(found) >= enough, nil
		})
		require.NoError(t, err)
		return found
	}
	searches := func() (n int) {
		for _, r := range server.Requests() {
			if r == "POST /users_v1/_search" {
				n++
			}
		}
		return n
	}
	ready := func() string {
		results, _ := registry.Run(t.Context())
		require.Equal(t, search.CheckOpenSearch, results[0].Name)
		return results[0].Error
	}
	require.Equal(t, []int64{1, 2}, find(2))
	require.Equal(t, []int64{1, 2, 3}, find(9), "the next page, because too few may be seen")
	require.Empty(t, ready())

	server.Set(searchtest.Red)
	require.Equal(t, []int64{77}, find(2))
	require.ErrorIs(t, f.Failing(), search.ErrServer)
	require.Contains(t, ready(), "red")
	before := searches()
	server.Set(searchtest.Well)
	require.Equal(t, []int64{77}, find(2), "it is left alone for a while")
	require.Equal(t, before, searches())
	now.Advance(6 * time.Second)
	require.Equal(t, []int64{1, 2}, find(2))
	require.NoError(t, f.Failing())
	require.Equal(t, 2.0, metric(t, metrics, "selflink_search_fallbacks_total"))

	// The check notices the end of a failure although nobody searches.
	server.Set(searchtest.Broken)
	require.Equal(t, []int64{77}, find(2))
	server.Set(searchtest.Well)
	require.Empty(t, ready())
	require.Equal(t, []int64{1, 2}, find(2))

	// What the taker cannot do is not the engine's fault, nor that its caller left.
	broken := errors.New("the database is away")
	err = f.Find(t.Context(), search.Query{Text: "ann", Limit: 2}, func(context.Context, []int64) (bool, error) { return false, broken })
	require.ErrorIs(t, err, broken)
	require.NoError(t, f.Failing())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	err = f.Find(gone, search.Query{Text: "ann", Limit: 2}, func(context.Context, []int64) (bool, error) { return true, nil })
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, f.Failing())
}

func TestFallbackAlone(t *testing.T) {
	t.Parallel()
	_, err := search.NewFallback(search.FallbackOptions{})
	require.Error(t, err)
	broken := errors.New("the database is away")
	f, err := search.NewFallback(search.FallbackOptions{Second: ledger{err: broken}})
	require.NoError(t, err)
	err = f.Find(t.Context(), search.Query{Text: "ann", Limit: 2}, func(context.Context, []int64) (bool, error) { return true, nil })
	require.ErrorIs(t, err, broken)
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "  ": "", "\x00\n\t": "", " Ann\x00Lee ": "Ann Lee", "a\xffb": "ab", "გიორგი": "გიორგი", "a\u0085b": "a b",
	} {
		require.Equal(t, want, search.Clean(in), "%q", in)
	}
	long := search.Clean(string(make([]rune, 500)) + "x")
	require.Equal(t, "x", long)
}
