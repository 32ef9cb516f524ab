package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

// raw sends bytes and reads one answer.
func raw(t *testing.T, c *apitest.Client, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.Base, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestOversizeAndBrokenRequests(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.BodyLimit, opts.HeaderLimit = 1000, 4096
	c := server(t, opts)
	for name, row := range map[string]struct {
		request string
		status  int
		body    string
	}{
		"announced body": {"POST /api/v1/things/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", 413, `{"detail":"Request body is too large."}`},
		"chunked body":   {"POST /api/v1/things/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + strings.Repeat("x", 2000) + "\r\n0\r\n\r\n", 413, `{"detail":"Request body is too large."}`},
		"header":         {"GET /api/v1/things/ HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("x", 10000) + "\r\n\r\n", 431, `{"detail":"Request headers are too large."}`},
		"nonsense":       {"hello\r\n\r\n", 400, `{"detail":"Bad request."}`},
		"broken escape":  {"GET /api/v1/broken/%zz/ HTTP/1.1\r\nHost: a\r\n\r\n", 404, `{"detail":"Not found."}`},
		"no host":        {"GET /api/v1/things/ HTTP/1.1\r\n\r\n", 400, ""},
	} {
		res := raw(t, c, row.request)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err, name)
		require.Equal(t, row.status, res.StatusCode, name)
		if row.body != "" {
			require.Equal(t, row.body, string(b), name)
			require.Equal(t, "application/json", res.Header.Get("Content-Type"), name)
		}
	}
	require.Equal(t, 200, c.Do(t, "GET", "/health", "").Status)
	// A client that sends it all meets an answer every time, never a reset.
	for range 20 {
		res := c.As("ann").Do(t, "POST", "/api/v1/things/", strings.Repeat(" ", 2<<20))
		require.Equal(t, apitest.Response{Status: 413, Body: `{"detail":"Request body is too large."}`}, apitest.Response{Status: res.Status, Body: res.Body})
		require.NotEmpty(t, res.Header.Get("X-Request-ID"))
	}
}

// events registers a stream that sends one event, waits for more on feed, and
// reports on ended why its context ended.
func events(api *httpapi.API, feed <-chan string, ended chan<- error) {
	httpapi.Stream(api, httpapi.Operation{Method: "GET", Path: "stream/", ID: "stream", Produces: "text/event-stream"}, func(c *fiber.Ctx) error {
		switch c.Query("mode") {
		case "refuse":
			return httpapi.RefuseEvents(c, 400, "Message is required.")
		case "fail":
			return httpapi.Detail(409, "Not now.")
		case "panic":
			return httpapi.ServeEvents(c, func(context.Context, *httpapi.EventWriter) error { panic("in a stream") })
		case "late":
			return httpapi.ServeEvents(c, func(context.Context, *httpapi.EventWriter) error { return database.ErrBusy })
		}
		return httpapi.ServeEvents(c, func(ctx context.Context, w *httpapi.EventWriter) error {
			p, _ := auth.From(ctx)
			if err := w.JSON(map[string]int64{"user": p.UserID}); err != nil {
				return err
			}
			for {
				select {
				case <-ctx.Done():
					ended <- ctx.Err()
					return ctx.Err()
				case s, ok := <-feed:
					if !ok {
						ended <- nil
						return nil
					}
					if err := w.Event("7", "token", []byte(s)); err != nil {
						ended <- err
						return err
					}
				}
			}
		})
	})
}

func TestStream(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.Heartbeat = time.Hour // no write may help to notice that a client is gone
	api, err := httpapi.New(opts)
	require.NoError(t, err)
	feed, ended := make(chan string), make(chan error, 1)
	events(api, feed, ended)
	c := apitest.Serve(t, api)
	ann := c.As("ann")

	require.Equal(t, 401, c.Do(t, "GET", "/api/v1/stream/", "").Status)
	require.Equal(t, 200, ann.Do(t, "HEAD", "/api/v1/stream/", "").Status, "HEAD starts nothing")
	res := ann.Do(t, "GET", "/api/v1/stream/?mode=refuse", "")
	require.Equal(t, 400, res.Status)
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	require.Equal(t, "data: {\"event\":\"error\",\"detail\":\"Message is required.\"}\n\n", res.Body)
	require.Equal(t, `{"detail":"Not now."}`, ann.Do(t, "GET", "/api/v1/stream/?mode=fail", "").Body)
	require.Empty(t, ann.Do(t, "GET", "/api/v1/stream/?mode=panic", "").Body)
	res = ann.Do(t, "GET", "/api/v1/stream/?mode=late", "", "X-Request-ID", "late-1")
	require.Equal(t, 503, res.Status, "as long as nothing was sent, an error is an answer")
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	require.Equal(t, "1", res.Header.Get("Retry-After"))
	require.Equal(t, "late-1", res.Header.Get("X-Request-ID"))
	require.Equal(t, "Accept, origin", res.Header.Get("Vary"))
	require.Empty(t, res.Header.Get("Cache-Control"))
	require.Contains(t, res.Body, `{"detail":"`)

	open := ann.Open(t, "GET", "/api/v1/stream/", "", "Accept", "text/event-stream")
	require.Equal(t, 200, open.StatusCode)
	require.Equal(t, "text/event-stream", open.Header.Get("Content-Type"))
	require.Equal(t, "no-cache", open.Header.Get("Cache-Control"))
	lines := bufio.NewScanner(open.Body)
	next := func() string {
		require.True(t, lines.Scan())
		return lines.Text()
	}
	require.Equal(t, `data: {"user":1}`, next())
	require.Empty(t, next())
	feed <- "x"
	require.Equal(t, "id: 7", next(), "each event is flushed at once: the stream goes on")
	require.Equal(t, "event: token", next())
	require.Equal(t, "data: x", next())
	require.Empty(t, next())
	require.NoError(t, open.Body.Close())
	require.ErrorIs(t, <-ended, context.Canceled, "a client that leaves is noticed without writing")

	open = ann.Open(t, "GET", "/api/v1/stream/", "")
	close(feed)
	require.NoError(t, <-ended)
	b, err := io.ReadAll(open.Body)
	require.NoError(t, err)
	require.Equal(t, "data: {\"user\":1}\n\n", string(b))
	require.NoError(t, open.Body.Close())
}

func TestStop(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(options(io.Discard))
	require.NoError(t, err)
	ended := make(chan error, 1)
	events(api, nil, ended)
	entered, release := make(chan struct{}), make(chan struct{})
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "slow/", ID: "slow", Access: httpapi.AccessPublic},
		func(ctx context.Context, _ *struct{}) (thing, error) {
			close(entered)
			<-release
			return thing{Name: "done"}, ctx.Err()
		})
	c := apitest.Serve(t, api)
	open := c.As("ann").Open(t, "GET", "/api/v1/stream/", "")
	answers := make(chan error, 1)
	go func() {
		res, err := http.Get(c.Base + "/api/v1/slow/")
		if err == nil {
			defer func() { _ = res.Body.Close() }()
			if res.StatusCode != http.StatusOK {
				err = errors.New(res.Status)
			}
		}
		answers <- err
	}()
	<-entered

	stopped := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() { stopped <- api.Stop(ctx) }()
	require.ErrorIs(t, <-ended, context.Canceled, "streams end as soon as the server begins to stop")
	close(release)
	require.NoError(t, <-answers, "a request under way is finished")
	require.NoError(t, <-stopped)
	require.NoError(t, api.Stop(ctx), "a second call does nothing")
	require.NoError(t, open.Body.Close())
}

