package database_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
)

// open reaches a test database with options of its own.
func open(t *testing.T, db *databasetest.DB, o database.Options) *database.Server {
	t.Helper()
	if o.DatabaseURL == "" {
		o.DatabaseURL, o.DirectURL = db.URL, db.DirectURL
	}
	s, err := database.New(o)
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

func count(t *testing.T, q database.Querier, table string) int {
	t.Helper()
	var n int
	require.NoError(t, q.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func TestTx(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	_, err := db.Pool.Exec(t.Context(), "CREATE TABLE box (id int CONSTRAINT box_key PRIMARY KEY)")
	require.NoError(t, err)
	insert := func(tx database.Tx, id int) error {
		_, err := tx.Exec(t.Context(), "INSERT INTO box (id) VALUES ($1)", id)
		return err
	}

	t.Run("commit calls the hooks in order", func(t *testing.T) {
		var calls []string
		err := db.Pool.Tx(t.Context(), func(tx database.Tx) error {
			tx.AfterCommit(func() {
				calls = append(calls, "first")
				require.Equal(t, 1, count(t, db.Pool, "box"), "committed before the hook")
			})
			tx.AfterCommit(func() { calls = append(calls, "second") })
			require.Empty(t, calls)
			return insert(tx, 1)
		})
		require.NoError(t, err)
		require.Equal(t, []string{"first", "second"}, calls)
	})
	t.Run("an error rolls back", func(t *testing.T) {
		sorry := errors.New("sorry")
		err := db.Pool.Tx(t.Context(), func(tx database.Tx) error {
			tx.AfterCommit(func() { t.Error("called after a rollback") })
			require.NoError(t, insert(tx, 2))
			return sorry
		})
		require.ErrorIs(t, err, sorry)
		require.Equal(t, 1, count(t, db.Pool, "box"))
	})
	t.Run("a panic rolls back and goes on", func(t *testing.T) {
		require.PanicsWithValue(t, "oh", func() {
			_ = db.Pool.Tx(t.Context(), func(tx database.Tx) error { //nolint:errcheck // it panics
				require.NoError(t, insert(tx, 2))
				panic("oh")
			})
		})
		require.Equal(t, 1, count(t, db.Pool, "box"))
	})
	t.Run("a caller that has gone rolls back", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Pool.Tx(ctx, func(tx database.Tx) error {
			require.NoError(t, insert(tx, 2))
			cancel()
			return ctx.Err()
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1, count(t, db.Pool, "box"))
	})
	t.Run("a swallowed failure does not commit", func(t *testing.T) {
		err := db.Pool.Tx(t.Context(), func(tx database.Tx) error {
			require.True(t, database.IsUniqueViolation(insert(tx, 1), "box_key"))
			return nil
		})
		require.ErrorIs(t, err, pgx.ErrTxCommitRollback)
	})
	t.Run("what an error means", func(t *testing.T) {
		_, err := db.Pool.Exec(t.Context(), "INSERT INTO box (id) VALUES (1)")
		require.True(t, database.IsUniqueViolation(err, ""))
		require.True(t, database.IsUniqueViolation(fmt.Errorf("wrapped: %w", err), "box_key"))
		require.False(t, database.IsUniqueViolation(err, "other_key"))
		var id int
		err = db.Pool.QueryRow(t.Context(), "SELECT id FROM box WHERE id = 99").Scan(&id)
		require.True(t, database.IsNoRows(err))
		require.False(t, database.IsUniqueViolation(err, ""))
	})
}

func TestBatchAndCopy(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	_, err := db.Pool.Exec(t.Context(), "CREATE TABLE box (id int, doc jsonb)")
	require.NoError(t, err)
	n, err := db.Pool.CopyFrom(t.Context(), pgx.Identifier{"box"}, []string{"id", "doc"}, pgx.CopyFromRows([][]any{{1, map[string]any{"a": 1}}, {2, nil}}))
	require.NoError(t, err)
	require.EqualValues(t, 2, n)

	run := func(q database.Querier) {
		var b pgx.Batch
		b.Queue("INSERT INTO box (id, doc) VALUES ($1, $2)", 3, map[string]any{"b": 2}) // a Go map as jsonb
		var ids []int
		b.Queue("SELECT id FROM box ORDER BY id").Query(func(rows pgx.Rows) (err error) {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[int])
			return err
		})
		require.NoError(t, q.SendBatch(t.Context(), &b).Close())
		require.Equal(t, []int{1, 2, 3}, ids)
	}
	require.ErrorContains(t, db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		run(tx)
		return errors.New("undone")
	}), "undone")
	run(db.Pool)

	results := db.Pool.SendBatch(t.Context(), func() *pgx.Batch {
		var b pgx.Batch
		b.Queue("SELECT id FROM box WHERE id = $1", 2)
		b.Queue("SELECT 1 / $1::int", 0)
		return &b
	}())
	var id int
	require.NoError(t, results.QueryRow().Scan(&id))
	require.Equal(t, 2, id)
	_, err = results.Exec()
	require.Error(t, err)
	require.Error(t, results.Close())
}

