// Package httpapi is the appliance's HTTP server: one Fiber app on any number
// of addresses, typed operations with the envelopes, limits and checks that
// clients depend on, and the OpenAPI document that describes them.
//
// Services register operations with [Handle] and [Stream] before the server
// starts. Each request passes the same checks in the same order: host,
// preflight, path, content negotiation, authentication, permission, limits,
// method, body, validation. What goes wrong is answered in JSON with the exact
// texts of the contract; nothing a client sends leads to a panic, a 500 or an
// unbounded use of memory.
package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// API is the server and the registry of its operations. Operations are added
// before Start by one goroutine; everything else is safe for concurrent use.
type API struct {
	opts Options
	log  *slog.Logger
	app  *fiber.App

	router   router
	routes   []*route
	failures []error
	document documents

	hosts   hostList
	proxies proxyList
	origins []string
	limits  limits
	observe *observer
	buffers sync.Pool       // of *bytes.Buffer, for encoding
	over    context.Context // ended; the context of every request whose handler has returned

	idPrefix string // makes request ids of this process differ from all others'
	idCount  atomic.Uint64
	unread   string // makes the mark of unread bodies one that nobody can guess

	base      context.Context // parent of every request, ends when Stop has given up waiting
	end       context.CancelFunc
	streaming context.Context // ends when Stop begins
	endStream context.CancelFunc

	mu        sync.Mutex
	started   bool
	stopped   bool
	listeners []net.Listener
	socket    net.Listener // of Options.Socket
	serving   sync.WaitGroup
	failed    chan error // of a listener
	conns     connections
	streams   streams
}

// route is one operation, ready to run.
type route struct {
	op     Operation
	plan   *plan
	out    reflect.Type // nil for streams
	stream bool
	run    func(rc *request) error

	throttles []throttle
	userLimit userLimit
	seen      sync.Map // status → prometheus.Observer
}

// New makes a server with its own operations (health, metrics, documents, the
// root of the API); it listens after Start. It returns every mistake in opts
// at once.
func New(opts Options) (*API, error) {
	if opts.Log == nil {
		return nil, errors.New("httpapi: Options.Log is required")
	}
	opts.defaults()
	a := &API{opts: opts, log: opts.Log.With("component", "http"), origins: opts.CORSOrigins}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	a.over = over

	var errs []error
	keep := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	a.hosts = parseHosts(opts.AllowedHosts)
	a.proxies, err = parseProxies(opts.TrustedProxies)
	keep(err)
	keep(checkOrigins(opts.CORSOrigins))
	a.limits, err = newLimits(opts.Limits, opts.Now())
	keep(err)
	a.observe, err = newObserver(opts.Metrics)
	keep(err)
	var id [5]byte
	_, err = rand.Read(id[:])
	keep(err)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	a.idPrefix = hex.EncodeToString(id[:]) + "-"
	a.unread = rand.Text() + ":"
	a.base, a.end = context.WithCancel(context.Background())
	a.streaming, a.endStream = context.WithCancel(a.base)
	a.failed = make(chan error, 1)

	a.app = fiber.New(fiber.Config{
		DisableStartupMessage: true,
		StrictRouting:         true,
		CaseSensitive:         true,
		BodyLimit:             opts.BodyLimit,
		ReadBufferSize:        opts.HeaderLimit,
		ReadTimeout:           opts.ReadTimeout,
		WriteTimeout:          opts.WriteTimeout,
		IdleTimeout:           opts.IdleTimeout,
		// Multipart bodies are read by this package, within its own bounds.
		DisablePreParseMultipartForm: true,
	})
	srv := a.app.Server()
	srv.Handler = a.serve
	srv.ErrorHandler = a.broken
	srv.HeaderReceived = a.received
	srv.ConnState = a.conns.changed
	srv.Logger = discard{}
	srv.CloseOnShutdown = true
	srv.KeepHijackedConns = true // TakeOver gives them away
	a.registerSystem()
	a.registerChecks()
	return a, nil
}

// discard drops what fasthttp logs: broken requests are answered and counted.
type discard struct{}

func (discard) Printf(string, ...any) {}