// Connections that browsers and pools open in advance do not hold a stop up.
func TestStopEndsSilentConnections(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(options(io.Discard))
	require.NoError(t, err)
	c := apitest.Serve(t, api)
	var d net.Dialer
	silent, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(c.Base, "http://"))
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	require.Equal(t, http.StatusOK, c.Do(t, "GET", "/health", "").Status, "accepted after the silent one")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, api.Stop(ctx))
}

func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(options(io.Discard))
	require.NoError(t, err)
	entered, over := make(chan struct{}), make(chan error, 1)
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "stuck/", ID: "stuck", Access: httpapi.AccessPublic},
		func(ctx context.Context, _ *struct{}) (thing, error) {
			close(entered)
			<-ctx.Done()
			over <- ctx.Err()
			return thing{}, ctx.Err()
		})
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, api.Start(ctx))
	require.NoError(t, api.Start(ctx), "a second call does nothing")
	c := apitest.New(t, "http://"+api.Addrs()[0].String())
	go func() {
		res, err := http.Get(c.Base + "/api/v1/stuck/")
		if err == nil {
			_ = res.Body.Close()
		}
	}()
	<-entered
	cancel()
	require.ErrorIs(t, api.Stop(ctx), context.Canceled)
	require.ErrorIs(t, <-over, context.Canceled)
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.Heartbeat = time.Millisecond
	api, err := httpapi.New(opts)
	require.NoError(t, err)
	feed := make(chan string)
	events(api, feed, make(chan error, 1))
	c := apitest.Serve(t, api)
	open := c.As("ann").Open(t, "GET", "/api/v1/stream/", "")
	lines := bufio.NewScanner(open.Body)
	for lines.Scan() && lines.Text() != ": ping" {
	}
	require.Equal(t, ": ping", lines.Text())
	close(feed)
	require.NoError(t, open.Body.Close())
}

