package accounts_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

// errorDifferences are the recorded errors that are meant to be answered in
// another way, each with its reason.
func errorDifferences() map[string]difference {
	const noPath = `{"detail":"Not found."}`
	return map[string]difference{
		"bad token on AllowAny endpoint": {200, "", "a bad token does no harm where none is needed"},
		"404 path":                       {404, noPath, "unknown paths are told in JSON"},
		"404 path unauthenticated":       {404, noPath, "unknown paths are told in JSON"},
		"wrong method":                   {404, noPath, "the mentor is another service's"},
		"empty body json":                {400, `{"device_type":["This field is required."],"push_token":["This field is required."]}`, "asked of devices, as posts are another service's"},
		"missing trailing slash POST":    {400, `{"device_type":["This field is required."],"push_token":["This field is required."]}`, "a redirect would lose the body, so the request is served"},
		"invalid utf-8 json":             {400, "", "only the beginning of decoder texts is promised"},
		"malformed JSON":                 {400, "", "only the beginning of decoder texts is promised"},
		"browsable html":                 {200, "", "the API answers in JSON whatever the browser"},
		"OPTIONS":                        {200, "", "no HTML is rendered"},
		"page_size over max":             {200, "", "the recorded page shows people of other recordings too; TestPeople compares pages"},
		"bad Host":                       {400, "", "the page is the same for every origin; httpapi compares it"},
		"docs":                           {200, "", "documents are served whatever Accept says"},
		"metrics unauthenticated":        {404, "", "numbers are shown to this machine alone, and none are gathered here"},
		"admin":                          {404, noPath, "the dashboard is another part's"},
	}
}

// recordedError is one exchange of the recordings of errors.
type recordedError struct {
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
		Text    *string
	}
}

// TestRecordedErrors replays every recorded error.
func TestRecordedErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	api, err := httpapi.New(httpapi.Options{
		Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Auth: r.svc,
		AllowedHosts: []string{"127.0.0.1"}, CORSOrigins: []string{"http://localhost:5173"},
	})
	require.NoError(t, err)
	r.svc.Register(api)
	c := apitest.Serve(t, api)
	ann := r.recordedPeople(t)

	b, err := os.ReadFile("testdata/errors.json")
	require.NoError(t, err)
	var all []recordedError
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&all))
	require.NotEmpty(t, all)
	for _, x := range all {
		t.Run(x.Name, func(t *testing.T) {
			var headers []string
			for k, v := range x.Request.Headers {
				headers = append(headers, k, strings.ReplaceAll(v, "<jwt>", r.recordedToken(t, x.Name, ann)))
			}
			body, isText := x.Request.Body.(string)
			if !isText && x.Request.Body != nil {
				raw, err := json.Marshal(x.Request.Body)
				require.NoError(t, err)
				body = string(raw)
			}
			body = strings.ReplaceAll(body, "\ufffd", "\xff")
			path := strings.Replace(x.Request.Path, "/api/v1/posts", "/api/v1/devices", 1)
			x.check(t, c.Do(t, x.Request.Method, path, body, headers...))
		})
	}
}

func (x recordedError) check(t *testing.T, res apitest.Response) {
	t.Helper()
	if d := errorDifferences()[x.Name]; d.reason != "" {
		require.Equal(t, d.status, res.Status, "%s: %s", d.reason, res.Body)
		if d.want != "" {
			require.JSONEq(t, d.want, res.Body)
		}
		if strings.Contains(d.reason, "decoder texts") {
			require.True(t, strings.HasPrefix(res.Body, `{"detail":"JSON parse error - `), res.Body)
		}
		return
	}
	require.Equal(t, x.Response.Status, res.Status, res.Body)
	for _, name := range []string{"content-type", "www-authenticate", "location", "vary", "allow"} {
		require.Equal(t, x.Response.Headers[name], res.Header.Get(name), name)
	}
	if x.Response.Text != nil {
		require.Equal(t, strings.TrimSpace(*x.Response.Text), strings.TrimSpace(res.Body))
		return
	}
	if page, ok := x.Response.Body.(map[string]any); ok && page["users"] != nil {
		return // addresses of another host; httpapi compares them
	}
	requireShape(t, "", x.Response.Body, decoded(t, res.Body))
}

// recordedPeople makes the accounts that the recorded system had, as they were.
func (r *rig) recordedPeople(t *testing.T) *signedIn {
	t.Helper()
	join := func(handle, email, name string) *signedIn {
		t.Helper()
		body, err := json.Marshal(map[string]string{"email": email + "@example.com", "password": password, "handle": handle, "name": name})
		require.NoError(t, err)
		res := r.Do(t, "POST", "/api/v1/auth/register/", string(body))
		require.Equal(t, 201, res.Status, res.Body)
		return r.signed(t, res)
	}
	const stamp = "1795395508"
	ann := join("ann"+stamp, "ann"+stamp, "Ann Lee")
	bob := join("bob"+stamp, "bob"+stamp, "Bob Stone")
	join("eve"+stamp, "eve"+stamp, "Eve Null")
	join("commonann"+stamp, "commonann"+stamp, "X")
	join("numann"+stamp, "numann"+stamp, "X")
	r.exec(t, "UPDATE users SET posts_count = 3 WHERE id = $1", bob.ID)
	require.Equal(t, 200, ann.Do(t, "PATCH", me, `{"bio":"hello","settings":{"language":"de"}}`).Status)
	require.Equal(t, 200, ann.Do(t, "PUT", "/api/v1/me/profile/", `{"first_name":"Ann","last_name":"Lee","birth_date":"1990-05-01","birth_time":"08:30","birth_place_country":"GE","birth_place_city":"Tbilisi"}`).Status)
	require.Equal(t, 200, ann.Do(t, "POST", "/api/v1/users/"+strconv.FormatInt(bob.ID, 10)+"/follow/", "").Status)
	return ann
}

// recordedToken mints the token that an exchange is named after.
func (r *rig) recordedToken(t *testing.T, name string, ann *signedIn) string {
	t.Helper()
	now := r.clock.Now()
	claims := jwt.MapClaims{"token_type": "access", "jti": "abc", "user_id": ann.ID, "iat": now.Unix(), "exp": now.Unix() + 600}
	key := signingKey
	switch name {
	default:
		return ann.Access
	case "refresh token used as access":
		return ann.Refresh
	case "self-minted valid":
	case "expired token":
		claims["exp"] = now.Unix() - 1
	case "wrong signature":
		key = "another key, long enough for HS256"
	case "user_id as string claim":
		claims["user_id"] = strconv.FormatInt(ann.ID, 10)
	case "unknown user in token":
		claims["user_id"] = 5
	case "token without user_id":
		delete(claims, "user_id")
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(key))
	require.NoError(t, err)
	return token
}
