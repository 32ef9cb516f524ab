package httpapi_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
)

// ended hands on what a recorder is told.
type ended chan trace.Request

func (e ended) Ended(r trace.Request) { e <- r }

func TestRecorderIsToldOfEveryRequest(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	told := make(ended, 1)
	opts := options(io.Discard)
	opts.Requests, opts.Metrics, opts.Gatherer, opts.Health = told, reg, reg, new(health.Registry)
	api, err := httpapi.New(opts)
	require.NoError(t, err)
	feed, streamEnded := make(chan string), make(chan error, 1)
	close(feed)
	events(api, feed, streamEnded)
	broken := errors.New("broken")
	httpapi.Handle(api, httpapi.Operation{Method: "POST", Path: "odd/{what}/", ID: "odd"}, func(ctx context.Context, in *struct {
		What string `path:"what"`
	}) (httpapi.NoContent, error) {
		if ctx.Value(database.TallyKey{}).(*database.Tally) == nil {
			return httpapi.NoContent{}, errors.New("no tally")
		}
		if id := telemetry.RequestID(ctx); id != "r-1" || ctx.Value(telemetry.UserKey{}) != any(int64(1)) {
			return httpapi.NoContent{}, errors.New("log lines would not know whose they are: " + id)
		}
		switch in.What {
		case "panic":
			panic("odd")
		case "busy":
			return httpapi.NoContent{}, database.ErrBusy
		case "broken":
			return httpapi.NoContent{}, broken
		case "answer":
			return httpapi.NoContent{}, httpapi.Unavailable()
		}
		return httpapi.NoContent{}, httpapi.NotFound("Odd")
	})
	httpapi.Stream(api, httpapi.Operation{Method: "GET", Path: "broken/", ID: "broken", Produces: "text/event-stream"}, func(c *fiber.Ctx) error {
		return httpapi.ServeEvents(c, func(_ context.Context, w *httpapi.EventWriter) error {
			if err := w.Data([]byte("x")); err != nil {
				return err
			}
			return broken
		})
	})
	c := apitest.Serve(t, api).As("ann")

	require.Equal(t, 200, c.Do(t, "GET", "/health", "").Status, "probes are not told of")
	for _, row := range []struct {
		method, path string
		status       int
		lasting      bool
		failure      string
	}{
		{"POST", "/api/v1/odd/fine/", 404, false, ""},
		{"POST", "/api/v1/odd/panic/", 500, false, "panic: odd"},
		{"POST", "/api/v1/odd/busy/", 503, false, database.ErrBusy.Error()},
		{"POST", "/api/v1/odd/broken/", 500, false, "broken"},
		{"POST", "/api/v1/odd/answer/", 503, false, httpapi.Unavailable().Error()},
		{"GET", "/api/v1/stream/", 200, true, ""},
		{"GET", "/api/v1/stream/?mode=panic", 200, true, "panic: in a stream"},
		{"GET", "/api/v1/stream/?mode=late", 503, false, database.ErrBusy.Error()},
		{"GET", "/api/v1/broken/", 200, true, "broken"},
		{"GET", "/nowhere/", 404, false, ""},
	} {
		res := c.Do(t, row.method, row.path, "", "X-Request-ID", "r-1")
		require.Equal(t, row.status, res.Status, row.path)
		r := <-told
		require.Equal(t, "r-1", r.ID)
		require.Equal(t, row.method, r.Method)
		require.Equal(t, row.status, r.Status, row.path)
		require.Equal(t, row.lasting, r.Lasting, row.path)
		require.Equal(t, row.path[:min(len(row.path), 11)] == "/api/v1/odd", r.Tally != nil, row.path)
		require.True(t, r.Client.IsLoopback())
		require.WithinRange(t, r.At, time.Now().Add(-time.Minute), time.Now())
		if row.failure == "" {
			require.NoError(t, r.Failure, row.path)
		} else {
			require.EqualError(t, r.Failure, row.failure, row.path)
		}
		switch r.Route {
		case "none":
			require.Equal(t, "/nowhere/", row.path)
		case "/api/v1/odd/{what}/", "/api/v1/stream/", "/api/v1/broken/":
			require.EqualValues(t, 1, r.User)
		default:
			t.Errorf("route %q", r.Route)
		}
	}

	body := c.Do(t, "GET", "/metrics", "").Body
	require.Contains(t, body, `selflink_http_stream_duration_seconds_count{method="GET",route="/api/v1/stream/",status="200"} 2`)
	require.Contains(t, body, `selflink_http_request_duration_seconds_count{method="GET",route="/api/v1/stream/",status="503"} 1`)
	require.NotContains(t, body, `selflink_http_request_duration_seconds_count{method="GET",route="/api/v1/stream/",status="200"}`)
}
