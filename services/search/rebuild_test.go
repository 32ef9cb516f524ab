package search_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	engine "selflink/appliance/search"
	"selflink/appliance/search/searchtest"
	"selflink/services/search"
)

func viewer(id int64) auth.Principal { return auth.Principal{UserID: id} }

// many makes accounts without telling of them.
func (r *rig) many(t testing.TB, n int) {
	t.Helper()
	r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, name, is_active, created_at, updated_at)
		SELECT i, 'e' || i, 'e' || i, 'u' || i, '!', 'Name ' || i, i % 10 <> 0, now(), now() FROM generate_series(1, $1::int) i`, n)
}

// same compares the index with the accounts.
func (r *rig) same(t testing.TB) {
	t.Helper()
	rows, err := r.db.Pool.Query(t.Context(), "SELECT id, name FROM users WHERE is_active")
	require.NoError(t, err)
	defer rows.Close()
	n := 0
	for rows.Next() {
		var id int64
		var name string
		require.NoError(t, rows.Scan(&id, &name))
		n++
		document := r.server.Document("users_v1", fmt.Sprint(id))
		require.NotNil(t, document, id)
		require.Equal(t, name, document["name"])
	}
	require.NoError(t, rows.Err())
	require.Equal(t, n, r.server.Count("users_v1"))
}

func TestFirstIndexIsBuiltByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.settle(t)
	require.Len(t, r.server.Names(), 1)
	r.many(t, 20)
	require.NoError(t, r.svc.Start(t.Context()), "there is one now")
	r.settle(t)
	require.Equal(t, 0, r.server.Count("users_v1"))

	// An index that disappears is noticed by the next change.
	for _, name := range r.server.Names() {
		r.server.Remove(name)
	}
	require.Equal(t, "u7", r.find(t, 1, "q=u7"), "Postgres answers")
	r.change(t, 7, "UPDATE users SET name = 'Seven' WHERE id = 7")
	r.settle(t)
	r.same(t)
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.settle(t)
	r.many(t, 2_000)
	r.server.Make("users_v1_20200101000000000")
	var steps []search.Progress
	out, err := r.svc.Rebuild(t.Context(), "", func(p search.Progress) { steps = append(steps, p) })
	require.NoError(t, err)
	require.Equal(t, search.Progress{Engine: "opensearch", Index: out.Index, Done: 1800, Total: 1800}, out.Progress)
	require.False(t, out.Resumed)
	require.Len(t, steps, 4)
	require.Equal(t, []string{out.Index + " users_v1"}, r.server.Names(), "the old one and what was left over are gone")
	r.same(t)
	s, err := r.svc.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(1800), s.OpenSearch.Documents)
	require.Equal(t, int64(1800), s.Postgres.Accounts)
	require.Nil(t, s.OpenSearch.Building)
	require.Empty(t, s.OpenSearch.Error)

	// Postgres has one to build too.
	r.exec(t, "UPDATE search_users SET names = 'stale', words = ''")
	out, err = r.svc.Rebuild(t.Context(), search.EnginePostgres, nil)
	require.NoError(t, err)
	require.Equal(t, int64(1800), out.Done)
	var stale int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM search_users WHERE names = 'stale'").Scan(&stale))
	require.Zero(t, stale)
}

func TestRebuildGoesOnAfterItWasBrokenOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.settle(t)
	r.many(t, 2_000)
	live := r.server.Names()
	ctx, kill := context.WithCancel(t.Context())
	_, err := r.svc.Rebuild(ctx, "", func(p search.Progress) {
		if p.Done >= 900 {
			kill()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, r.server.Names(), 2)
	require.Contains(t, r.server.Names(), live[0], "the old one is searched all the time")
	s, err := r.svc.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(900), s.OpenSearch.Building.Done)

	// What changes meanwhile goes into both, on either side of the position.
	r.change(t, 5, "UPDATE users SET name = 'Five' WHERE id = 5")
	r.change(t, 1999, "UPDATE users SET is_active = false WHERE id = 1999")
	r.settle(t)
	other := r.service(t, r.engine)
	out, err := other.Rebuild(t.Context(), "", func(search.Progress) {
		_, err := r.svc.Rebuild(t.Context(), "", nil)
		require.ErrorIs(t, err, search.ErrRebuilding)
	})
	require.NoError(t, err)
	require.True(t, out.Resumed)
	require.Equal(t, int64(1799), out.Done)
	r.same(t)
	require.NoError(t, other.Stop(t.Context()))

	// The connection that holds the lock dies in the middle of the next.
	_, err = r.svc.Rebuild(t.Context(), "", func(search.Progress) {
		r.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
	})
	require.ErrorContains(t, err, "hold the lock")
	again, err := r.svc.Rebuild(t.Context(), "", nil)
	require.NoError(t, err)
	require.True(t, again.Resumed)
	r.same(t)
	out = again
	// The server fails in the middle of the next.
	_, err = r.svc.Rebuild(t.Context(), "", func(search.Progress) { r.server.Set(searchtest.Broken) })
	require.ErrorIs(t, err, engine.ErrServer)
	r.server.Set(searchtest.Well)
	// Somebody deletes what was begun: it begins anew.
	for _, name := range r.server.Names() {
		if name != out.Index+" users_v1" {
			r.server.Remove(name)
		}
	}
	again, err = r.svc.Rebuild(t.Context(), "", nil)
	require.NoError(t, err)
	require.False(t, again.Resumed)
	r.same(t)
}

// TestRebuildAmongChanges rebuilds again and again while accounts are made,
// changed, closed and deleted. Searches find people all the time; in the end
// the index says what the database does.
func TestRebuildAmongChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.settle(t)
	r.many(t, 1_200)
	_, err := r.svc.Rebuild(t.Context(), "", nil)
	require.NoError(t, err)
	var changing sync.WaitGroup
	done := make(chan struct{})
	for worker := range int64(3) {
		changing.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(worker)))
			for i := range int64(60) {
				id := random.Int64N(1_200) + 1
				switch random.IntN(5) {
				case 0:
					r.change(t, id, "UPDATE users SET is_active = NOT is_active WHERE id = $1", id)
				case 1:
					id = 10_000 + worker*1_000 + i
					r.change(t, id, `INSERT INTO users (id, email, email_fold, handle, password, name, created_at, updated_at) VALUES ($1, $2::text, $2, $2, '!', 'New', now(), now())`, id, fmt.Sprint("n", id))
				case 2:
					r.change(t, id, "DELETE FROM users WHERE id = $1", id)
				default:
					r.change(t, id, "UPDATE users SET name = $2 WHERE id = $1", id, fmt.Sprint("Changed ", worker, i))
				}
			}
		})
	}
	go func() {
		changing.Wait()
		close(done)
	}()
	for rebuilds := 0; ; rebuilds++ {
		select {
		case <-done:
			r.settle(t)
			r.same(t)
			require.Positive(t, rebuilds)
			return
		default:
		}
		_, err := r.svc.Rebuild(t.Context(), "", func(search.Progress) {
			found, err := r.svc.Users(t.Context(), viewer(1), "name", 5)
			if err != nil || len(found) != 5 {
				t.Errorf("found %d, %v", len(found), err)
			}
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			require.NoError(t, err)
		}
	}
}
