package realtime_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi/ratelimit"
)

// differences are all recorded exchanges that are meant to be answered in
// another way, each with its reason (contract 03 §5 and §7). An empty want
// leaves the body to another test.
func differences() map[string]difference {
	const own = "the appliance's own operation, tested with the server"
	return map[string]difference{
		"health":                  {200, "", own},
		"health HEAD":             {200, "", own},
		"404":                     {404, "", "the API's text for an unknown path"},
		"wrong method":            {405, `{"detail":"Method \"GET\" not allowed."}`, "the API's text for a wrong method, since there is one server"},
		"publish non-ascii token": {403, `{"detail":"Invalid token"}`, "a wrong token is no fault of the server"},
		"publish post:1 newline":  {400, `{"detail":"Invalid channel"}`, "a channel has no line break"},
		"publish form":            {422, `{"detail":[{"type":"json_invalid","loc":["body",1],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting value"}}]}`, "a body is read as JSON whatever its type says"},
		"publish missing fields, no token (validation before auth)": {401, `{"detail":"Missing token"}`, "the token is checked before the body is read"},
		"openapi exposed": {404, "", "one OpenAPI document, at /api/schema/"},
		"docs exposed":    {404, "", "one documentation, at /api/docs/"},
	}
}

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
		Status int
		Body   any
	}
}

func load(t *testing.T, name string, into any) {
	b, err := os.ReadFile("testdata/" + name + ".json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, into))
}

// replay sends a recorded request, with the token of the tests in place of the
// recorded one, and compares the answer.
func replay(t *testing.T, n *node, x exchange) {
	var headers []string
	for k, v := range x.Request.Headers {
		headers = append(headers, k, strings.ReplaceAll(v, "change-me", publishToken))
	}
	body, text := x.Request.Body.(string)
	if !text && x.Request.Body != nil {
		b, err := json.Marshal(x.Request.Body)
		require.NoError(t, err)
		body = string(b)
	}
	res := n.Do(t, x.Request.Method, x.Request.Path, body, headers...)
	if d, ok := differences()[x.Name]; ok {
		require.Equal(t, d.status, res.Status, "%s: %s", d.reason, res.Body)
		if d.want != "" {
			require.JSONEq(t, d.want, res.Body, d.reason)
		}
		return
	}
	want, err := json.Marshal(x.Response.Body)
	require.NoError(t, err)
	require.Equal(t, x.Response.Status, res.Status, res.Body)
	require.JSONEq(t, string(want), res.Body)
}

func TestRecordedRequests(t *testing.T) {
	t.Parallel()
	n := newRig(t).nodeWithBus()
	var all []exchange
	load(t, "realtime_http", &all)
	require.NotEmpty(t, all)
	for _, x := range all {
		t.Run(x.Name, func(t *testing.T) { replay(t, n, x) })
	}
}

// TestRecordedLimits replays the part of the recorded limits that is about
// publishing; the rest belongs to accounts.
func TestRecordedLimits(t *testing.T) {
	t.Parallel()
	var all []exchange
	load(t, "throttle", &all)
	seen := 0
	var n *node
	for _, x := range all {
		switch {
		case strings.HasSuffix(x.Name, "#1") || strings.Contains(x.Name, "#1 "):
			r := newRig(t) // each recorded run began with a fresh limit
			r.options.PublishRate = ratelimit.Rate{N: 2, Period: time.Minute}
			n = r.nodeWithBus()
		case !strings.HasPrefix(x.Name, "publish"):
			continue
		}
		if !strings.HasPrefix(x.Name, "publish") {
			continue
		}
		if strings.Contains(x.Name, "spoofed") {
			// The address of a client is not what it says of itself.
			spoofed := strings.Contains(x.Name, "#3") || strings.Contains(x.Name, "#4")
			if spoofed {
				x.Response.Status, x.Response.Body = http.StatusTooManyRequests, map[string]any{"detail": "Rate limit exceeded"}
			}
		}
		seen++
		t.Run(x.Name, func(t *testing.T) { replay(t, n, x) })
	}
	require.Greater(t, seen, 4)
}

// step is one line of a recorded connection: what was sent, what came, or a
// remark.
type step struct {
	Sent   json.RawMessage
	Recv   map[string]any
	remark string
}

func (s *step) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &s.remark)
	}
	type bare step
	return json.Unmarshal(b, (*bare)(s))
}

// socketDifferences are the recorded connections that are meant to go another
// way.
func socketDifferences() map[string]string {
	const refused = "refused with 403: the old gateway's 500 was a fault"
	return map[string]string{
		"no token": refused, "bad token": refused, "expired": refused, "wrong signature": refused,
		"no user id": refused, "non numeric sub": refused,
		"no exp claim":                         "refused: a token has to have an end",
		"refresh token accepted?":              "refused: only access tokens open connections",
		"deleted/unknown user 999":             "refused: the account is checked",
		"sub precedence over user_id":          "accepted: tokens are the appliance's own and name their user once",
		"two clients":                          "presence goes to nobody until services say who may see it; client frames are never relayed, so spoofing ends",
		"client sends presence missing fields": "answered, where the old gateway dropped the connection",
		"client sends presence bad status":     "answered, where the old gateway dropped the connection",
		"client sends json array":              "answered, where the old gateway dropped the connection",
		"client sends json null":               "answered, where the old gateway dropped the connection",
		"client sends binary frame":            "answered, where the old gateway dropped the connection",
		"client sends big 2MiB text":           "closed with 1009: a frame has at most 16 KiB",
		"same user two sockets":                "each connection gets its own acknowledgement alone",
	}
}

