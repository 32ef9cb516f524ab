package realtimetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/loopback"
	"selflink/web/chromium"
)

const publishToken = "a-token-for-publishing-from-the-test"

// server is the built appliance on one data directory and one address, which
// it keeps over restarts.
type server struct {
	t    *testing.T
	bin  string
	addr string
	env  []string
	log  string

	cmd *exec.Cmd
}

// startServer builds the command and starts it; pages of origin may use it.
func startServer(t *testing.T, origin string) *server {
	dir, err := os.MkdirTemp("", "selflink-realtime-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755)) // Postgres runs as a user of its own
	addr := loopback.Address(t)
	s := &server{t: t, bin: filepath.Join(dir, "selflink"), addr: addr, log: filepath.Join(dir, "log")}
	s.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"SELFLINK_DATA_DIR=" + filepath.Join(dir, "data"),
		"SELFLINK_ENV_FILE=/dev/null",
		"SELFLINK_LISTEN=" + addr,
		"CORS_ALLOWED_ORIGINS=" + origin,
		"REALTIME_PUBLISH_TOKEN=" + publishToken,
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the server's log and data are kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	build := exec.Command("go", "build", "-o", s.bin, "selflink/cmd/selflink")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	s.start()
	return s
}

func (s *server) url() string { return "http://" + s.addr }

func (s *server) start() {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer log.Close()
	s.cmd = exec.Command(s.bin, "serve")
	s.cmd.Env = s.env
	s.cmd.Stdout, s.cmd.Stderr = log, log
	require.NoError(s.t, s.cmd.Start())
	require.Eventually(s.t, func() bool {
		response, err := probe.Get(s.url() + "/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, chromium.Patience, 20*time.Millisecond, "the server did not become ready")
}

// terminate stops the process as an operator would.
func (s *server) terminate() {
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.cmd.Wait()
	s.cmd = nil
	require.NoError(s.t, err, "SIGTERM must end the process in order")
}

// kill ends the process without a word to anybody.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// probe never keeps a connection that a killed process may have left dead.
var probe = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *server) post(t *testing.T, path, bearer string, body any, status int) map[string]any {
	text, err := json.Marshal(body)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url()+path, bytes.NewReader(text))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := probe.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answered, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, status, response.StatusCode, string(answered))
	var answer map[string]any
	require.NoError(t, json.Unmarshal(answered, &answer), string(answered))
	return answer
}

// register makes an account and returns its access token.
func (s *server) register(t *testing.T, name string) string {
	answer := s.post(t, "/api/v1/auth/register/", "",
		map[string]any{"email": name + "@example.com", "password": "correct-horse", "name": name}, http.StatusCreated)
	token, ok := answer["token"].(string)
	require.True(t, ok, answer)
	return token
}

// gifts publishes events with these numbers, see giftID, on a channel.
func (s *server) gifts(t *testing.T, channel string, numbers ...int) {
	for _, n := range numbers {
		payload := json.RawMessage(fmt.Sprintf(`{"type":"gift.received","id":%s}`, giftID(n)))
		answer := s.post(t, "/internal/publish", publishToken, map[string]any{"channel": channel, "payload": payload}, http.StatusOK)
		require.Equal(t, "ok", answer["status"])
	}
}

// giftID gives ids that differ in digits which a JavaScript number loses.
func giftID(n int) string { return fmt.Sprint(382707615316054000 + n) }
