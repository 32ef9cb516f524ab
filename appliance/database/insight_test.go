package database

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestInsight(t *testing.T) {
	t.Parallel()
	s := managed(t, Options{Postgres: map[string]string{"shared_preload_libraries": "pg_stat_statements"}})
	_, err := s.Migrate(t.Context())
	require.NoError(t, err)
	_, err = s.Pool().Exec(t.Context(), "CREATE TABLE big AS SELECT n, repeat('x', 900) AS text FROM generate_series(1, 1000) n")
	require.NoError(t, err)

	seen, err := s.Insight(t.Context())
	require.NoError(t, err)
	require.True(t, seen.Managed)
	require.NotEmpty(t, seen.Postgres.Version)
	require.WithinDuration(t, time.Now(), seen.Postgres.StartedAt, 10*time.Minute)
	require.Positive(t, seen.Postgres.Size)
	require.Positive(t, seen.Postgres.CacheHitRatio)
	require.LessOrEqual(t, seen.Postgres.CacheHitRatio, 1.0)
	require.Positive(t, seen.Postgres.Connections)
	require.Positive(t, seen.Postgres.MaxConnections)
	require.NotNil(t, seen.Pooler)
	require.Regexp(t, `^\d+\.\d+`, seen.Pooler.Version)
	require.NotEmpty(t, seen.Pooler.Pools)
	require.Equal(t, "transaction", seen.Pooler.Pools[0].Mode)
	require.Equal(t, appDatabase, seen.Pooler.Pools[0].Database)
	require.Equal(t, "pooled", seen.Pools[0].Name)
	require.Equal(t, defaultPoolSize, seen.Pools[0].Max)
	require.Equal(t, "direct", seen.Pools[1].Name)
	require.Empty(t, seen.Locks)
	require.LessOrEqual(t, len(seen.Tables), shownTables)
	require.Equal(t, "big", seen.Tables[0].Name)
	require.Greater(t, seen.Tables[0].Bytes, int64(900_000))
	require.Equal(t, seen.Migrations.Latest, seen.Migrations.Current)
	require.NotNil(t, seen.Migrations.Items[0].AppliedAt)
	text, err := json.Marshal(seen)
	require.NoError(t, err)
	require.Contains(t, string(text), `"locks":[]`)
	require.Contains(t, string(text), `"statements":null`, "nobody made the extension")

	cfg, err := pgx.ParseConfig(s.SuperURL())
	require.NoError(t, err)
	cfg.Database = appDatabase
	super, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	_, err = super.Exec(t.Context(), "CREATE EXTENSION pg_stat_statements")
	require.NoError(t, err)
	require.NoError(t, super.Close(t.Context()))
	_, err = s.Pool().Exec(t.Context(), "COMMENT ON TABLE big IS 'hunter2'")
	require.NoError(t, err)
	seen, err = s.Insight(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, seen.Statements)
	text, err = json.Marshal(seen)
	require.NoError(t, err)
	require.NotContains(t, string(text), "hunter2")

	for _, secret := range s.Secrets() {
		require.NotContains(t, string(text), secret)
	}
	require.Len(t, s.Secrets(), 3, "of the application, the superuser and the console")

	require.NoError(t, s.Stop(t.Context()))
	require.Empty(t, s.Secrets())
	_, err = s.Insight(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
}

// Who waits for a lock is told, without what is in its statement; and a locked
// table keeps nobody from looking.
func TestInsightOfLocks(t *testing.T) {
	t.Parallel()
	s := managed(t, Options{})
	_, err := s.Pool().Exec(t.Context(), "CREATE TABLE busy AS SELECT 1 AS n, '' AS word")
	require.NoError(t, err)
	holding, release := make(chan int), make(chan struct{})
	done := make(chan error, 2)
	go func() {
		done <- s.Pool().Tx(context.Background(), func(tx Tx) error {
			var pid int
			if err := tx.QueryRow(context.Background(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
				return err
			}
			if _, err := tx.Exec(context.Background(), "LOCK TABLE busy IN ACCESS EXCLUSIVE MODE"); err != nil {
				return err
			}
			holding <- pid
			<-release
			return nil
		})
	}()
	holder := <-holding
	go func() {
		_, err := s.Pool().Exec(context.Background(), "UPDATE busy SET word = 'hunter2' WHERE n = 4711")
		done <- err
	}()
	var seen Insight
	require.Eventually(t, func() bool {
		seen, err = s.Insight(t.Context())
		require.NoError(t, err)
		return len(seen.Locks) == 1
	}, 60*time.Second, time.Millisecond)
	wait := seen.Locks[0]
	require.Equal(t, []int{holder}, wait.BlockedBy)
	require.Equal(t, "busy", wait.Relation)
	require.Equal(t, "RowExclusiveLock", wait.Mode)
	require.Equal(t, "UPDATE busy SET word = $… WHERE n = $…", wait.Query)
	require.Positive(t, seen.Postgres.LongestTransaction)
	require.Equal(t, "busy", seen.Tables[0].Name)
	close(release)
	require.NoError(t, <-done)
	require.NoError(t, <-done)
}

func TestCommitRate(t *testing.T) {
	t.Parallel()
	var c commitRate
	at := time.Now()
	require.Zero(t, c.perSecond(1000, at))
	at = at.Add(2 * time.Second)
	require.InDelta(t, 5, c.perSecond(1010, at), 0.01)
	at = at.Add(3 * time.Second)
	require.InDelta(t, 20, c.perSecond(1100, at), 0.01)
	require.InDelta(t, 20, c.perSecond(1100, at.Add(time.Second)), 0.01, "who looks again at once sees the same")
	require.Zero(t, c.perSecond(3, at.Add(2*time.Second)), "counted anew")
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	s := managed(t, Options{})
	list := s.Processes(t.Context())
	require.Len(t, list, 2)
	for i, name := range []string{"postgres", "pgbouncer"} {
		p := list[i]
		require.Equal(t, name, p.Name)
		require.Equal(t, "selflink", p.Parent)
		require.Equal(t, "running", p.State)
		require.Positive(t, p.PID)
		require.Regexp(t, `^\d+\.\d+`, p.Version)
		require.Greater(t, p.Memory, int64(1<<20))
		require.Zero(t, p.Restarts)
	}
	require.NoError(t, unix.Kill(list[1].PID, unix.SIGKILL))
	require.Eventually(t, func() bool {
		again := s.Processes(t.Context())[1]
		return again.State == "running" && again.Restarts == 1 && again.PID != list[1].PID && again.Memory > 0
	}, 60*time.Second, time.Millisecond)

	outside, err := New(Options{DatabaseURL: s.now.direct})
	require.NoError(t, err)
	require.Empty(t, outside.Processes(t.Context()))
	require.NoError(t, outside.Start(t.Context()))
	defer func() { require.NoError(t, outside.Stop(context.Background())) }()
	list = outside.Processes(t.Context())
	require.Len(t, list, 1)
	require.Equal(t, "external", list[0].State)
	require.Zero(t, list[0].PID)
	require.NotEmpty(t, list[0].Version)
	seen, err := outside.Insight(t.Context())
	require.NoError(t, err)
	require.False(t, seen.Managed)
	require.Nil(t, seen.Pooler)

	require.Greater(t, OwnMemory(), int64(1<<20))
	require.Zero(t, memoryOf([]int{1 << 30}))
}
