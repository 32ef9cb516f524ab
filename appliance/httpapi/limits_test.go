package httpapi_test

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

// clock is a time that tests move by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const throttled60 = `{"detail":"Request was throttled. Expected available in 60 seconds."}`

func TestThrottlePerUser(t *testing.T) {
	t.Parallel()
	now := newClock()
	opts := options(io.Discard)
	opts.Now, opts.Limits = now.Now, httpapi.Limits{IP: "100/min", User: "3/min", Anon: "1/min"}
	c := server(t, opts)
	ann, bob := c.As("ann"), c.As("bob")
	for range 3 {
		require.Equal(t, 200, ann.Do(t, "GET", "/api/v1/things/mine/", "").Status)
	}
	res := ann.Do(t, "GET", "/api/v1/things/mine/", "")
	require.Equal(t, 429, res.Status)
	require.Equal(t, throttled60, res.Body)
	require.Equal(t, "60", res.Header.Get("Retry-After"))
	require.Equal(t, "GET, HEAD, OPTIONS", res.Header.Get("Allow"))
	require.Equal(t, 200, bob.Do(t, "GET", "/api/v1/things/mine/", "").Status, "another user has a count of his own")

	now.Advance(59*time.Second + 500*time.Millisecond)
	res = ann.Do(t, "GET", "/api/v1/things/mine/", "")
	require.Equal(t, `{"detail":"Request was throttled. Expected available in 1 second."}`, res.Body)
	now.Advance(time.Second)
	require.Equal(t, 200, ann.Do(t, "GET", "/api/v1/things/mine/", "").Status)

	require.Equal(t, 200, c.Do(t, "POST", "/api/v1/auth/login/", "").Status)
	require.Equal(t, 429, c.Do(t, "POST", "/api/v1/auth/login/", "").Status, "the anonymous limit")
	require.Equal(t, 401, c.Do(t, "GET", "/api/v1/things/mine/", "").Status, "credentials come before limits")
	require.Equal(t, 200, c.Do(t, "GET", "/health", "").Status, "probes are not limited")
}

func TestThrottleScopesAndWrites(t *testing.T) {
	t.Parallel()
	now := newClock()
	opts := options(io.Discard)
	opts.Now, opts.Limits = now.Now, httpapi.Limits{Scopes: map[string]string{"mentor": "3/min"}}
	c := server(t, opts)
	ann, bob := c.As("ann"), c.As("bob")
	write := func(c *apitest.Client) int { return c.Do(t, "POST", "/api/v1/written/", "").Status }
	require.Equal(t, 202, write(ann))
	require.Equal(t, 202, write(ann))
	res := ann.Do(t, "POST", "/api/v1/written/", "")
	require.Equal(t, 429, res.Status, "two writes a minute")
	wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
	require.NoError(t, err)
	require.True(t, wait >= 1 && wait <= 60)
	require.Equal(t, 429, write(bob), "the scope counts per address as well: this is its fourth request")
	require.Equal(t, 200, bob.Do(t, "GET", "/api/v1/things/mine/", "").Status, "the scope is of one operation")
	now.Advance(2 * time.Minute)
	require.Equal(t, 202, write(ann))
}

