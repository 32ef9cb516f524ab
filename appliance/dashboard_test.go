package appliance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
)

// visitor is a browser at the dashboard.
type visitor struct {
	base   string
	cookie string
	csrf   string
}

// ask sends one request and returns the status and the body; of a stream it
// reads nothing.
func (v visitor) ask(t *testing.T, method, path, body string, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, v.base+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if v.cookie != "" {
		request.Header.Set("Cookie", v.cookie)
	}
	if v.csrf != "" {
		request.Header.Set("X-CSRF-Token", v.csrf)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return response.StatusCode, response.Header, nil
	}
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, raw
}

// signIn signs in and returns the browser after it.
func (v visitor) signIn(t *testing.T, email, password string) visitor {
	t.Helper()
	body, err := json.Marshal(map[string]string{"email": email, "password": password})
	require.NoError(t, err)
	status, header, raw := v.ask(t, http.MethodPost, "/dashboard/api/session", string(body))
	require.Equal(t, http.StatusOK, status, string(raw))
	return v.welcomed(t, header, raw)
}

func (v visitor) welcomed(t *testing.T, header http.Header, raw []byte) visitor {
	t.Helper()
	var session struct {
		State string `json:"state"`
		CSRF  string `json:"csrf"`
	}
	require.NoError(t, json.Unmarshal(raw, &session))
	require.Equal(t, "signed_in", session.State)
	set := header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/dashboard"} {
		require.Contains(t, set, want)
	}
	v.cookie, _, _ = strings.Cut(set, ";")
	v.csrf = session.CSRF
	return v
}

// firstOperator follows the link of the first run, and returns the browser after
// it.
func firstOperator(t *testing.T, a *appliance.Appliance) visitor {
	t.Helper()
	link := a.FirstRunPath()
	v := visitor{base: "http://" + a.Addrs()[0]}
	body, err := json.Marshal(map[string]string{
		"token": link[strings.LastIndexByte(link, '/')+1:], "email": "olga@example.com", "password": "correct-horse", "name": "Olga Operator",
	})
	require.NoError(t, err)
	status, header, raw := v.ask(t, http.MethodPost, "/dashboard/api/first-run", string(body))
	require.Equal(t, http.StatusOK, status, string(raw))
	return v.welcomed(t, header, raw)
}

// operation is one operation of the dashboard's API, with harmless parameters.
type operation struct {
	method, path string
	public       bool // part of signing in
}

func deskOperations(t *testing.T, base string) []operation {
	t.Helper()
	_, _, raw := visitor{base: base}.ask(t, http.MethodGet, "/api/schema/", "")
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(raw, &document))
	var out []operation
	for path, methods := range document.Paths {
		if !strings.HasPrefix(path, "/dashboard/api/") {
			continue
		}
		filled := strings.NewReplacer("{name}", "nothing-of-that-name", "{id}", "1").Replace(path)
		switch path {
		case "/dashboard/api/live":
			filled += "?topic=overview"
		}
		public := path == "/dashboard/api/session" || path == "/dashboard/api/first-run"
		for method := range methods {
			out = append(out, operation{strings.ToUpper(method), filled, public})
		}
	}
	require.Greater(t, len(out), 40, "the document lists the dashboard's operations")
	return out
}

