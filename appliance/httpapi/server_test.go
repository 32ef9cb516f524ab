package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

// tokens is an authenticator whose tokens are names.
type tokens struct{}

type tokenError struct{ detail, code, token string }

func (e tokenError) Error() string                          { return "token refused" }
func (e tokenError) Unauthorized() (detail, code, t string) { return e.detail, e.code, e.token }

func (tokens) Authenticate(_ context.Context, header string) (auth.Principal, error) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	switch {
	case !ok:
		return auth.Principal{}, nil
	case token == "ann":
		return auth.Principal{UserID: 1}, nil
	case token == "bob":
		return auth.Principal{UserID: 2}, nil
	case token == "root":
		return auth.Principal{UserID: 3, Staff: true}, nil
	case token == "gone":
		return auth.Principal{}, tokenError{detail: "User not found", code: "user_not_found"}
	case token == "busy":
		return auth.Principal{}, database.ErrBusy
	}
	return auth.Principal{}, tokenError{token: "Token is expired"}
}

// logs keeps log lines; it is safe for concurrent use.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

type body struct {
	Name     string                     `json:"name" max:"5"`
	Age      int64                      `json:"age" optional:"true" min:"0" max:"150"`
	Settings httpapi.Opt[settings]      `json:"settings"`
	Tags     []string                   `json:"tags" optional:"true" max:"2"`
	Pets     []pet                      `json:"pets" optional:"true"`
	Born     httpapi.Opt[httpapi.Date]  `json:"born" null:"true"`
	At       httpapi.Opt[httpapi.Clock] `json:"at" null:"true"`
	Extra    json.RawMessage            `json:"extra" optional:"true"`
}

type settings struct {
	Push  httpapi.Opt[bool]            `json:"push_enabled"`
	Quiet httpapi.Opt[json.RawMessage] `json:"quiet_hours"`
}

type pet struct {
	Name string `json:"name"`
}

type thing struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

func options(out io.Writer) httpapi.Options {
	return httpapi.Options{
		Listen: []string{"127.0.0.1:0"},
		Log:    slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Auth:   tokens{},
	}
}

// server starts a server with operations that do little.
func server(t *testing.T, opts httpapi.Options) *apitest.Client {
	t.Helper()
	api, err := httpapi.New(opts)
	require.NoError(t, err)
	registerThings(api)
	return apitest.Serve(t, api)
}

