package main

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	engine "selflink/appliance/search"
	"selflink/services/search"
)

// fakeSearch answers as it is told.
type fakeSearch struct {
	built  search.Rebuilt
	status search.Status
	err    error
}

func (f fakeSearch) Rebuild(_ context.Context, name string, progress func(search.Progress)) (search.Rebuilt, error) {
	if name != "" {
		f.built.Engine = name
	}
	progress(f.built.Progress)
	return f.built, f.err
}

func (f fakeSearch) Status(context.Context) (search.Status, error) { return f.status, f.err }

func TestSearchReindex(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{search: fakeSearch{built: search.Rebuilt{
		Progress: search.Progress{Engine: "opensearch", Index: "users_v1_20260102030405000", Done: 7, Total: 8}, Resumed: true, Seconds: 1.25,
	}}}
	b := newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"search", "reindex"}))
	require.Equal(t, "users_v1_20260102030405000 was built to its end in opensearch with 7 accounts in 1.2 s.\n", b.out.String())
	require.Empty(t, b.err.String())
	require.True(t, l.closed)
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"search", "reindex", "--engine", "postgres", "--json"}))
	var out search.Rebuilt
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &out))
	require.Equal(t, "postgres", out.Engine)
	require.Equal(t, exitUsage, newBench(t).run([]string{"search", "reindex", "--engine", "x"}))
	require.Equal(t, exitUsage, newBench(t).run([]string{"search"}))

	for err, hint := range map[error]string{
		search.ErrRebuilding: "selflink search status", search.ErrNoServer: "OPENSEARCH_HOST", engine.ErrServer: "it goes on where it was", engine.ErrRefused: "OPENSEARCH_PASSWORD",
	} {
		b := newBench(t).withLedger(&fakeLedger{search: fakeSearch{err: fmt.Errorf("build: %w", err)}})
		require.Equal(t, exitFailed, b.run([]string{"search", "reindex"}))
		require.Contains(t, b.err.String(), hint)
	}
}

func TestSearchStatus(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{search: fakeSearch{status: search.Status{Engine: "postgres", Postgres: search.PostgresStatus{Accounts: 5, Trigrams: true}}}}
	b := newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"search", "status"}))
	require.Contains(t, b.out.String(), "5 accounts, typing errors forgiven, accents not ignored: unaccent is missing")
	require.Contains(t, b.out.String(), "not configured")

	l.search.status.Engine = "opensearch"
	l.search.status.OpenSearch = &search.OpenSearchStatus{
		Address: "https://search:9200", Index: "users_v1_1", Health: "red", Documents: 4, Stray: []string{"users_v1_0"}, Error: "the index is red",
		Building: &search.Building{Progress: search.Progress{Index: "users_v1_2", Done: 3, Total: 5}},
	}
	b = newBench(t).withLedger(l)
	require.Equal(t, exitFailed, b.run([]string{"search", "status"}), "it does not answer")
	for _, text := range []string{"users_v1_1, red, 4 documents", "users_v1_2, 3 of 5 accounts", "users_v1_0: the next reindex deletes it", "the index is red"} {
		require.Contains(t, b.out.String(), text)
	}
	require.Empty(t, b.err.String())
	b = newBench(t).withLedger(l)
	require.Equal(t, exitFailed, b.run([]string{"search", "status", "--json"}))
	require.Contains(t, b.out.String(), `"health": "red"`)
}
