package search_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/search/searchtest"
	"selflink/services/search"
)

func TestUsersRoute(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	for i := range 60 {
		r.join(t, fmt.Sprintf("ann%02d", i), "Somebody")
	}
	ann := r.As("1")
	r.Scenarios(t, []apitest.Scenario{
		{Name: "anonymous", Get: "/api/v1/search/users/?q=ann", Status: 401, JSON: `{"detail":"Authentication credentials were not provided."}`},
		{Name: "anonymous without a query", Get: "/api/v1/search/users/", Status: 401},
		{Name: "no query", As: ann, Get: "/api/v1/search/users/", Status: 404, JSON: `{"detail":"Query required"}`},
		{Name: "blank", As: ann, Get: "/api/v1/search/users/?q=%20%09&limit=x", Status: 404, JSON: `{"detail":"Query required"}`},
		{Name: "nothing but a NUL", As: ann, Get: "/api/v1/search/users/?q=%00", Status: 404, JSON: `{"detail":"Query required"}`},
		{Name: "found nobody", As: ann, Get: "/api/v1/search/users/?q=xyzzy", Status: 200, JSON: `[]`},
		{Name: "one", As: ann, Get: "/api/v1/search/users/?q=ann07", Status: 200, JSON: `[{"id":8,"handle":"ann07"}]`},
		{Name: "not written", As: ann, Post: "/api/v1/search/users/?q=ann", Status: 405},
		{Name: "posts are not there yet", As: ann, Get: "/api/v1/search/posts/?q=ann", Status: 404},
		{Name: "broken text", As: ann, Get: "/api/v1/search/users/?q=%ff%fexyzzy", Status: 200, JSON: `[]`},
		{Name: "very long", As: ann, Get: "/api/v1/search/users/?q=" + strings.Repeat("z%00%27", 500), Status: 200, JSON: `[]`},
	})
	require.Equal(t, "ann59 ann58 ann57", r.find(t, 1, "q=ann&limit=3"), "the newest first")
	require.Equal(t, "ann59", r.find(t, 1, "q=@ann59"), "as people write a handle")
	for limit, want := range map[string]int{
		"": 20, "limit=": 20, "limit=x": 20, "limit=-1": 20, "limit=1.5": 20, "limit=7": 7, "limit=50": 50, "limit=51": 50, "limit=%207": 7, "limit=%2B7": 7,
		"limit=99999999999999999999": 50, "limit=-99999999999999999999": 20, "limit=0": 0, "limit=3&cursor=x&page_size=9&ordering=id": 3,
	} {
		require.Len(t, strings.Fields(r.find(t, 1, "q=ann&"+limit)), want, limit)
	}
	// Jobs there are none: there is nothing to index for.
	var n int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM jobs").Scan(&n))
	require.Zero(t, n)
	_, err := r.svc.Rebuild(t.Context(), search.EngineOpenSearch, nil)
	require.ErrorIs(t, err, search.ErrNoServer)
}

func TestVisibility(t *testing.T) {
	t.Parallel()
	for _, withServer := range []bool{false, true} {
		t.Run(fmt.Sprint(withServer), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withServer)
			ann, bob, cat, dan := r.join(t, "ann", "Lee"), r.join(t, "bob", "Lee"), r.join(t, "cat", "Lee"), r.join(t, "dan", "Lee")
			r.settle(t)
			r.exec(t, "INSERT INTO user_blocks (user_id, target_id) VALUES ($1, $2)", ann, bob)
			// Not told of, so an index would still have it.
			r.exec(t, "UPDATE users SET is_active = false WHERE id = $1", dan)
			set := func(viewer int64) []string { return strings.Fields(r.find(t, viewer, "q=lee")) }
			require.ElementsMatch(t, []string{"ann", "cat"}, set(ann))
			require.ElementsMatch(t, []string{"bob", "cat"}, set(bob))
			require.ElementsMatch(t, []string{"ann", "bob", "cat"}, set(cat))
			r.exec(t, "UPDATE users SET is_active = true WHERE id = $1", dan)
			require.ElementsMatch(t, []string{"ann", "cat", "dan"}, set(ann))
		})
	}
}

func TestOpenSearchIsAskedFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.settle(t)
	ann := r.join(t, "ann", "Ann")
	twice := r.join(t, "other", "ann ann lee")
	r.join(t, "lee", "Ann Lee")
	r.settle(t)
	require.Equal(t, 3, r.server.Count("users_v1"))
	require.Equal(t, map[string]any{"id": 1.0, "name": "Ann", "handle": "ann", "bio": "", "locale": "en-US", "created_at": "2026-01-01T00:00:01.000000Z"},
		r.server.Document("users_v1", "1"))
	require.Equal(t, "other lee ann", r.find(t, ann, "q=ann+lee"), "the order is the server's")
	require.Equal(t, "other lee", r.find(t, ann, "q=ann+lee&limit=2"))

	// Hits that may not be seen make room for the next ones.
	r.exec(t, "INSERT INTO user_blocks (user_id, target_id) VALUES ($1, $2)", twice, ann)
	require.Equal(t, "lee ann", r.find(t, ann, "q=ann+lee&limit=2"))
	r.exec(t, "DELETE FROM users WHERE handle = 'lee'")
	require.Equal(t, "ann", r.find(t, ann, "q=ann+lee&limit=1"))

	for _, mode := range []searchtest.Mode{searchtest.Red, searchtest.Garbage, searchtest.Overloaded, searchtest.Broken, searchtest.TimedOut, searchtest.Empty, searchtest.Endless} {
		fresh := r.service(t, r.engine) // one that does not know that it fails
		r.server.Set(mode)
		found, err := fresh.Users(t.Context(), viewer(ann), "ann", 20)
		require.NoError(t, err)
		require.Equal(t, []user{{1, "ann"}}, found)
		s, err := fresh.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "opensearch", s.Engine)
		if mode != searchtest.TimedOut {
			require.NotEmpty(t, s.OpenSearch.Error)
		}
		require.NoError(t, fresh.Stop(t.Context()))
	}
}

func TestIndexFollowsAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	ann := r.join(t, "ann", "Ann")
	r.settle(t)
	r.change(t, ann, "UPDATE users SET name = 'Anna' WHERE id = $1", ann)
	r.settle(t)
	require.Equal(t, "Anna", r.server.Document("users_v1", "1")["name"])
	r.change(t, ann, "UPDATE users SET is_active = false WHERE id = $1", ann)
	r.settle(t)
	require.Nil(t, r.server.Document("users_v1", "1"))
	r.change(t, ann, "UPDATE users SET is_active = true WHERE id = $1", ann)
	r.settle(t)
	require.NotNil(t, r.server.Document("users_v1", "1"))
	r.change(t, ann, "DELETE FROM users WHERE id = $1", ann)
	r.settle(t)
	require.Nil(t, r.server.Document("users_v1", "1"))

	// A change while the job is between reading and ending adds no second job,
	// and is not lost.
	bob := r.join(t, "bob", "Bob")
	r.settle(t)
	once := make(chan struct{}, 1)
	once <- struct{}{}
	r.server.Hook(func(_, path string) {
		if path != "/_bulk" {
			return
		}
		select {
		case <-once:
			r.change(t, bob, "UPDATE users SET name = 'Robert' WHERE id = $1", bob)
		default:
		}
	})
	r.change(t, bob, "UPDATE users SET name = 'Bobby' WHERE id = $1", bob)
	r.settle(t)
	require.Equal(t, "Robert", r.server.Document("users_v1", "2")["name"])
}