func registerThings(api *httpapi.API) {
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "things/{id}/", ID: "thing_get"},
		func(_ context.Context, in *struct {
			ID int64 `path:"id"`
		}) (thing, error) {
			if in.ID == 404 {
				return thing{}, httpapi.NotFound("Thing")
			}
			return thing{in.ID, "<é>"}, nil
		})
	httpapi.Handle(api, httpapi.Operation{Method: "DELETE", Path: "things/{id}/", ID: "thing_delete"},
		func(context.Context, *struct {
			ID int64 `path:"id"`
		}) (httpapi.NoContent, error) {
			return httpapi.NoContent{}, nil
		})
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "things/mine/", ID: "thing_mine"},
		func(ctx context.Context, _ *struct{}) (thing, error) {
			p, _ := auth.From(ctx)
			return thing{p.UserID, "mine"}, nil
		})
	httpapi.Handle(api, httpapi.Operation{Method: "POST", Path: "things/", ID: "thing_create", Access: httpapi.AccessPublic, Status: 201},
		func(_ context.Context, in *struct{ Body body }) (body, error) { return in.Body, nil })
	httpapi.Handle(api, httpapi.Operation{Method: "POST", Path: "auth/login/", ID: "login", Access: httpapi.AccessPublic, OptionalSlash: true},
		func(ctx context.Context, _ *struct{}) (thing, error) {
			p, _ := auth.From(ctx)
			return thing{ID: p.UserID}, httpapi.Burst(ctx, "auth")
		})
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "staff/", ID: "staff", Access: httpapi.AccessStaff},
		func(context.Context, *struct{}) (thing, error) { return thing{}, nil })
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "broken/{how}/", ID: "broken", Access: httpapi.AccessPublic},
		func(_ context.Context, in *struct {
			How string `path:"how"`
		}) (thing, error) {
			switch in.How {
			case "panic":
				panic("with a secret-in-memory")
			case "busy":
				return thing{}, errors.Join(errors.New("read"), database.ErrBusy)
			}
			return thing{}, errors.New("disk on fire")
		})
	httpapi.Handle(api, httpapi.Operation{Method: "POST", Path: "written/", ID: "written", UserLimit: "2/min", Throttle: "mentor"},
		func(context.Context, *struct{}) (httpapi.Result[thing], error) {
			return httpapi.Result[thing]{Status: 202, Header: []httpapi.Header{{Name: "X-Kind", Value: "thing"}}}, nil
		})
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	anonymous := server(t, options(io.Discard))
	ann := anonymous.As("ann")
	anonymous.Scenarios(t, []apitest.Scenario{
		{Name: "no credentials", Get: "/api/v1/things/1/", Status: 401, JSON: `{"detail":"Authentication credentials were not provided."}`,
			Want: []string{"WWW-Authenticate", `Bearer realm="api"`, "Vary", "Accept, origin", "Allow", "GET, DELETE, HEAD, OPTIONS", "Content-Type", "application/json",
				"X-Frame-Options", "DENY", "X-Content-Type-Options", "nosniff", "Referrer-Policy", "same-origin", "Cross-Origin-Opener-Policy", "same-origin"}},
		{Name: "expired", As: anonymous.As("old"), Get: "/api/v1/things/1/", Status: 401, JSON: `{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":"AccessToken","token_type":"access","message":"Token is expired"}]}`},
		{Name: "user gone", As: anonymous.As("gone"), Get: "/api/v1/things/1/", Status: 401, JSON: `{"detail":"User not found","code":"user_not_found"}`},
		{Name: "other scheme", Get: "/api/v1/things/1/", Header: []string{"Authorization", "Token x"}, Status: 401, JSON: `{"detail":"Authentication credentials were not provided."}`},
		{Name: "database busy", As: anonymous.As("busy"), Get: "/api/v1/things/1/", Status: 503, JSON: `{"detail":"Service temporarily unavailable, try again later."}`, Want: []string{"Retry-After", "1"}},
		{Name: "bad token on a public path", As: anonymous.As("old"), Post: "/api/v1/auth/login/", Status: 200, JSON: `{"id":0,"name":""}`},
		{Name: "database busy on a public path", As: anonymous.As("busy"), Post: "/api/v1/auth/login/", Status: 503, JSON: `{"detail":"Service temporarily unavailable, try again later."}`},
		{Name: "good token on a public path", As: ann, Post: "/api/v1/auth/login/", Status: 200, JSON: `{"id":1,"name":""}`},
		{Name: "ok", As: ann, Get: "/api/v1/things/382706366684336128/", Status: 200, Prefix: `{"id":382706366684336128,"name":"<é>"}`, Want: []string{"Allow", "GET, DELETE, HEAD, OPTIONS"}},
		{Name: "literal wins over parameter", As: ann, Get: "/api/v1/things/mine/", Status: 200, JSON: `{"id":1,"name":"mine"}`},
		{Name: "head", As: ann, Method: "HEAD", Path: "/api/v1/things/1/", Status: 200},
		{Name: "no content", As: ann, Delete: "/api/v1/things/1/", Status: 204, Want: []string{"Content-Type", ""}},
		{Name: "object missing", As: ann, Get: "/api/v1/things/404/", Status: 404, JSON: `{"detail":"No Thing matches the given query."}`},
		{Name: "id is no number", As: ann, Get: "/api/v1/things/abc/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "id above 64 bits", As: ann, Get: "/api/v1/things/99999999999999999999/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "text that is no text", Get: "/api/v1/broken/%ff/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "text with NUL", Get: "/api/v1/broken/a%00b/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "escaped letters", As: ann, Get: "/api/v1/th%69ngs/%31/", Status: 200, JSON: `{"id":1,"name":"<é>"}`},
		{Name: "options of a probe", Method: "OPTIONS", Path: "/health", Status: 200, Want: []string{"Allow", "GET, HEAD, OPTIONS"}},
		{Name: "probe with a slash", Get: "/healthz/", Status: 200, JSON: `{"status":"ok"}`},
		{Name: "id before credentials", Get: "/api/v1/things/abc/", Status: 401},
		{Name: "unknown path", As: ann, Get: "/api/v1/nope/", Status: 404, JSON: `{"detail":"Not found."}`, Want: []string{"Vary", "origin", "Content-Type", "application/json"}},
		{Name: "path of double slashes", Get: "//evil.example/x", Status: 404},
		{Name: "wrong method", As: ann, Put: "/api/v1/things/1/", Status: 405, JSON: `{"detail":"Method \"PUT\" not allowed."}`},
		{Name: "wrong method needs credentials first", Put: "/api/v1/things/1/", Status: 401},
		{Name: "wrong method on a public path", Get: "/api/v1/auth/login/", Status: 405, JSON: `{"detail":"Method \"GET\" not allowed."}`, Want: []string{"Allow", "POST, OPTIONS"}},
		{Name: "wrong method before the body", As: ann, Put: "/api/v1/things/1/", Body: `{`, Status: 405},
		{Name: "invented method", As: ann, Method: "BREW", Path: "/api/v1/things/1/", Status: 405, JSON: `{"detail":"Method \"BREW\" not allowed."}`},
		{Name: "accept nothing we have", Get: "/api/v1/things/1/", Header: []string{"Accept", "application/xml"}, Status: 406, JSON: `{"detail":"Could not satisfy the request Accept header."}`},
		{Name: "accept events of a path without", As: ann, Get: "/api/v1/things/1/", Header: []string{"Accept", "text/event-stream"}, Status: 406},
		{Name: "accept html", As: ann, Get: "/api/v1/things/1/", Header: []string{"Accept", "text/html,application/xml;q=0.9"}, Status: 200},
		{Name: "accept json refused", As: ann, Get: "/api/v1/things/1/", Header: []string{"Accept", "application/json;q=0, image/png"}, Status: 406},
		{Name: "accept anything", As: ann, Get: "/api/v1/things/1/", Header: []string{"Accept", "image/png, */*;q=0.1"}, Status: 200},
		{Name: "not staff", As: ann, Get: "/api/v1/staff/", Status: 403, JSON: `{"detail":"You do not have permission to perform this action."}`},
		{Name: "staff", As: anonymous.As("root"), Get: "/api/v1/staff/", Status: 200},
		{Name: "redirect keeps the query", Get: "/api/v1/things/1?a=b&c=%20", Status: 301, Want: []string{"Location", "/api/v1/things/1/?a=b&c=%20"}},
		{Name: "no redirect for other methods", As: ann, Delete: "/api/v1/things/1", Status: 204},
		{Name: "optional slash", Post: "/api/v1/auth/login", Status: 200},
		{Name: "options", As: ann, Method: "OPTIONS", Path: "/api/v1/things/mine/", Status: 200, JSON: `{"name":"Mine","description":"","renders":["application/json"],"parses":["application/json","application/x-www-form-urlencoded","multipart/form-data"]}`},
		{Name: "options needs credentials", Method: "OPTIONS", Path: "/api/v1/things/mine/", Status: 401},
		{Name: "api root", As: ann, Get: "/api/v1/", Status: 200, JSON: `{"users":"http://host.example/api/v1/users/","devices":"http://host.example/api/v1/devices/"}`, Header: []string{"Host", "host.example"}},
		{Name: "api root needs credentials", Get: "/api/v1/", Status: 401},
		{Name: "health for apps", Get: "/api/v1/health/", Status: 200, JSON: `{"status":"ok"}`},
		{Name: "liveness", Get: "/health", Status: 200, JSON: `{"status":"ok"}`},
		{Name: "result", As: ann, Post: "/api/v1/written/", Status: 202, JSON: `{"id":0,"name":""}`, Want: []string{"X-Kind", "thing"}},
		{Name: "failure", Get: "/api/v1/broken/any/", Status: 500, JSON: `{"detail":"Internal server error."}`},
		{Name: "panic", Get: "/api/v1/broken/panic/", Status: 500, JSON: `{"detail":"Internal server error."}`},
		{Name: "busy", Get: "/api/v1/broken/busy/", Status: 503, Want: []string{"Retry-After", "1"}},
		{Name: "request id taken over", Get: "/health", Header: []string{"X-Request-ID", "abc-1"}, Status: 200, Want: []string{"X-Request-Id", "abc-1"}},
	})
	made := anonymous.Do(t, "GET", "/health", "", "X-Request-ID", "not a sane id").Header.Get("X-Request-Id")
	require.NotEmpty(t, made)
	require.NotContains(t, made, " ")
}

