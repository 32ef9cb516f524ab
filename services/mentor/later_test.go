package mentor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/jobs"
	"selflink/appliance/llm"
	"selflink/appliance/llm/llmtest"
	"selflink/appliance/realtime"
)

func parseID(text string) (jobs.ID, error) { return uuid.Parse(text) }

func TestChatLater(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	r.model.Then(llmtest.Script{Pieces: []string{"Later"}, Gate: gate})
	res := r.Do(t, "POST", "/api/v1/mentor/chat/", `{"message":"Async please"}`)
	require.Equal(t, 202, res.Status)
	var got reply
	res.JSON(t, &got)
	require.Equal(t, fmt.Sprintf(`{"session_id":%s,"mode":"daily_mentor","message_id":%s,"task_id":"%s","task_status_url":"/api/v1/mentor/task-status/%s/"}`,
		got.Session, got.MessageID, got.Task, got.Task), res.Body)
	require.Equal(t, 1, r.count(t, "SELECT count(*) FROM jobs WHERE id = $1 AND kind = 'mentor.chat_generate'", got.Task))

	r.model.Next(t)
	pending := r.Do(t, "GET", got.StatusURL, "")
	require.JSONEq(t, `{"task_id":"`+got.Task+`","status":"pending"}`, pending.Body)
	close(gate)
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))

	var ready struct {
		Status  string
		Message struct {
			Content, Role string
			Meta          map[string]any
		}
		Session map[string]any
	}
	r.Do(t, "GET", got.StatusURL, "").JSON(t, &ready)
	require.Equal(t, "ready", ready.Status)
	require.Equal(t, "Later", ready.Message.Content)
	require.Equal(t, got.Task, ready.Message.Meta["task_id"])
	require.Equal(t, "v1", ready.Message.Meta["task_version"])
	require.NotContains(t, ready.Message.Meta, "error")
	require.Equal(t, map[string]any{}, ready.Session["metadata"])
	require.Nil(t, ready.Session["date"])

	require.JSONEq(t, `{"detail":"Task not found."}`, r.As(bob).Do(t, "GET", got.StatusURL, "").Body)
	require.Equal(t, 404, r.Do(t, "GET", "/api/v1/mentor/task-status/nonsense/", "").Status)
	require.Equal(t, []string{"user: Async please", "assistant: Later"}, r.messages(t))
}

// Who asked is told, in the transaction that stores the answer, or the text in
// its place.
func TestAnswersAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.Events, c.deps.ChatWait = realtime.NewPublisher(), time.Minute })
	told := func(task string) (events []string) {
		rows, err := r.db.Pool.Query(t.Context(), `SELECT payload FROM realtime_events WHERE channel = $1 AND payload LIKE $2 ORDER BY id`,
			"user:"+ann, "%"+task+"%")
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var payload string
			require.NoError(t, rows.Scan(&payload))
			events = append(events, payload)
		}
		return events
	}
	got := r.chat(t, r.Client, `{"message":"hi"}`, 202)
	require.Equal(t, []string{fmt.Sprintf(`{"type":"mentor.reply","task_id":"%s","session_id":%s,"mode":"daily_mentor","reply":"Hello world"}`, got.Task, got.Session)}, told(got.Task))

	entry := r.Do(t, "POST", "/api/v1/mentor/daily/entry/?async=true", `{"text":"I slept well."}`)
	require.Equal(t, 202, entry.Status, entry.Body)
	var journal reply
	entry.JSON(t, &journal)
	require.Equal(t, jobs.Succeeded, r.finished(t, journal.Task))
	require.Len(t, told(journal.Task), 1)

	r.model.Always(llmtest.Script{Status: 401})
	got = r.chat(t, r.Client, `{"message":"hi again","language":"ka"}`, 202)
	require.Equal(t, jobs.Dead, r.finished(t, got.Task))
	require.Len(t, told(got.Task), 1)
	require.Contains(t, told(got.Task)[0], `{"type":"mentor.failed","task_id":"`+got.Task+`","detail":"`)
}

func TestChatWaitsALittle(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.ChatWait = time.Minute })
	got := r.chat(t, r.Client, `{"message":"hi"}`, 202)
	require.Equal(t, "Hello world", got.Reply)
	require.Equal(t, "Hello world", got.Message)
	require.NotEmpty(t, got.Task)
}

func TestTaskThatFailsEndsWithAText(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.ChatWait = time.Minute })
	r.model.Always(llmtest.Script{Status: 401}) // no attempt will mend it
	got := r.chat(t, r.Client, `{"message":"hi","language":"ka"}`, 202)
	require.Contains(t, got.Reply, "გთხოვ")
	require.Equal(t, jobs.Dead, r.finished(t, got.Task))
	res := r.Do(t, "GET", got.StatusURL, "")
	require.Contains(t, res.Body, `"status":"ready"`)
	require.Contains(t, res.Body, `"error":"llm_failure"`)
	require.Len(t, r.messages(t), 2)
	require.Len(t, r.model.Requests(), 1)
}

