package mentor_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/jobs"
	"selflink/appliance/llm/llmtest"
)

// difference is an answer other than the recorded one.
type difference struct {
	status int
	want   string // the body, when it is another one
	adds   []string
	reason string
}

// differences are all exchanges of the recordings that are meant to be
// answered in another way, each with its reason.
func differences() map[string]difference {
	reply := []string{"reply", "mentor_reply", "user_message_id", "mentor_message_id"}
	return map[string]difference{
		"chat sync via X-Sync":       {status: 200, adds: reply, reason: "the mobile client reads reply; the ids are what it needs to go on"},
		"chat sync via ?async=false": {status: 200, adds: reply, reason: "as above"},
		"chat message not a string":  {status: 400, want: `{"message":["Not a valid string."]}`, reason: "it was a crash"},
		"chat body is a list":        {status: 400, want: `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`, reason: "it was a crash"},
		"chat mode too long":         {status: 400, want: `{"mode":["Ensure this field has no more than 32 characters."]}`, reason: "it was a crash"},
		"chat NUL byte":              {status: 400, want: `{"message":["Null characters are not allowed."]}`, reason: "it was a crash"},
		"daily/session":              {status: 200, adds: []string{"entry", "reply"}, reason: "the mobile client reads them and showed an empty day"},
		"mentor/tasks/today":         {status: 200, want: "", reason: "the suggestion is in our own words; TestTasks compares the shape"},
		"mentor/daily":               {status: 404, want: `{"detail":"Not found."}`, reason: "it needs birth charts, which come later"},
		"mentor/natal no chart":      {status: 404, want: `{"detail":"Not found."}`, reason: "it needs birth charts, which come later"},
		"stream, Accept: text/event-stream (what EventSource sends)": {status: 200,
			reason: "event sources get events; asking the same again and again joins one answer instead of making many"},
		"stream empty message": {status: 400, reason: "the event comes as one chunk, not a character at a time"},
	}
}

// Of every stream besides: what the model says within a twentieth of a second
// comes as one token event; the text as a whole is compared.

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
		Text    string
		Chunks  [][]any `json:"chunks_ms_text"`
	}
}

func recording(t *testing.T, name string) []exchange {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".json")
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var all []exchange
	require.NoError(t, dec.Decode(&all))
	require.NotEmpty(t, all)
	return all
}

// tokens is what the recorded model said.
func tokens() []string {
	all := make([]string, 20)
	for i := range all {
		all[i] = fmt.Sprintf("tok%d ", i)
	}
	return all
}

func recordedRig(t *testing.T) *rig {
	r := newRig(t)
	r.model.Always(llmtest.Say(tokens()...))
	r.clock.Set(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC))
	return r
}

func headersOf(x exchange) []string {
	var headers []string
	for k, v := range x.Request.Headers {
		if x.Name == "task-status other user" || x.Name == "daily/session other user" {
			v = strings.ReplaceAll(v, "<jwt>", bob)
		}
		headers = append(headers, k, strings.ReplaceAll(v, "<jwt>", ann))
	}
	return headers
}

// TestRecordings replays what was recorded of the old backend's mentor, in
// order, and compares status, headers, the shape of bodies and every text.
func TestRecordings(t *testing.T) {
	t.Parallel()
	r := recordedRig(t)
	anonymous := r.As("")
	ids := map[string]string{}
	gate := make(chan struct{})
	for _, x := range recording(t, "mentor") {
		if !t.Run(x.Name, func(t *testing.T) {
			path, body := x.Request.Path, ""
			switch b := x.Request.Body.(type) {
			case nil:
			case string:
				body = b
			default:
				raw, err := json.Marshal(b)
				require.NoError(t, err)
				body = string(raw)
			}
			for recorded, ours := range ids {
				path = strings.ReplaceAll(path, recorded, ours)
			}
			switch x.Name {
			case "chat async ?async=true": // its first poll comes before the answer
				r.model.Then(llmtest.Script{Pieces: tokens(), Gate: gate})
			case "task-status ready":
				close(gate)
				require.Equal(t, jobs.Succeeded, r.finished(t, path[len("/api/v1/mentor/task-status/"):len(path)-1]))
			case "daily/history": // after the entry's task
				require.Equal(t, jobs.Succeeded, r.finished(t, ids["5b713eb8-6ff9-43ae-8e01-5cbd41727d61"]))
			}
			res := anonymous.Do(t, x.Request.Method, path, body, headersOf(x)...)
			compare(t, x, res, ids)
			if x.Name == "chat default is async (no flag)" { // its answer comes before what follows
				require.Equal(t, jobs.Succeeded, r.finished(t, ids["0bf2e278-509b-490c-aa91-2635ac43715c"]))
			}
		}) {
			return
		}
	}
}

