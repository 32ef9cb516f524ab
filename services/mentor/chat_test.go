package mentor_test

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/llm/llmtest"
	"selflink/services/mentor"
)

var now = []string{"X-Sync", "true"}

func TestChatNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.chat(t, r.Client, `{"message":"  How do I sleep better? "}`, 200, now...)
	require.Equal(t, "Hello world", got.Message)
	require.Equal(t, got.Message, got.Reply)
	require.Equal(t, got.Message, got.MentorReply)
	require.Equal(t, "daily_mentor", got.Mode)
	require.Empty(t, got.Task)
	require.Equal(t, []string{"user: How do I sleep better?", "assistant: Hello world"}, r.messages(t))
	require.NotEmpty(t, got.UserMessage)
	require.NotEmpty(t, got.MentorMessage)

	request := r.model.Next(t)
	require.Equal(t, "/api/generate", request.Path)
	require.Contains(t, request.Prompt(), "\n\nMode: daily_mentor\nUser profile: id=1001\n\nUser: How do I sleep better?\nMentor:")
	require.NotContains(t, request.Prompt(), "@")
	require.NotContains(t, request.Prompt(), "conversation so far")

	again := r.chat(t, r.Client, `{"message":"And then?"}`, 200, now...)
	require.Equal(t, got.Session, again.Session)
	require.Contains(t, r.model.Next(t).Prompt(), "The conversation so far:\nUser: How do I sleep better?\nAssistant: Hello world\n\nUser: And then?\nMentor:")

	for name, body := range map[string]string{
		"mode": `{"message":"x","mode":"chat_mentor"}`, "language": `{"message":"x","language":"ka-GE"}`,
	} {
		other := r.chat(t, r.Client, body, 200, now...)
		require.NotEqual(t, got.Session, other.Session, name)
		prompt := r.model.Next(t).Prompt()
		require.NotContains(t, prompt, "And then?")
		require.Equal(t, name == "language", strings.Contains(prompt, "მენტორი"), "ka-GE is Georgian")
	}
	other := r.chat(t, r.As(bob), `{"message":"And then?"}`, 200, now...)
	require.NotEqual(t, got.Session, other.Session)
}

func TestChatRemembersTenMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 8 {
		r.chat(t, r.Client, fmt.Sprintf(`{"message":"question %d."}`, i), 200, now...)
	}
	var last llmtest.Request
	for range 8 {
		last = r.model.Next(t)
	}
	require.NotContains(t, last.Prompt(), "question 1.")
	require.Less(t, strings.Index(last.Prompt(), "question 2."), strings.Index(last.Prompt(), "question 6."))
	require.Equal(t, 1, strings.Count(last.Prompt(), "question 7."))
}

func TestChatRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path = "/api/v1/mentor/chat/"
	long := strings.Repeat("ა", 4096)
	r.Scenarios(t, []apitest.Scenario{
		{Name: "missing", Post: path, Body: `{}`, Status: 400, JSON: `{"detail":"Message is required."}`},
		{Name: "null", Post: path, Body: `{"message":null}`, Status: 400, JSON: `{"detail":"Message is required."}`},
		{Name: "blank", Post: path, Body: `{"message":" \n "}`, Status: 400, JSON: `{"detail":"Message is required."}`},
		{Name: "a number", Post: path, Body: `{"message":123}`, Status: 400, JSON: `{"message":["Not a valid string."]}`},
		{Name: "a list", Post: path, Body: `[1]`, Status: 400, JSON: `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`},
		{Name: "NUL", Post: path, Body: `{"message":"a\u0000b"}`, Status: 400, JSON: `{"message":["Null characters are not allowed."]}`},
		{Name: "long mode", Post: path, Body: `{"message":"x","mode":"` + strings.Repeat("m", 33) + `"}`, Status: 400, JSON: `{"mode":["Ensure this field has no more than 32 characters."]}`},
		{Name: "long language", Post: path, Body: `{"message":"x","language":"123456789"}`, Status: 400, JSON: `{"language":["Ensure this field has no more than 8 characters."]}`},
		{Name: "too long", Post: path, Body: `{"message":"` + long + `ა"}`, Status: 400, JSON: `{"detail":"Message is too long: 4096 characters at most."}`},
		{Name: "as long as may be", Post: path, Body: `{"message":"` + long + `"}`, Header: now, Status: 200},
		{Name: "a form", Post: path, Body: "message=hello", Header: []string{"Content-Type", "application/x-www-form-urlencoded", "X-Sync", "1"}, Status: 200},
		{Name: "invalid UTF-8", Post: path, Body: "{\"message\":\"\xff\"}", Status: 400},
		{Name: "wrong method", Get: path, Status: 405},
	})
	require.Len(t, r.messages(t), 4)
}

