package history

import (
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// Names of the metrics that are read. One that is not there gives no points.
const (
	metricRequests    = "selflink_http_request_duration_seconds"
	metricConnections = "selflink_realtime_connections"
	metricDeliveries  = "selflink_realtime_deliveries_total"
	metricRuns        = "selflink_job_runs_total"
	metricQueueAge    = "selflink_job_queue_age_seconds"
	metricAcquires    = "selflink_db_pool_acquires_total"
	metricAcquireTime = "selflink_db_pool_acquire_seconds_total"
	metricMemory      = "process_resident_memory_bytes"
)

// reading is what the metrics said at one moment. What is not a number was not
// there.
type reading struct {
	at time.Time

	requests, errors, deliveries, runs, acquires, acquireTime float64 // counters
	sockets, queueAge, memory                                 float64 // gauges

	bounds []float64 // of the buckets of durations, in seconds
	counts []uint64  // requests up to each bound
}

// read takes what is needed out of the metrics.
func read(at time.Time, families []*dto.MetricFamily) *reading {
	nan := math.NaN()
	r := &reading{at: at, requests: nan, errors: nan, deliveries: nan, runs: nan, acquires: nan, acquireTime: nan, sockets: nan, queueAge: nan, memory: nan}
	for _, f := range families {
		list := f.GetMetric()
		switch f.GetName() {
		case metricRequests:
			r.durations(list)
		case metricConnections:
			r.sockets = sum(list)
		case metricDeliveries:
			r.deliveries = sum(list)
		case metricRuns:
			r.runs = sum(list)
		case metricAcquires:
			r.acquires = sum(list)
		case metricAcquireTime:
			r.acquireTime = sum(list)
		case metricMemory:
			r.memory = sum(list)
		case metricQueueAge:
			for _, m := range list {
				r.queueAge = worse(r.queueAge, value(m))
			}
		}
	}
	return r
}

// durations adds up the histograms of all routes.
func (r *reading) durations(list []*dto.Metric) {
	r.requests, r.errors = 0, 0
	for _, m := range list {
		h := m.GetHistogram()
		n := float64(h.GetSampleCount())
		r.requests += n
		for _, l := range m.GetLabel() {
			if s := l.GetValue(); l.GetName() == "status" && len(s) == 3 && s[0] == '5' {
				r.errors += n
			}
		}
		buckets := h.GetBucket()
		if r.bounds == nil {
			r.bounds, r.counts = make([]float64, len(buckets)), make([]uint64, len(buckets))
			for i, b := range buckets {
				r.bounds[i] = b.GetUpperBound()
			}
		}
		for i, b := range buckets[:min(len(buckets), len(r.counts))] {
			r.counts[i] += b.GetCumulativeCount()
		}
	}
}

// carry takes over counters that could not be read this time: what comes back
// later has not grown from nothing.
func (r *reading) carry(last *reading) {
	for now, before := range map[*float64]float64{
		&r.requests: last.requests, &r.errors: last.errors, &r.deliveries: last.deliveries,
		&r.runs: last.runs, &r.acquires: last.acquires, &r.acquireTime: last.acquireTime,
	} {
		if math.IsNaN(*now) {
			*now = before
		}
	}
	if r.bounds == nil {
		r.bounds, r.counts = last.bounds, last.counts
	}
}

func sum(list []*dto.Metric) float64 {
	total := 0.0
	for _, m := range list {
		total += value(m)
	}
	return total
}

func value(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	}
	return m.GetUntyped().GetValue()
}

// worse is the greater of two numbers, or the one that is one.
func worse(a, b float64) float64 {
	switch {
	case math.IsNaN(a):
		return b
	case math.IsNaN(b):
		return a
	}
	return max(a, b)
}

// between is what happened from one reading to the next.
func between(a, b *reading) point {
	seconds := b.at.Sub(a.at).Seconds()
	// A counter that was not there before began at nothing: some appear with
	// the first thing they count.
	grown := func(before, now float64) float64 {
		if math.IsNaN(before) {
			before = 0
		}
		if now < before {
			return math.NaN()
		}
		return now - before
	}
	rate := func(before, now float64) float64 {
		if seconds <= 0 {
			return math.NaN()
		}
		return grown(before, now) / seconds
	}
	var p point
	p[requestsPerSecond] = rate(a.requests, b.requests)
	p[errorsPerSecond] = rate(a.errors, b.errors)
	p[deliveriesPerSecond] = rate(a.deliveries, b.deliveries)
	p[jobsPerSecond] = rate(a.runs, b.runs)
	p[sockets], p[queueAge], p[memoryBytes] = b.sockets, b.queueAge, b.memory
	p[poolWait] = math.NaN()
	if n := grown(a.acquires, b.acquires); n > 0 {
		p[poolWait] = grown(a.acquireTime, b.acquireTime) / n * 1000
	}
	counts := slices.Clone(b.counts)
	total := grown(a.requests, b.requests)
	for i := range min(len(counts), len(a.counts)) {
		if counts[i] < a.counts[i] {
			total = math.NaN()
			break
		}
		counts[i] -= a.counts[i]
	}
	p[p50] = quantile(0.50, b.bounds, counts, total) * 1000
	p[p95] = quantile(0.95, b.bounds, counts, total) * 1000
	p[p99] = quantile(0.99, b.bounds, counts, total) * 1000
	return p
}

// quantile estimates a quantile of total values from how many of them lie up
// to each bound, as if those between two bounds lay evenly. Beyond the last
// bound it is that bound. Without values it is not a number.
func quantile(q float64, bounds []float64, counts []uint64, total float64) float64 {
	if !(total > 0) || len(counts) == 0 {
		return math.NaN()
	}
	rank := q * total
	lower, below := 0.0, 0.0
	for i, c := range counts {
		n := float64(c)
		if n >= rank && n > below {
			return lower + (bounds[i]-lower)*(rank-below)/(n-below)
		}
		lower, below = bounds[i], n
	}
	return bounds[len(bounds)-1]
}
