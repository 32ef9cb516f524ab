package database

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"selflink/appliance/health"
)

// shifted is a registry whose time the test moves.
func shifted() (registry *health.Registry, forward func(time.Duration)) {
	var offset atomic.Int64
	registry = health.New(health.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
	return registry, func(d time.Duration) { offset.Add(int64(d)) }
}

func codes(registry *health.Registry) []string {
	list := []string{}
	for _, p := range registry.Problems() {
		list = append(list, p.Code)
	}
	return list
}

// A Postgres that is gone for long is one problem, whatever else fails by it.
func TestDeadPostgresIsOneProblem(t *testing.T) {
	t.Parallel()
	registry, forward := shifted()
	s := managed(t, Options{Health: registry})
	_, err := s.Migrate(t.Context())
	require.NoError(t, err)
	registry.Round(t.Context())
	require.Empty(t, codes(registry))

	// Without its control file it cannot be started again.
	control := filepath.Join(s.opts.DataDir, clusterName, "global", "pg_control")
	require.NoError(t, os.Rename(control, control+".away"))
	require.NoError(t, unix.Kill(s.now.postgres.pid(), unix.SIGKILL))
	require.Eventually(t, func() bool {
		registry.Round(t.Context())
		_, ready := registry.Run(t.Context())
		return !ready
	}, 60*time.Second, 10*time.Millisecond)
	forward(time.Minute) // the schema is due
	registry.Round(t.Context())
	require.Equal(t, []string{CheckPostgres}, codes(registry))
	problem := registry.Problems()[0]
	require.Equal(t, health.High, problem.Severity)
	require.Subset(t, problem.Effects, []string{CheckPooled, "schema.pending", "schema.newer"})

	require.NoError(t, os.Rename(control+".away", control))
	require.Eventually(t, func() bool {
		registry.Round(t.Context())
		return len(codes(registry)) == 0
	}, 60*time.Second, 10*time.Millisecond)
	forward(time.Minute)
	registry.Round(t.Context())
	require.Empty(t, codes(registry), "nothing is left of the effects")
}

func TestSchemaChecks(t *testing.T) {
	t.Parallel()
	registry, forward := shifted()
	s := managed(t, Options{Health: registry})
	registry.Round(t.Context())
	require.Equal(t, []string{"schema.pending"}, codes(registry))
	require.Contains(t, registry.Problems()[0].Text, "0001_node_leases.sql")
	_, err := s.Migrate(t.Context())
	require.NoError(t, err)
	registry.Round(t.Context())
	require.Empty(t, codes(registry))
	_, err = s.Direct().Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
	require.NoError(t, err)
	forward(time.Minute)
	registry.Round(t.Context())
	require.Equal(t, []string{"schema.newer"}, codes(registry))
}

func TestSaturatedPoolIsNoticed(t *testing.T) {
	t.Parallel()
	registry, forward := shifted()
	s := managed(t, Options{Health: registry, PoolSize: 2, AcquireWait: time.Second})
	_, err := s.Migrate(t.Context())
	require.NoError(t, err)
	registry.Round(t.Context())
	require.Empty(t, codes(registry))

	release, held := make(chan struct{}), make(chan struct{}, 2)
	done := make(chan error, 2)
	for range 2 {
		go func() {
			done <- s.Pool().Tx(context.Background(), func(Tx) error {
				held <- struct{}{}
				<-release
				return nil
			})
		}()
		<-held
	}
	_, err = s.Pool().Exec(t.Context(), "SELECT 1")
	require.ErrorIs(t, err, ErrBusy)
	watch := poolSaturation{pool: s.pooled}
	require.ErrorContains(t, watch.check(t.Context()), "2 of 2 are in use")
	require.NoError(t, watch.check(t.Context()), "nothing happened since")
	close(release)
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	forward(time.Minute)
	registry.Round(t.Context())
	registry.Round(t.Context())
	require.Empty(t, codes(registry))
}

func TestChildThatKeepsDyingIsNoticed(t *testing.T) {
	t.Parallel()
	s := managed(t, Options{})
	now := time.Now()
	watch := restartWatch{server: s, now: func() time.Time { return now }}
	require.NoError(t, watch.check(t.Context()))
	s.now.pooler.mu.Lock()
	s.now.pooler.restarts = 3
	s.now.pooler.mu.Unlock()
	require.EqualError(t, watch.check(t.Context()), "pgbouncer was started again 3 times within 10m0s")
	now = now.Add(restartsIn + time.Second)
	require.NoError(t, watch.check(t.Context()))
}

func TestPoolerAndClockAnswer(t *testing.T) {
	t.Parallel()
	s := managed(t, Options{})
	require.NoError(t, s.checkPoolerWait(t.Context()))
	require.NoError(t, s.CheckClock(t.Context()))
	require.NoError(t, s.Stop(t.Context()))
	require.Error(t, s.CheckClock(t.Context()))
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	o := Options{DataDir: filepath.Join(t.TempDir(), "data")}
	found, err := Leftovers(o)
	require.NoError(t, err)
	require.Empty(t, found, "there is nothing yet")
	require.False(t, HasCluster(o))

	s := managed(t, o)
	require.True(t, HasCluster(o))
	found, err = Leftovers(o)
	require.NoError(t, err)
	require.Empty(t, found, "they are in use")
	_, err = RemoveLeftovers(t.Context(), o)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, s.CheckClock(t.Context()))
	require.NoError(t, s.Stop(t.Context()))
	found, err = Leftovers(o)
	require.NoError(t, err)
	require.Empty(t, found)

	stale := filepath.Join(o.DataDir, clusterName, pidFile)
	require.NoError(t, os.WriteFile(stale, []byte("1\n"), 0o600))
	found, err = Leftovers(o)
	require.NoError(t, err)
	require.Equal(t, []string{stale}, found)
	removed, err := RemoveLeftovers(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{stale}, removed)
	require.NoFileExists(t, stale)

	_, major, err := FindPostgres(o)
	require.NoError(t, err)
	require.GreaterOrEqual(t, major, minMajor)
	_, version, err := FindPooler(t.Context(), o)
	require.NoError(t, err)
	require.Regexp(t, `^1\.\d+$`, version)
	_, err = FindAccount(o)
	require.NoError(t, err)
}
