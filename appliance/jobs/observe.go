package jobs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// scrapeTimeout bounds the counts of one scrape.
	scrapeTimeout = 3 * time.Second
)

// QueueInfo is how a queue of this process is doing. Times are zero for what
// has not happened since Start.
type QueueInfo struct {
	Name        string        `json:"name"`
	Concurrency int           `json:"concurrency"`
	InFlight    int           `json:"in_flight"`           // claimed here and not ended
	OldestAge   time.Duration `json:"oldest_age_ns"`       // of what waits on any node; 0: nothing waits
	LastFetch   time.Time     `json:"last_fetch,omitzero"` // of an id from the stream
	LastClaim   time.Time     `json:"last_claim,omitzero"` // of rows, whose ids are then acknowledged
	Paused      bool          `json:"paused"`              // as far as this process has heard

	resumed time.Time // since when it is no longer paused
}

// Queues tells how the queues of this process are doing, by name.
func (e *Engine) Queues(ctx context.Context) ([]QueueInfo, error) {
	return e.inspect(ctx, slices.Sorted(maps.Keys(e.queues))...)
}

// inspect tells how some of the queues are doing.
func (e *Engine) inspect(ctx context.Context, names ...string) ([]QueueInfo, error) {
	rows, err := e.sql.OldestWaiting(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("jobs: read the queues: %w", err)
	}
	ages := map[string]time.Duration{}
	for _, row := range rows {
		ages[row.Queue] = max(0, time.Duration(row.Seconds*float64(time.Second)))
	}
	list := make([]QueueInfo, len(names))
	for i, name := range names {
		q := e.queues[name]
		list[i] = QueueInfo{
			Name: name, Concurrency: q.concurrency, InFlight: int(q.inFlight.Load()), OldestAge: ages[name],
			LastFetch: moment(&q.lastFetch), LastClaim: moment(&q.lastClaim),
			Paused: q.paused.Load(), resumed: moment(&q.resumedAt),
		}
	}
	return list, nil
}

// moment reads unix nanoseconds; 0 is the zero time.
func moment(nanos *atomic.Int64) time.Time {
	if n := nanos.Load(); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
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
	for _, c := range []prometheus.Collector{m.ends, m.duration, m.latency, &counts{engine: e}, &ages{engine: e}} {
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
