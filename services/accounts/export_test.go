package accounts

import (
	"context"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

// Queries that the tests ask the planner about.
const (
	FollowersSQL = followersOf
	FollowingSQL = followedBy
)

// ListSQL writes the query of a page of people: without a search, of one after
// a position.
func ListSQL(viewer auth.Principal, q, search string, page httpapi.PageQuery) (string, []any, error) {
	k, err := page.Keyset(httpapi.Newest, "id", "handle", "name", "updated_at")
	if err != nil {
		return "", nil, err
	}
	if q == "" && search == "" {
		k.Set, k.ID, k.Key = true, 1, httpapi.TimeKey(time.Unix(1, 0))
	}
	return listSQL(viewer, listQuery{PageQuery: page, Q: q, Search: search}, k)
}

// Begin starts a session as a login does that saw tokens_after as seen.
func (s *Service) Begin(ctx context.Context, id int64, seen *time.Time) (Pair, error) {
	return s.begin(ctx, id, seen)
}

// DirectorySQL writes the query of a page of the operators' list of people.
func DirectorySQL(q PeopleQuery) (string, []any, error) { return directorySQL(q) }

// SearchTerms splits a search.
func SearchTerms(s string) []string { return searchTerms(s) }

// NormalHandle makes a handle of any text.
func NormalHandle(s string) string { return normalHandle(s) }
