package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverNoop is the job that does nothing, for River.
type riverNoop struct {
	N int `json:"n"`
}

func (riverNoop) Kind() string { return "noop" }

// riverWorker counts runs and closes done at the last one.
type riverWorker struct {
	river.WorkerDefaults[riverNoop]
	left atomic.Int64
	once sync.Once
	done chan struct{}
}

func (w *riverWorker) Work(context.Context, *river.Job[riverNoop]) error {
	if w.left.Add(-1) <= 0 {
		w.once.Do(func() { close(w.done) })
	}
	return nil
}

// drainRiver preloads n jobs and returns how many a second River drains with
// the given workers, until the last job is marked completed. cooldown is
// River's FetchCooldown; 0 is its default.
func drainRiver(ctx context.Context, url string, n, workers int, cooldown time.Duration) (float64, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return 0, fmt.Errorf("migrate River: %w", err)
	}
	if _, err := pool.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return 0, err
	}

	worker := &riverWorker{done: make(chan struct{})}
	worker.left.Store(int64(n))
	registry := river.NewWorkers()
	river.AddWorker(registry, worker)
	config := &river.Config{
		Logger:  slog.New(slog.DiscardHandler),
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers, FetchCooldown: cooldown, FetchPollInterval: max(cooldown, 50*time.Millisecond)}},
		Workers: registry,
	}
	if cooldown == 0 {
		config.Queues[river.QueueDefault] = river.QueueConfig{MaxWorkers: workers}
	}
	client, err := river.NewClient[pgx.Tx](driver, config)
	if err != nil {
		return 0, err
	}
	for first := 0; first < n; first += 1000 {
		batch := make([]river.InsertManyParams, 0, 1000)
		for i := first; i < min(first+1000, n); i++ {
			batch = append(batch, river.InsertManyParams{Args: riverNoop{N: i}})
		}
		if _, err := client.InsertManyFast(ctx, batch); err != nil {
			return 0, fmt.Errorf("insert River jobs: %w", err)
		}
	}
	if _, err := pool.Exec(ctx, "ANALYZE river_job"); err != nil {
		return 0, err
	}

	begin := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, err
	}
	select {
	case <-worker.done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for {
		var open int
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE state <> 'completed'").Scan(&open); err != nil {
			return 0, err
		}
		if open == 0 {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	elapsed := time.Since(begin)
	stopping, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := client.Stop(stopping); err != nil {
		return 0, err
	}
	return float64(n) / elapsed.Seconds(), nil
}
