package mentor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/jobs"
	"selflink/appliance/llm/llmtest"
)

const entryPath = "/api/v1/mentor/daily/entry/"

// sent are the roles and texts that a model was given.
func sent(t *testing.T, r llmtest.Request) []string {
	t.Helper()
	require.Equal(t, "/api/chat", r.Path)
	var out []string
	for _, m := range r.Body["messages"].([]any) {
		m := m.(map[string]any)
		out = append(out, m["role"].(string)+": "+m["content"].(string))
	}
	return out
}

func TestEntry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Say(" A calm day. \n"))
	res := r.Do(t, "POST", entryPath, `{"text":" Today I felt calm. "}`)
	require.Equal(t, 200, res.Status)
	var got struct {
		Session  json.Number `json:"session_id"`
		Messages []struct{ ID json.Number }
	}
	res.JSON(t, &got)
	require.Equal(t, fmt.Sprintf(`{"session_id":%s,"date":"2026-11-25","entry":"Today I felt calm.","reply":"A calm day.","messages":[{"role":"user","content":"Today I felt calm.","id":%s},{"role":"assistant","content":"A calm day.","id":%s}],"language":null,"meta":{"user_flags":{},"mentor_flags":{}}}`,
		got.Session, got.Messages[0].ID, got.Messages[1].ID), res.Body)
	require.Equal(t, []string{"user: Today I felt calm.", "mentor: A calm day."}, r.messages(t))

	request := r.model.Next(t)
	messages := sent(t, request)
	require.Len(t, messages, 3)
	require.Contains(t, messages[0], "system: You are the SelfLink mentor reading")
	require.Equal(t, "system: About the person:\nBirth date: 1990-05-04\nBirth time: 07:30\nBirth place: Tbilisi\nSun sign: Taurus", messages[1])
	require.Equal(t, "user: Today I felt calm.", messages[2])
	require.Equal(t, map[string]any{"temperature": 0.7, "num_predict": 180.0}, request.Body["options"])

	// The same day goes on; its history comes before the entry.
	res = r.Do(t, "POST", entryPath, `{"text":"Later I ran.","language":"ru"}`)
	require.Contains(t, res.Body, `"session_id":`+got.Session.String())
	require.Contains(t, res.Body, `"language":"ru"`)
	messages = sent(t, r.model.Next(t))
	require.Contains(t, messages[0], "дневника")
	require.Equal(t, []string{"user: Today I felt calm.", "assistant: A calm day.", "user: Later I ran."}, messages[2:])

	// A new day begins with the days before.
	r.Do(t, "POST", entryPath, `{"text":"Snow.","date":"2026-11-27"}`)
	require.Equal(t, []string{
		"user: Today I felt calm.", "assistant: A calm day.", "user: Later I ran.", "assistant: A calm day.", "user: Snow.",
	}, sent(t, r.model.Next(t))[2:])
	// Nobody's days but one's own, and of somebody unknown nothing is told.
	r.As(bob).Do(t, "POST", entryPath, `{"text":"Mine."}`)
	messages = sent(t, r.model.Next(t))
	require.Equal(t, []string{"system: About the person: nothing is known yet.", "user: Mine."}, messages[1:])

	require.JSONEq(t, fmt.Sprintf(`{"results":[{"session_id":%d,"date":"2026-11-27","entry_preview":"Snow.","reply_preview":"A calm day."},{"session_id":%s,"date":"2026-11-25","entry_preview":"Later I ran.","reply_preview":"A calm day."}]}`,
		r.count(t, "SELECT id FROM mentor_sessions WHERE question = 'Snow.'"), got.Session),
		r.Do(t, "GET", "/api/v1/mentor/daily/history/", "").Body)
	one := r.Do(t, "GET", "/api/v1/mentor/daily/history/?limit=1", "").Body
	require.NotContains(t, one, "Later")

	day := r.Do(t, "GET", "/api/v1/mentor/daily/session/"+got.Session.String()+"/", "").Body
	for _, want := range []string{`"language":"ru"`, `"entry":"Later I ran."`, `"reply":"A calm day."`, `"role":"mentor"`, `"date":"2026-11-25"`} {
		require.Contains(t, day, want)
	}
	// A chat is no day, and goes on with none.
	chat := r.chat(t, r.Client, `{"message":"hi","mode":"daily_mentor"}`, 200, now...)
	require.Equal(t, 404, r.Do(t, "GET", "/api/v1/mentor/daily/session/"+chat.Session.String()+"/", "").Status)
}

func TestEntryWithoutAModel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Script{Status: 500})
	res := r.Do(t, "POST", entryPath, `{"text":"x","language":"ka-GE"}`)
	require.Equal(t, 200, res.Status)
	require.Contains(t, res.Body, "გმადლობ")
	require.Len(t, r.messages(t), 2)
}

func TestEntryLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.JournalAsync = true })
	r.Do(t, "POST", entryPath, `{"text":"Before."}`, now...)
	r.model.Next(t)
	res := r.Do(t, "POST", entryPath, `{"text":"Later I ran.","language":"en"}`)
	require.Equal(t, 202, res.Status)
	var got struct {
		Session json.Number `json:"session_id"`
		Message json.Number `json:"message_id"`
		Task    string      `json:"task_id"`
	}
	res.JSON(t, &got)
	require.Equal(t, fmt.Sprintf(`{"session_id":%s,"date":"2026-11-25","entry":"Later I ran.","message_id":%s,"task_id":"%s","language":"en","meta":{"user_flags":{}}}`,
		got.Session, got.Message, got.Task), res.Body)
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))
	require.Equal(t, []string{"user: Before.", "assistant: Hello world", "user: Later I ran."}, sent(t, r.model.Next(t))[2:], "the entry once")
	status := r.Do(t, "GET", "/api/v1/mentor/task-status/"+got.Task+"/", "").Body
	require.Contains(t, status, `"role":"mentor"`)
	require.Contains(t, status, `"mode":"daily","date":"2026-11-25"`)
	require.Contains(t, r.Do(t, "GET", "/api/v1/mentor/daily/history/", "").Body, `"entry_preview":"Later I ran.","reply_preview":"Hello world"`)

	r.Do(t, "POST", entryPath, `{"text":"Tomorrow.","date":"2026-11-26"}`, "X-Async", "true").JSON(t, &got)
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))
	require.Len(t, sent(t, r.model.Next(t))[2:], 5, "a new day begins with the days before")

	r.model.Always(llmtest.Script{Status: 400})
	r.Do(t, "POST", entryPath, `{"text":"Broken.","date":"2026-11-26"}`).JSON(t, &got)
	require.Equal(t, jobs.Dead, r.finished(t, got.Task))
	require.Contains(t, r.Do(t, "GET", "/api/v1/mentor/task-status/"+got.Task+"/", "").Body, `"error":"llm_failure"`)
	require.Contains(t, r.Do(t, "GET", "/api/v1/mentor/daily/history/?limit=1", "").Body, `"entry_preview":"Broken.","reply_preview":"Thank you`)
}

func TestEntryRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Scenarios(t, []apitest.Scenario{
		{Name: "everything at once", Post: entryPath, Body: `{"date":"x","language":"123456789"}`, Status: 400, JSON: `{"text":["This field is required."],"date":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."],"language":["Ensure this field has no more than 8 characters."]}`},
		{Name: "blank", Post: entryPath, Body: `{"text":" "}`, Status: 400, JSON: `{"text":["This field may not be blank."]}`},
		{Name: "long", Post: entryPath, Body: `{"text":"` + strings.Repeat("x", 4097) + `"}`, Status: 400, JSON: `{"text":["Ensure this field has no more than 4096 characters."]}`},
		{Name: "blank language", Post: entryPath, Body: `{"text":"x","language":""}`, Status: 200},
		{Name: "any day", Post: entryPath, Body: `{"text":"x","date":"0001-01-01"}`, Status: 200},
		{Name: "limit too high", Get: "/api/v1/mentor/daily/history/?limit=99", Status: 400, JSON: `{"limit":["Ensure this value is less than or equal to 30."]}`},
		{Name: "limit too low", Get: "/api/v1/mentor/daily/history/?limit=0", Status: 400, JSON: `{"limit":["Ensure this value is greater than or equal to 1."]}`},
		{Name: "limit no number", Get: "/api/v1/mentor/daily/history/?limit=x", Status: 400, JSON: `{"limit":["A valid integer is required."]}`},
		{Name: "no such day", Get: "/api/v1/mentor/daily/session/5/", Status: 404, JSON: `{"detail":"Session not found."}`},
		{Name: "no id", Get: "/api/v1/mentor/daily/session/x/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "huge id", Get: "/api/v1/mentor/daily/session/99999999999999999999/", Status: 404},
	})
}

func TestEntriesAtOnceShareTheirDay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			require.Equal(t, 200, r.Do(t, "POST", entryPath, fmt.Sprintf(`{"text":"e%d"}`, i)).Status)
		})
	}
	wait.Wait()
	require.Equal(t, 1, r.count(t, "SELECT count(*) FROM mentor_sessions"))
	require.Equal(t, 16, r.count(t, "SELECT count(*) FROM mentor_messages"))
}

func TestLongJournalsAreTrimmedFromTheirBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Say(strings.Repeat("a", 900)))
	for i := range 5 {
		r.Do(t, "POST", entryPath, fmt.Sprintf(`{"text":"%d%s"}`, i, strings.Repeat("q", 900)))
	}
	var last []string
	for range 5 {
		last = sent(t, r.model.Next(t))
	}
	require.Contains(t, last[0], "You are the SelfLink mentor")
	require.True(t, strings.HasPrefix(last[len(last)-1], "user: 4q"))
	total := 0
	for _, m := range last {
		_, text, _ := strings.Cut(m, ": ")
		total += len(text)
	}
	require.LessOrEqual(t, total, 4000)
	require.Greater(t, total, 2800)
}
