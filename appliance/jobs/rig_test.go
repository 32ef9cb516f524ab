package jobs_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/health"
	"selflink/appliance/jobs"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// noop is a job without arguments that matter.
type noop struct {
	N int `json:"n"`
}

func (noop) Kind() string { return "test.noop" }

// rig is an engine on a database and a broker of its own.
type rig struct {
	db     *databasetest.DB
	broker *broker.Broker
	dir    string
	health *health.Registry
	engine *jobs.Engine
}

func newRig(t testing.TB, queues map[string]int) *rig {
	r := &rig{db: databasetest.New(t), dir: t.TempDir(), health: &health.Registry{}}
	r.broker = startBroker(t, r.dir)
	r.engine = r.newEngine(t, queues)
	return r
}

func startBroker(t testing.TB, dir string) *broker.Broker {
	b, err := broker.New(broker.Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, b.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, b.Stop(context.Background())) })
	return b
}

func (r *rig) newEngine(t testing.TB, queues map[string]int) *jobs.Engine {
	e, err := jobs.New(jobs.Options{DB: r.db.Pool, Broker: r.broker, Queues: queues, Health: r.health})
	require.NoError(t, err)
	return e
}

// start runs an engine for the rest of the test.
func start(t testing.TB, e *jobs.Engine) {
	require.NoError(t, e.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, e.Stop(context.Background())) })
}

func (r *rig) enqueue(t testing.TB, args jobs.Args, opts jobs.EnqueueOptions) jobs.ID {
	var id jobs.ID
	require.NoError(t, r.db.Pool.Tx(context.Background(), func(tx database.Tx) (err error) {
		id, err = r.engine.Enqueue(context.Background(), tx, args, opts)
		return err
	}))
	return id
}

func (r *rig) enqueueNoops(t testing.TB, n int) {
	for first := 0; first < n; first += 1000 {
		batch := make([]jobs.Args, 0, 1000)
		for i := first; i < min(first+1000, n); i++ {
			batch = append(batch, noop{N: i})
		}
		require.NoError(t, r.db.Pool.Tx(context.Background(), func(tx database.Tx) error {
			_, err := r.engine.EnqueueMany(context.Background(), tx, batch)
			return err
		}))
	}
}

func (r *rig) count(t testing.TB, state jobs.State) int {
	var n int
	require.NoError(t, r.db.Pool.QueryRow(context.Background(), "SELECT count(*) FROM jobs WHERE state = $1", string(state)).Scan(&n))
	return n
}
