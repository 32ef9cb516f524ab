// Package apitest drives an httpapi server over real HTTP in tests: one
// request at a time, or tables of scenarios that read like the contract.
package apitest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
)

// patience is the longest that a test waits for a server to start, answer or
// stop.
const patience = time.Minute

// Client talks to one server. It follows no redirects.
type Client struct {
	Base  string // http://127.0.0.1:port
	Token string // sent as "Bearer <token>" unless empty
	http  *http.Client
}

// Serve starts api, whose options must listen on one address with port 0, and
// stops it when the test ends.
func Serve(t testing.TB, api *httpapi.API) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, api.Start(ctx))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, api.Stop(ctx))
	})
	addrs := api.Addrs()
	require.NotEmpty(t, addrs)
	return New(t, "http://"+addrs[0].String())
}

// New makes a client of a server that is already there.
func New(t testing.TB, base string) *Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{Base: base, http: &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// As gives a client that shows token.
func (c *Client) As(token string) *Client {
	other := *c
	other.Token = token
	return &other
}

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body into v.
func (r Response) JSON(t testing.TB, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(r.Body), v), "body %q", r.Body)
}

// Do sends one request. Headers are pairs of name and value; a body without a
// Content-Type is sent as JSON.
func (c *Client) Do(t testing.TB, method, path, body string, headers ...string) Response {
	t.Helper()
	req := c.Request(t, method, path, body, headers...)
	res, err := c.http.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return Response{Status: res.StatusCode, Header: res.Header, Body: string(b)}
}

// Open sends one request and gives the answer with its body unread, for
// streams. The caller closes it.
func (c *Client) Open(t testing.TB, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	res, err := c.http.Do(c.Request(t, method, path, body, headers...))
	require.NoError(t, err)
	return res
}

// Request builds what Do sends.
func (c *Client) Request(t testing.TB, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.Base+path, r)
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if strings.EqualFold(headers[i], "Host") {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// Scenario is one exchange: what is sent and what must come back. Exactly one
// of Get, Post, Put, Patch, Delete is a path, or Method with Path.
type Scenario struct {
	Name                          string
	As                            *Client // the client of the table by default
	Get, Post, Put, Patch, Delete string
	Method, Path                  string
	Body                          string
	Header                        []string // pairs

	Status int
	JSON   string   // the body, compared as JSON; empty: not compared
	Prefix string   // what the body begins with
	Want   []string // pairs of response headers; an empty value: the header is absent
}

func (s Scenario) target() (method, path string) {
	for _, m := range []struct{ method, path string }{
		{http.MethodGet, s.Get}, {http.MethodPost, s.Post}, {http.MethodPut, s.Put},
		{http.MethodPatch, s.Patch}, {http.MethodDelete, s.Delete},
	} {
		if m.path != "" {
			return m.method, m.path
		}
	}
	return s.Method, s.Path
}

// Scenarios runs a table in order, each row as a subtest.
func (c *Client) Scenarios(t *testing.T, table []Scenario) {
	t.Helper()
	for _, s := range table {
		t.Run(s.Name, func(t *testing.T) {
			client := c
			if s.As != nil {
				client = s.As
			}
			method, path := s.target()
			res := client.Do(t, method, path, s.Body, s.Header...)
			require.Equal(t, s.Status, res.Status, "body %s", res.Body)
			if s.JSON != "" {
				require.JSONEq(t, s.JSON, res.Body)
			}
			require.True(t, strings.HasPrefix(res.Body, s.Prefix), "body %s", res.Body)
			for i := 0; i+1 < len(s.Want); i += 2 {
				require.Equal(t, s.Want[i+1], res.Header.Get(s.Want[i]), "header %s", s.Want[i])
			}
		})
	}
}
