//go:build crash

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	kills = flag.Int("kills", 30, "how many kills")
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the order and moments of the kills")
	bin   = flag.String("bin", "", "path of the selflink binary")
)

// ledger is what the clients were promised: answers that arrived whole.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]string // email → access token
	tasks    []task
	unclear  int // requests without an answer: they may or may not have happened
}

type task struct {
	token, id, text string
	message         json.Number
}

func (l *ledger) failed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unclear++
}

// TestCrash sends registrations and questions without pause, kills what it can
// reach, and then asks for every promise back.
func TestCrash(t *testing.T) {
	t.Logf("seed %d, %d kills (repeat with: make crash SEED=%d KILLS=%d)", *seed, *kills, *seed, *kills)
	require.NotEmpty(t, *bin, "-bin is needed: run make crash")
	random := rand.New(rand.NewPCG(*seed, 1))

	model := httptest.NewServer(http.HandlerFunc(slowModel))
	t.Cleanup(model.Close)
	s := newServer(t, *bin,
		"MENTOR_LLM_PROVIDER=ollama", "MENTOR_LLM_BASE_URL="+model.URL, "MENTOR_CHAT_WAIT=0", "JWT_ACCESS_MINUTES=120",
		"THROTTLE_IP_RATE=0", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0", "THROTTLE_MENTOR_RATE=0")
	t.Logf("first start: ready in %s", s.start().Round(time.Millisecond))

	client := &api{base: "http://" + s.addr, http: &http.Client{Timeout: 10 * time.Second}}
	book := &ledger{accounts: map[string]string{}}
	load := newGroup()
	var serial sequence
	for range 2 {
		load.goLoop(func(ctx context.Context) { book.register(ctx, client, &serial) })
	}
	for range 6 {
		var token string
		load.goLoop(func(ctx context.Context) {
			if token == "" {
				token = book.register(ctx, client, &serial)
				return
			}
			book.ask(ctx, client, token, &serial)
		})
	}

	wipeAt := random.IntN(*kills)
	slowest := time.Duration(0)
	for i := range *kills {
		<-time.After(time.Duration(200+random.IntN(1300)) * time.Millisecond)
		var took time.Duration
		victim := []string{"process", "process", "postgres", "pgbouncer"}[random.IntN(4)]
		if i == wipeAt {
			victim = "process and broker directory"
		}
		switch victim {
		case "postgres", "pgbouncer":
			s.killChild(victim)
			took = s.awaitReady(victim)
		default:
			s.kill()
			if i == wipeAt {
				broker := filepath.Join(s.data, "broker")
				require.DirExists(t, broker)
				require.NoError(t, os.RemoveAll(broker))
			}
			took = s.start()
		}
		slowest = max(slowest, took)
		t.Logf("kill %2d/%d: %-28s ready again in %s", i+1, *kills, victim, took.Round(time.Millisecond))
	}
	load.stop()

	t.Logf("promised: %d accounts, %d answers; %d requests ended without an answer", len(book.accounts), len(book.tasks), book.unclear)
	require.NotEmpty(t, book.accounts)
	require.NotEmpty(t, book.tasks)
	book.requireAccounts(t, client)
	book.requireAnswers(t, client)
	t.Logf("kept: all; slowest ready again %s", slowest.Round(time.Millisecond))
	t.Logf("orderly stop in %s", s.terminate().Round(time.Millisecond))
}

// slowModel speaks Ollama's streaming protocol and takes long enough for
// kills to fall into generations.
func slowModel(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for _, piece := range []string{"Breathe ", "and ", "begin."} {
		fmt.Fprintf(w, "{\"response\":%q,\"done\":false}\n", piece)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(15 * time.Millisecond):
		}
	}
	fmt.Fprintln(w, `{"response":"","done":true}`)
}

// sequence numbers what the clients send, so that every text is unique.
type sequence struct {
	mu sync.Mutex
	n  int
}

func (s *sequence) next() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return s.n
}

