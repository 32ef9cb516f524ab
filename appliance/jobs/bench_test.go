package jobs_test

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
)

// BenchmarkDrain measures how many preloaded jobs that do nothing are run and
// marked per second.
func BenchmarkDrain(b *testing.B) {
	for _, workers := range []int{16, 100} {
		b.Run(strconv.Itoa(workers), func(b *testing.B) {
			const n = 20_000
			for range b.N {
				b.StopTimer()
				r := newRig(b, map[string]int{"default": workers})
				var left atomic.Int64
				left.Store(n)
				all := make(chan struct{})
				require.NoError(b, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
					if left.Add(-1) == 0 {
						close(all)
					}
					return nil
				}))
				r.enqueueNoops(b, n)
				b.StartTimer()
				require.NoError(b, r.engine.Start(context.Background()))
				<-all
				require.NoError(b, r.engine.Stop(context.Background()))
				b.StopTimer()
				require.Equal(b, n, r.count(b, jobs.Succeeded))
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

// BenchmarkStart measures how long an idle engine takes from a committed
// enqueue to the handler.
func BenchmarkStart(b *testing.B) {
	r := newRig(b, nil)
	started := make(chan time.Time, 1)
	require.NoError(b, jobs.Handle(r.engine, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		started <- time.Now()
		return nil
	}))
	require.NoError(b, r.engine.Start(context.Background()))
	b.Cleanup(func() { require.NoError(b, r.engine.Stop(context.Background())) })
	var times []time.Duration
	for b.Loop() {
		require.NoError(b, r.db.Pool.Tx(context.Background(), func(tx database.Tx) error {
			_, err := r.engine.Enqueue(context.Background(), tx, noop{}, jobs.EnqueueOptions{})
			return err
		}))
		committed := time.Now()
		times = append(times, (<-started).Sub(committed))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}
