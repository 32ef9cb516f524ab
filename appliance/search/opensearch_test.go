package search_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/search"
	"selflink/appliance/search/searchtest"
)

const mapping = `{"settings":{"index":{"number_of_shards":1,"number_of_replicas":0}},"mappings":{"properties":{"name":{"type":"text"}}}}`

func client(t testing.TB, server *searchtest.Server, change ...func(o *search.OpenSearchOptions)) *search.OpenSearch {
	t.Helper()
	o := search.OpenSearchOptions{
		Address: server.URL, Username: searchtest.User, Password: searchtest.Password,
		Alias: "users_v1", Mapping: mapping, Fields: []string{"name^2", "handle", "bio"},
	}
	for _, f := range change {
		f(&o)
	}
	s, err := search.NewOpenSearch(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
	})
	return s
}

func document(id, version int64, name string) search.Document {
	body, err := json.Marshal(map[string]any{"id": id, "name": name, "handle": fmt.Sprint("h", id)})
	if err != nil {
		panic(err)
	}
	return search.Document{ID: id, Version: version, Body: body}
}

// built makes an index with documents and puts it in place.
func built(t testing.TB, s *search.OpenSearch, docs ...search.Document) string {
	t.Helper()
	name, err := s.Begin(t.Context(), time.Now())
	require.NoError(t, err)
	require.NoError(t, s.Fill(t.Context(), docs))
	require.NoError(t, s.Swap(t.Context(), name))
	return name
}

func TestOpenSearchIndexAndAliases(t *testing.T) {
	t.Parallel()
	server := searchtest.New(t)
	s := client(t, server)
	ctx := t.Context()

	_, err := s.Search(ctx, search.Query{Text: "ann", Limit: 5})
	require.ErrorIs(t, err, search.ErrNoIndex)
	require.ErrorIs(t, s.Put(ctx, document(1, 1, "Ann")), search.ErrNoIndex)
	_, err = s.Health(ctx)
	require.ErrorIs(t, err, search.ErrNoIndex)
	require.Empty(t, server.Names(), "nothing makes an index by the way")

	first := built(t, s, document(1, 10, "Ann Lee"), document(2, 10, "Bob"), document(3, 10, "lee lee"))
	require.Equal(t, []string{first + " users_v1"}, server.Names())
	ids, err := s.Search(ctx, search.Query{Text: "ann lee", Limit: 5})
	require.NoError(t, err)
	require.Equal(t, []int64{1, 3}, ids)
	ids, err = s.Search(ctx, search.Query{Text: "ann lee", Limit: 1, Offset: 1})
	require.NoError(t, err)
	require.Equal(t, []int64{3}, ids)
	h, err := s.Health(ctx)
	require.NoError(t, err)
	require.Equal(t, search.Health{Status: "green", Documents: 3, Indices: search.Indices{Live: first}}, h)

	// What is older never wins, a deletion counts like a document.
	require.NoError(t, s.Put(ctx, document(1, 12, "Anna")))
	require.ErrorIs(t, s.Put(ctx, document(1, 11, "Old")), search.ErrConflict)
	require.NoError(t, s.Put(ctx, document(1, 12, "Anna")), "twice is once")
	require.NoError(t, s.Put(ctx, search.Document{ID: 2, Version: 20}))
	require.NoError(t, s.Put(ctx, search.Document{ID: 2, Version: 21}), "gone already")
	require.ErrorIs(t, s.Put(ctx, document(2, 15, "Bob")), search.ErrConflict)
	require.Equal(t, "Anna", server.Document("users_v1", "1")["name"])
	require.Nil(t, server.Document("users_v1", "2"))

	// A second index is filled beside the first; jobs write to both.
	second, err := s.Begin(ctx, time.Now().Add(time.Second))
	require.NoError(t, err)
	require.NoError(t, s.Put(ctx, document(4, 30, "New")))
	require.Equal(t, 1, server.Count(second))
	require.NotNil(t, server.Document(first, "4"))
	require.NoError(t, s.Fill(ctx, []search.Document{document(1, 25, "Anna"), document(4, 25, "older")}))
	require.Equal(t, "New", server.Document(second, "4")["name"])
	in, err := s.Indices(ctx)
	require.NoError(t, err)
	require.Equal(t, search.Indices{Live: first, Next: second}, in)
	server.Make("users_v1_20200101000000000")
	server.Make("users_v1_somebody_elses")
	require.NoError(t, s.Swap(ctx, second))
	in, err = s.Indices(ctx)
	require.NoError(t, err)
	require.Equal(t, search.Indices{Live: second, Stray: []string{"users_v1_20200101000000000"}}, in)
	require.Equal(t, -1, server.Count(first), "the old one is gone")
	require.ErrorIs(t, s.Fill(ctx, []search.Document{document(9, 1, "x")}), search.ErrNoIndex)
	require.NoError(t, s.Drop(ctx, "users_v1_20200101000000000"))
	require.NoError(t, s.Drop(ctx, "users_v1_20200101000000000"))
}

