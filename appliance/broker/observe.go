package broker

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// serverLog brings the server's lines into the appliance's log. Its notices
// are a start-up chatter of a dozen lines, kept for debugging.
type serverLog struct{ log *slog.Logger }

func (l serverLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, fmt.Sprintf(format, v...), "component", "broker")
}

func (l serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l serverLog) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l serverLog) Fatalf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l serverLog) Errorf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l serverLog) Tracef(string, ...any)           {}

// collector reads the streams' sizes when it is scraped.
type collector struct{ broker *Broker }

var (
	streamMessages = prometheus.NewDesc("selflink_stream_messages", "Messages in a stream.", []string{"stream"}, nil)
	streamBytes    = prometheus.NewDesc("selflink_stream_bytes", "Bytes in a stream.", []string{"stream"}, nil)
	streamBudget   = prometheus.NewDesc("selflink_stream_budget_bytes", "Most bytes a stream may hold.", []string{"stream"}, nil)
)

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- streamMessages
	ch <- streamBytes
	ch <- streamBudget
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	js, err := c.broker.JetStream()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for _, stream := range Table() {
		handle, err := js.Stream(ctx, stream.Name)
		if err != nil {
			continue
		}
		state := handle.CachedInfo().State
		ch <- prometheus.MustNewConstMetric(streamMessages, prometheus.GaugeValue, float64(state.Msgs), stream.Name)
		ch <- prometheus.MustNewConstMetric(streamBytes, prometheus.GaugeValue, float64(state.Bytes), stream.Name)
		ch <- prometheus.MustNewConstMetric(streamBudget, prometheus.GaugeValue, float64(stream.MaxBytes), stream.Name)
	}
}