func TestExhaustion(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	s := open(t, db, database.Options{PoolSize: 1, AcquireWait: 30 * time.Millisecond})
	err := s.Pool().Tx(t.Context(), func(tx database.Tx) error {
		_, err := s.Pool().Exec(t.Context(), "SELECT 1")
		require.ErrorIs(t, err, database.ErrBusy)
		require.ErrorIs(t, s.Pool().QueryRow(t.Context(), "SELECT 1").Scan(new(int)), database.ErrBusy)
		require.ErrorIs(t, s.Pool().Tx(t.Context(), func(database.Tx) error { return nil }), database.ErrBusy)
		var b pgx.Batch
		b.Queue("SELECT 1")
		require.ErrorIs(t, s.Pool().SendBatch(t.Context(), &b).Close(), database.ErrBusy)

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Pool().Exec(gone, "SELECT 1")
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, database.ErrBusy, "the caller gave up, not the pool")
		return nil
	})
	require.NoError(t, err)
	_, err = s.Pool().Exec(t.Context(), "SELECT 1")
	require.NoError(t, err, "every connection was given back")
}

func TestRowsGiveTheirConnectionBack(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	s := open(t, db, database.Options{PoolSize: 1, AcquireWait: 30 * time.Millisecond})
	for name, use := range map[string]func(rows pgx.Rows){
		"read to the end": func(rows pgx.Rows) {
			for rows.Next() {
			}
		},
		"closed early": func(rows pgx.Rows) { rows.Next(); rows.Close(); rows.Close() },
		"wrong target": func(rows pgx.Rows) { rows.Next(); require.Error(t, rows.Scan(new(time.Time))) },
		"collected":    func(rows pgx.Rows) { _, err := pgx.CollectRows(rows, pgx.RowTo[int]); require.NoError(t, err) },
		"values":       func(rows pgx.Rows) { rows.Next(); _, err := rows.Values(); require.NoError(t, err); rows.Close() },
	} {
		rows, err := s.Pool().Query(t.Context(), "SELECT generate_series(1, 3)")
		require.NoError(t, err, name)
		use(rows)
		_, err = s.Pool().Exec(t.Context(), "SELECT 1")
		require.NoError(t, err, "after rows were %s", name)
	}
	_, err := s.Pool().Query(t.Context(), "SELECT nonsense")
	require.Error(t, err)
	_, err = s.Pool().Exec(t.Context(), "SELECT 1")
	require.NoError(t, err)
}

func TestQueryIsGivenUpWithItsContext(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := db.Pool.Exec(ctx, "SELECT pg_sleep(60)")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, database.ErrUnavailable)
	_, err = db.Pool.Exec(t.Context(), "SELECT 1")
	require.NoError(t, err)
}

