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
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync"
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

	base context.Context // parent of every request's context, ends when Stop gives up waiting
	end  context.CancelFunc

	mu        sync.Mutex
	started   bool
	stopped   bool
	listeners []net.Listener
	serving   sync.WaitGroup
}

// route is one operation, ready to run.
type route struct {
	op     Operation
	plan   *plan
	out    reflect.Type // nil for streams
	stream bool
	run    func(rc *request) error
}

// New makes a server; it listens after Start.
func New(opts Options) (*API, error) {
	if opts.Log == nil {
		return nil, errors.New("httpapi: Options.Log is required")
	}
	opts.defaults()
	a := &API{opts: opts, log: opts.Log.With("component", "http")}
	a.base, a.end = context.WithCancel(context.Background())
	a.app = fiber.New(fiber.Config{
		DisableStartupMessage: true,
		StrictRouting:         true,
		CaseSensitive:         true,
		BodyLimit:             opts.BodyLimit,
		ReadBufferSize:        opts.HeaderLimit,
		ReadTimeout:           opts.ReadTimeout,
		WriteTimeout:          opts.WriteTimeout,
		IdleTimeout:           opts.IdleTimeout,
	})
	a.app.Server().Handler = a.serve
	return a, nil
}

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
	if o.BodyLimit == 0 {
		o.BodyLimit = DefaultBodyLimit
	}
	if o.HeaderLimit == 0 {
		o.HeaderLimit = DefaultHeaderLimit
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

func (a *API) register(op Operation, r *route) {
	if err := op.normalize(); err != nil {
		a.fail(op, err)
		return
	}
	r.op = op
	res, err := a.router.add(op.Path)
	if err != nil {
		a.fail(op, err)
		return
	}
	if res.methods[op.Method] != nil || slices.ContainsFunc(a.routes, func(o *route) bool { return o.op.ID == op.ID }) {
		a.fail(op, errors.New("method and path, or id, is taken"))
		return
	}
	res.methods[op.Method] = r
	res.optional = res.optional || op.OptionalSlash
	a.routes = append(a.routes, r)
}

func (a *API) serve(fctx *fasthttp.RequestCtx) {
	c := a.app.AcquireCtx(fctx)
	defer a.app.ReleaseCtx(c)
	rc := &request{api: a, fc: c, live: true, path: string(fctx.URI().PathOriginal()), host: string(fctx.Host()), query: string(fctx.URI().QueryString())}
	defer rc.finish()
	c.Locals(requestLocal{}, rc)
	m, ok := a.router.find(rc.path, &rc.params)
	if !ok {
		rc.refuse(NoSuchPath())
		return
	}
	rc.res = m.res
	rc.route = m.res.methods[c.Method()]
	if rc.route == nil {
		rc.refuse(Detail(http.StatusMethodNotAllowed, `Method "`+c.Method()+`" not allowed.`))
		return
	}
	if a.opts.Auth != nil {
		p, err := a.opts.Auth.Authenticate(rc, c.Get("Authorization"))
		if err != nil && rc.route.op.Access != AccessPublic {
			a.answer(rc, err)
			return
		}
		rc.principal, rc.known = p, err == nil && p.UserID != 0
	}
	if !rc.known && rc.route.op.Access != AccessPublic {
		rc.refuse(Unauthorized(textNoAuth, ""))
		return
	}
	if err := rc.route.run(rc); err != nil {
		a.answer(rc, err)
	}
}

func (a *API) answer(rc *request, err error) {
	var e *Error
	var refusal Refusal
	switch {
	case errors.As(err, &e):
		rc.refuse(e)
	case errors.As(err, &refusal):
		detail, code, token := refusal.Unauthorized()
		if token != "" {
			rc.refuse(InvalidToken(token))
		} else {
			rc.refuse(Unauthorized(detail, code))
		}
	default:
		a.log.Error("request failed", "error", err)
		rc.refuse(Detail(http.StatusInternalServerError, textServerError))
	}
}

// Start listens on every address of Options.Listen and serves until Stop. It
// returns the mistakes made in registering, or the first address that cannot
// be had. A second call does nothing.
func (a *API) Start(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started {
		return nil
	}
	if err := errors.Join(a.failures...); err != nil {
		return err
	}
	var lc net.ListenConfig
	for _, addr := range a.opts.Listen {
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			for _, open := range a.listeners {
				_ = open.Close()
			}
			a.listeners = nil
			return fmt.Errorf("httpapi: listen on %s: %w", addr, err)
		}
		a.listeners = append(a.listeners, ln)
	}
	for _, ln := range a.listeners {
		a.serving.Go(func() { _ = a.app.Server().Serve(ln) })
	}
	a.started = true
	return nil
}

// Addrs gives the addresses that the server listens on, after Start.
func (a *API) Addrs() []net.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	addrs := make([]net.Addr, len(a.listeners))
	for i, ln := range a.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}

// Stop stops accepting, tells streams to end and waits for requests under way
// until ctx is done; then it cuts them. A second call does nothing.
func (a *API) Stop(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.started || a.stopped {
		return nil
	}
	a.stopped = true
	err := a.app.Server().ShutdownWithContext(ctx)
	a.end()
	a.serving.Wait()
	return err
}
