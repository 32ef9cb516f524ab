package httpapi

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"selflink/appliance/health"
)

// registerSystem adds what the server itself answers.
func (a *API) registerSystem() {
	probe := func(path, id, summary string, h func(c *fiber.Ctx) error) {
		Stream(a, Operation{
			Method: http.MethodGet, Path: path, ID: id, Tag: "system", Summary: summary, Access: AccessPublic, system: true,
		}, h)
	}
	alive := func(c *fiber.Ctx) error { return sendJSON(c, http.StatusOK, statusBody{"ok"}) }
	probe("/health", "health", "Liveness: the process answers.", alive)
	probe("/healthz", "healthz", "The same as /health.", alive)
	probe("/ready", "ready", "Readiness: every required part works; names what does not.", a.ready)
	probe("/readyz", "readyz", "The same as /ready.", a.ready)
	probe("/metrics", "metrics", "Numbers in Prometheus text format, for loopback or with the metrics token.", a.metrics())
	probe("/api/schema/", "schema", "This document, OpenAPI 3.1 in JSON; in YAML with ?format=yaml.", a.schema)
	probe("/api/docs/", "docs", "Swagger UI over this document.", a.docs)
	probe("/api/docs/{file}", "docs_file", "Files of Swagger UI.", a.docsFile)

	Handle(a, Operation{
		Method: http.MethodGet, Path: "/api/v1/health/", ID: "api_health", Tag: "system", Access: AccessPublic, system: true,
		Summary: "Liveness, for apps.",
	}, func(context.Context, *struct{}) (statusBody, error) { return statusBody{"ok"}, nil })
	Handle(a, Operation{
		Method: http.MethodGet, Path: "/api/v1/", ID: "api_root", Tag: "system", Summary: "Addresses of the main resources.",
	}, func(ctx context.Context, _ *struct{}) (rootBody, error) {
		base := RequestInfo(ctx).BaseURL
		return rootBody{Users: base + "/api/v1/users/", Devices: base + "/api/v1/devices/"}, nil
	})
}

type statusBody struct {
	Status string `json:"status"`
}

type rootBody struct {
	Users   string `json:"users"`
	Devices string `json:"devices"`
}

func sendJSON(c *fiber.Ctx, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, typeJSON)
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Status(status).Send(b)
}

// ready answers 200 while every required check passes, else 503. It names the
// checks; texts of failures, what is behind them and private checks are for
// operators, so they are only shown to loopback and to the bearer of the
// metrics token.
func (a *API) ready(c *fiber.Ctx) error {
	results, ok := []health.Result{}, true
	var problems []health.Problem
	if a.opts.Health != nil {
		results, ok = a.opts.Health.Run(c.UserContext())
		problems = a.opts.Health.Problems()
	}
	if !a.insider(c) {
		problems = nil
		results = slices.DeleteFunc(results, func(r health.Result) bool { return r.Private })
		for i := range results {
			results[i].Error, results[i].HiddenBehind = "", ""
		}
	}
	status := http.StatusOK
	body := readyBody{Status: "ready", NotReady: []string{}, Checks: results, Problems: problems}
	for _, r := range results {
		if r.Ready && !r.OK {
			body.NotReady = append(body.NotReady, r.Name)
		}
	}
	if !ok {
		status, body.Status = http.StatusServiceUnavailable, "not ready"
	}
	return sendJSON(c, status, body)
}

type readyBody struct {
	Status   string           `json:"status"`
	NotReady []string         `json:"not_ready"`
	Checks   []health.Result  `json:"checks"`
	Problems []health.Problem `json:"problems,omitempty"` // of lasting faults, see [health.Registry.Problems]
}

// insider tells whether the request comes from this machine itself, without a
// proxy in between, or brings the metrics token.
func (a *API) insider(c *fiber.Ctx) bool {
	token, ok := strings.CutPrefix(c.Get(fiber.HeaderAuthorization), "Bearer ")
	if ok && a.opts.MetricsToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(a.opts.MetricsToken)) == 1 {
		return true
	}
	for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via"} {
		if len(c.Request().Header.Peek(h)) > 0 {
			return false
		}
	}
	tcp, ok := c.Context().RemoteAddr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// metrics shows the numbers to insiders; to others the path does not exist.
func (a *API) metrics() func(c *fiber.Ctx) error {
	if a.opts.Gatherer == nil {
		return func(*fiber.Ctx) error { return NoSuchPath() }
	}
	h := fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(a.opts.Gatherer, promhttp.HandlerOpts{DisableCompression: true}))
	return func(c *fiber.Ctx) error {
		if !a.insider(c) {
			return NoSuchPath()
		}
		h(c.Context())
		return nil
	}
}
