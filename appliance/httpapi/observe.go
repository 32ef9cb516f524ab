package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/trace"
)

const (
	levelDebug = slog.LevelDebug
	levelInfo  = slog.LevelInfo
	levelWarn  = slog.LevelWarn
	levelError = slog.LevelError
)

func logID(id string) slog.Attr       { return slog.String("request_id", id) }
func logError(err error) slog.Attr    { return slog.String("error", err.Error()) }
func logPanic(p any) slog.Attr        { return slog.String("error", fmt.Sprint(p)) }
func logStack(stack []byte) slog.Attr { return slog.String("stack", string(stack)) }
func logRoute(rc *request) slog.Attr  { return slog.String("route", rc.pattern()) }

// pattern names the route without the ids in its path.
func (rc *request) pattern() string {
	if rc.res == nil {
		return "none"
	}
	return rc.res.path
}

// observer holds the numbers of the server.
type observer struct {
	on        bool
	durations *prometheus.HistogramVec
	lasting   *prometheus.HistogramVec
	bad       *prometheus.CounterVec
	inFlight  atomic.Int64
	streams   atomic.Int64
}

// buckets of request durations in seconds: hot routes answer in tens of
// microseconds, synchronous answers of a model take minutes.
func buckets() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
}

func newObserver(reg prometheus.Registerer) (*observer, error) {
	o := &observer{on: reg != nil}
	if !o.on {
		return o, nil
	}
	o.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "selflink_http_request_duration_seconds", Help: "Time from the arrival of a request to its answer, without streams and sockets.", Buckets: buckets(),
	}, []string{"route", "method", "status"})
	o.lasting = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "selflink_http_stream_duration_seconds", Help: "How long event streams lasted.", Buckets: []float64{1, 10, 60, 600, 3600},
	}, []string{"route", "method", "status"})
	o.bad = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "selflink_http_unreadable_requests_total", Help: "Connections that sent no readable request, by status answered.",
	}, []string{"status"})
	gauge := func(name, help string, v *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(v.Load()) })
	}
	for _, c := range []prometheus.Collector{
		o.durations, o.lasting, o.bad,
		gauge("selflink_http_requests_in_flight", "Requests being answered, streams included.", &o.inFlight),
		gauge("selflink_http_streams_open", "Event streams being written.", &o.streams),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return o, nil
}

func (o *observer) begin() { o.inFlight.Add(1) }

func (o *observer) broken(status int) {
	if o.on {
		o.bad.WithLabelValues(strconv.Itoa(status)).Inc()
	}
}

func (o *observer) end(rc *request, method string, status int, took time.Duration) {
	o.inFlight.Add(-1)
	if !o.on {
		return
	}
	if rc.streaming || status == http.StatusSwitchingProtocols {
		// How long somebody listens says nothing about how fast we are.
		if rc.streaming {
			o.lasting.WithLabelValues(rc.pattern(), knownMethod(method), strconv.Itoa(status)).Observe(took.Seconds())
		}
		return
	}
	if rc.route == nil {
		o.durations.WithLabelValues(rc.pattern(), knownMethod(method), strconv.Itoa(status)).Observe(took.Seconds())
		return
	}
	seen, ok := rc.route.seen.Load(status)
	if !ok {
		seen, _ = rc.route.seen.LoadOrStore(status, o.durations.WithLabelValues(rc.pattern(), rc.route.op.Method, strconv.Itoa(status)))
	}
	if h, ok := seen.(prometheus.Observer); ok {
		h.Observe(took.Seconds())
	}
}

// knownMethod keeps invented methods from making series of their own.
func knownMethod(m string) string {
	for _, known := range [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if m == known {
			return known // m itself may lie in a buffer that is reused
		}
	}
	return "other"
}

// report writes the log line and the numbers of a finished request. Neither
// the query nor a body nor a header of the client goes into it.
func (a *API) report(rc *request) {
	resp := rc.fc.Response()
	size := 0
	if !resp.IsBodyStream() { // else asking for the body would read the stream
		size = len(resp.Body())
	}
	a.reportAs(rc, rc.fc.Method(), resp.StatusCode(), int64(size))
}

func (a *API) reportAs(rc *request, method string, status int, size int64) {
	took := a.opts.Now().Sub(rc.start)
	a.observe.end(rc, method, status, took)
	a.record(rc, method, status, took)
	level := levelInfo
	switch {
	case rc.res != nil && rc.res.first.op.system:
		level = levelDebug // probes come every few seconds
	case status >= http.StatusInternalServerError:
		level = levelError
	case status >= http.StatusBadRequest:
		level = levelWarn
	}
	ctx := context.Background()
	if !a.log.Enabled(ctx, level) {
		return
	}
	var user slog.Attr
	if rc.known {
		user = slog.Int64("user_id", rc.principal.UserID)
	}
	a.log.LogAttrs(ctx, level, "request",
		slog.String("method", knownMethod(method)),
		slog.String("route", rc.pattern()),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", size),
		logID(rc.id),
		slog.String("client_ip", rc.client.String()),
		user,
	)
}

// record tells the recorder. What probes ask every few seconds is left out.
func (a *API) record(rc *request, method string, status int, took time.Duration) {
	if a.opts.Requests == nil || rc.res != nil && rc.res.first.op.system {
		return
	}
	r := trace.Request{
		ID: rc.id, At: rc.start, Method: knownMethod(method), Route: rc.pattern(), Status: status, Took: took,
		Lasting: rc.streaming || status == http.StatusSwitchingProtocols,
		Client:  rc.client, Failure: rc.failure,
	}
	rc.mu.Lock()
	r.Tally = rc.tally
	rc.mu.Unlock()
	if rc.known {
		r.User = rc.principal.UserID
	}
	a.opts.Requests.Ended(r)
}