// TestDesk walks over every operation of the dashboard's API as everybody who
// may come: what is added later is tested with the rest.
func TestDesk(t *testing.T) {
	t.Parallel()
	a, base := deskLife(t)
	stranger := visitor{base: base}

	// The first operator comes by the link, once.
	link := a.FirstRunPath()
	token := link[strings.LastIndexByte(link, '/')+1:]
	require.Len(t, token, 48)
	first := func(token, email string) (int, http.Header, []byte) {
		body, err := json.Marshal(map[string]string{"token": token, "email": email, "password": "correct-horse", "name": "Olga Operator"})
		require.NoError(t, err)
		return stranger.ask(t, http.MethodPost, "/dashboard/api/first-run", string(body))
	}
	status, _, raw := stranger.ask(t, http.MethodGet, "/dashboard/api/session", "")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"state":"signed_out","first_run":true}`, string(raw))
	status, _, _ = first(strings.Repeat("0", 48), "x@example.com")
	require.Equal(t, http.StatusGone, status)
	operator := firstOperator(t, a)
	status, _, _ = first(token, "second@example.com")
	require.Equal(t, http.StatusGone, status)
	require.Empty(t, a.FirstRunPath())

	// A user, and a viewer, whom the operator makes of another one.
	user := call(t, http.MethodPost, base+"/api/v1/auth/register/", "", `{"email":"uma@example.com","password":"correct-horse","name":"Uma"}`, 201)
	call(t, http.MethodPost, base+"/api/v1/auth/register/", "", `{"email":"vera@example.com","password":"correct-horse","name":"Vera"}`, 201)
	status, _, raw = operator.ask(t, http.MethodGet, "/dashboard/api/people?q=vera", "")
	require.Equal(t, http.StatusOK, status)
	var people struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	require.NoError(t, json.Unmarshal(raw, &people))
	require.Len(t, people.Items, 1)
	status, _, raw = operator.ask(t, http.MethodPost, "/dashboard/api/people/"+people.Items[0].ID+"/role", `{"role":"viewer"}`)
	require.Equal(t, http.StatusOK, status, string(raw))
	viewer := stranger.signIn(t, "vera@example.com", "correct-horse")

	for _, refused := range []struct {
		name, email, password string
		status                int
	}{
		{"a wrong password", "olga@example.com", "wrong-horse", http.StatusBadRequest},
		{"nobody", "nobody@example.com", "correct-horse", http.StatusBadRequest},
		{"no staff", "uma@example.com", "correct-horse", http.StatusForbidden},
	} {
		status, header, _ := stranger.ask(t, http.MethodPost, "/dashboard/api/session", `{"email":"`+refused.email+`","password":"`+refused.password+`"}`)
		require.Equal(t, refused.status, status, refused.name)
		require.Empty(t, header.Get("Set-Cookie"))
	}

	bearer, ok := user["token"].(string)
	require.True(t, ok)
	for _, op := range deskOperations(t, base) {
		if op.public {
			continue
		}
		acts := op.method != http.MethodGet
		operators := acts || strings.HasSuffix(op.path, "/diagnostics")
		body := ""
		if acts {
			body = `{}`
		}
		what := op.method + " " + op.path

		for name, who := range map[string]visitor{
			"anonymous":                    stranger,
			"a user's token as cookie":     {base: base, cookie: "selflink_dashboard=" + bearer},
			"a made-up cookie":             {base: base, cookie: "selflink_dashboard=x.y.z", csrf: operator.csrf},
			"somebody's cookie, cut short": {base: base, cookie: operator.cookie[:len(operator.cookie)-3], csrf: operator.csrf},
		} {
			status, _, raw := who.ask(t, op.method, op.path, body)
			require.Equal(t, http.StatusUnauthorized, status, "%s as %s: %s", what, name, raw)
		}
		status, _, _ := stranger.ask(t, op.method, op.path, body, "Authorization", "Bearer "+bearer)
		require.Equal(t, http.StatusUnauthorized, status, "%s with a bearer token", what)

		status, _, raw := viewer.ask(t, op.method, op.path, body)
		if operators {
			require.Equal(t, http.StatusForbidden, status, "%s as viewer: %s", what, raw)
			require.Contains(t, string(raw), "operator", what)
		} else {
			require.NotContains(t, []int{401, 403, 500}, status, "%s as viewer: %s", what, raw)
		}
		if acts {
			stolen := visitor{base: base, cookie: operator.cookie}
			status, _, raw = stolen.ask(t, op.method, op.path, body)
			require.Equal(t, http.StatusForbidden, status, "%s without the CSRF token: %s", what, raw)
			status, _, raw = operator.ask(t, op.method, op.path, body, "Sec-Fetch-Site", "cross-site")
			require.Equal(t, http.StatusForbidden, status, "%s from another site: %s", what, raw)
		}
		status, _, raw = operator.ask(t, op.method, op.path, body)
		require.NotContains(t, []int{401, 403, 500}, status, "%s as operator: %s", what, raw)
		require.False(t, bytes.Contains(raw, []byte("correct-horse")), what)
	}

	// Signing out ends the session, not only the cookie.
	status, _, _ = viewer.ask(t, http.MethodDelete, "/dashboard/api/session", "")
	require.Equal(t, http.StatusNoContent, status)
	status, _, _ = viewer.ask(t, http.MethodGet, "/dashboard/api/overview", "")
	require.Equal(t, http.StatusUnauthorized, status)
}
