package mentor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/llm/llmtest"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path = "/api/v1/mentor/sessions/ask/"
	r.model.Always(llmtest.Say(" Breathe. "))
	res := r.Do(t, "POST", path, `{"text":"I feel anxious today"}`)
	require.Equal(t, 201, res.Status)
	require.Contains(t, res.Body, `"question":"I feel anxious today","answer":"Breathe.","sentiment":"negative","created_at":"`)
	request := r.model.Next(t)
	system := request.Body["system"].(string)
	require.Contains(t, system, "\nName: Ann\nLocale: en-US\nAbout them: "+strings.Repeat("b", 200))
	require.NotContains(t, system, "remember")
	require.Equal(t, "I feel anxious today\n\nTheir mood seems negative.", request.Prompt())
	require.Equal(t, map[string]any{"temperature": 0.7}, request.Body["options"])

	r.Do(t, "POST", path, `{"text":"`+strings.Repeat("H", 90)+` happy"}`, "X-LLM-Key", "k")
	request = r.model.Next(t)
	require.Contains(t, request.Body["system"], "What you remember: Lately they felt negative and asked “I feel anxious today”.")
	require.Contains(t, request.Prompt(), "\nThey asked before: I feel anxious today")

	// Without a model it answers all the same.
	r.model.Always(llmtest.Script{Status: 500})
	for text, want := range map[string]string{"so tired": "heavy, Ann", "Grateful!": "brightness", "what now?": "Wednesday"} {
		res := r.Do(t, "POST", path, `{"text":"`+text+`"}`)
		require.Equal(t, 201, res.Status)
		require.Contains(t, res.Body, want)
	}
	for i := range 20 {
		r.Do(t, "POST", path, fmt.Sprintf(`{"text":"again %d"}`, i))
	}
	require.Equal(t, 20, r.count(t, "SELECT jsonb_array_length(notes->'entries') FROM mentor_memories WHERE user_id = 1001"))
	require.Equal(t, 1, r.count(t, `SELECT count(*) FROM mentor_memories WHERE last_summary LIKE '%“again 17”, “again 18”, “again 19”.'`))

	// A chat goes on with the newest question, as it always did.
	r.model.Always(llmtest.Say("ok"))
	newest := r.count(t, "SELECT id FROM mentor_sessions ORDER BY started_at DESC LIMIT 1")
	require.Equal(t, fmt.Sprint(newest), r.chat(t, r.Client, `{"message":"hi"}`, 200, now...).Session.String())
	r.Scenarios(t, []apitest.Scenario{
		{Name: "missing", Post: path, Body: `{"question":"x"}`, Status: 400, JSON: `{"text":["This field is required."]}`},
		{Name: "long", Post: path, Body: `{"text":"` + strings.Repeat("x", 2049) + `"}`, Status: 400, JSON: `{"text":["Ensure this field has no more than 2048 characters."]}`},
	})
}

func TestAskLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 31 {
		res := r.Do(t, "POST", "/api/v1/mentor/sessions/ask/", `{"text":"x"}`)
		if i < 30 {
			require.Equal(t, 201, res.Status)
			continue
		}
		require.Equal(t, 429, res.Status)
		require.NotEmpty(t, res.Header.Get("Retry-After"))
	}
}

func TestAsksAtOnceAreAllRemembered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() { r.Do(t, "POST", "/api/v1/mentor/sessions/ask/", fmt.Sprintf(`{"text":"%d"}`, i)) })
	}
	wait.Wait()
	require.Equal(t, 8, r.count(t, "SELECT jsonb_array_length(notes->'entries') FROM mentor_memories"))
}

func TestTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path = "/api/v1/mentor/tasks/"
	past := `{"due_date":["Due date cannot be in the past"]}`
	var made struct {
		ID     json.Number
		Status string
	}
	res := r.Do(t, "POST", path, `{"task":" Walk ","due_date":"2026-11-25"}`)
	require.Equal(t, 201, res.Status)
	res.JSON(t, &made)
	require.True(t, strings.HasPrefix(res.Body, `{"id":`+made.ID.String()+`,"task":"Walk","due_date":"2026-11-25","status":"pending","created_at":"`), res.Body)
	item := path + made.ID.String() + "/"
	r.Scenarios(t, []apitest.Scenario{
		{Name: "everything at once", Post: path, Body: `{"status":"lost"}`, Status: 400, JSON: `{"task":["This field is required."],"due_date":["This field is required."],"status":["\"lost\" is not a valid choice."]}`},
		{Name: "yesterday", Post: path, Body: `{"task":"x","due_date":"2026-11-24"}`, Status: 400, JSON: past},
		{Name: "long", Post: path, Body: `{"task":"` + strings.Repeat("x", 256) + `","due_date":"2026-11-25"}`, Status: 400, JSON: `{"task":["Ensure this field has no more than 255 characters."]}`},
		{Name: "change", Patch: item, Body: `{"status":"completed"}`, Status: 200},
		{Name: "change nothing", Patch: item, Body: `{}`, Status: 200},
		{Name: "change to the past", Patch: item, Body: `{"due_date":"2026-11-24"}`, Status: 400, JSON: past},
		{Name: "replace", Put: item, Body: `{"task":"Run","due_date":"2026-12-01"}`, Status: 200},
		{Name: "replace needs all", Put: item, Body: `{"task":"Run"}`, Status: 400, JSON: `{"due_date":["This field is required."]}`},
		{Name: "null", Patch: item, Body: `{"task":null}`, Status: 400, JSON: `{"task":["This field may not be null."]}`},
		{Name: "no such", Get: path + "5/", Status: 404, JSON: `{"detail":"No DailyTask matches the given query."}`},
		{Name: "no id", Get: path + "x/", Status: 404},
	})
	require.Contains(t, r.Do(t, "GET", item, "").Body, `"task":"Run","due_date":"2026-12-01","status":"completed"`)

	// A day without a task gets one, once.
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() { require.Equal(t, 200, r.Do(t, "GET", path+"today/", "").Status) })
	}
	wait.Wait()
	require.Equal(t, 2, r.count(t, "SELECT count(*) FROM mentor_tasks"))
	var suggested struct{ ID json.Number }
	r.Do(t, "GET", path+"today/", "").JSON(t, &suggested)
	// Moved away, it makes room for another; moved back, both stay.
	moved := path + suggested.ID.String() + "/"
	require.Equal(t, 200, r.Do(t, "PATCH", moved, `{"due_date":"2026-11-30"}`).Status)
	require.Equal(t, 200, r.Do(t, "GET", path+"today/", "").Status)
	require.Equal(t, 200, r.Do(t, "PATCH", moved, `{"due_date":"2026-11-25"}`).Status)
	require.Equal(t, 3, r.count(t, "SELECT count(*) FROM mentor_tasks"))
	r.clock.Set(r.clock.Now().Add(48 * time.Hour))
	require.Contains(t, r.Do(t, "GET", path+"today/", "").Body, `"due_date":"2026-11-27"`)

	require.Equal(t, 204, r.Do(t, "DELETE", item, "").Status)
	require.Equal(t, 404, r.Do(t, "DELETE", item, "").Status)
	require.Equal(t, 3, strings.Count(r.Do(t, "GET", path, "").Body, `"task":`))
}

