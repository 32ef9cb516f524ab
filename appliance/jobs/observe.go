package jobs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// staleAge is how old a queued job may be before a queue that claims
	// nothing is taken for stuck.
	staleAge = 30 * time.Second

	// scrapeTimeout bounds the counts of one scrape.
	scrapeTimeout = 3 * time.Second
)

// check is the health check: alive and consuming.
func (e *Engine) check(ctx context.Context) error {
	e.mu.Lock()
	started := e.state != nil
	e.mu.Unlock()
	if !started {
		return fmt.Errorf("not running")
	}
	names := make([]string, 0, len(e.queues))
	for name := range e.queues {
		names = append(names, name)
	}
	rows, err := e.sql.OldestWaiting(ctx, names)
	if err != nil {
		return fmt.Errorf("read the queues: %w", err)
	}
	var stuck []string
	for _, row := range rows {
		q := e.queues[row.Queue]
		age := time.Duration(row.Seconds * float64(time.Second))
		quiet := time.Since(time.Unix(0, q.lastClaim.Load()))
		busy := q.inFlight.Load() >= int64(q.concurrency)
		if age > staleAge && quiet > staleAge && !busy {
			stuck = append(stuck, fmt.Sprintf("queue %s is alive but not consuming: its oldest job waits %s", row.Queue, age.Round(time.Second)))
		}
	}
	if len(stuck) > 0 {
		return fmt.Errorf("%s", strings.Join(stuck, "; "))
	}
	return nil
}

type metrics struct {
	ends     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	latency  *prometheus.HistogramVec
}

func newMetrics(e *Engine, registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selflink_job_runs_total", Help: "Ended runs by the state they led to.",
		}, []string{"queue", "kind", "state"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "selflink_job_run_seconds", Help: "Duration of runs.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10),
		}, []string{"queue", "kind"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "selflink_job_start_latency_seconds", Help: "From a job's due time to its start.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10),
		}, []string{"queue"}),
	}
	if registry == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.ends, m.duration, m.latency, &counts{engine: e}} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("jobs: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) started(queue string, latency time.Duration) {
	m.latency.WithLabelValues(queue).Observe(max(0, latency).Seconds())
}

func (m *metrics) ended(queue, kind string, state State, took time.Duration) {
	m.ends.WithLabelValues(queue, kind, string(state)).Inc()
	m.duration.WithLabelValues(queue, kind).Observe(took.Seconds())
}

// counts reads how many jobs are in which unfinished state when scraped.
type counts struct{ engine *Engine }

var jobsByState = prometheus.NewDesc("selflink_jobs", "Unfinished and dead jobs.", []string{"queue", "kind", "state"}, nil)

func (c *counts) Describe(ch chan<- *prometheus.Desc) { ch <- jobsByState }

func (c *counts) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	rows, err := c.engine.sql.Counts(ctx)
	if err != nil {
		return // the database's own metrics say that it is away
	}
	for _, row := range rows {
		ch <- prometheus.MustNewConstMetric(jobsByState, prometheus.GaugeValue, float64(row.Jobs), row.Queue, row.Kind, row.State)
	}
}