// register opens an account and returns its token, or nothing when no answer
// arrived.
func (l *ledger) register(ctx context.Context, client *api, serial *sequence) string {
	email := fmt.Sprintf("crash%d@example.com", serial.next())
	var answer struct{ Token string }
	status, err := client.call(ctx, "POST", "/api/v1/auth/register/", "", map[string]string{"email": email, "password": "crash-pass-1", "name": "Crash Test"}, &answer)
	if err != nil || status != http.StatusCreated {
		l.failed()
		pause(ctx)
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts[email] = answer.Token
	return answer.Token
}

// ask sends one question and remembers the promise.
func (l *ledger) ask(ctx context.Context, client *api, token string, serial *sequence) {
	text := fmt.Sprintf("question %d", serial.next())
	var answer struct {
		TaskID    string      `json:"task_id"`
		MessageID json.Number `json:"message_id"`
	}
	status, err := client.call(ctx, "POST", "/api/v1/mentor/chat/", token, map[string]string{"message": text}, &answer)
	if err != nil || status != http.StatusAccepted {
		l.failed()
		pause(ctx)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks = append(l.tasks, task{token: token, id: answer.TaskID, text: text, message: answer.MessageID})
}

// pause keeps a client from spinning against a server that is down.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

// requireAccounts asks for every account with the token of its registration.
func (l *ledger) requireAccounts(t *testing.T, client *api) {
	lost := 0
	for email, token := range l.accounts {
		var me struct{ Email string }
		status, err := client.call(t.Context(), "GET", "/api/v1/users/me/", token, nil, &me)
		require.NoError(t, err)
		if status != http.StatusOK || me.Email != email {
			lost++
			t.Errorf("account %s is lost: status %d", email, status)
		}
	}
	t.Logf("accounts lost: %d of %d", lost, len(l.accounts))
}

// historyRow is one message as the API lists it.
type historyRow struct {
	ID      json.Number
	Role    string
	Content string
	Meta    struct {
		TaskID    string      `json:"task_id"`
		RequestID json.Number `json:"request_id"`
	}
}

// requireAnswers waits until every promised task is ready and reads every
// history: each question once, each answer once.
func (l *ledger) requireAnswers(t *testing.T, client *api) {
	deadline := time.Now().Add(time.Minute)
	for _, task := range l.tasks {
		for {
			var state struct{ Status string }
			status, err := client.call(t.Context(), "GET", "/api/v1/mentor/task-status/"+task.id+"/", task.token, nil, &state)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status, "task %s is unknown", task.id)
			if state.Status == "ready" {
				break
			}
			require.True(t, time.Now().Before(deadline), "task %s stays %s", task.id, state.Status)
			<-time.After(20 * time.Millisecond)
		}
	}

	questions, answers, requests := map[string]int{}, map[string]int{}, map[string]int{}
	tokens := map[string]bool{}
	for _, task := range l.tasks {
		tokens[task.token] = true
	}
	for token := range tokens {
		for path := "/api/v1/mentor/history/?page_size=100"; path != ""; {
			var page struct {
				Next    *string
				Results []historyRow
			}
			status, err := client.call(t.Context(), "GET", path, token, nil, &page)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status)
			for _, row := range page.Results {
				if row.Role == "user" {
					questions[row.Content]++
					continue
				}
				answers[row.Meta.TaskID]++
				requests[row.Meta.RequestID.String()]++
			}
			path = ""
			if page.Next != nil {
				path = (*page.Next)[len(client.base):]
			}
		}
	}
	lost, doubled := 0, 0
	for _, task := range l.tasks {
		if questions[task.text] == 0 || answers[task.id] == 0 {
			lost++
			t.Errorf("task %s: %d questions, %d answers", task.id, questions[task.text], answers[task.id])
		}
	}
	for _, counts := range []map[string]int{questions, answers, requests} {
		for key, n := range counts {
			if n > 1 {
				doubled++
				t.Errorf("%s stands %d times", key, n)
			}
		}
	}
	t.Logf("answers lost: %d of %d; duplicated: %d", lost, len(l.tasks), doubled)
}

// api is a small JSON client.
type api struct {
	base string
	http *http.Client
}

func (c *api) call(ctx context.Context, method, path, token string, body, answer any) (int, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, err
	}
	return response.StatusCode, json.NewDecoder(response.Body).Decode(answer)
}