// TestOpenSearchTakesOverAnOldIndex is about the old stack, which had an index
// where we have an alias.
func TestOpenSearchTakesOverAnOldIndex(t *testing.T) {
	t.Parallel()
	server := searchtest.New(t)
	s := client(t, server)
	server.Make("users_v1")
	in, err := s.Indices(t.Context())
	require.NoError(t, err)
	require.True(t, in.Direct)
	require.ErrorIs(t, s.Put(t.Context(), document(1, 1, "Ann")), search.ErrNoIndex)
	name := built(t, s, document(1, 1, "Ann"))
	require.Equal(t, []string{name + " users_v1"}, server.Names())
}

func TestOpenSearchBulks(t *testing.T) {
	t.Parallel()
	server := searchtest.New(t)
	s := client(t, server)
	name, err := s.Begin(t.Context(), time.Now())
	require.NoError(t, err)
	long := strings.Repeat("long ", 100_000)
	docs := make([]search.Document, 0, 30)
	for i := range int64(30) {
		docs = append(docs, document(i+1, 1, long))
	}
	require.NoError(t, s.Fill(t.Context(), docs))
	require.Equal(t, 30, server.Count(name))
	require.Equal(t, 4, server.Bulks(), "no request is much larger than 4 MiB")
	require.NoError(t, s.Fill(t.Context(), nil))
	require.Error(t, s.Fill(t.Context(), []search.Document{{ID: 1, Version: 1, Body: json.RawMessage("{\n")}}))
}

func TestOpenSearchFailures(t *testing.T) {
	t.Parallel()
	server := searchtest.New(t)
	s := client(t, server, func(o *search.OpenSearchOptions) { o.Attempt = 300 * time.Millisecond })
	built(t, s, document(1, 1, "Ann"))
	ask := func() error {
		_, err := s.Search(t.Context(), search.Query{Text: "ann", Limit: 5})
		return err
	}
	for mode, text := range map[searchtest.Mode]string{
		searchtest.Red: "1 shards failed", searchtest.Slow: "no answer within", searchtest.Garbage: "no JSON", searchtest.Overloaded: "status 429",
		searchtest.Broken: "status 500", searchtest.TimedOut: "for its time", searchtest.Empty: "not that to a search",
	} {
		server.Set(mode)
		err := ask()
		require.ErrorIs(t, err, search.ErrServer, text)
		require.ErrorContains(t, err, text)
		require.NotContains(t, err.Error(), searchtest.Password)
		_, err = s.Health(t.Context())
		if mode != searchtest.TimedOut { // that of searches
			require.Error(t, err, text)
		}
		err = s.Put(t.Context(), document(1, 2, "Ann"))
		if mode != searchtest.TimedOut && mode != searchtest.Red {
			require.ErrorIs(t, err, search.ErrServer, text)
		}
	}
	server.Set(searchtest.Endless)
	_, err := client(t, server).Search(t.Context(), search.Query{Text: "ann", Limit: 5})
	require.ErrorContains(t, err, "larger than")
	// An overloaded server is asked three times in all.
	server.Set(searchtest.Overloaded)
	before := len(server.Requests())
	require.Error(t, ask())
	require.Equal(t, 3, len(server.Requests())-before)
	server.Set(searchtest.Well)
	require.NoError(t, ask())

	wrong := client(t, server, func(o *search.OpenSearchOptions) { o.Password = "guess" })
	_, err = wrong.Search(t.Context(), search.Query{Text: "ann", Limit: 5})
	require.ErrorIs(t, err, search.ErrRefused)
	require.ErrorContains(t, err, "credentials")
	none := client(t, server, func(o *search.OpenSearchOptions) { o.Password = "" })
	require.ErrorIs(t, none.Put(t.Context(), document(1, 2, "Ann")), search.ErrRefused)

	gone := client(t, server, func(o *search.OpenSearchOptions) { o.Address = "http://127.0.0.1:1" })
	_, err = gone.Search(t.Context(), search.Query{Text: "ann", Limit: 5})
	require.ErrorIs(t, err, search.ErrServer)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Search(ended, search.Query{Text: "ann", Limit: 5})
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenSearchTLS(t *testing.T) {
	t.Parallel()
	server := searchtest.NewTLS(t)
	s := client(t, server, func(o *search.OpenSearchOptions) { o.CA = server.Cert })
	built(t, s, document(1, 1, "Ann"))
	_, err := s.Search(t.Context(), search.Query{Text: "ann", Limit: 5})
	require.NoError(t, err)
	stranger := client(t, server)
	_, err = stranger.Search(t.Context(), search.Query{Text: "ann", Limit: 5})
	require.ErrorIs(t, err, search.ErrServer, "a certificate that nobody vouches for")
	require.ErrorContains(t, err, "certificate")
}

func TestOpenSearchOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, o := range []search.OpenSearchOptions{
		{}, {Address: "http://x:9200", Alias: "a"}, {Address: "http://u:p@x:9200", Alias: "a", Mapping: "{}"}, {Address: "ftp://x", Alias: "a", Mapping: "{}"},
		{Address: "https://x:9200", Alias: "a", Mapping: "{}", CA: []byte("no certificate")},
	} {
		_, err := search.NewOpenSearch(o)
		require.Error(t, err, "%+v", o)
	}
}
