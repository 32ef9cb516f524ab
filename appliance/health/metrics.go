package health

import "github.com/prometheus/client_golang/prometheus"

var _ prometheus.Collector = (*Registry)(nil)

var (
	problemDesc = prometheus.NewDesc("selflink_health_problem", "Whether a problem is there: 1 or 0.", []string{"code", "severity"}, nil)
	sinceDesc   = prometheus.NewDesc("selflink_health_problem_since_seconds", "Unix time since when a problem's check fails; only while it is there.", []string{"code", "severity"}, nil)
)

// Describe implements [prometheus.Collector].
func (r *Registry) Describe(ch chan<- *prometheus.Desc) {
	ch <- problemDesc
	ch <- sinceDesc
}

// Collect implements [prometheus.Collector]. It asks no check.
func (r *Registry) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	r.sort(r.now())
	type sample struct {
		code, severity string
		problem        float64
		since          float64
	}
	samples := make([]sample, 0, len(r.entries))
	for _, e := range r.entries {
		s := sample{code: e.Code, severity: e.Severity.String()}
		if !e.visible.IsZero() {
			s.problem, s.since = 1, float64(e.since.UnixMilli())/1e3
		}
		samples = append(samples, s)
	}
	r.mu.Unlock()
	for _, s := range samples {
		ch <- prometheus.MustNewConstMetric(problemDesc, prometheus.GaugeValue, s.problem, s.code, s.severity)
		if s.problem > 0 {
			ch <- prometheus.MustNewConstMetric(sinceDesc, prometheus.GaugeValue, s.since, s.code, s.severity)
		}
	}
}