// An operator runs a job again that has died: a real answer takes the place of
// the text that stood for it, and the client is told.
func TestDeadTaskIsMended(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.ChatWait = time.Minute })
	r.model.Always(llmtest.Script{Status: 401})
	got := r.chat(t, r.Client, `{"message":"hi"}`, 202)
	require.Equal(t, jobs.Dead, r.finished(t, got.Task))
	id, err := parseID(got.Task)
	require.NoError(t, err)

	// While the model still refuses, the text stays.
	require.NoError(t, r.engine.Retry(t.Context(), id))
	require.Equal(t, jobs.Dead, r.finished(t, got.Task))
	require.Contains(t, r.Do(t, "GET", got.StatusURL, "").Body, `"error":"llm_failure"`)

	r.model.Always(llmtest.Script{Pieces: []string{"Better ", "late"}})
	require.NoError(t, r.engine.Retry(t.Context(), id))
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))
	res := r.Do(t, "GET", got.StatusURL, "")
	require.Contains(t, res.Body, "Better late")
	require.NotContains(t, res.Body, "llm_failure")
	require.Len(t, r.messages(t), 2, "still one answer")

	// An answer stays an answer.
	r.exec(t, "UPDATE jobs SET state = 'dead' WHERE id = $1", got.Task)
	require.NoError(t, r.engine.Retry(t.Context(), id))
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))
	require.Len(t, r.model.Requests(), 3)
}

func TestTaskIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.ChatWait = time.Minute })
	r.model.Then(llmtest.Script{Status: 503})
	got := r.chat(t, r.Client, `{"message":"hi"}`, 202)
	require.Equal(t, "Hello world", got.Reply)
	require.Len(t, r.model.Requests(), 2)
}

func TestCancelledTaskEndsWithAText(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Script{Hang: true})
	got := r.chat(t, r.Client, `{"message":"hi"}`, 202)
	gone := r.model.Next(t).Gone
	id, err := parseID(got.Task)
	require.NoError(t, err)
	require.NoError(t, r.engine.Cancel(t.Context(), id))
	require.Equal(t, jobs.Cancelled, r.finished(t, got.Task))
	<-gone
	require.Contains(t, r.Do(t, "GET", got.StatusURL, "").Body, `"error":"llm_failure"`)
}

func TestOneAnswerPerQuestion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.chat(t, r.Client, `{"message":"hi"}`, 202)
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))
	// The job runs once more, as after a crash at the wrong moment.
	r.exec(t, "UPDATE jobs SET state = 'dead' WHERE id = $1", got.Task)
	id, err := parseID(got.Task)
	require.NoError(t, err)
	require.NoError(t, r.engine.Retry(t.Context(), id))
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))
	require.Len(t, r.messages(t), 2)
	require.Len(t, r.model.Requests(), 1)
}

func TestOwnKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) {
		c.llm = llm.Options{Provider: "openai", BaseURL: c.llm.BaseURL, Logger: c.llm.Logger}
	})
	key := []string{"X-LLM-Key", "sk-very-secret"}

	got := r.chat(t, r.Client, `{"message":"now"}`, 200, append(key, now...)...)
	require.Equal(t, "Hello world", got.Reply)
	require.Equal(t, "Bearer sk-very-secret", r.model.Next(t).Authorization)

	r.model.Then(llmtest.Script{Status: 401})
	got = r.chat(t, r.Client, `{"message":"now, wrong key"}`, 200, append(key, now...)...)
	require.Equal(t, "Hello world", got.Reply, "the configured model answers")
	r.model.Next(t)
	require.Empty(t, r.model.Next(t).Authorization)

	got = r.chat(t, r.Client, `{"message":"later"}`, 202, key...)
	require.Equal(t, "Hello world", got.Reply, "answered in the request, in the shape of a task")
	require.Equal(t, "Bearer sk-very-secret", r.model.Next(t).Authorization)
	require.Contains(t, r.Do(t, "GET", got.StatusURL, "").Body, `"status":"ready"`)

	r.model.Then(llmtest.Script{Status: 401})
	got = r.chat(t, r.Client, `{"message":"later, wrong key"}`, 202, key...)
	require.Contains(t, r.Do(t, "GET", got.StatusURL, "").Body, `"error":"llm_failure"`)
	require.Len(t, r.model.Requests(), 5)

	require.Equal(t, 0, r.count(t, `SELECT count(*) FROM jobs WHERE jobs::text LIKE '%very-secret%'`))
	require.Equal(t, 0, r.count(t, `SELECT count(*) FROM mentor_messages m WHERE m::text LIKE '%very-secret%'`))
	require.NotContains(t, r.log.String(), "very-secret")
	// The rescue of both tasks waits, and finds its work done.
	require.Equal(t, 2, r.count(t, "SELECT count(*) FROM jobs WHERE state = 'scheduled'"))
}

func TestOwnKeyOfAProcessThatDied(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.idle = true })
	r.model.Always(llmtest.Script{Status: 401})
	got := r.chat(t, r.Client, `{"message":"hi"}`, 202, "X-LLM-Key", "k")
	// As if it had died before the answer was stored.
	r.exec(t, "DELETE FROM mentor_messages WHERE role = 'assistant'")
	r.exec(t, "UPDATE jobs SET run_at = now() - interval '1 second' WHERE id = $1", got.Task)
	require.NoError(t, r.engine.Start(t.Context()))
	require.Equal(t, jobs.Succeeded, r.finished(t, got.Task))
	require.Contains(t, r.Do(t, "GET", got.StatusURL, "").Body, `"error":"llm_failure"`)
	require.Len(t, r.model.Requests(), 1)
}