// TestStatementsAreNotMixedUp runs many different statements at once over few
// server connections: a mode that leaves a description behind on one of them
// gives somebody another one's rows.
func TestStatementsAreNotMixedUp(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	require.Equal(t, "cache describe", db.Server.PooledMode(), "for PgBouncer 1.18, whose console is not ours")
	require.Equal(t, "cache statement", db.Server.DirectMode())
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			columns := make([]string, i+1)
			for c := range columns {
				columns[c] = fmt.Sprintf("$1::int + %d", i*100+c)
			}
			sql := "SELECT " + strings.Join(columns, ", ")
			for round := range 50 {
				rows, err := db.Pool.Query(t.Context(), sql, round)
				if err != nil {
					t.Error(err)
					return
				}
				row, err := pgx.CollectOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
				if err != nil {
					t.Error(err)
					return
				}
				for c, v := range row {
					if v != int32(round+i*100+c) {
						t.Errorf("column %d of %d is %v", c, i, v)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestExternal(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)

	t.Run("Postgres itself", func(t *testing.T) {
		t.Parallel()
		s := open(t, db, database.Options{DatabaseURL: db.DirectURL})
		require.Equal(t, "cache statement", s.PooledMode())
		require.Equal(t, 1, one(t, s.Pool()))
		pooled, direct := s.URLs()
		require.Equal(t, pooled, direct)
	})
	t.Run("only a pooler is known", func(t *testing.T) {
		t.Parallel()
		s := open(t, db, database.Options{DatabaseURL: db.URL})
		require.Equal(t, "cache describe", s.DirectMode())
		n, err := s.Migrate(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
	})
	t.Run("managed pooler in front", func(t *testing.T) {
		t.Parallel()
		s := open(t, db, database.Options{DatabaseURL: db.DirectURL, ManagedPooler: true, DataDir: t.TempDir()})
		require.Equal(t, 1, one(t, s.Pool()))
		pooled, _ := s.URLs()
		require.Contains(t, pooled, "port=6432")
		require.Equal(t, "cache describe", s.PooledMode())
	})
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		u, err := url.Parse(db.DirectURL)
		require.NoError(t, err)
		u.User = url.UserPassword("selflink", "hunter2")
		s, err := database.New(database.Options{DatabaseURL: u.String()})
		require.NoError(t, err)
		err = s.Start(t.Context())
		require.ErrorContains(t, err, "DATABASE_URL")
		require.NotContains(t, err.Error(), "hunter2")
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		s, err := database.New(database.Options{DatabaseURL: "postgres://a:hunter2@/b?host=" + t.TempDir(), BootWait: 50 * time.Millisecond})
		require.NoError(t, err)
		err = s.Start(t.Context())
		require.ErrorIs(t, err, database.ErrUnavailable)
		require.NotContains(t, err.Error(), "hunter2")
	})
	t.Run("bad options", func(t *testing.T) {
		t.Parallel()
		for _, o := range []database.Options{{}, {DatabaseURL: "postgres://a/b", ManagedPooler: true}, {DataDir: "x", DirectURL: "postgres://a/b"}} {
			_, err := database.New(o)
			require.Error(t, err)
		}
		s, err := database.New(database.Options{DatabaseURL: "postgres://a:hunter2@:bad:port/x"})
		require.NoError(t, err)
		err = s.Start(t.Context())
		require.ErrorContains(t, err, "DATABASE_URL")
		require.NotContains(t, err.Error(), "hunter2")
	})
}

func one(t *testing.T, q database.Querier) (n int) {
	t.Helper()
	require.NoError(t, q.QueryRow(t.Context(), "SELECT 1").Scan(&n))
	return n
}

func BenchmarkQueryRow(b *testing.B) {
	db := databasetest.New(b)
	b.RunParallel(func(pb *testing.PB) {
		var n int
		for pb.Next() {
			if err := db.Pool.QueryRow(b.Context(), "SELECT $1::int", 7).Scan(&n); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
