package search_test

import (
	"context"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/search"
	"selflink/appliance/search/searchtest"
)

// TestOpenSearchServer goes once through all that is asked of a server: against
// the real one whose address, with a name and password if need be, is in
// OPENSEARCH_TEST_URL, else against the recording fake. It says which.
func TestOpenSearchServer(t *testing.T) {
	t.Parallel()
	o := search.OpenSearchOptions{
		Alias: "selflink_test_users_v1", Mapping: mapping, Fields: []string{"name^2", "handle", "bio"},
	}
	if raw := os.Getenv("OPENSEARCH_TEST_URL"); raw != "" {
		at, err := url.Parse(raw)
		require.NoError(t, err)
		o.Username = at.User.Username()
		o.Password, _ = at.User.Password()
		at.User = nil
		o.Address = at.String()
		t.Logf("runs against the real OpenSearch at %s", o.Address)
	} else {
		o.Address, o.Username, o.Password = searchtest.New(t).URL, searchtest.User, searchtest.Password
		t.Log("runs against the recording fake: give OPENSEARCH_TEST_URL for a real OpenSearch")
	}
	s, err := search.NewOpenSearch(o)
	require.NoError(t, err)
	clean := func(ctx context.Context) {
		in, err := s.Indices(ctx)
		require.NoError(t, err)
		for _, name := range append(in.Stray, in.Live, in.Next) {
			if name != "" {
				require.NoError(t, s.Drop(ctx, name))
			}
		}
	}
	ctx := t.Context()
	clean(ctx) // what a run that was broken off has left
	t.Cleanup(func() {
		clean(context.Background())
		require.NoError(t, s.Close())
	})
	ask := func(text string, limit int) []int64 {
		t.Helper()
		ids, err := s.Search(ctx, search.Query{Text: text, Limit: limit})
		require.NoError(t, err)
		return ids
	}
	_, err = s.Search(ctx, search.Query{Text: "ann", Limit: 5})
	require.ErrorIs(t, err, search.ErrNoIndex)
	first, err := s.Begin(ctx, time.Now())
	require.NoError(t, err)
	require.NoError(t, s.Fill(ctx, []search.Document{document(1, 10, "Ann Lee"), document(2, 10, "გიორგი ბერიძე"), document(3, 10, "Наталья")}))
	require.NoError(t, s.Swap(ctx, first))
	require.Equal(t, []int64{1}, ask("ann", 5))
	require.Equal(t, []int64{2}, ask("გიორგი", 5))
	require.Equal(t, []int64{3}, ask("наталья", 5))
	require.Empty(t, ask("nobody", 5))
	h, err := s.Health(ctx)
	require.NoError(t, err)
	require.Equal(t, []any{first, int64(3)}, []any{h.Live, h.Documents})

	// Versions: the newest state wins, a deletion is one.
	require.ErrorIs(t, s.Put(ctx, document(1, 9, "Old")), search.ErrConflict)
	require.NoError(t, s.Put(ctx, search.Document{ID: 3, Version: 11}))
	require.ErrorIs(t, s.Put(ctx, document(3, 10, "Наталья")), search.ErrConflict)

	// Another index takes the place of the first in one step.
	second, err := s.Begin(ctx, time.Now().Add(time.Second))
	require.NoError(t, err)
	require.NoError(t, s.Put(ctx, document(4, 12, "New Person")))
	require.NoError(t, s.Fill(ctx, []search.Document{document(1, 10, "Ann Lee"), document(4, 11, "Older")}))
	require.Equal(t, []int64{1}, ask("lee", 5), "the first is searched")
	require.NoError(t, s.Swap(ctx, second))
	require.Equal(t, []int64{4}, ask("person", 5))
	require.Empty(t, ask("გიორგი", 5))
	in, err := s.Indices(ctx)
	require.NoError(t, err)
	require.Equal(t, search.Indices{Live: second}, in)
}
