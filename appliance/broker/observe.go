package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

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

// collector reads the streams' sizes and the routes when it is scraped.
type collector struct{ broker *Broker }

var (
	streamMessages = prometheus.NewDesc("selflink_stream_messages", "Messages in a stream.", []string{"stream"}, nil)
	streamBytes    = prometheus.NewDesc("selflink_stream_bytes", "Bytes in a stream.", []string{"stream"}, nil)
	streamReaders  = prometheus.NewDesc("selflink_stream_consumers", "Consumers of a stream.", []string{"stream"}, nil)
	streamBudget   = prometheus.NewDesc("selflink_stream_budget_bytes", "Most bytes a stream may hold.", []string{"stream"}, nil)

	clusterRoutes = prometheus.NewDesc("selflink_cluster_routes", "Other nodes that are connected.", nil, nil)
	clusterPeers  = prometheus.NewDesc("selflink_cluster_peers", "Other nodes that CLUSTER_PEERS names.", nil, nil)
)

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- streamMessages
	ch <- streamBytes
	ch <- streamReaders
	ch <- streamBudget
	ch <- clusterRoutes
	ch <- clusterPeers
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	if c.broker.bus != nil {
		connected, configured := c.broker.Peers()
		ch <- prometheus.MustNewConstMetric(clusterRoutes, prometheus.GaugeValue, float64(connected))
		ch <- prometheus.MustNewConstMetric(clusterPeers, prometheus.GaugeValue, float64(configured))
	}
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
		ch <- prometheus.MustNewConstMetric(streamReaders, prometheus.GaugeValue, float64(state.Consumers), stream.Name)
		ch <- prometheus.MustNewConstMetric(streamBudget, prometheus.GaugeValue, float64(stream.MaxBytes), stream.Name)
	}
}

// refusedFor is how long a refused message makes its stream count as frozen: a
// broken disk refuses again with the next one.
const refusedFor = 30 * time.Second

// refusals remembers the last message that each stream did not take. Nobody
// waits for the answers of the hot path, so this is where they end.
type refusals struct {
	mu   sync.Mutex
	last map[string]refusal // by stream
}

type refusal struct {
	err error
	at  time.Time
}

func (r *refusals) note(subject string, err error, at time.Time) {
	for _, stream := range Table() {
		if !stream.takes(subject) {
			continue
		}
		r.mu.Lock()
		if r.last == nil {
			r.last = map[string]refusal{}
		}
		r.last[stream.Name] = refusal{err, at}
		r.mu.Unlock()
	}
}

// of is why the stream counts as frozen, or nil.
func (r *refusals) of(stream Stream, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.last[stream.Name]; ok && now.Sub(last.at) < refusedFor {
		return last.err
	}
	return nil
}

// takes reports whether the stream carries subject. The table's subjects end
// in the wildcard for everything below.
func (s Stream) takes(subject string) bool {
	for _, filter := range s.Subjects {
		if strings.HasPrefix(subject, strings.TrimSuffix(filter, ">")) {
			return true
		}
	}
	return false
}
