package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"selflink/appliance/auth"
)

type stubAuth struct{}

func (stubAuth) Authenticate(context.Context, string) (auth.Principal, error) {
	return auth.Principal{UserID: 1}, nil
}

type benchUser struct {
	ID     int64     `json:"id"`
	Handle string    `json:"handle"`
	Bio    string    `json:"bio"`
	Photo  *string   `json:"photo"`
	Made   Timestamp `json:"created_at"`
}

func benchAPI(b *testing.B) *API {
	b.Helper()
	reg := prometheus.NewRegistry()
	api, err := New(Options{
		Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), Metrics: reg, Auth: stubAuth{},
		Limits: Limits{IP: "100000000/min", User: "100000000/min"}, CORSOrigins: []string{"https://self-link.com"},
	})
	require.NoError(b, err)
	Handle(api, Operation{Method: "GET", Path: "users/{id}/", ID: "user"}, func(ctx context.Context, in *struct {
		ID int64 `path:"id"`
	}) (benchUser, error) {
		_, _ = auth.From(ctx)
		return benchUser{ID: in.ID, Handle: "ann", Bio: "hello"}, nil
	})
	Handle(api, Operation{Method: "POST", Path: "users/", ID: "post"}, func(_ context.Context, in *struct {
		Body struct {
			Name  string      `json:"name" max:"120"`
			Email string      `json:"email" format:"email"`
			Age   Opt[int64]  `json:"age"`
			On    Opt[bool]   `json:"on"`
			Note  Opt[string] `json:"note"`
		}
	}) (benchUser, error) {
		return benchUser{Handle: in.Body.Name}, nil
	})
	return api
}

func plainFiber() fasthttp.RequestHandler {
	app := fiber.New(fiber.Config{DisableStartupMessage: true, StrictRouting: true})
	app.Get("/api/v1/users/:id/", func(c *fiber.Ctx) error {
		id, err := c.ParamsInt("id")
		if err != nil || c.Get("Authorization") == "" {
			return fiber.ErrUnauthorized
		}
		return c.JSON(benchUser{ID: int64(id), Handle: "ann", Bio: "hello"})
	})
	return app.Handler()
}

// BenchmarkServe is the whole way of a request but for the socket.
func BenchmarkServe(b *testing.B) {
	serve := func(h fasthttp.RequestHandler, method, path, body string) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			var fctx fasthttp.RequestCtx
			fctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, nil)
			for b.Loop() {
				fctx.Request.Reset()
				fctx.Request.Header.SetMethod(method)
				fctx.Request.SetRequestURI(path)
				fctx.Request.Header.SetHost("api.example")
				fctx.Request.Header.Set("Authorization", "Bearer abc.def.ghi")
				if body != "" {
					fctx.Request.Header.SetContentType("application/json")
					fctx.Request.SetBodyString(body)
				}
				fctx.Response.Reset()
				fctx.ResetUserValues()
				h(&fctx)
			}
			require.Equal(b, 200, fctx.Response.StatusCode(), string(fctx.Response.Body()))
		}
	}
	b.Run("plain", serve(plainFiber(), "GET", "/api/v1/users/382706366684336128/", ""))
	b.Run("handle", serve(benchAPI(b).serve, "GET", "/api/v1/users/382706366684336128/", ""))
	b.Run("post", serve(benchAPI(b).serve, "POST", "/api/v1/users/", `{"name":"Ann Lee","email":"ann@example.com","age":30,"on":true,"note":"hello"}`))
}

// BenchmarkSocket measures requests a second over in-memory connections,
// client included, beside plain Fiber.
func BenchmarkSocket(b *testing.B) {
	run := func(serve func(net.Listener) error) func(*testing.B) {
		return func(b *testing.B) {
			ln := fasthttputil.NewInmemoryListener()
			done := make(chan error, 1)
			go func() { done <- serve(ln) }()
			client := &fasthttp.HostClient{Addr: "api.example", MaxConns: 64, Dial: func(string) (net.Conn, error) { return ln.Dial() }}
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				var req fasthttp.Request
				var res fasthttp.Response
				req.SetRequestURI("http://api.example/api/v1/users/382706366684336128/")
				req.Header.Set("Authorization", "Bearer abc.def.ghi")
				for pb.Next() {
					if err := client.Do(&req, &res); err != nil || res.StatusCode() != 200 {
						b.Errorf("status %d: %v", res.StatusCode(), err)
						return
					}
				}
			})
			b.StopTimer()
			client.CloseIdleConnections()
			require.NoError(b, ln.Close())
			<-done
		}
	}
	plain := &fasthttp.Server{Handler: plainFiber()}
	b.Run("plain", run(plain.Serve))
	b.Run("handle", run(benchAPI(b).app.Server().Serve))
}
