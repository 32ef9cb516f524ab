package accounts_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

// throttled is what the recordings were made with: 3 a minute in every scope
// and five sign-ins a second of one address.
var throttled = httpapi.Limits{IP: "3/min", User: "3/min", Anon: "3/min", Bursts: true, AuthIP: 5}

const throttledBody = `{"detail":"Request was throttled. Expected available in 60 seconds."}`

// throttleDifferences are the exchanges of throttle.json that are meant to be
// answered in another way by a server that trusts no proxy, each with its
// reason. Without a status the exchange is not replayed here.
func throttleDifferences() map[string]difference {
	const (
		forged = "whoever is no trusted proxy cannot choose its address: the fourth sign-in within a minute is refused"
		other  = "the internal endpoint of events is another part's, which replays it"
	)
	list := map[string]difference{}
	for _, name := range []string{"login #4", "login #5"} {
		list[name+" rotating X-Forwarded-For, THROTTLE=3/min, AUTH_RPS_IP=5/s"] = difference{429, throttledBody, forged}
	}
	for _, name := range []string{
		"publish #1 REALTIME_PUBLISH_RATE_LIMIT=2/min", "publish #2 REALTIME_PUBLISH_RATE_LIMIT=2/min",
		"publish #3 REALTIME_PUBLISH_RATE_LIMIT=2/min", "publish #4 REALTIME_PUBLISH_RATE_LIMIT=2/min",
		"publish spoofed X-Forwarded-For #1", "publish spoofed X-Forwarded-For #2", "publish spoofed X-Forwarded-For #3",
	} {
		list[name] = difference{reason: other}
	}
	return list
}

// TestThrottleRecordings replays what was recorded of the old backend's limits
// against this one's, with the same rates. The sign-ins are replayed twice:
// from a stranger, who is not believed, and through a trusted proxy, which is.
func TestThrottleRecordings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.recordedAnn(t)
	differences := throttleDifferences()
	for _, group := range []struct {
		name, prefix string
		proxies      []string
		differences  map[string]difference
	}{
		{"of a user", "users/me ", nil, differences},
		{"of a stranger", "login ", nil, differences},
		{"behind a proxy", "login ", []string{"127.0.0.0/8"}, nil},
	} {
		limited := r.serveWith(t, r.svc, httpapi.Options{Limits: throttled, Now: r.clock.Now, TrustedProxies: group.proxies})
		replayed := 0
		for _, x := range exchanges(t, "throttle") {
			if !strings.HasPrefix(x.Name, group.prefix) {
				continue
			}
			replayed++
			t.Run(group.name+"/"+x.Name, func(t *testing.T) {
				var headers []string
				for k, v := range x.Request.Headers {
					headers = append(headers, k, strings.ReplaceAll(v, "<jwt>", ann.Access))
				}
				res := limited.Do(t, x.Request.Method, x.Request.Path, jsonOf(t, x.Request.Body), headers...)
				requireThrottle(t, x, res, group.differences[x.Name])
			})
		}
		require.Equal(t, 5, replayed)
	}
	for _, x := range exchanges(t, "throttle") {
		replayed := strings.HasPrefix(x.Name, "users/me ") || strings.HasPrefix(x.Name, "login ")
		d, listed := differences[x.Name]
		require.True(t, replayed || listed && d.status == 0, "%s is neither replayed nor listed", x.Name)
		delete(differences, x.Name)
	}
	require.Empty(t, differences, "these were never recorded")
}

// requireThrottle compares an answer with the recorded one, or with the
// intended other one.
func requireThrottle(t *testing.T, x exchange, res apitest.Response, d difference) {
	t.Helper()
	require.Equal(t, x.Response.Headers["content-type"], res.Header.Get("Content-Type"))
	require.Equal(t, x.Response.Headers["vary"], res.Header.Get("Vary"))
	require.Equal(t, x.Response.Headers["allow"], res.Header.Get("Allow"))
	if d.reason != "" {
		require.Equal(t, d.status, res.Status, "%s: %s", d.reason, res.Body)
		require.JSONEq(t, d.want, res.Body, d.reason)
		require.Equal(t, "60", res.Header.Get("Retry-After"))
		return
	}
	require.Equal(t, x.Response.Status, res.Status, res.Body)
	require.Equal(t, x.Response.Headers["retry-after"], res.Header.Get("Retry-After"))
	requireShape(t, "", x.Response.Body, decoded(t, res.Body))
}

// recordedAnn makes the account of the recordings.
func (r *rig) recordedAnn(t *testing.T) *signedIn {
	t.Helper()
	ann, bob := r.join(t, "ann1795395508"), r.join(t, "bob")
	res := ann.Do(t, "PATCH", "/api/v1/users/me/", `{"name":"Ann Lee","bio":"hello","birth_date":"1990-05-01","birth_time":"08:30","birth_place":"Tbilisi, GE","settings":{"language":"de"}}`)
	require.Equal(t, 200, res.Status, res.Body)
	res = ann.Do(t, "POST", "/api/v1/users/"+strconv.FormatInt(bob.ID, 10)+"/follow/", "")
	require.Equal(t, 200, res.Status, res.Body)
	return ann
}

// jsonOf writes a recorded body, which is empty when there was none.
func jsonOf(t *testing.T, v any) string {
	t.Helper()
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}
