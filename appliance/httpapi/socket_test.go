package httpapi_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

type seen struct {
	Local  bool   `json:"local"`
	Method string `json:"method"`
	Caller int64  `json:"caller"`
	Staff  bool   `json:"staff"`
}

// socketAPI answers who calls, over TCP and over a socket at path.
func socketAPI(t *testing.T, path string) *httpapi.API {
	t.Helper()
	api, err := httpapi.New(httpapi.Options{
		Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler), Auth: tokens{}, Socket: path, AllowedHosts: []string{"127.0.0.1"},
	})
	require.NoError(t, err)
	httpapi.Handle(api, httpapi.Operation{
		Method: http.MethodPost, Path: "/desk", ID: "desk", Access: httpapi.AccessStaff,
		Identify: func(ctx context.Context) (auth.Principal, error) {
			info := httpapi.RequestInfo(ctx)
			switch {
			case info.Local:
				return auth.Principal{Staff: true}, nil
			case info.Header("Cookie") == "key=staff":
				return auth.Principal{UserID: 7, Staff: true}, nil
			case info.Header("Cookie") == "key=user":
				return auth.Principal{UserID: 8}, nil
			case info.Header("Cookie") == "key=broken":
				return auth.Principal{}, errors.New("the lookup broke")
			}
			return auth.Principal{}, httpapi.Unauthorized("Sign in.", "")
		},
	}, func(ctx context.Context, _ *struct {
		Body struct {
			Name string `json:"name"`
		}
	}) (seen, error) {
		p, _ := auth.From(ctx)
		info := httpapi.RequestInfo(ctx)
		return seen{Local: info.Local, Method: info.Method, Caller: p.UserID, Staff: p.Staff}, nil
	})
	return api
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	c := apitest.Serve(t, socketAPI(t, ""))
	for _, s := range []struct {
		name, cookie, token string
		status              int
		body                string
	}{
		{"a stranger is refused before the body is read", "", "", 401, `{"detail":"Sign in."}`},
		{"a bearer token does not count", "", "root", 401, `{"detail":"Sign in."}`},
		{"somebody else", "key=user", "", 403, ""},
		{"a failure is no stranger", "key=broken", "", 500, ""},
		{"staff", "key=staff", "", 400, `{"name":["This field is required."]}`},
	} {
		t.Run(s.name, func(t *testing.T) {
			res := c.As(s.token).Do(t, http.MethodPost, "/desk", "{}", "Cookie", s.cookie)
			require.Equal(t, s.status, res.Status)
			if s.body != "" {
				require.JSONEq(t, s.body, res.Body)
			}
		})
	}
	res := c.Do(t, http.MethodPost, "/desk", `{"name":"x"}`, "Cookie", "key=staff")
	require.JSONEq(t, `{"local":false,"method":"POST","caller":7,"staff":true}`, res.Body)
}

func TestSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.sock")
	// One that a dead process left.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	dead.SetUnlinkOnClose(false)
	require.NoError(t, dead.Close())

	api := socketAPI(t, path)
	require.NoError(t, api.Start(t.Context()))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://any.host.at.all/desk", strings.NewReader(`{"name":"x"}`))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.JSONEq(t, `{"local":true,"method":"POST","caller":0,"staff":true}`, string(body))
	client.CloseIdleConnections()

	second := socketAPI(t, path)
	require.ErrorContains(t, second.Start(t.Context()), "another process answers")
	require.NoError(t, api.Stop(context.Background()))
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.ErrorContains(t, socketAPI(t, path).Start(t.Context()), "in the way")
	require.ErrorContains(t, socketAPI(t, "/"+strings.Repeat("x", 200)).Start(t.Context()), "choose a shorter")
}

// TestStopAtOnce ends a server that has served nobody, whose listeners may not
// have begun.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		api := socketAPI(t, "")
		require.NoError(t, api.Start(t.Context()))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		require.NoError(t, api.Stop(ctx))
		cancel()
	}
}
