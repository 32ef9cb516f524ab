package mentor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/broker"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/jobs"
	"selflink/appliance/llm"
	"selflink/appliance/llm/llmtest"
	"selflink/services/mentor"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const (
	ann = "1001"
	bob = "1002"
)

// names takes a token for the id of its user.
type names struct{}

func (names) Authenticate(_ context.Context, header string) (auth.Principal, error) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return auth.Principal{}, nil
	}
	id, err := strconv.ParseInt(token, 10, 64)
	if err != nil {
		return auth.Principal{}, httpapi.InvalidToken("Token is invalid or expired")
	}
	return auth.Principal{UserID: id}, nil
}

// counter makes ids as long as real ones.
type counter struct{ n atomic.Int64 }

func (c *counter) Next() int64 { return 382706401237012480 + c.n.Add(1) }

// people know Ann and nobody else.
type people struct{}

func (people) Person(_ context.Context, user int64) (mentor.Person, error) {
	if fmt.Sprint(user) != ann {
		return mentor.Person{}, nil
	}
	return mentor.Person{
		Name: "Ann", Handle: "ann", Bio: strings.Repeat("b", 300), Locale: "en-US",
		BirthDate: "1990-05-04", BirthTime: "07:30", BirthPlace: "Tbilisi", Facts: []string{"Sun sign: Taurus"},
	}, nil
}

// clock is a time that moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// rig is a mentor over HTTP, with a database, a broker, a job engine and a
// model of its own.
type rig struct {
	*apitest.Client
	db     *databasetest.DB
	engine *jobs.Engine
	svc    *mentor.Service
	model  *llmtest.Server
	clock  *clock
	api    *httpapi.API
	log    *syncBuffer
	deps   mentor.Deps
}

// syncBuffer is a log that many write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// choices change what a rig is made of before it is.
type choices struct {
	deps   mentor.Deps
	llm    llm.Options
	limits httpapi.Limits
	idle   bool // the job engine does not start
}

func newRig(t testing.TB, choose ...func(c *choices)) *rig {
	t.Helper()
	r := &rig{
		db: databasetest.New(t), model: llmtest.New(t), log: &syncBuffer{},
		clock: &clock{now: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)},
	}
	log := slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := choices{llm: llm.Options{Provider: "ollama", BaseURL: r.model.URL, Logger: log}}
	b, err := broker.New(broker.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, b.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, b.Stop(context.Background())) })
	r.engine, err = jobs.New(jobs.Options{DB: r.db.Pool, Broker: b, Queues: map[string]int{mentor.Queue: 8}, Logger: log, Sole: true})
	require.NoError(t, err)
	c.deps = mentor.Deps{MaxTokens: 180, DB: r.db.Pool, IDs: &counter{}, Jobs: r.engine, People: people{}, Clock: r.clock.Now, Log: log}
	for _, f := range choose {
		f(&c)
	}
	model, err := llm.New(c.llm)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	c.deps.Model = model
	r.deps = c.deps
	r.svc, err = mentor.New(c.deps)
	require.NoError(t, err)
	require.NoError(t, r.svc.HandleJobs(r.engine))
	if !c.idle {
		require.NoError(t, r.engine.Start(context.Background()))
	}
	t.Cleanup(func() {
		require.NoError(t, r.engine.Stop(context.Background()))
		require.NoError(t, r.svc.Stop(context.Background()))
		require.NoError(t, r.svc.Stop(context.Background()))
	})
	r.Client = r.serve(t, r.svc, c.limits).As(ann)
	return r
}

// serve gives a client of a server of its own for svc.
func (r *rig) serve(t testing.TB, svc *mentor.Service, limits httpapi.Limits) *apitest.Client {
	t.Helper()
	api, err := httpapi.New(httpapi.Options{
		Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.NewJSONHandler(r.log, nil)), Auth: names{}, Limits: limits,
	})
	require.NoError(t, err)
	svc.Register(api)
	r.api = api
	return apitest.Serve(t, api)
}

