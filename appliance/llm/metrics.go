package llm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons why a generation ended, as labels.
const (
	reasonOK        = "ok"
	reasonCancelled = "cancelled" // by the caller or the receiver
	reasonTimeout   = "timeout"
	reasonRefused   = "refused"
	reasonDown      = "down"
)

// reason names the end of a generation; stopped is what the receiver said.
func reason(err, stopped error) string {
	switch {
	case err == nil:
		return reasonOK
	case stopped != nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrModelDown):
		return reasonCancelled
	case errors.Is(err, ErrModelTimeout):
		return reasonTimeout
	case errors.Is(err, ErrModelRefused):
		return reasonRefused
	default:
		return reasonDown
	}
}

// metrics measure the generations of one provider.
type metrics struct {
	duration *prometheus.HistogramVec // by outcome
	first    prometheus.Observer
	input    prometheus.Counter
	output   prometheus.Counter
	failures *prometheus.CounterVec // by reason
}

// newMetrics registers the metrics with r, which may be nil.
func newMetrics(r prometheus.Registerer, provider string) (*metrics, error) {
	label := prometheus.Labels{"provider": provider}
	seconds := []float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160}
	first := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "selflink_llm_first_piece_seconds", Help: "Time until the model's first piece of text.",
		ConstLabels: label, Buckets: seconds,
	})
	tokens := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "selflink_llm_tokens_total", Help: "Tokens as counted by the provider.", ConstLabels: label,
	}, []string{"direction"})
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "selflink_llm_generation_seconds", Help: "Time of whole generations.",
			ConstLabels: label, Buckets: seconds,
		}, []string{"outcome"}),
		first: first,
		input: tokens.WithLabelValues("input"), output: tokens.WithLabelValues("output"),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selflink_llm_failures_total", Help: "Generations that the model failed.", ConstLabels: label,
		}, []string{"reason"}),
	}
	for _, r := range []string{reasonTimeout, reasonRefused, reasonDown} {
		m.failures.WithLabelValues(r)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.duration, first, tokens, m.failures} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("llm: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(outcome string, whole, first time.Duration, u Usage) {
	m.duration.WithLabelValues(outcome).Observe(whole.Seconds())
	if first > 0 {
		m.first.Observe(first.Seconds())
	}
	m.input.Add(float64(u.InputTokens))
	m.output.Add(float64(u.OutputTokens))
	if outcome != reasonOK && outcome != reasonCancelled {
		m.failures.WithLabelValues(outcome).Inc()
	}
}