func TestChatWithoutAModel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, script := range map[string]llmtest.Script{
		"refuses": {Status: 500}, "breaks off": {Pieces: []string{"half"}, Break: true}, "says nothing": llmtest.Say("  ", "\n"),
	} {
		r.model.Then(script)
		res := r.Do(t, "POST", "/api/v1/mentor/chat/", `{"message":"`+name+`"}`, now...)
		require.Equal(t, 502, res.Status, name)
		require.JSONEq(t, `{"detail":"LLM streaming request failed"}`, res.Body)
	}
	require.Len(t, r.messages(t), 3, "the questions stay")
	r.chat(t, r.Client, `{"message":"well again"}`, 200, now...)
}

func TestChatCutsLongAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Script{Pieces: []string{strings.Repeat("ა", 7999), "ბგ"}, Hang: true})
	got := r.chat(t, r.Client, `{"message":"x"}`, 200, now...)
	require.Equal(t, strings.Repeat("ა", 7999)+"ბ", got.Reply)
	<-r.model.Next(t).Gone
}

func TestFirstQuestionsAtOnceOpenOneSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all sync.Map
	var wait sync.WaitGroup
	for i := range 12 {
		wait.Go(func() {
			got := r.chat(t, r.Client, fmt.Sprintf(`{"message":"m%d"}`, i), 200, now...)
			all.Store(got.Session, true)
		})
	}
	wait.Wait()
	n := 0
	all.Range(func(any, any) bool { n++; return true })
	require.Equal(t, 1, n)
	require.Equal(t, 1, r.count(t, "SELECT count(*) FROM mentor_sessions"))
	require.Equal(t, 24, r.count(t, "SELECT count(*) FROM mentor_messages"))
}

func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.Disabled = true; c.deps.ChatWait = time.Minute })
	require.Contains(t, r.chat(t, r.Client, `{"message":"a"}`, 200, now...).Reply, "resting")
	require.Contains(t, r.chat(t, r.Client, `{"message":"b"}`, 202).Reply, "resting")
	text, last := openStream(t, r.Client, streamPath("c", "")).rest()
	require.Contains(t, text, "resting")
	require.Equal(t, "end", last.Event)
	require.Contains(t, r.Do(t, "POST", "/api/v1/mentor/daily/entry/", `{"text":"d"}`).Body, "resting")
	require.Contains(t, r.Do(t, "POST", "/api/v1/mentor/sessions/ask/", `{"text":"e"}`).Body, "Ann")
	require.Empty(t, r.model.Requests())
}

func TestBurstLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.limits = httpapi.Limits{Bursts: true, MentorUser: 1, MentorGlobal: 1} })
	limited := `{"detail":"Rate limit exceeded."}`
	// The message is looked at before the limit.
	require.Equal(t, 400, r.Do(t, "POST", "/api/v1/mentor/chat/", `{}`).Status)
	refused := 0
	for range 20 { // at least two of them fall into one second
		if res := r.Do(t, "POST", "/api/v1/mentor/chat/", `{"message":"x"}`); res.Status == 429 {
			require.JSONEq(t, limited, res.Body)
			require.Empty(t, res.Header.Get("Retry-After"))
			refused++
			break
		}
	}
	require.Positive(t, refused)
	for range 20 {
		res := r.Do(t, "GET", streamPath("x", ""), "", "Accept", "*/*")
		if res.Status == 429 {
			require.Equal(t, "data: {\"event\": \"error\", \"detail\": \"Rate limit exceeded.\"}\n\n", res.Body)
			require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
			return
		}
	}
	t.Fatal("the stream was never limited")
}

func TestFlow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sync, query, header string
		byDefault, want     bool
	}{
		{"", "", "", true, true}, {"", "", "", false, false},
		{" TRUE ", "true", "true", true, false}, {"yes", "", "", true, false},
		{"false", "", "", true, true}, {"0", "", "", false, false},
		{"", "no", "true", true, false}, {"", "1", "false", false, true},
		{"", "", "Yes", false, true}, {"", "", "0", true, false},
		{"maybe", "perhaps", "1", false, true}, {"maybe", "", "x", true, true},
	} {
		require.Equal(t, c.want, mentor.Async(c.sync, c.query, c.header, c.byDefault), "%+v", c)
	}
}

func TestNobodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.idle = true })
	task := r.chat(t, r.Client, `{"message":"mine"}`, 202)
	var id struct{ ID, Session_id int64 }
	r.Do(t, "POST", "/api/v1/mentor/tasks/", `{"task":"t","due_date":"2026-11-25"}`).JSON(t, &id)
	taskID := id.ID
	r.Do(t, "POST", "/api/v1/mentor/profile/", `{}`).JSON(t, &id)
	profileID := id.ID
	r.Do(t, "POST", "/api/v1/mentor/sessions/ask/", `{"text":"t"}`).JSON(t, &id)
	sessionID := id.ID
	var day struct {
		Session int64 `json:"session_id"`
	}
	r.Do(t, "POST", "/api/v1/mentor/daily/entry/", `{"text":"t"}`).JSON(t, &day)

	const base = "/api/v1/mentor/"
	item := func(format string, id int64) string { return base + fmt.Sprintf(format, id) }
	rows := []struct {
		method, path, body string
		bob                int
		text               string
	}{
		{"GET", base + "sessions/", "", 200, `"results":[]`},
		{"GET", item("sessions/%d/", sessionID), "", 404, "No MentorSession matches the given query."},
		{"POST", base + "sessions/ask/", `{"text":"x"}`, 201, ""},
		{"GET", base + "tasks/", "", 200, `"results":[]`},
		{"POST", base + "tasks/", `{"task":"t","due_date":"2026-11-25"}`, 201, ""},
		{"GET", item("tasks/%d/", taskID), "", 404, "No DailyTask matches the given query."},
		{"PUT", item("tasks/%d/", taskID), `{"task":"t","due_date":"2026-11-25"}`, 404, "No DailyTask matches the given query."},
		{"PATCH", item("tasks/%d/", taskID), `{"task":"t"}`, 404, "No DailyTask matches the given query."},
		{"DELETE", item("tasks/%d/", taskID), "", 404, "No DailyTask matches the given query."},
		{"GET", base + "tasks/today/", "", 200, ""},
		{"GET", base + "profile/", "", 200, `"results":[]`},
		{"GET", item("profile/%d/", profileID), "", 404, "No MentorProfile matches the given query."},
		{"PUT", item("profile/%d/", profileID), `{}`, 404, "No MentorProfile matches the given query."},
		{"PATCH", item("profile/%d/", profileID), `{}`, 404, "No MentorProfile matches the given query."},
		{"DELETE", item("profile/%d/", profileID), "", 404, "No MentorProfile matches the given query."},
		{"POST", base + "profile/", `{}`, 201, ""},
		{"GET", base + "daily/history/", "", 200, `"results":[]`},
		{"GET", item("daily/session/%d/", day.Session), "", 404, "Session not found."},
		{"GET", task.StatusURL, "", 404, "Task not found."},
		{"POST", base + "chat/", `{"message":"x"}`, 202, ""},
		{"POST", base + "daily/entry/", `{"text":"x"}`, 200, ""},
		{"GET", base + "stream/?message=" + url.QueryEscape("mine"), "", 200, ""},
	}
	for _, row := range rows {
		name := row.method + " " + row.path
		res := r.As("").Do(t, row.method, row.path, row.body, "Accept", "*/*")
		require.Equal(t, 401, res.Status, name)
		require.JSONEq(t, `{"detail":"Authentication credentials were not provided."}`, res.Body, name)
		if strings.HasPrefix(row.path, base+"tasks/") && row.method == "GET" && row.path == base+"tasks/" {
			r.exec(t, "DELETE FROM mentor_tasks WHERE user_id = $1", 1002)
		}
		if row.path == base+"sessions/" || row.path == base+"profile/" && row.method == "GET" {
			r.exec(t, "DELETE FROM mentor_profiles WHERE user_id = $1", 1002)
		}
		res = r.As(bob).Do(t, row.method, row.path, row.body, "Accept", "*/*")
		require.Equal(t, row.bob, res.Status, name+" "+res.Body)
		require.Contains(t, res.Body, row.text, name)
		require.NotContains(t, res.Body, "mine", name)
	}
	history := r.As(bob).Do(t, "GET", base+"history/", "").Body
	require.Contains(t, history, `"content":"x"`)
	require.Equal(t, 1, strings.Count(history, `"content":"mine"`), "only what Bob asked himself")
	// The absent ones.
	for _, path := range []string{"natal/", "soulmatch/5/", "daily/"} {
		require.Equal(t, 404, r.Do(t, "GET", base+path, "").Status, path)
	}
}