func TestContextOfARequest(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.RequestTimeout = time.Hour
	api, err := httpapi.New(opts)
	require.NoError(t, err)
	kept := make(chan context.Context, 1)
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "context/", ID: "context", Timeout: time.Millisecond},
		func(ctx context.Context, _ *struct{}) (thing, error) {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			<-child.Done() // the deadline reaches children
			kept <- ctx
			return thing{}, fmt.Errorf("wait: %w", child.Err())
		})
	c := apitest.Serve(t, api)
	require.Equal(t, 503, c.As("ann").Do(t, "GET", "/api/v1/context/", "").Status)
	ctx := <-kept
	require.Error(t, ctx.Err())
	require.NotEmpty(t, httpapi.RequestInfo(ctx).ID)
	require.Zero(t, httpapi.RequestInfo(context.Background()).ID)
}

func TestReadyAndMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	opts := options(io.Discard)
	opts.Metrics, opts.Gatherer, opts.MetricsToken = reg, reg, "let-me-in"
	opts.Health = &health.Registry{}
	fault := make(chan error, 1)
	fault <- nil
	opts.Health.Add(health.Check{Code: "database", Ready: true, Run: func(context.Context) error { return <-fault }})
	opts.Health.Add(health.Check{Code: "llm", Run: func(context.Context) error { return errors.New("model is down") }})
	opts.Health.Add(health.Check{Code: "config.weak", Private: true, Severity: health.High, Visible: time.Hour, Run: func(context.Context) error { return errors.New("weak") }})
	opts.TrustedProxies = []string{"127.0.0.1"}
	c := server(t, opts)

	res := c.Do(t, "GET", "/ready", "")
	require.Equal(t, 200, res.Status, "a check that is not required does not count")
	require.Contains(t, res.Body, "model is down", "loopback sees the reasons")
	require.Contains(t, res.Body, "config.weak")
	require.Contains(t, res.Body, `"problems":[{"code":"llm","title":"llm","severity":"medium","text":"model is down"`)
	fault <- errors.New("refused at 10.0.0.1")
	res = c.Do(t, "GET", "/ready", "", "X-Forwarded-For", "9.9.9.9")
	require.Equal(t, 503, res.Status)
	require.JSONEq(t, `{"status":"not ready","not_ready":["database"],"checks":[{"name":"database","ok":false,"required":true},{"name":"llm","ok":false,"required":false}]}`, res.Body)

	c.As("ann").Do(t, "GET", "/api/v1/things/1/", "")
	res = c.Do(t, "GET", "/metrics", "")
	require.Equal(t, 200, res.Status)
	require.Contains(t, res.Body, `selflink_http_request_duration_seconds_count{method="GET",route="/api/v1/things/{id}/",status="200"} 1`)
	require.Contains(t, res.Body, "selflink_http_requests_in_flight 1")
	outside := []string{"X-Forwarded-For", "9.9.9.9"}
	require.Equal(t, 404, c.Do(t, "GET", "/metrics", "", outside...).Status)
	require.Equal(t, 404, c.As("wrong").Do(t, "GET", "/metrics", "", outside...).Status)
	require.Equal(t, 200, c.As("let-me-in").Do(t, "GET", "/metrics", "", outside...).Status)
}