func TestProfile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path = "/api/v1/mentor/profile/"
	require.Equal(t, `{"next":null,"previous":null,"results":[]}`, r.Do(t, "GET", path, "").Body)
	var made struct{ ID json.Number }
	res := r.Do(t, "POST", path, `{"tone":"direct"}`)
	require.Equal(t, 201, res.Status)
	res.JSON(t, &made)
	id := made.ID.String()
	require.Equal(t, `{"id":`+id+`,"tone":"direct","level":"basic","preferences":{}}`, res.Body)
	r.Scenarios(t, []apitest.Scenario{
		{Name: "again", Post: path, Body: `{"preferences":{"a":[1,null]}}`, Status: 200, JSON: `{"id":` + id + `,"tone":"direct","level":"basic","preferences":{"a":[1,null]}}`},
		{Name: "list", Get: path, Status: 200, JSON: `{"next":null,"previous":null,"results":[{"id":` + id + `,"tone":"direct","level":"basic","preferences":{"a":[1,null]}}]}`},
		{Name: "up", Get: path + "?ordering=created_at", Status: 200, JSON: `{"next":null,"previous":null,"results":[{"id":` + id + `,"tone":"direct","level":"basic","preferences":{"a":[1,null]}}]}`},
		{Name: "show", Get: path + id + "/", Status: 200},
		{Name: "change", Patch: path + id + "/", Body: `{"level":"deep"}`, Status: 200, JSON: `{"id":` + id + `,"tone":"direct","level":"deep","preferences":{"a":[1,null]}}`},
		{Name: "replace", Put: path + id + "/", Body: `{"tone":"soft","preferences":[]}`, Status: 200, JSON: `{"id":` + id + `,"tone":"soft","level":"deep","preferences":[]}`},
		{Name: "long", Post: path, Body: `{"tone":"` + strings.Repeat("x", 33) + `","level":""}`, Status: 400, JSON: `{"tone":["Ensure this field has no more than 32 characters."],"level":["This field may not be blank."]}`},
		{Name: "delete", Delete: path + id + "/", Status: 204},
		{Name: "gone", Get: path + id + "/", Status: 404, JSON: `{"detail":"No MentorProfile matches the given query."}`},
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, `INSERT INTO mentor_sessions (id, user_id, origin, question, created_at) SELECT i, 1001, 'ask', 'q' || i, '2026-01-01'::timestamptz + (i/2) * interval '1 second' FROM generate_series(1, 5) i`)
	r.exec(t, `INSERT INTO mentor_messages (id, session_id, user_id, role, content, created_at) SELECT i, 1, 1001, 'user', 'm' || i, '2026-01-01'::timestamptz + (i/2) * interval '1 second' FROM generate_series(1, 5) i`)
	r.exec(t, `INSERT INTO mentor_tasks (id, user_id, task, due_date, created_at) SELECT i, 1001, 't' || i, '2026-01-01', '2026-01-01'::timestamptz + (i/2) * interval '1 second' FROM generate_series(1, 5) i`)
	for path, field := range map[string]string{"sessions/": "question", "history/": "content", "tasks/": "task"} {
		for ordering, want := range map[string]string{"": "54321", "created_at": "12345", "nonsense": "54321"} {
			var got, back string
			next := "/api/v1/mentor/" + path + "?page_size=2&ordering=" + ordering
			var previous *string
			for pages := 0; next != ""; pages++ {
				require.Less(t, pages, 4)
				var page struct {
					Next, Previous *string
					Results        []map[string]any
				}
				r.Do(t, "GET", strings.TrimPrefix(next, r.Base), "").JSON(t, &page)
				for _, row := range page.Results {
					got += row[field].(string)[1:]
				}
				next = ""
				if page.Next != nil {
					next = *page.Next
				}
				previous = page.Previous
			}
			require.Equal(t, want, got, path)
			require.NotNil(t, previous)
			var page struct{ Results []map[string]any }
			r.Do(t, "GET", strings.TrimPrefix(*previous, r.Base), "").JSON(t, &page)
			for _, row := range page.Results {
				back += row[field].(string)[1:]
			}
			require.Equal(t, want[2:4], back, path)
		}
		require.Equal(t, `{"detail":"Invalid cursor"}`, r.Do(t, "GET", "/api/v1/mentor/"+path+"?cursor=x", "").Body)
	}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fill := func(first, last int, age string) {
		r.exec(t, `INSERT INTO mentor_sessions (id, user_id, origin, question, answer, started_at, created_at, updated_at)
			SELECT i, i, 'ask', 'q', 'a', now() - $1::interval, now() - $1::interval, now() - $1::interval FROM generate_series($2::int, $3::int) i`, age, first, last)
		r.exec(t, `INSERT INTO mentor_messages (id, session_id, user_id, role, content, created_at)
			SELECT i, i, i, 'user', 'x', now() - $1::interval FROM generate_series($2::int, $3::int) i`, age, first, last)
	}
	fill(1, 2500, "91 days")
	fill(3001, 3010, "89 days")
	// A long conversation keeps its session and what is new in it.
	r.exec(t, `INSERT INTO mentor_messages (id, session_id, user_id, role, content) VALUES (9999, 1, 1, 'user', 'new')`)
	entry := func(text, age string) string {
		return `{"question":"` + text + `","answer":"a","sentiment":"neutral","timestamp":"` + r.clock.Now().Add(-duration(t, age)).Format(time.RFC3339) + `"}`
	}
	for user, entries := range map[int]string{1: entry("old", "2200h") + "," + entry("young", "1h"), 2: entry("old", "2200h"), 3: entry("young", "1h")} {
		r.exec(t, `INSERT INTO mentor_memories (user_id, notes, last_summary, oldest_at) SELECT $1::bigint, n, 'old', (n->'entries'->0->>'timestamp')::timestamptz FROM (SELECT $2::jsonb AS n) x`, user, `{"entries":[`+entries+`]}`)
	}
	r.exec(t, `INSERT INTO mentor_streams (user_id, fingerprint, question_id, session_id, asked_at) VALUES (1, 'x', 1, 1, now() - interval '2 hours'), (1, 'y', 1, 1, now())`)
	r.clock.Set(time.Now())
	for range 2 { // the second finds nothing
		got, err := r.svc.Purge(t.Context(), 90*24*time.Hour)
		require.NoError(t, err)
		_ = got
	}
	require.Equal(t, 11, r.count(t, "SELECT count(*) FROM mentor_messages"))
	require.Equal(t, 11, r.count(t, "SELECT count(*) FROM mentor_sessions"))
	require.Equal(t, 1, r.count(t, "SELECT count(*) FROM mentor_streams"))
	require.Equal(t, 2500*10000+2499, r.count(t, "SELECT messages * 10000 + sessions FROM mentor_purges"), "only counts stay")
	require.Equal(t, 2, r.count(t, "SELECT count(*) FROM mentor_memories"))
	require.Equal(t, 0, r.count(t, "SELECT count(*) FROM mentor_memories WHERE user_id = 1 AND (notes::text LIKE '%old%' OR last_summary LIKE '%old%')"))
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	require.NoError(t, err)
	return d
}

