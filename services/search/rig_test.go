package search_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/broker"
	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/jobs"
	"selflink/appliance/search/searchtest"
	"selflink/services/search"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// user is an account as the API of the test shows it.
type user struct {
	ID     int64  `json:"id"`
	Handle string `json:"handle"`
}

// people reads accounts as the service of accounts does.
type people struct{ db database.Pool }

func (p people) Found(ctx context.Context, viewer auth.Principal, ids []int64) ([]user, error) {
	rows, err := p.db.Query(ctx, `SELECT u.id, u.handle FROM users u JOIN unnest($2::bigint[]) WITH ORDINALITY w (id, place) ON w.id = u.id
		WHERE u.is_active AND NOT EXISTS (SELECT 1 FROM user_blocks b WHERE (b.user_id, b.target_id) IN (($1, u.id), (u.id, $1))) ORDER BY w.place`, viewer.UserID, ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[user])
}

// names takes a token for the id of its user.
type names struct{}

func (names) Authenticate(_ context.Context, header string) (auth.Principal, error) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return auth.Principal{}, nil
	}
	id, err := strconv.ParseInt(token, 10, 64)
	if err != nil {
		return auth.Principal{}, httpapi.InvalidToken("Token is invalid or expired")
	}
	return auth.Principal{UserID: id}, nil
}

// rig is the service over HTTP with a database, a job engine and, unless told
// otherwise, a search server of its own.
type rig struct {
	*apitest.Client
	db     *databasetest.DB
	engine *jobs.Engine
	svc    *search.Service[user]
	server *searchtest.Server // nil: Postgres alone
	last   int64
}

func newRig(t testing.TB, withServer bool) *rig {
	t.Helper()
	r := &rig{db: databasetest.New(t)}
	if withServer {
		r.server = searchtest.New(t)
	}
	b, err := broker.New(broker.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, b.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, b.Stop(context.Background())) })
	r.engine, err = jobs.New(jobs.Options{DB: r.db.Pool, Broker: b, Sole: true})
	require.NoError(t, err)
	r.svc = r.service(t, r.engine)
	require.NoError(t, r.svc.HandleJobs(r.engine))
	require.NoError(t, r.engine.Start(context.Background()))
	require.NoError(t, r.svc.Start(context.Background()))
	t.Cleanup(func() {
		require.NoError(t, r.engine.Stop(context.Background()))
		require.NoError(t, r.svc.Stop(context.Background()))
		require.NoError(t, r.svc.Stop(context.Background()))
	})
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Auth: names{}})
	require.NoError(t, err)
	r.svc.Register(api)
	r.Client = apitest.Serve(t, api)
	return r
}

// service makes another service over the same database and search server.
func (r *rig) service(t testing.TB, e *jobs.Engine) *search.Service[user] {
	t.Helper()
	d := search.Deps[user]{DB: r.db.Pool, Direct: r.db.Direct, Jobs: e, People: people{r.db.Pool}, ID: func(u user) int64 { return u.ID }, Backlog: e.Backlog}
	if r.server != nil {
		d.Server = &search.Server{Address: r.server.URL, Username: searchtest.User, Password: searchtest.Password}
	}
	s, err := search.New(d)
	require.NoError(t, err)
	return s
}

func (r *rig) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := r.db.Pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// change alters accounts as the service of accounts does: and tells of it.
func (r *rig) change(t testing.TB, id int64, sql string, args ...any) {
	t.Helper()
	err := r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
			return err
		}
		return r.svc.Changed(t.Context(), tx, id)
	})
	require.NoError(t, err)
}

// join makes an account; each is newer than the one before.
func (r *rig) join(t testing.TB, handle, name string) int64 {
	t.Helper()
	r.last++
	r.change(t, r.last, `INSERT INTO users (id, email, email_fold, handle, password, name, created_at, updated_at)
		VALUES ($1::bigint, $2 || '@x', $2 || '@x', $2, '!', $3, timestamptz '2026-01-01' + $1::bigint * interval '1 second', now())`, r.last, handle, name)
	return r.last
}

// settle waits until no job is left.
func (r *rig) settle(t testing.TB) {
	t.Helper()
	for {
		rows, err := r.db.Pool.Query(t.Context(), "SELECT id FROM jobs WHERE finished_at IS NULL")
		require.NoError(t, err)
		ids, err := pgx.CollectRows(rows, pgx.RowTo[jobs.ID])
		require.NoError(t, err)
		if len(ids) == 0 {
			return
		}
		for _, id := range ids {
			state, err := r.engine.Wait(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, jobs.Succeeded, state)
		}
	}
}

// find gives the handles that viewer finds over HTTP.
func (r *rig) find(t testing.TB, viewer int64, query string) string {
	t.Helper()
	res := r.As(fmt.Sprint(viewer)).Do(t, "GET", "/api/v1/search/users/?"+query, "")
	require.Equal(t, 200, res.Status, res.Body)
	var found []user
	res.JSON(t, &found)
	require.NotNil(t, found, "an array, never null")
	handles := make([]string, len(found))
	for i, u := range found {
		handles[i] = u.Handle
	}
	return strings.Join(handles, " ")
}