// count gives a number from the database.
func (r *rig) count(t testing.TB, sql string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, r.db.Pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}

func (r *rig) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := r.db.Pool.Exec(context.Background(), sql, args...)
	require.NoError(t, err)
}

// messages gives role and text of every message, oldest first.
func (r *rig) messages(t testing.TB) []string {
	t.Helper()
	rows, err := r.db.Pool.Query(context.Background(), "SELECT role || ': ' || content FROM mentor_messages ORDER BY created_at, id")
	require.NoError(t, err)
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		all = append(all, s)
	}
	require.NoError(t, rows.Err())
	return all
}

// reply is any answer of a chat.
type reply struct {
	Session       json.Number `json:"session_id"`
	Mode          string      `json:"mode"`
	MessageID     json.Number `json:"message_id"`
	Task          string      `json:"task_id"`
	StatusURL     string      `json:"task_status_url"`
	Message       string      `json:"message"`
	Reply         string      `json:"reply"`
	MentorReply   string      `json:"mentor_reply"`
	UserMessage   json.Number `json:"user_message_id"`
	MentorMessage json.Number `json:"mentor_message_id"`
}

// chat asks by POST.
func (r *rig) chat(t testing.TB, c *apitest.Client, body string, status int, headers ...string) reply {
	t.Helper()
	res := c.Do(t, "POST", "/api/v1/mentor/chat/", body, headers...)
	require.Equal(t, status, res.Status, res.Body)
	var out reply
	if status < 300 {
		res.JSON(t, &out)
	}
	return out
}

// finished waits for the end of a task's job.
func (r *rig) finished(t testing.TB, task string) jobs.State {
	t.Helper()
	id, err := parseID(task)
	require.NoError(t, err)
	state, err := r.engine.Wait(t.Context(), id)
	require.NoError(t, err)
	return state
}

// events is an open stream.
type events struct {
	t    testing.TB
	res  *http.Response
	scan *bufio.Scanner
}

type event struct {
	Event   string      `json:"event"`
	Session json.Number `json:"session_id"`
	Mode    string      `json:"mode"`
	Delta   string      `json:"delta"`
	Detail  string      `json:"detail"`
}

// streamPath is the address of a stream; more is further query.
func streamPath(message, more string) string {
	return "/api/v1/mentor/stream/?message=" + url.QueryEscape(message) + more
}

func openStream(t testing.TB, c *apitest.Client, path string) *events {
	t.Helper()
	res := c.Open(t, "GET", path, "", "Accept", "text/event-stream")
	t.Cleanup(func() { _ = res.Body.Close() })
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	return &events{t: t, res: res, scan: bufio.NewScanner(res.Body)}
}

// line gives the next line that is not empty; ok is false at the end.
func (e *events) line() (line string, ok bool) {
	for e.scan.Scan() {
		if e.scan.Text() != "" {
			return e.scan.Text(), true
		}
	}
	return "", false
}

// next gives the next event; it is zero at the end of the stream.
func (e *events) next() event {
	e.t.Helper()
	for {
		line, ok := e.line()
		if !ok {
			return event{}
		}
		if strings.HasPrefix(line, ":") {
			continue
		}
		data, ok := strings.CutPrefix(line, "data: ")
		require.True(e.t, ok, line)
		var ev event
		require.NoError(e.t, json.Unmarshal([]byte(data), &ev))
		return ev
	}
}

// rest reads to the end and gives the text and the last event.
func (e *events) rest() (text string, last event) {
	e.t.Helper()
	for {
		ev := e.next()
		if ev.Event == "" {
			return text, last
		}
		text += ev.Delta
		last = ev
	}
}

func (e *events) close() {
	_, _ = io.CopyN(io.Discard, e.res.Body, 0)
	_ = e.res.Body.Close()
}