func compare(t *testing.T, x exchange, res apitest.Response, ids map[string]string) {
	t.Helper()
	d, differs := differences()[x.Name]
	if !differs {
		d.status = x.Response.Status
	}
	require.Equal(t, d.status, res.Status, res.Body)
	if d.status == x.Response.Status {
		for _, name := range []string{"content-type", "vary", "allow", "www-authenticate", "cache-control", "x-accel-buffering"} {
			require.Equal(t, x.Response.Headers[name], res.Header.Get(name), name)
		}
	}
	got := decoded(t, res.Body)
	switch {
	case d.want != "":
		require.JSONEq(t, d.want, res.Body)
		return
	case differs && d.adds == nil:
		return
	}
	for _, name := range d.adds {
		require.Contains(t, got, name)
		delete(got.(map[string]any), name)
	}
	requireShape(t, "", x.Response.Body, got, ids)
}

// requireShape compares JSON: the same keys, types and texts, where ids,
// moments and addresses of pages may be others. What an id is here is learned,
// and must be that wherever it comes again.
func requireShape(t *testing.T, at string, want, got any, ids map[string]string) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		require.True(t, ok, "%s: %v", at, got)
		require.Equal(t, slices.Sorted(maps.Keys(w)), slices.Sorted(maps.Keys(g)), at)
		for k := range w {
			requireShape(t, at+"."+k, w[k], g[k], ids)
		}
	case []any:
		g, ok := got.([]any)
		require.True(t, ok, "%s: %v", at, got)
		require.Len(t, g, len(w), at)
		for i := range w {
			requireShape(t, at+"[]", w[i], g[i], ids)
		}
	case json.Number:
		require.IsType(t, w, got, at)
		learn(t, at, ids, w.String(), got.(json.Number).String())
	case string:
		switch key := at[strings.LastIndexByte(at, '.')+1:]; key {
		case "created_at":
			_, err := time.Parse("2006-01-02T15:04:05.000000Z", got.(string))
			require.NoError(t, err, at)
		case "task_id":
			learn(t, at, ids, w, got.(string))
		case "task_status_url":
			for recorded, ours := range ids {
				w = strings.ReplaceAll(w, recorded, ours)
			}
			require.Equal(t, len(w), len(got.(string)), at)
			require.Contains(t, got, "/api/v1/mentor/task-status/")
		case "next":
			u, err := url.Parse(got.(string))
			require.NoError(t, err)
			require.NotEmpty(t, u.Query().Get("cursor"))
			require.Contains(t, w, "page_size="+u.Query().Get("page_size"))
		default:
			require.Equal(t, want, got, at)
		}
	default:
		require.Equal(t, want, got, at)
	}
}

func learn(t *testing.T, at string, ids map[string]string, recorded, ours string) {
	t.Helper()
	if known, ok := ids[recorded]; ok {
		require.Equal(t, known, ours, at)
	}
	ids[recorded] = ours
}

func decoded(t *testing.T, s string) any {
	t.Helper()
	var v any
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&v), s)
	return v
}

// TestRecordedStreams is TestRecordings for streams.
func TestRecordedStreams(t *testing.T) {
	t.Parallel()
	r := recordedRig(t)
	anonymous := r.As("")
	ids := map[string]string{}
	for _, x := range recording(t, "mentor_stream") {
		t.Run(x.Name, func(t *testing.T) {
			body := ""
			if x.Request.Body != nil {
				raw, err := json.Marshal(x.Request.Body)
				require.NoError(t, err)
				body = string(raw)
			}
			res := anonymous.Do(t, x.Request.Method, x.Request.Path, body, headersOf(x)...)
			want := x.Response.Text
			for _, c := range x.Response.Chunks {
				want += c[1].(string)
			}
			d, differs := differences()[x.Name]
			if !differs {
				d.status = x.Response.Status
			}
			require.Equal(t, d.status, res.Status, res.Body)
			if d.status != x.Response.Status {
				require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
				return
			}
			for _, name := range []string{"content-type", "vary", "allow", "www-authenticate", "cache-control", "x-accel-buffering"} {
				require.Equal(t, x.Response.Headers[name], res.Header.Get(name), name)
			}
			if x.Response.Body != nil {
				requireShape(t, "", x.Response.Body, decoded(t, res.Body), ids)
				return
			}
			if !strings.HasPrefix(want, "data: ") {
				require.JSONEq(t, want, res.Body)
				return
			}
			require.Equal(t, joined(t, want), joined(t, res.Body))
		})
	}
}

// joined writes the events of a stream with all its tokens in one and without
// the number of its session.
func joined(t *testing.T, body string) string {
	t.Helper()
	var out strings.Builder
	text := ""
	for _, e := range strings.SplitAfter(body, "\n\n") {
		if e == "" || strings.HasPrefix(e, ":") {
			continue
		}
		data, ok := strings.CutPrefix(e, "data: ")
		require.True(t, ok, e)
		var ev event
		require.NoError(t, json.Unmarshal([]byte(data), &ev))
		if ev.Event == "token" {
			text += ev.Delta
			require.Equal(t, fmt.Sprintf("{\"event\": \"token\", \"delta\": %q}\n\n", ev.Delta), data)
			continue
		}
		if ev.Session != "" {
			data = strings.ReplaceAll(data, ev.Session.String(), "<session>")
		}
		out.WriteString(text + data)
		text = ""
	}
	return out.String()
}
