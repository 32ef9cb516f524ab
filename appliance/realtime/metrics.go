package realtime

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are the numbers that the hub keeps of itself.
type meters struct {
	delivered atomic.Int64
	queued    atomic.Int64
	all       atomic.Int64 // connections that were opened
	sockets   atomic.Int64 // WebSockets that are open
	streams   atomic.Int64 // event streams that are open
	complete  atomic.Int64 // clients that came back and got what they missed
	gaps      atomic.Int64 // and those that did not
	pace      deliveries
	cutOff    [len(cutReasons)]atomic.Int64
	cuts      *prometheus.CounterVec
	opened    *prometheus.CounterVec
	refused   *prometheus.CounterVec
	recovered *prometheus.CounterVec
	connected *prometheus.GaugeVec
}

func newMeters(h *Hub, r prometheus.Registerer) (*meters, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "selflink", Subsystem: "realtime", Name: name, Help: help}, labels)
	}
	m := &meters{
		cuts:      counter("cuts_total", "Connections that were cut, by reason: slow, flood, protocol, idle.", "reason"),
		opened:    counter("opened_total", "Connections that were opened, by transport and by how the client proved who it is.", "transport", "proof"),
		refused:   counter("refused_total", "Connections that were refused, by reason.", "reason"),
		recovered: counter("recoveries_total", "Returning clients, by whether all they missed was there.", "complete"),
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "selflink", Subsystem: "realtime", Name: "connections", Help: "Open connections by transport.",
		}, []string{"transport"}),
	}
	if r == nil {
		return m, nil
	}
	number := func(name, help string, kind prometheus.ValueType, value func() float64) prometheus.Collector {
		name = prometheus.BuildFQName("selflink", "realtime", name)
		if kind == prometheus.CounterValue {
			return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value)
		}
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		m.cuts, m.opened, m.refused, m.recovered, m.connected,
		number("deliveries_total", "Events times the connections that got them.", prometheus.CounterValue, func() float64 { return float64(m.delivered.Load()) }),
		number("queue_bytes", "Bytes that wait for connections that read slowly.", prometheus.GaugeValue, func() float64 { return float64(m.queued.Load()) }),
		number("numbered_total", "Committed events that this node has put into the log's order.", prometheus.CounterValue, func() float64 { return float64(h.log.numbered.Load()) }),
		number("healed_total", "Events that were read from the database because the broker had not brought them.", prometheus.CounterValue, func() float64 { return float64(h.log.healed.Load()) }),
		number("users", "Users with a connection on any node.", prometheus.GaugeValue, func() float64 { return float64(h.Online()) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// cutReasons are why a connection may be cut.
var cutReasons = [...]string{"slow", "flood", "protocol", "idle"}

func (m *meters) cut(reason string) {
	m.cuts.WithLabelValues(reason).Inc()
	for i, r := range cutReasons {
		if r == reason {
			m.cutOff[i].Add(1)
		}
	}
}

// cameBack counts a client that came with a position.
func (m *meters) cameBack(complete bool) {
	m.recovered.WithLabelValues(strconv.FormatBool(complete)).Inc()
	if complete {
		m.complete.Add(1)
	} else {
		m.gaps.Add(1)
	}
}

// sample follows how many deliveries there are in a second. One goroutine
// calls it.
func (m *meters) sample(now time.Time) { m.pace.sample(m.delivered.Load(), now) }