func TestBodies(t *testing.T) {
	t.Parallel()
	c := server(t, options(io.Discard))
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	post := func(name, body string, status int, want string, header ...string) apitest.Scenario {
		return apitest.Scenario{Name: name, Post: "/api/v1/things/", Body: body, Header: header, Status: status, JSON: want}
	}
	prefix := func(name, body, begins string) apitest.Scenario {
		return apitest.Scenario{Name: name, Post: "/api/v1/things/", Body: body, Status: 400, Prefix: begins}
	}
	c.Scenarios(t, []apitest.Scenario{
		post("empty body is an empty object", ``, 400, `{"name":["This field is required."]}`),
		post("unsupported media type", `<x/>`, 415, `{"detail":"Unsupported media type \"text/xml\" in request."}`, "Content-Type", "text/xml"),
		prefix("malformed", `{"text": `, `{"detail":"JSON parse error - Expecting value: line 1 column 10 (char 9)"}`),
		prefix("invalid utf-8", "{\"name\":\"\xff\"}", `{"detail":"JSON parse error - 'utf-8' codec can't decode byte 0xff in position 9: invalid start byte"}`),
		prefix("too deep", strings.Repeat("[", 100), `{"detail":"JSON parse error - `),
		post("root is a list", `[]`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`),
		post("root is null", `null`, 400, `{"non_field_errors":["No data provided"]}`),
		prefix("all problems at once, in order",
			`{"tags":"x","name":"","age":"many","settings":{"push_enabled":"perhaps"},"born":"1990-13-01","at":"25:00"}`,
			`{"name":["This field may not be blank."],"age":["A valid integer is required."],"settings":{"push_enabled":["Must be a valid boolean."]},`+
				`"tags":["Expected a list of items but got type \"str\"."],"born":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."],`+
				`"at":["Time has wrong format. Use one of these formats instead: hh:mm[:ss[.uuuuuu]]."]}`),
		post("null", `{"name":null}`, 400, `{"name":["This field may not be null."]}`),
		post("too long, in characters", `{"name":"ééééé"}`, 201, ""),
		post("too long", `{"name":"éééééé"}`, 400, `{"name":["Ensure this field has no more than 5 characters."]}`),
		post("text is not a bool", `{"name":true}`, 400, `{"name":["Not a valid string."]}`),
		post("NUL", `{"name":"a\u0000b"}`, 400, `{"name":["Null characters are not allowed."]}`),
		post("NUL in any JSON", `{"name":"a","extra":{"x":["\u0000"]}}`, 400, `{"extra":["Null characters are not allowed."]}`),
		post("bounds", `{"name":"a","age":151}`, 400, `{"age":["Ensure this value is less than or equal to 150."]}`),
		post("huge", `{"name":"a","age":123456789012345678901234567890}`, 400, `{"age":["Ensure this value is less than or equal to 150."]}`),
		post("huge and negative", `{"name":"a","age":-123456789012345678901234567890}`, 400, `{"age":["Ensure this value is greater than or equal to 0."]}`),
		post("fraction", `{"name":"a","age":1.5}`, 400, `{"age":["A valid integer is required."]}`),
		post("nested is no object", `{"name":"a","settings":"x"}`, 400, `{"settings":{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}}`),
		post("items of a plain list", `{"name":"a","tags":["x",null]}`, 400, `{"tags":{"1":["This field may not be null."]}}`),
		post("items that are objects", `{"name":"a","pets":[{"name":"x"},{},7]}`, 400, `{"pets":[{},{"name":["This field is required."]},{"non_field_errors":["Invalid data. Expected a dictionary, but got int."]}]}`),
		post("too many items", `{"name":"a","tags":["x","y","z"]}`, 400, `{"tags":["Ensure this field has no more than 2 elements."]}`),
		post("coercions, trimming, unknown and repeated fields",
			`{"name":"x","name":"  b ","age":"42","settings":{"push_enabled":"off","x":1},"tags":[1,"y"],"born":null,"at":"8:30","extra":[1.0, {"a" :"\u00e9"}],"more":1}`, 201,
			`{"name":"b","age":42,"settings":{"Set":true,"Null":false,"Value":{"push_enabled":{"Set":true,"Null":false,"Value":false},"quiet_hours":{"Set":false,"Null":false,"Value":null}}},`+
				`"tags":["1","y"],"pets":null,"born":{"Set":true,"Null":true,"Value":null},"at":{"Set":true,"Null":false,"Value":"08:30:00"},"extra":[1.0,{"a":"é"}]}`),
		post("form", `name=+a+&age=7&settings.push_enabled=true&tags=x&tags=y&born=`, 201,
			`{"name":"a","age":7,"settings":{"Set":true,"Null":false,"Value":{"push_enabled":{"Set":true,"Null":false,"Value":true},"quiet_hours":{"Set":false,"Null":false,"Value":null}}},`+
				`"tags":["x","y"],"pets":null,"born":{"Set":true,"Null":true,"Value":null},"at":{"Set":false,"Null":false,"Value":"00:00:00"},"extra":null}`, form...),
		post("form with problems", `age=x&settings.push_enabled=x`, 400,
			`{"name":["This field is required."],"age":["A valid integer is required."],"settings":{"push_enabled":["Must be a valid boolean."]}}`, form...),
		post("form of nonsense", "%zz=%f0&&=&name=a", 201, "", form...),
		post("multipart", "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nabc\r\n--b--\r\n", 201, "", "Content-Type", "multipart/form-data; boundary=b"),
		post("multipart without boundary", "x", 400, `{"detail":"Multipart form parse error - Invalid boundary in multipart: "}`, "Content-Type", "multipart/form-data"),
		post("multipart cut short", "--b\r\nContent-Dispo", 400, `{"detail":"Multipart form parse error - Invalid multipart body."}`, "Content-Type", "multipart/form-data; boundary=b"),
	})
	tooMany := strings.Repeat("a=1&", 2000)
	require.Equal(t, 400, c.Do(t, "POST", "/api/v1/things/", tooMany, form...).Status)
}

func TestLogTellsNoSecrets(t *testing.T) {
	t.Parallel()
	var out logs
	c := server(t, options(&out))
	c.As("secret-token").Do(t, "POST", "/api/v1/things/?q=secret-query", `{"name":"secret-body-too-long"}`, "X-Request-ID", "id-1")
	c.Do(t, "GET", "/api/v1/broken/panic/", "", "X-Request-ID", "id-2")
	c.Do(t, "GET", "/api/v1/things/secret-path-id/", "")
	require.Eventually(t, func() bool { return strings.Count(out.String(), `"msg":"request"`) == 3 }, 60*time.Second, time.Millisecond)
	text := out.String()
	require.NotContains(t, text, "secret-token")
	require.NotContains(t, text, "secret-query")
	require.NotContains(t, text, "secret-body")
	require.NotContains(t, text, "secret-path-id")
	require.Contains(t, text, `"route":"/api/v1/things/","status":400`)
	require.Equal(t, 1, strings.Count(text, "panic in a request"))
	require.Contains(t, text, `"request_id":"id-2"`)
	require.Contains(t, text, `"client_ip":"127.0.0.1"`)
}