func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []*apitest.Client{r.Client, r.As(bob)} {
		r.chat(t, c, `{"message":"x"}`, 200, now...)
		r.fill(t, c)
	}
	require.NoError(t, r.db.Pool.Tx(t.Context(), func(tx database.Tx) error { return r.svc.Forget(t.Context(), tx, 1001) }))
	for _, table := range []string{"sessions", "messages", "streams", "tasks", "profiles", "memories"} {
		require.Equal(t, 0, r.count(t, "SELECT count(*) FROM mentor_"+table+" WHERE user_id = 1001"), table)
		require.Positive(t, r.count(t, "SELECT count(*) FROM mentor_"+table+" WHERE user_id = 1002"), table)
	}
}

// fill leaves a row in every table for c.
func (r *rig) fill(t *testing.T, c *apitest.Client) {
	t.Helper()
	openStream(t, c, streamPath("y", "")).rest()
	for path, body := range map[string]string{"daily/entry/": `{"text":"x"}`, "profile/": `{}`, "sessions/ask/": `{"text":"x"}`} {
		require.Less(t, c.Do(t, "POST", "/api/v1/mentor/"+path, body).Status, 300)
	}
	require.Equal(t, 200, c.Do(t, "GET", "/api/v1/mentor/tasks/today/", "").Status)
}