func (o *Options) defaults() {
	set := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.ReadTimeout, DefaultReadTimeout)
	set(&o.WriteTimeout, DefaultWriteTimeout)
	set(&o.IdleTimeout, DefaultIdleTimeout)
	set(&o.RequestTimeout, DefaultRequestTimeout)
	set(&o.Heartbeat, HeartbeatInterval)
	if o.BodyLimit == 0 {
		o.BodyLimit = DefaultBodyLimit
	}
	if o.HeaderLimit == 0 {
		o.HeaderLimit = DefaultHeaderLimit
	}
	if o.Title == "" {
		o.Title = "SelfLink API"
	}
	if o.Version == "" {
		o.Version = "1"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func (a *API) fail(op Operation, err error) {
	a.failures = append(a.failures, fmt.Errorf("httpapi: operation %s %s %s: %w", op.ID, op.Method, op.Path, err))
}

func (a *API) add(op Operation, p *plan, out reflect.Type, run func(rc *request) error) {
	a.register(op, &route{plan: p, out: out, run: run})
}

func (a *API) addStream(op Operation, p *plan, run func(rc *request) error) {
	a.register(op, &route{plan: p, stream: true, run: run})
}

// register puts a route in its resource. Problems are kept for Start.
func (a *API) register(op Operation, r *route) {
	if err := op.normalize(); err != nil {
		a.fail(op, err)
		return
	}
	r.op = op
	var err error
	if r.throttles, err = a.limits.throttles(op.Throttle); err != nil {
		a.fail(op, err)
		return
	}
	if r.userLimit, err = a.limits.userLimit(op); err != nil {
		a.fail(op, err)
		return
	}
	res, err := a.router.add(op.Path)
	if err != nil {
		a.fail(op, err)
		return
	}
	taken := slices.ContainsFunc(a.routes, func(o *route) bool { return o.op.ID == op.ID })
	if res.methods[op.Method] != nil || taken {
		a.fail(op, errors.New("its method and path, or its id, is taken"))
		return
	}
	if res.first == nil {
		res.first = r
	}
	res.methods[op.Method] = r
	res.optional = res.optional || op.OptionalSlash
	res.allow = []byte(allowed(res.methods))
	a.routes = append(a.routes, r)
}

// allowed writes the Allow header: methods in their usual order.
func allowed(methods map[string]*route) string {
	var b []byte
	for _, m := range []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions,
	} {
		_, ok := methods[m]
		if m == http.MethodHead {
			_, ok = methods[http.MethodGet]
		}
		if ok || m == http.MethodOptions {
			if len(b) > 0 {
				b = append(b, ", "...)
			}
			b = append(b, m...)
		}
	}
	return string(b)
}

// received chooses the limit of a body before it is read, and whether it is read
// at all: one that is announced as too large is left where it is, so that the
// refusal is an answer like others and not a reset of the connection.
func (a *API) received(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	limit := int64(a.opts.BodyLimit)
	if !h.IsGet() && !h.IsHead() {
		var params [maxParams]string
		path, _, _ := bytes.Cut(h.RequestURI(), []byte{'?'})
		upload := false
		if m, ok := a.router.find(string(path), &params); ok {
			if r := m.res.methods[string(h.Method())]; r != nil {
				limit, upload = a.bodyLimit(r), r.op.upload
			}
		}
		if upload || int64(h.ContentLength()) > limit {
			a.leaveUnread(h)
		}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: int(limit)}
}

// bodyLimit is the largest body of a request to r, in bytes.
func (a *API) bodyLimit(r *route) int64 {
	if r.op.BodyLimit > 0 {
		return int64(r.op.BodyLimit)
	}
	return int64(a.opts.BodyLimit)
}

// broken answers what could not be read as a request.
func (a *API) broken(fctx *fasthttp.RequestCtx, err error) {
	status, text := http.StatusBadRequest, "Bad request."
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.As(err, &small):
		status, text = http.StatusRequestHeaderFieldsTooLarge, "Request headers are too large."
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		status, text = http.StatusRequestEntityTooLarge, textBodyTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		status, text = http.StatusRequestTimeout, "Request took too long to arrive."
	}
	fctx.Response.Reset()
	fctx.Response.SetStatusCode(status)
	fctx.Response.Header.SetContentType(typeJSON)
	securityHeaders(&fctx.Response.Header)
	fctx.Response.SetBody(object("detail", text))
	fctx.SetConnectionClose()
	a.observe.broken(status)
}
