package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"selflink/appliance/broker"
	"selflink/appliance/database"
	"selflink/appliance/health"
)

const (
	// CheckJobs is the code of the check that fails while no jobs are worked
	// on here.
	CheckJobs = "jobs"

	// staleAge is how old a queued job may be before a queue that claims
	// nothing is taken for stuck.
	staleAge = 30 * time.Second

	// lateAge is how old a queued job may be although its queue works.
	lateAge = 5 * time.Minute

	// deadWithin is how long a dead job counts as news.
	deadWithin = time.Hour
)

// registerChecks tells r what may go wrong here.
func (e *Engine) registerChecks(r *health.Registry) {
	r.Add(health.Check{
		Code: CheckJobs, Title: "The job engine does not run", Severity: health.High, Ready: true,
		Impact: "Nothing that happens in the background happens on this node.",
		Remedy: "Restart it: systemctl restart selflink, and see why in the lines of component jobs of the log.",
		Run:    func(context.Context) error { return e.checkRunning() },
	})
	for _, name := range slices.Sorted(maps.Keys(e.queues)) {
		stalled := "jobs." + name + ".stalled"
		r.Add(health.Check{
			Code: stalled, Title: "Queue " + name + " is alive but not consuming", Severity: health.High, Ready: true,
			Impact:    "Its jobs wait on this node; other nodes take them after some seconds, if there are any.",
			Remedy:    "Restart it: systemctl restart selflink. No job is lost by that.",
			DependsOn: []string{database.CheckPostgres, database.CheckPooled, broker.CheckBroker, CheckJobs},
			Run:       func(ctx context.Context) error { return e.checkConsuming(ctx, name) },
		})
		r.Add(health.Check{
			Code: "jobs." + name + ".late", Title: "Jobs of queue " + name + " wait for long", Visible: 30 * time.Second, Every: 15 * time.Second,
			Impact:    "What they do comes late.",
			Remedy:    "See what runs: selflink jobs list --state running --queue " + name + ". More at once: JOBS_CONCURRENCY, or JOBS_LLM_CONCURRENCY for those that wait for the language model; or another node.",
			DependsOn: []string{database.CheckPostgres, database.CheckPooled, broker.CheckBroker, CheckJobs, stalled},
			Run:       func(ctx context.Context) error { return e.checkLate(ctx, name) },
		})
	}
	r.Add(health.Check{
		Code: "jobs.paused", Title: "A queue is paused", Severity: health.Low,
		Impact:    "Its jobs wait until somebody resumes it.",
		Remedy:    "When the reason is gone: selflink jobs resume <queue>",
		DependsOn: []string{database.CheckPostgres, database.CheckPooled},
		Run:       e.checkPaused,
	})
	r.Add(health.Check{
		Code: "jobs.dead", Title: "Jobs failed for good", Every: 30 * time.Second,
		Impact:    "What they were to do is not done.",
		Remedy:    "See why: selflink jobs list --state dead. When the reason is gone: selflink jobs retry <id>",
		DependsOn: []string{database.CheckPostgres, database.CheckPooled},
		Run:       e.checkDead,
	})
}

// consuming reports whether the queue takes work, or has none to take or no
// room for it, or may not or was not allowed to until a moment ago.
func (i QueueInfo) consuming() bool {
	return i.Paused || i.OldestAge <= staleAge || time.Since(i.LastClaim) <= staleAge || time.Since(i.resumed) <= staleAge || i.InFlight >= i.Concurrency
}

// ago says how long ago t was, in words.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

func (e *Engine) checkRunning() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == nil {
		return errors.New("not running")
	}
	return nil
}

// checkConsuming asks whether a queue that has work takes it.
func (e *Engine) checkConsuming(ctx context.Context, name string) error {
	queues, err := e.inspect(ctx, name)
	if err != nil {
		return err
	}
	if q := queues[0]; !q.consuming() {
		return fmt.Errorf("queue %s is alive but not consuming: its oldest job waits %s, last fetch %s, last claim %s",
			name, q.OldestAge.Round(time.Second), ago(q.LastFetch), ago(q.LastClaim))
	}
	return nil
}

// checkLate asks how old the oldest waiting job is.
func (e *Engine) checkLate(ctx context.Context, name string) error {
	queues, err := e.inspect(ctx, name)
	if err != nil {
		return err
	}
	q := queues[0]
	switch {
	case q.Paused || q.OldestAge <= lateAge || time.Since(q.resumed) <= lateAge:
		return nil
	case q.InFlight >= q.Concurrency:
		return fmt.Errorf("the oldest job of queue %s waits %s: all %d of its workers here are busy, last claim %s", name, q.OldestAge.Round(time.Second), q.Concurrency, ago(q.LastClaim))
	}
	return fmt.Errorf("the oldest job of queue %s waits %s: %d of its %d workers here are busy, last claim %s", name, q.OldestAge.Round(time.Second), q.InFlight, q.Concurrency, ago(q.LastClaim))
}

// checkDead counts the jobs that have failed for good of late.
func (e *Engine) checkDead(ctx context.Context) error {
	rows, err := e.sql.RecentlyDead(ctx, deadWithin.Seconds())
	if err != nil {
		return fmt.Errorf("jobs: count dead ones: %w", err)
	}
	var texts []error
	for _, row := range rows {
		texts = append(texts, fmt.Errorf("%d of kind %s within the last hour", row.Jobs, row.Kind))
	}
	return errors.Join(texts...)
}