// TestQueriesWalkIndexes asks the planner, over many rows, whether lists and
// the hot statements find their rows without sorting or reading whole tables.
func TestQueriesWalkIndexes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, sql := range []string{
		`INSERT INTO mentor_sessions (id, user_id, origin, mode, date, started_at, created_at) SELECT i, i % 200, CASE WHEN i % 3 = 0 THEN 'journal' ELSE 'ask' END, CASE WHEN i % 3 = 0 THEN 'daily' ELSE 'daily_mentor' END, '2020-01-01'::date + i, now() - i * interval '1 minute', now() - i * interval '1 minute' FROM generate_series(1, 20000) i`,
		`INSERT INTO mentor_messages (id, session_id, user_id, role, content, task_id, request_id, task_version, created_at) SELECT i, i % 5000 + 1, (i % 5000 + 1) % 200, 'user', 'x', gen_random_uuid(), i, 'v1', now() - (60000 - i) * interval '1 minute' FROM generate_series(1, 60000) i`,
		`INSERT INTO mentor_tasks (id, user_id, task, due_date, created_at) SELECT i, i % 200, 't', '2026-01-01'::date + i % 100, now() - i * interval '1 minute' FROM generate_series(1, 20000) i`,
	} {
		r.exec(t, sql)
	}
	_, err := r.db.Direct.Exec(t.Context(), "ANALYZE mentor_sessions, mentor_messages, mentor_tasks")
	require.NoError(t, err)
	at := time.Now()
	for _, q := range []struct {
		index, sql string
		args       []any
	}{
		{"mentor_sessions_user", `SELECT id, question FROM mentor_sessions WHERE user_id = $1 AND (created_at, id) < ($2::timestamptz, $3::bigint) ORDER BY created_at DESC, id DESC LIMIT 21`, []any{7, at, 1}},
		{"mentor_sessions_current", `SELECT id FROM mentor_sessions s WHERE s.user_id = $1 AND s.mode = 'daily_mentor' AND s.language = 'en' AND s.active AND s.origin <> 'journal' ORDER BY s.started_at DESC, s.id DESC LIMIT 1`, []any{7}},
		{"mentor_sessions_journal", `SELECT id FROM mentor_sessions WHERE user_id = $1 AND origin = 'journal' ORDER BY date DESC LIMIT 7`, []any{7}},
		{"mentor_messages_user", `SELECT id, content FROM mentor_messages WHERE user_id = $1 AND (created_at, id) < ($2::timestamptz, $3::bigint) ORDER BY created_at DESC, id DESC LIMIT 21`, []any{7, at, 1}},
		{"mentor_messages_session", `SELECT id, content FROM mentor_messages WHERE session_id = $1 ORDER BY created_at DESC, id DESC LIMIT 10`, []any{7}},
		{"mentor_messages_answer", `SELECT id FROM mentor_messages WHERE request_id = $1 AND task_version = 'v1'`, []any{7}},
		{"mentor_messages_task", `SELECT id FROM mentor_messages WHERE task_id = $1 AND user_id = 7`, []any{"00000000-0000-0000-0000-000000000000"}},
		{"mentor_messages_created", `SELECT id FROM mentor_messages WHERE created_at < $1 LIMIT 1000`, []any{at.Add(-59000 * time.Minute)}},
		{"mentor_tasks_user", `SELECT id, task FROM mentor_tasks WHERE user_id = $1 AND (created_at, id) < ($2::timestamptz, $3::bigint) ORDER BY created_at DESC, id DESC LIMIT 21`, []any{7, at, 1}},
		{"mentor_tasks_due", `SELECT id, task FROM mentor_tasks WHERE user_id = $1 AND due_date = $2::date ORDER BY created_at DESC, id DESC LIMIT 1`, []any{7, at}},
	} {
		rows, err := r.db.Direct.Query(t.Context(), "EXPLAIN "+q.sql, q.args...)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		plan := strings.Join(lines, "\n")
		require.Contains(t, plan, q.index, q.sql)
		require.NotContains(t, plan, "Seq Scan", q.sql)
		require.NotContains(t, plan, "Sort", q.sql)
	}
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	doc := r.As("").Do(t, "GET", "/api/schema/", "").Body
	for _, want := range []string{"mentor/chat/", "mentor/stream/", "text/event-stream", "X-LLM-Key", "mentor_daily_entry"} {
		require.Contains(t, doc, want)
	}
	require.NotContains(t, doc, "mentor/natal")
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.limits = httpapi.Limits{Scopes: map[string]string{"mentor": "1/h"}} })
	for _, row := range []struct{ method, path, body string }{
		{"POST", "chat/", `{}`}, {"GET", "stream/", ""}, {"POST", "daily/entry/", `{}`}, {"GET", "sessions/", ""},
		{"POST", "sessions/ask/", `{}`}, {"GET", "sessions/1/", ""}, {"GET", "profile/", ""}, {"POST", "profile/", `{"tone":""}`},
	} {
		r.Do(t, row.method, "/api/v1/mentor/"+row.path, row.body)
		require.Equal(t, 429, r.Do(t, row.method, "/api/v1/mentor/"+row.path, row.body).Status, row.path)
	}
	for _, path := range []string{"tasks/", "tasks/today/", "daily/history/", "history/"} {
		r.Do(t, "GET", "/api/v1/mentor/"+path, "")
		require.Equal(t, 200, r.Do(t, "GET", "/api/v1/mentor/"+path, "").Status, path)
	}
}
