package accounts_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
)

// differences are all exchanges of the recordings that are meant to be
// answered in another way, each with its reason. An empty want leaves the body
// to another test or another service.
func differences() map[string]difference {
	return map[string]difference{
		"refresh reuse of rotated token": {200, `{"token":"","refreshToken":"","message":"Token refreshed."}`,
			"within 30 s the same successors come again, and later the family ends; the old backend never forgot a refresh token"},
		"users search by email of other": {200, `{"next":null,"previous":null,"results":[]}`,
			"nobody but the staff finds people by a private address"},
		"users search q": {200, "",
			"lists show people their own address and birth data, as everything else does; TestPeople compares it"},
		"home/highlights":                      {200, "", "the texts are our own; the shape is compared in TestHighlights"},
		"recipient-id":                         {404, "", "coin accounts are another service's"},
		"me/entitlements":                      {404, "", "entitlements are another service's"},
		"social google (dj_rest_auth STUBBED)": {404, "", "social login is not offered"},
	}
}

// difference is an answer other than the recorded one.
type difference struct {
	status int
	want   string
	reason string
}

type exchange struct {
	Name    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         any
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    any
	}
}

// TestRecordings replays what was recorded of the old backend against this
// one, in order, and compares status, headers, the shape of bodies and every
// text in them.
func TestRecordings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// Handles that earlier users of the recorded system held.
	for _, handle := range []string{"bobstone", "evenull", "x"} {
		r.join(t, handle)
	}
	p := &player{rig: r, ids: map[string]string{}}
	for _, file := range []string{"auth", "users"} {
		for _, x := range exchanges(t, file) {
			t.Run(file+"/"+x.Name, func(t *testing.T) { p.play(t, x) })
		}
	}
}

// exchanges reads a file of recordings.
func exchanges(t *testing.T, file string) []exchange {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file + ".json")
	require.NoError(t, err)
	var all []exchange
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&all))
	require.NotEmpty(t, all)
	return all
}

// player replaces what differs from run to run: ids and tokens.
type player struct {
	*rig
	ids     map[string]string // recorded → ours
	ann     signInBody
	refresh string
	rotated string
}

const firstUser = "382706366684336128"

func (p *player) play(t *testing.T, x exchange) {
	path := x.Request.Path
	for recorded, ours := range p.ids {
		path = strings.ReplaceAll(path, recorded, ours)
	}
	var headers []string
	for k, v := range x.Request.Headers {
		headers = append(headers, k, strings.ReplaceAll(v, "<jwt>", p.ann.Token))
	}
	body := p.body(t, x)
	if _, isText := x.Request.Body.(string); isText {
		headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	}
	res := p.Do(t, x.Request.Method, path, body, headers...)
	p.learn(t, x, res)

	if d := differences()[x.Name]; d.reason != "" {
		require.Equal(t, d.status, res.Status, "%s: %s", d.reason, res.Body)
		if d.want != "" {
			requireShape(t, "", decoded(t, d.want), decoded(t, res.Body))
		}
		return
	}
	require.Equal(t, x.Response.Status, res.Status, res.Body)
	require.Equal(t, x.Response.Headers["www-authenticate"], res.Header.Get("WWW-Authenticate"))
	require.Equal(t, x.Response.Headers["content-type"], res.Header.Get("Content-Type"))
	require.Equal(t, x.Response.Headers["vary"], res.Header.Get("Vary"))
	requireShape(t, "", x.Response.Body, decoded(t, res.Body))
}

// body writes the request with our tokens in it.
func (p *player) body(t *testing.T, x exchange) string {
	switch b := x.Request.Body.(type) {
	case nil:
		return ""
	case string:
		return b
	case map[string]any:
		b = maps.Clone(b)
		for k, v := range b {
			if v != "<jwt>" {
				continue
			}
			b[k] = p.refresh
			switch x.Name {
			case "refresh with access token":
				b[k] = p.ann.Token
			case "refresh reuse of rotated token":
				b[k] = p.rotated
			}
		}
		raw, err := json.Marshal(b)
		require.NoError(t, err)
		return string(raw)
	}
	t.Fatalf("body of type %T", x.Request.Body)
	return ""
}

// learn keeps our ids and tokens.
func (p *player) learn(t *testing.T, x exchange, res apitest.Response) {
	recorded, _ := x.Response.Body.(map[string]any)
	user, _ := recorded["user"].(map[string]any)
	if user == nil && x.Name != "refresh" {
		return
	}
	var b struct {
		Token, RefreshToken string
		User                struct{ ID json.Number }
	}
	res.JSON(t, &b)
	if x.Name == "refresh" {
		p.rotated, p.refresh = p.refresh, b.RefreshToken
		p.ann.Token = b.Token
		return
	}
	id, ok := user["id"].(json.Number)
	require.True(t, ok)
	p.ids[id.String()] = b.User.ID.String()
	if id == firstUser {
		p.ann.Token, p.refresh = b.Token, b.RefreshToken
	}
}

// requireShape compares JSON: the same keys, types and texts, where ids,
// moments, tokens and addresses of pages may be others.
func requireShape(t *testing.T, at string, want, got any) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		require.True(t, ok, "%s: %v", at, got)
		require.Equal(t, slices.Sorted(maps.Keys(w)), slices.Sorted(maps.Keys(g)), at)
		for k := range w {
			requireShape(t, at+"."+k, w[k], g[k])
		}
	case []any:
		g, ok := got.([]any)
		require.True(t, ok, "%s: %v", at, got)
		require.Len(t, g, len(w), at)
		for i := range w {
			requireShape(t, at+"[]", w[i], g[i])
		}
	case string:
		switch key := at[strings.LastIndexByte(at, '.')+1:]; key {
		case "created_at", "updated_at", "last_seen", "token", "refreshToken":
			require.IsType(t, w, got, at)
			require.NotEmpty(t, got, at)
		case "next":
			u, err := url.Parse(got.(string))
			require.NoError(t, err)
			require.NotEmpty(t, u.Query().Get("cursor"))
			require.Equal(t, "2", u.Query().Get("page_size"))
		default:
			require.Equal(t, want, got, at)
		}
	case json.Number:
		if strings.HasSuffix(at, ".id") {
			require.IsType(t, w, got, at)
			return
		}
		require.Equal(t, want, got, at)
	default:
		require.Equal(t, want, got, at)
	}
}

func decoded(t *testing.T, s string) any {
	t.Helper()
	if s == "" {
		return nil
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&v), s)
	return v
}