func TestRecordedSockets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	var all []struct {
		Name   string
		Log    []step
		AnnLog []step `json:"ann_log"`
		BobLog []step `json:"bob_log"`
	}
	load(t, "websocket", &all)
	for _, x := range all {
		t.Run(x.Name, func(t *testing.T) {
			reason := socketDifferences()[x.Name]
			require.NotEmpty(t, reason, "every recorded connection is explained")
			if strings.HasPrefix(reason, "refused") {
				token := map[string]string{
					"bad token": "abc",
					"expired":   r.person(1, func(c *auth.Claims) { c.ExpiresAt = time.Now().Add(-time.Hour) }).token,
					"wrong signature": func() string {
						good := r.person(1).token
						return good[:strings.LastIndexByte(good, '.')+1] + "AAAA"
					}(),
					"refresh token accepted?": r.person(1, func(c *auth.Claims) { c.Type = auth.Refresh }).token,
				}[x.Name]
				c, res := n.dial("?token="+token, nil)
				require.Nil(t, c)
				require.Equal(t, http.StatusForbidden, res.StatusCode, reason)
				return
			}
			ann, bob := r.person(1), r.person(2)
			c, _ := n.dial("?channels=post:1&token="+ann.token, nil)
			require.NotNil(t, c)
			require.JSONEq(t, `{"type":"ack","message":"connected"}`, c.next().raw)
			other, _ := n.dial("?channels=post:1&token="+bob.token, nil)
			require.JSONEq(t, `{"type":"ack","message":"connected"}`, other.next().raw)
			c.t, other.t = t, t
			playSocket(t, n, c, append(x.Log, x.AnnLog...))
			playSocket(t, n, other, x.BobLog)
			if x.Name != "client sends big 2MiB text" {
				c.quiet() // nothing else came, above all nothing that others said
			}
			other.quiet()
		})
	}
}

// playSocket sends what was sent and expects the acknowledgement that there is
// for it.
func playSocket(t *testing.T, n *node, c *client, log []step) {
	for _, s := range log {
		switch {
		case s.remark == "-- http publish to post:1":
			continue // compared in TestPublishedGift
		case s.Sent == nil:
			continue
		}
		text := string(s.Sent)
		var quoted string
		if json.Unmarshal(s.Sent, &quoted) == nil {
			text = quoted
		}
		switch text {
		case "<2097152 chars>":
			big := strings.Repeat("x", 2<<20)
			_ = c.conn.Write(t.Context(), websocket.MessageText, []byte(big)) // it may be cut before all is sent
			code, _ := c.closed()
			require.Equal(t, 1009, code)
			continue
		case "not json":
			c.say(text)
			require.JSONEq(t, `{"type":"ack","message":"invalid-json"}`, c.next().raw)
			continue
		}
		c.say(text)
		var m struct {
			Type, Status string
			ThreadID     json.RawMessage `json:"thread_id"`
		}
		if json.Unmarshal([]byte(text), &m) == nil && m.Type == "presence" && m.ThreadID != nil && m.Status != "zzz" {
			continue // its own presence: taken, and told to nobody here
		}
		require.JSONEq(t, `{"type":"ack","message":"ignored"}`, c.next().raw, text)
	}
}

// What is published from outside arrives as it was sent.
func TestPublishedGift(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.nodeWithBus()
	c, _ := n.connect(r.person(1), "channels=post:1,comment:12")
	for _, to := range []string{"post:1", "comment:12"} {
		res := n.Do(t, http.MethodPost, "/internal/publish", `{"channel":"`+to+`", "payload": {"type":"gift.received",  "id": 382707615316054016, "t":"é\u00e9"}}`,
			"Authorization", "Bearer "+publishToken)
		require.Equal(t, http.StatusOK, res.Status, res.Body)
		require.Equal(t, `{"type":"gift.received","id":382707615316054016,"t":"é\u00e9"}`, c.next().raw)
	}
	for name, body := range map[string]string{
		"other case":    `{"channel":"post:1","payload":{"Type":"gift.received"}}`,
		"type a number": `{"channel":"post:1","payload":{"type":1}}`,
		"no type":       `{"channel":"post:1","payload":{}}`,
	} {
		res := n.Do(t, http.MethodPost, "/internal/publish", body, "Authorization", "Bearer "+publishToken)
		require.Equal(t, http.StatusBadRequest, res.Status, name)
	}
	for name, body := range map[string]string{
		"empty": " ", "bad utf-8": "{\"channel\":\"post:1\",\"payload\":{\"type\":\"gift.received\",\"x\":\"\xff\"}}",
		"two documents": `{} {}`, "null": "null", "channel a number": `{"channel":1,"payload":{"type":"gift.received"}}`,
	} {
		res := n.Do(t, http.MethodPost, "/internal/publish", body, "Authorization", "Bearer "+publishToken)
		require.Equal(t, http.StatusUnprocessableEntity, res.Status, name+" "+res.Body)
	}
	big := `{"channel":"post:1","payload":{"type":"gift.received","x":"` + strings.Repeat("x", 70<<10) + `"}}`
	require.Equal(t, http.StatusRequestEntityTooLarge,
		n.Do(t, http.MethodPost, "/internal/publish", big, "Authorization", "Bearer "+publishToken).Status)
	deep := strings.Repeat(`{"x":`, 5000) + "1" + strings.Repeat("}", 5000)
	res := n.Do(t, http.MethodPost, "/internal/publish", `{"channel":"post:1","payload":{"type":"gift.received","x":`+deep+`}}`, "Authorization", "Bearer "+publishToken)
	require.Less(t, res.Status, 500, "deep, but small")
	require.Equal(t, http.StatusUnauthorized, n.Do(t, http.MethodPost, "/internal/publish", "").Status)
	require.Equal(t, http.StatusForbidden, n.As(r.person(1).token).Do(t, http.MethodPost, "/internal/publish", `{}`).Status)
}
