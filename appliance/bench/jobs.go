package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"selflink/appliance/broker"
	"selflink/appliance/database"
	"selflink/appliance/jobs"
)

const (
	jobCount = 20_000
	jobRuns  = 3 // of each engine; the median is printed
)

// noop is the job that does nothing, for our engine.
type noop struct {
	N int `json:"n"`
}

func (noop) Kind() string { return "bench.noop" }

// jobs drains the same number of no-op jobs with our engine and with River, on
// the same Postgres with the same workers, in turn.
func (b *bench) jobs(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "selflink-bench-jobs-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	db, err := database.New(database.Options{DataDir: filepath.Join(dir, "data")})
	if err != nil {
		return err
	}
	if err := db.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = db.Stop(context.WithoutCancel(ctx)) }()
	if _, err := db.Migrate(ctx); err != nil {
		return err
	}
	_, direct := db.URLs()

	for _, workers := range []int{16, 100} {
		var ours, tuned, plain []float64
		for range jobRuns {
			rate, err := drainOurs(ctx, db, dir, workers)
			if err != nil {
				return err
			}
			ours = append(ours, rate)
			if rate, err = drainRiver(ctx, direct, jobCount, workers, time.Millisecond); err != nil {
				return err
			}
			tuned = append(tuned, rate)
		}
		// River's default fetches every 100 ms; a tenth of the jobs shows it.
		rate, err := drainRiver(ctx, direct, jobCount/10, workers, 0)
		if err != nil {
			return err
		}
		plain = append(plain, rate)
		row(fmt.Sprintf("%d no-op jobs, %d workers", jobCount, workers), fmt.Sprintf("%.0f jobs/s", median(ours)), 0, 0,
			fmt.Sprintf("River tuned %.0f (×%.1f), default %.0f (×%.1f)", median(tuned), median(ours)/median(tuned), plain[0], median(ours)/plain[0]))
	}
	return b.startLatency(ctx, db, dir)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// engine starts a broker and an engine that is not yet running.
func engine(ctx context.Context, db *database.Server, dir string, workers int) (*jobs.Engine, func(), error) {
	home, err := os.MkdirTemp(dir, "broker-")
	if err != nil {
		return nil, nil, err
	}
	nerves, err := broker.New(broker.Options{Dir: home})
	if err != nil {
		return nil, nil, err
	}
	if err := nerves.Start(ctx); err != nil {
		return nil, nil, err
	}
	e, err := jobs.New(jobs.Options{DB: db.Pool(), Broker: nerves, Sole: true, Queues: map[string]int{"default": workers}})
	return e, func() { _ = nerves.Stop(context.WithoutCancel(ctx)) }, err
}

// drainOurs preloads the jobs and returns how many a second are run and marked.
func drainOurs(ctx context.Context, db *database.Server, dir string, workers int) (float64, error) {
	e, stop, err := engine(ctx, db, dir, workers)
	if err != nil {
		return 0, err
	}
	defer stop()
	var left atomic.Int64
	left.Store(jobCount)
	all := make(chan struct{})
	if err := jobs.Handle(e, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		if left.Add(-1) == 0 {
			close(all)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if _, err := db.Pool().Exec(ctx, "DELETE FROM jobs"); err != nil {
		return 0, err
	}
	for first := 0; first < jobCount; first += 1000 {
		batch := make([]jobs.Args, 1000)
		for i := range batch {
			batch[i] = noop{N: first + i}
		}
		if err := db.Pool().Tx(ctx, func(tx database.Tx) error {
			_, err := e.EnqueueMany(ctx, tx, batch)
			return err
		}); err != nil {
			return 0, err
		}
	}
	if _, err := db.Direct().Exec(ctx, "ANALYZE jobs"); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := e.Start(ctx); err != nil {
		return 0, err
	}
	select {
	case <-all:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	// Stop returns when every completion is written.
	if err := e.Stop(ctx); err != nil {
		return 0, err
	}
	elapsed := time.Since(begin)
	var open int
	if err := db.Pool().QueryRow(ctx, "SELECT count(*) FROM jobs WHERE state <> 'succeeded'").Scan(&open); err != nil {
		return 0, err
	}
	if open > 0 {
		return 0, fmt.Errorf("%d jobs are not marked", open)
	}
	return jobCount / elapsed.Seconds(), nil
}

// startLatency measures the way of one job on an idle engine, from the commit
// to its handler.
func (b *bench) startLatency(ctx context.Context, db *database.Server, dir string) error {
	e, stop, err := engine(ctx, db, dir, 16)
	if err != nil {
		return err
	}
	defer stop()
	started := make(chan time.Time, 1)
	if err := jobs.Handle(e, jobs.Policy{}, func(context.Context, *jobs.Job, noop) error {
		started <- time.Now()
		return nil
	}); err != nil {
		return err
	}
	if err := e.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = e.Stop(context.WithoutCancel(ctx)) }()
	const samples = 300
	times := make([]time.Duration, 0, samples)
	for range samples {
		if err := db.Pool().Tx(ctx, func(tx database.Tx) error {
			_, err := e.Enqueue(ctx, tx, noop{}, jobs.EnqueueOptions{})
			return err
		}); err != nil {
			return err
		}
		committed := time.Now()
		times = append(times, (<-started).Sub(committed))
		// Idle means idle: the completion of this one is written first.
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(times)
	row("idle job, commit → handler", "", percentile(times, 50), percentile(times, 99), "")
	return nil
}
