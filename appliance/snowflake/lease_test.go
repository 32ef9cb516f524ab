package snowflake

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/health"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// process makes a generator that stands for one process.
func process(t *testing.T, db *databasetest.DB, o Options) *Generator {
	t.Helper()
	o.DB = db.Pool
	g, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Stop(context.Background())) })
	return g
}

func node(t *testing.T, g *Generator) int {
	t.Helper()
	id, err := g.TryNext()
	require.NoError(t, err)
	_, n, _ := Parts(id)
	return n
}

func TestProcessesGetDifferentNumbers(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	const processes = 8
	var mu sync.Mutex
	seen := map[int]bool{}
	var wg sync.WaitGroup
	for range processes {
		g := process(t, db, Options{})
		wg.Go(func() {
			if err := g.Start(t.Context()); err != nil {
				t.Error(err)
				return
			}
			_, n, _ := Parts(g.Next())
			mu.Lock()
			defer mu.Unlock()
			seen[n] = true
		})
	}
	wg.Wait()
	require.Len(t, seen, processes)
	require.False(t, seen[0], "0 is left to operators")
}

func TestStoppedNumberIsUsedAgain(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	first := process(t, db, Options{})
	require.NoError(t, first.Start(t.Context()))
	require.Equal(t, 1, node(t, first))
	last := first.Next()
	require.NoError(t, first.Stop(t.Context()))
	require.NoError(t, first.Stop(t.Context()), "safe to call twice")
	_, err := first.TryNext()
	require.ErrorIs(t, err, ErrNoLease)
	require.Panics(t, func() { first.Next() })

	second := process(t, db, Options{})
	require.NoError(t, second.Start(t.Context()))
	require.NoError(t, second.Start(t.Context()), "safe to call twice")
	require.Equal(t, 1, node(t, second))
	require.Greater(t, second.Next(), last)
}

func TestKilledProcessDoesNotDelayTheNext(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	killed := process(t, db, Options{})
	require.NoError(t, killed.acquire(t.Context())) // and never heard of again
	next := process(t, db, Options{})
	require.NoError(t, next.Start(t.Context()))
	require.Equal(t, 2, node(t, next))
}

func TestLostNumberIsReplaced(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	var registry health.Registry
	a := process(t, db, Options{Health: &registry})
	require.NoError(t, a.acquire(t.Context()))
	before := a.Next()

	// The process slept past its lease, and another one got the number.
	_, err := db.Pool.Exec(t.Context(), "UPDATE snowflake_node_lease SET expires_at = now() WHERE node = 1")
	require.NoError(t, err)
	b := process(t, db, Options{})
	require.NoError(t, b.acquire(t.Context()))
	require.Equal(t, 1, node(t, b))

	require.NoError(t, a.renew(t.Context()))
	require.Equal(t, 2, node(t, a))
	require.Greater(t, a.Next(), before)
	_, ready := registry.Run(t.Context())
	require.True(t, ready)
}

func TestIntervalsOfOneNumberNeverOverlap(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	seven := 7
	dead := func(int) bool { return false }
	var until int64
	for range 4 { // killed and started again at once, each time
		g := process(t, db, Options{Node: &seven, Host: "a"})
		g.alive = dead
		require.NoError(t, g.acquire(t.Context()))
		require.Equal(t, 7, node(t, g))
		g.mu.Lock()
		may := g.may
		g.mu.Unlock()
		require.GreaterOrEqual(t, may.from, until)
		until = may.until
	}
}

func TestChosenNumberInUse(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	seven := 7
	holder := process(t, db, Options{Node: &seven, Host: "a"})
	require.NoError(t, holder.Start(t.Context()))

	elsewhere := process(t, db, Options{Node: &seven, Host: "b"})
	err := elsewhere.Start(t.Context())
	require.ErrorIs(t, err, ErrNoLease)
	require.ErrorContains(t, err, "on host a")

	here := process(t, db, Options{Node: &seven, Host: "a"})
	here.alive = func(int) bool { return true }
	require.ErrorIs(t, here.Start(t.Context()), ErrNoLease)
	require.Equal(t, 7, node(t, holder), "the holder is left alone")
}

func TestAllNumbersTaken(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	_, err := db.Pool.Exec(t.Context(), `
		INSERT INTO snowflake_node_lease (node, holder, host, pid, acquired_at, expires_at)
		SELECT n, gen_random_uuid(), 'x', 1, now(), now() + interval '1 minute' + n * interval '1 second'
		FROM generate_series(1, 1023) AS n`)
	require.NoError(t, err)
	g := process(t, db, Options{})
	require.NoError(t, g.Start(t.Context()))
	id := g.Next()
	at, n, _ := Parts(id)
	require.Equal(t, 1, n)
	require.Greater(t, time.Until(at), 30*time.Second, "ids continue where the number's last interval ends")
}

func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	g := process(t, db, Options{})
	g.every = time.Millisecond
	require.NoError(t, g.Start(t.Context()))
	g.mu.Lock()
	granted := g.granted
	g.mu.Unlock()
	<-granted // the next grant is a renewal
	require.NoError(t, g.check(t.Context()))
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	server, err := database.New(database.Options{DatabaseURL: db.URL, DirectURL: db.DirectURL, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, server.Start(t.Context()))
	g, err := New(Options{DB: server.Pool()})
	require.NoError(t, err)
	g.ttl = 0 // the lease has run out as soon as it is there
	g.wait = 0
	require.NoError(t, g.acquire(t.Context()))
	require.NoError(t, server.Stop(t.Context()))
	require.ErrorIs(t, g.renew(t.Context()), database.ErrUnavailable)
	_, err = g.TryNext()
	require.ErrorIs(t, err, ErrNoLease)
	require.ErrorIs(t, g.check(t.Context()), ErrNoLease)
}