func TestBurst(t *testing.T) {
	t.Parallel()
	now := newClock()
	opts := options(io.Discard)
	opts.Now, opts.Limits = now.Now, httpapi.Limits{Bursts: true, AuthIP: 1}
	c := server(t, opts)
	require.Equal(t, 200, c.Do(t, "POST", "/api/v1/auth/login/", "").Status)
	res := c.Do(t, "POST", "/api/v1/auth/login/", "")
	require.Equal(t, 429, res.Status)
	require.Equal(t, `{"detail":"Rate limit exceeded."}`, res.Body)
	require.Empty(t, res.Header.Get("Retry-After"))
	now.Advance(time.Second)
	require.Equal(t, 200, c.Do(t, "POST", "/api/v1/auth/login/", "").Status)
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.Limits = httpapi.Limits{Anon: "1/day"}
	login := func(c *apitest.Client, forwarded string) int {
		return c.Do(t, http.MethodPost, "/api/v1/auth/login/", "", "X-Forwarded-For", forwarded).Status
	}
	direct := server(t, opts)
	require.Equal(t, 200, login(direct, "10.0.0.1"))
	require.Equal(t, 429, login(direct, "10.0.0.2"), "nobody is believed without trusted proxies")

	opts.TrustedProxies = []string{"127.0.0.0/8", "10.9.0.1"}
	behind := server(t, opts)
	require.Equal(t, 200, login(behind, "10.0.0.1"))
	require.Equal(t, 429, login(behind, "10.0.0.1"))
	require.Equal(t, 200, login(behind, "10.0.0.1, 10.0.0.2"), "the right-most counts, what the client wrote does not")
	require.Equal(t, 429, login(behind, "6.6.6.6, 10.0.0.2, 10.9.0.1"), "our own proxies are passed over")

	require.Equal(t, "https://host.example/api/v1/users/", rootUsers(t, behind, "X-Forwarded-Proto", "https"))
	require.Equal(t, "http://host.example/api/v1/users/", rootUsers(t, direct, "X-Forwarded-Proto", "https"))
}

func rootUsers(t *testing.T, c *apitest.Client, header ...string) string {
	t.Helper()
	var root struct{ Users string }
	c.As("ann").Do(t, "GET", "/api/v1/", "", append(header, "Host", "host.example", "X-Forwarded-Host", "evil.example")...).JSON(t, &root)
	return root.Users
}

func TestHosts(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.AllowedHosts = []string{"api.example", ".self-link.com"}
	c := server(t, opts).As("ann")
	for host, status := range map[string]int{
		"api.example": 200, "API.example:8000": 200, "self-link.com": 200, "a.b.self-link.com": 200,
		"evil.example": 400, "notself-link.com": 400, "api.example.evil": 400, "xapi.example": 400,
	} {
		require.Equal(t, status, c.Do(t, "GET", "/api/v1/things/mine/", "", "Host", host).Status, host)
	}
	res := c.Do(t, "GET", "/nope", "", "Host", "evil.example")
	require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
	require.Contains(t, res.Body, "<h1>Bad Request (400)</h1>")
	require.Equal(t, 200, c.Do(t, "GET", "/health", "", "Host", "10.1.2.3").Status, "probes come by address")
}

func TestCORS(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.CORSOrigins = []string{"http://localhost:5173"}
	c := server(t, opts)
	preflight := func(origin string) apitest.Response {
		return c.Do(t, "OPTIONS", "/api/v1/things/mine/", "", "Origin", origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
	}
	res := preflight("http://localhost:5173")
	require.Equal(t, 200, res.Status)
	require.Empty(t, res.Body)
	require.Equal(t, "http://localhost:5173", res.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "true", res.Header.Get("Access-Control-Allow-Credentials"))
	require.Equal(t, "86400", res.Header.Get("Access-Control-Max-Age"))
	require.Contains(t, res.Header.Get("Access-Control-Allow-Headers"), "x-llm-key")
	require.Contains(t, res.Header.Get("Access-Control-Allow-Methods"), "PATCH")
	res = preflight("https://evil.example")
	require.Equal(t, 200, res.Status)
	require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
	res = c.Do(t, "GET", "/api/v1/nope/", "", "Origin", "http://localhost:5173")
	require.Equal(t, "http://localhost:5173", res.Header.Get("Access-Control-Allow-Origin"), "errors too must be readable")
	require.Empty(t, res.Header.Get("Access-Control-Allow-Methods"))
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.TrustedProxies = []string{"not an address"}
	opts.CORSOrigins = []string{"self-link.com"}
	opts.Limits = httpapi.Limits{IP: "many", Scopes: map[string]string{"mentor": "1/eon"}}
	_, err := httpapi.New(opts)
	require.Error(t, err)
	for _, part := range []string{"not an address", "self-link.com", "limit ip", "limit mentor"} {
		require.ErrorContains(t, err, part)
	}
}
