package nodes

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

// BenchmarkPublish measures from the request that publishes an event until a
// client has it, one event at a time, on an idle pair: a client of the same
// node, and one of the other. The database flushes to disk, as in earnest.
//
//	go test -run '^$' -bench . -benchtime 2000x ./appliance/nodes
//
// after-answer is the part from the answer of the request, which comes after
// the commit; it is below zero for an event that is faster than the answer.
func BenchmarkPublish(b *testing.B) {
	here, there := newNodes(b, func() (pooled, direct string) { return durable(b) }, "LOG_LEVEL=WARNING", "APP_LOG_LEVEL=WARNING")
	who := here.register(b, "bench")
	for _, at := range []struct {
		name string
		n    *node
	}{{"same node", here}, {"other node", there}} {
		b.Run(at.name, func(b *testing.B) {
			s, _ := at.n.connect(b, who, "channels=post:1")
			arrivals := make(chan time.Time)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer close(arrivals)
				for {
					if _, err := s.read(ctx); err != nil {
						return
					}
					select {
					case arrivals <- time.Now():
					case <-ctx.Done():
						return
					}
				}
			}()
			var whole, after []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				require.NoError(b, here.gift(ctx, "post:1", i))
				answered := time.Now()
				arrived, ok := <-arrivals
				require.True(b, ok, "the connection ended")
				whole, after = append(whole, arrived.Sub(began)), append(after, arrived.Sub(answered))
			}
			cancel()
			<-done
			report(b, whole, "")
			report(b, after, "-after-answer")
		})
	}
}

// report gives the middle and the slow end of what was measured, in
// microseconds.
func report(b *testing.B, took []time.Duration, what string) {
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Microseconds()) }
	b.ReportMetric(at(0.50), "p50"+what+"-µs")
	b.ReportMetric(at(0.99), "p99"+what+"-µs")
}

// durable starts a Postgres and a PgBouncer with the settings that the
// appliance gives its own ones.
func durable(b *testing.B) (pooled, direct string) {
	dir, err := os.MkdirTemp("", "selflink-nodes-db-")
	require.NoError(b, err)
	require.NoError(b, os.Chmod(dir, 0o755)) // Postgres runs as a user of its own
	s, err := database.New(database.Options{DataDir: filepath.Join(dir, "data"), PoolSize: 1, ServerConns: 64, DirectSize: 1})
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, s.Stop(context.Background()))
		_ = os.RemoveAll(dir)
	})
	require.NoError(b, s.Start(b.Context()))
	return s.URLs()
}
