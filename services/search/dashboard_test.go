package search_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/search/searchtest"
	"selflink/services/search"
)

func TestInsightOfPostgres(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.many(t, 30)
	seen, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.Equal(t, "postgres", seen.Engine)
	require.Equal(t, search.PeopleCounts{Accounts: 27, Indexed: 27}, *seen.People)
	require.Nil(t, seen.OpenSearch)
	require.Nil(t, seen.Backlog)
	require.Empty(t, seen.Fallen)
	require.Empty(t, seen.Rebuilt)
	require.Equal(t, "u7", r.find(t, 1, "q=u7"))
	_, err = r.svc.Rebuild(t.Context(), search.EnginePostgres, nil)
	require.NoError(t, err)
	seen, err = r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.Len(t, seen.Rebuilt, 1)
	require.Equal(t, "search_users", seen.Rebuilt[0].Index)
	require.EqualValues(t, 27, seen.Rebuilt[0].Accounts)
	require.Positive(t, seen.Told.Second.OK)
	require.Positive(t, seen.Told.Second.Mean)
	require.Zero(t, seen.Told.First.OK+seen.Told.Fallbacks)
	_, err = r.svc.Reindex(t.Context())
	require.ErrorIs(t, err, search.ErrNoServer)
}

func TestInsightOfAFallback(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.settle(t)
	r.join(t, "ann", "Ann")
	r.settle(t)
	require.Equal(t, "ann", r.find(t, 1, "q=ann"))
	seen, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.Equal(t, "opensearch", seen.Engine)
	require.Empty(t, seen.Fallen)
	require.Equal(t, r.server.URL, seen.OpenSearch.Address)
	require.EqualValues(t, 1, seen.OpenSearch.Documents)
	require.Zero(t, seen.Backlog.Unfinished)
	require.Nil(t, seen.Backlog.Oldest)
	require.Equal(t, "opensearch", seen.Rebuilt[0].Engine, "the first index built itself")
	job, err := r.svc.Reindex(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, job)
	r.settle(t)

	r.server.Set(searchtest.Broken)
	require.Equal(t, "ann", r.find(t, 1, "q=ann"), "Postgres answers")
	r.change(t, 1, "UPDATE users SET name = 'Anna' WHERE id = 1")
	seen, err = r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, seen.Fallen)
	require.NotNil(t, seen.FallenAt)
	require.EqualValues(t, 1, seen.Told.Fallbacks)
	require.EqualValues(t, 1, seen.Told.First.Failed)
	require.EqualValues(t, 1, seen.Backlog.Unfinished)
	require.NotNil(t, seen.Backlog.Oldest)
	require.Equal(t, "search.index_user", seen.Backlog.Kind)
	r.server.Set(searchtest.Well)
}
