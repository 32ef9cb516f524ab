package accounts_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/services/accounts"
)

var noLimits httpapi.Limits

func TestSearchPeople(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, name, is_active, is_staff, is_superuser, created_at, updated_at) VALUES
		(1, 'Ann@Example.com', 'ann@example.com', 'ann_1', '!', 'Ann Lee', true, true, true, '2026-01-01', now()),
		(2, 'bob@example.com', 'bob@example.com', 'bob', '!', '100% Bob\', true, true, false, '2026-01-02', now()),
		(3, 'eve@other.org', 'eve@other.org', 'annx1', '!', 'გიორგი', false, false, false, '2026-01-02', now()),
		(4, 'dan@other.org', 'dan@other.org', 'dan', '!', '', true, false, true, '2026-01-03', now())`)
	yes, no := true, false
	ids := func(q accounts.PeopleQuery) string {
		var seen []string
		for {
			page, err := r.svc.SearchPeople(t.Context(), q)
			require.NoError(t, err)
			for _, p := range page.Items {
				seen = append(seen, strconv.FormatInt(p.ID, 10))
			}
			if page.Next == nil {
				return strings.Join(seen, " ")
			}
			require.Len(t, page.Items, q.Limit)
			q.Cursor = *page.Next
		}
	}
	for _, c := range []struct {
		q    accounts.PeopleQuery
		want string
	}{
		{accounts.PeopleQuery{}, "4 3 2 1"},
		{accounts.PeopleQuery{Limit: 1}, "4 3 2 1"},
		{accounts.PeopleQuery{Limit: 3}, "4 3 2 1"},
		{accounts.PeopleQuery{Limit: 1000}, "4 3 2 1"},
		{accounts.PeopleQuery{Q: "EXAMPLE"}, "2 1"},
		{accounts.PeopleQuery{Q: " @ann_1 "}, "1"},
		{accounts.PeopleQuery{Q: "n_1"}, "1"},
		{accounts.PeopleQuery{Q: "100%"}, "2"},
		{accounts.PeopleQuery{Q: `b\`}, "2"},
		{accounts.PeopleQuery{Q: "გიორ"}, "3"},
		{accounts.PeopleQuery{Q: "3"}, "3"},
		{accounts.PeopleQuery{Q: "1"}, "3 2 1"},
		{accounts.PeopleQuery{Q: "a\x00n\xffn"}, "3 1"},
		{accounts.PeopleQuery{Q: strings.Repeat("გ", 500)}, ""},
		{accounts.PeopleQuery{Q: "' OR true --"}, ""},
		{accounts.PeopleQuery{Role: "operator"}, "1"},
		{accounts.PeopleQuery{Role: "viewer"}, "2"},
		{accounts.PeopleQuery{Role: "user"}, "4 3"},
		{accounts.PeopleQuery{Active: &no}, "3"},
		{accounts.PeopleQuery{Active: &yes, Role: "user"}, "4"},
		{accounts.PeopleQuery{Q: "other", Active: &yes, Limit: 1}, "4"},
	} {
		require.Equal(t, c.want, ids(c.q), "%+v", c.q)
	}
	_, err := r.svc.SearchPeople(t.Context(), accounts.PeopleQuery{Role: "king"})
	require.ErrorIs(t, err, accounts.ErrRole)
	for _, cursor := range []string{"x", "!", "MQ", "MS54", "OTIyMzM3MjAzNjg1NDc3NTgwNy4x", strings.Repeat("A", 100)} {
		_, err := r.svc.SearchPeople(t.Context(), accounts.PeopleQuery{Cursor: cursor})
		require.ErrorIs(t, err, accounts.ErrCursor, cursor)
	}
	names, err := r.svc.Names(t.Context(), []int64{1, 4, 42})
	require.NoError(t, err)
	require.Equal(t, map[int64]string{1: "Ann Lee", 4: "dan"}, names)
}

// TestPeopleWalkIndexes asks the planner about lists of 50 000 people.
func TestPeopleWalkIndexes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, name, is_active, is_staff, is_superuser, created_at, updated_at)
		SELECT i, 'e' || i || '@example.com', 'e' || i || '@example.com', 'h' || i, '!', md5(i::text), i % 5000 <> 3, i % 5000 = 1, i % 10000 = 1, now() - i * interval '1 second', now()
		FROM generate_series(1, 50000) i`)
	_, err := r.db.Direct.Exec(t.Context(), "ANALYZE users")
	require.NoError(t, err)
	no := false
	plan := func(q accounts.PeopleQuery) string {
		q.Limit = 50
		sql, args, err := accounts.DirectorySQL(q)
		require.NoError(t, err)
		p := r.explain(t, sql, args...)
		require.NotContains(t, p, "Seq Scan", "%+v", q)
		return p
	}
	page, err := r.svc.SearchPeople(t.Context(), accounts.PeopleQuery{Limit: 1})
	require.NoError(t, err)
	require.Contains(t, plan(accounts.PeopleQuery{}), "users_created")
	require.Contains(t, plan(accounts.PeopleQuery{Cursor: *page.Next}), "Index Cond: (ROW(created_at, id) < ROW(")
	require.Contains(t, plan(accounts.PeopleQuery{Role: "user", Cursor: *page.Next}), "users_created")
	for _, role := range []string{"viewer", "operator"} {
		require.Regexp(t, "users_staff|users_admins", plan(accounts.PeopleQuery{Role: role}), role)
	}
	require.Contains(t, plan(accounts.PeopleQuery{Active: &no}), "users_inactive")
	search := plan(accounts.PeopleQuery{Q: "needle77"})
	for _, index := range []string{"users_handle_trgm", "users_name_trgm", "users_email_trgm"} {
		require.Contains(t, search, index)
	}
	require.Contains(t, plan(accounts.PeopleQuery{Q: "382706366684336129"}), "users_pkey")

	// What holds the operators does not read everybody.
	locked := r.explain(t, `SELECT id, is_active, is_staff, is_superuser FROM users
		WHERE (is_superuser AND is_staff AND is_active) OR id = $1 ORDER BY id FOR NO KEY UPDATE`, 77)
	require.NotContains(t, locked, "Seq Scan")
	require.Contains(t, locked, "users_admins")
}
