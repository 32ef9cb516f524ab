package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"selflink/appliance/loopback"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	const checks = `,"checks":[{"name":"database","ok":true,"required":true},{"name":"llm","ok":false,"required":false,"error":"no route"}]`
	for _, c := range []struct {
		name, body string
		code       int
		state      string
		text       string
		strict     int
	}{
		{"ready", `{"status":"ready","not_ready":[]` + checks + `}`, 200, "ready", "failed, not required: no route", exitOK},
		{"not ready", `{"status":"not ready","not_ready":["broker"],"checks":[{"name":"broker","ok":false,"required":true}]}`, 503, "not ready", "broker       FAILED", exitFailed},
		{"with problems", `{"status":"ready","not_ready":[],"checks":[{"name":"disk.low","ok":false,"required":false,"error":"9 % free"},{"name":"realtime","ok":false,"required":false,"hidden_behind":"database"},{"name":"llm","ok":true,"required":false}],
			"problems":[{"code":"disk.low","title":"Little space","severity":"medium","text":"9 % free","impact":"It will be full.","remedy":"Free some.","failing_since":"2026-01-02T03:04:05Z"}]}`, 200, "ready",
			"realtime     failed because of database\n  and 1 more: ok\n\n  medium: Little space  (disk.low, since ", exitOK},
		{"starting", `{"status":"starting","not_ready":["database"],"checks":[]}`, 503, "starting", "starting", exitFailed},
		{"another server", `<html>`, 200, "not selflink", "HTTP 200", exitFailed},
		{"another JSON server", `{"a":1}`, 404, "not selflink", "HTTP 404", exitFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/ready" || r.Header.Get("Authorization") != "Bearer metrics-token-0123" {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				w.WriteHeader(c.code)
				_, _ = io.WriteString(w, c.body)
			}))
			t.Cleanup(srv.Close)
			address := strings.TrimPrefix(srv.URL, "http://")
			bench := func() *bench {
				return newBench(t, "SELFLINK_LISTEN="+loopback.Address(t)+","+address, "METRICS_TOKEN=metrics-token-0123")
			}
			b := bench()
			require.Equal(t, exitOK, b.run([]string{"status"}))
			require.Contains(t, b.out.String(), "SelfLink is "+c.state)
			require.Contains(t, b.out.String(), c.text)
			require.NoDirExists(t, b.data, "asking leaves no trace")

			b = bench()
			require.Equal(t, c.strict, b.run([]string{"status", "--strict", "--json"}))
			var s standing
			require.NoError(t, json.Unmarshal([]byte(b.out.String()), &s))
			require.Equal(t, c.state, s.State)
			require.Equal(t, "http://"+address+"/ready", s.URL)
		})
	}
}

func TestStatusWithoutServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, "SELFLINK_LISTEN="+loopback.Address(t))
	require.Equal(t, exitOK, b.run([]string{"status"}))
	require.Contains(t, b.out.String(), "SelfLink is down")
	require.Contains(t, b.out.String(), "selflink serve")
	require.Equal(t, exitFailed, b.run([]string{"status", "--strict"}))

	// Another process holds the data directory: it is starting.
	require.NoError(t, os.MkdirAll(b.data, 0o700))
	file, err := os.OpenFile(filepath.Join(b.data, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	_, err = file.WriteString("4242\n")
	require.NoError(t, err)
	b.out.text.Reset()
	require.Equal(t, exitOK, b.run([]string{"status"}))
	require.Contains(t, b.out.String(), "SelfLink is down", "a lock that a dead process left is none")
	require.NoError(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	b.out.text.Reset()
	require.Equal(t, exitFailed, b.run([]string{"status", "--strict"}))
	require.Contains(t, b.out.String(), "SelfLink is starting (process 4242)")
}

func TestStatusOfHangingServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_ = conn.Close() // accepts, and gives no answer
		}
	}()
	b := newBench(t, "SELFLINK_LISTEN="+ln.Addr().String())
	require.Equal(t, exitFailed, b.run([]string{"status", "--strict"}))
	require.Contains(t, b.out.String(), "SelfLink is not ready")
	require.Contains(t, b.out.String(), "does not answer")
}

func TestStatusWithBrokenSettings(t *testing.T) {
	t.Parallel()
	b := newBench(t, "SELFLINK_LISTEN="+loopback.Address(t), "JWT_REFRESH_DAYS=x")
	require.Equal(t, exitOK, b.run([]string{"status"}))
	require.Contains(t, b.out.String(), "SelfLink is down")
	require.Contains(t, b.err.String(), "JWT_REFRESH_DAYS")
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"127.0.0.1:8000": "http://127.0.0.1:8000",
		"0.0.0.0:8000":   "http://127.0.0.1:8000",
		":8000":          "http://127.0.0.1:8000",
		"[::]:8000":      "http://[::1]:8000",
		"[fe80::1]:80":   "http://[fe80::1]:80",
		"localhost:80":   "http://localhost:80",
	} {
		require.Equal(t, want, baseURL(address))
	}
}
