package dashboardtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/web/chromium"
)

// server is the built appliance on a data directory of its own.
type server struct {
	url      string // http://127.0.0.1:port
	firstRun string // the link that makes the first operator
	data     string // its data directory

	streams []io.Closer // held open until the end
}

// needPages skips the test where the pages were not built. CI builds them, so
// there their absence is a failure.
func needPages(t *testing.T) {
	for _, file := range []string{"dist/dashboard/index.html", "node_modules/axe-core/axe.min.js"} {
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(file))); err == nil {
			continue
		}
		const missing = "the dashboard is not built, so nothing was tested: run make web"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
}

// startServer builds the command and starts it with the model at modelURL. It
// ends, with its data, when the test does.
func startServer(t *testing.T, modelURL string) *server {
	dir, err := os.MkdirTemp("", "selflink-dashboard-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755)) // Postgres runs as a user of its own
	bin := filepath.Join(dir, "selflink")
	out, err := exec.Command("go", "build", "-o", bin, "selflink/cmd/selflink").CombinedOutput()
	require.NoError(t, err, string(out))

	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(bin, "serve", "--json")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"SELFLINK_DATA_DIR=" + filepath.Join(dir, "data"),
		"SELFLINK_ENV_FILE=/dev/null",
		"SELFLINK_LISTEN=127.0.0.1:0",
		"MENTOR_LLM_BASE_URL=" + modelURL,
		"MENTOR_CHAT_WAIT=0",          // a chat is a job, and its answer is not waited for
		"THROTTLE_MENTOR_RATE=1000/m", // all questions come from one address
		"THROTTLE_ANON_RATE=1000/m",
		"STRIPE_API_KEY=sk_test_that_nobody_asks",
		"STRIPE_WEBHOOK_SECRET=" + webhookSecret,
	}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the server's log and data are kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	var said struct {
		Addresses []string `json:"addresses"`
		FirstRun  string   `json:"first_run"`
	}
	require.NoError(t, json.NewDecoder(stdout).Decode(&said), "the server did not become ready; its log is in %s", dir)
	require.NotEmpty(t, said.Addresses)
	require.NotEmpty(t, said.FirstRun, "a new appliance has no operator")
	s := &server{url: "http://" + said.Addresses[0], firstRun: said.FirstRun, data: filepath.Join(dir, "data")}
	t.Cleanup(func() {
		for _, stream := range s.streams {
			_ = stream.Close()
		}
	})
	return s
}

// client gives up with the patience of the tests.
var client = &http.Client{Timeout: chromium.Patience}

// ask sends a request of the product's API and returns the answer, decoded, and
// the id by which the server knows the request.
func (s *server) ask(t *testing.T, method, path, bearer string, body any, status int) (answer map[string]any, id string) {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(text))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answered, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, status, response.StatusCode, string(answered))
	if len(answered) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(answered))
		decoder.UseNumber() // ids have more digits than a float
		require.NoError(t, decoder.Decode(&answer), string(answered))
	}
	return answer, response.Header.Get("X-Request-Id")
}

// register makes an account and returns its access token.
func (s *server) register(t *testing.T, email, name string) (token string) {
	t.Helper()
	answer, _ := s.ask(t, http.MethodPost, "/api/v1/auth/register/", "",
		map[string]any{"email": email, "password": password, "name": name}, http.StatusCreated)
	token, ok := answer["token"].(string)
	require.True(t, ok, answer)
	return token
}

// chat asks the mentor something, in a job, and returns the job's id.
func (s *server) chat(t *testing.T, bearer, message string) (job string) {
	t.Helper()
	answer, _ := s.ask(t, http.MethodPost, "/api/v1/mentor/chat/", bearer, map[string]any{"message": message}, http.StatusAccepted)
	job, ok := answer["task_id"].(string)
	require.True(t, ok, answer)
	return job
}

// askNow asks the mentor something and waits for the answer, in the request;
// it returns the request's id.
func (s *server) askNow(t *testing.T, bearer, message string, status int) (id string) {
	t.Helper()
	_, id = s.ask(t, http.MethodPost, "/api/v1/mentor/chat/?async=false", bearer, map[string]any{"message": message}, status)
	require.NotEmpty(t, id)
	return id
}
