package nodes

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database/databasetest"
	"selflink/appliance/loopback"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const (
	// patience bounds every wait of these tests. It is no promise about
	// anything: a healthy run needs a fraction of it.
	patience = 60 * time.Second

	// poll is the time between two looks at something that tells nobody when
	// it changes.
	poll = 20 * time.Millisecond

	publishToken = "a-token-for-publishing-from-the-test"
)

// node is one process of the built command, on an address and a data directory
// that it keeps over restarts.
type node struct {
	name string
	bin  string
	addr string
	env  []string
	log  string
	http *http.Client

	cmd *exec.Cmd
}

// newNodes builds the command and starts two processes of it on the database
// that open gives the addresses of, through a pooler and direct. It returns when
// they are joined.
func newNodes(t testing.TB, open func() (pooled, direct string), settings ...string) (a, b *node) {
	t.Helper()
	dir, err := os.MkdirTemp("", "selflink-nodes-")
	require.NoError(t, err)
	bin := filepath.Join(dir, "selflink")
	built := make(chan error, 1)
	go func() { built <- build(bin) }() // while the database starts
	pooled, direct := open()
	require.NoError(t, <-built)
	free := addresses(t, 4)
	shared := append([]string{
		"PATH=" + os.Getenv("PATH"),
		"SELFLINK_ENV_FILE=/dev/null",
		"RUNNING_IN_DOCKER=false",
		"DATABASE_URL=" + pooled, "DATABASE_DIRECT_URL=" + direct,
		"SECRET_KEY=" + rand.Text() + rand.Text(),
		"CLUSTER_TOKEN=" + rand.Text() + rand.Text(),
		"CLUSTER_PEERS=" + free[0] + "," + free[1],
		"REALTIME_PUBLISH_TOKEN=" + publishToken,
		"THROTTLE_IP_RATE=0", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0", "THROTTLE_MENTOR_RATE=0",
	}, settings...)
	both := []*node{{name: "a"}, {name: "b"}}
	for i, n := range both {
		n.bin, n.addr, n.log, n.http = bin, free[2+i], filepath.Join(dir, n.name+".log"), &http.Client{Timeout: patience}
		n.env = append([]string{
			"HOSTNAME=" + n.name,
			"SELFLINK_DATA_DIR=" + filepath.Join(dir, n.name),
			"SELFLINK_LISTEN=" + n.addr,
			"CLUSTER_LISTEN=" + free[i],
		}, shared...)
	}
	t.Cleanup(func() {
		for _, n := range both {
			n.kill()
			n.http.CloseIdleConnections()
			if text, err := os.ReadFile(n.log); err == nil && bytes.Contains(text, []byte("DATA RACE")) {
				t.Errorf("the race detector speaks in the log of %s", n.name)
			}
		}
		if t.Failed() {
			t.Logf("the logs and data of the nodes are kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	for _, n := range both {
		n.start(t)
	}
	for _, n := range both {
		n.await(t)
	}
	return both[0], both[1]
}

// build compiles the command, with the race detector when the test has it.
func build(to string) error {
	args := []string{"build", "-o", to}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "selflink/cmd/selflink")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the command: %w\n%s", err, out)
	}
	return nil
}

// addresses finds addresses that nobody listens on, all different.
func addresses(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for len(out) < n {
		if next := loopback.Address(t); !slices.Contains(out, next) {
			out = append(out, next)
		}
	}
	return out
}

func (n *node) url(path string) string { return "http://" + n.addr + path }

// start starts the process; await waits for it.
func (n *node) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(n.bin, "serve")
	cmd.Env, cmd.Stdout, cmd.Stderr = n.env, log, log
	require.NoError(t, cmd.Start())
	n.cmd = cmd
}

// await waits until the node answers and has joined its peer.
func (n *node) await(t testing.TB) {
	t.Helper()
	require.True(t, eventually(func() bool {
		ready, joined := n.status(t)
		return ready && joined
	}), "node %s did not become ready and join", n.name)
}

// status asks a node whether it is ready and connected to its peer.
func (n *node) status(t testing.TB) (ready, joined bool) {
	t.Helper()
	status, body, err := n.call(t.Context(), http.MethodGet, "/ready", "", nil)
	if err != nil {
		return false, false
	}
	var answer struct {
		Checks []struct {
			Name string `json:"name"`
			OK   bool   `json:"ok"`
		} `json:"checks"`
	}
	require.NoError(t, json.Unmarshal(body, &answer), string(body))
	for _, check := range answer.Checks {
		if check.Name == "cluster" {
			joined = check.OK
		}
	}
	return status == http.StatusOK, joined
}

// terminate asks the process to stop, as an operator would; exited waits for
// it.
func (n *node) terminate(t testing.TB) {
	t.Helper()
	require.NoError(t, n.cmd.Process.Signal(syscall.SIGTERM))
}

func (n *node) exited(t testing.TB) {
	t.Helper()
	err := n.cmd.Wait()
	n.cmd = nil
	require.NoError(t, err, "SIGTERM must end the process in order")
}

// kill ends the process without a word to anybody.
func (n *node) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// run runs another verb of the command beside the process.
func (n *node) run(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), n.bin, args...)
	cmd.Env = n.env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// call makes a request; body nil is none.
func (n *node) call(ctx context.Context, method, path, bearer string, body any) (status int, answer []byte, err error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, n.url(path), reader)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := n.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// post makes a request that has to be answered with status, and decodes the
// answer into into unless that is nil.
func (n *node) post(t testing.TB, path, bearer string, body any, status int, into any) {
	t.Helper()
	got, answer, err := n.call(t.Context(), http.MethodPost, path, bearer, body)
	require.NoError(t, err)
	require.Equal(t, status, got, string(answer))
	if into != nil {
		require.NoError(t, json.Unmarshal(answer, into), string(answer))
	}
}

const password = "correct-horse-battery"

// person is somebody signed in.
type person struct {
	email string
	token string
}

// register makes an account and signs in.
func (n *node) register(t testing.TB, name string) person {
	t.Helper()
	email := name + "@example.com"
	var answer struct{ Token string }
	n.post(t, "/api/v1/auth/register/", "", map[string]any{"email": email, "password": password, "name": name}, http.StatusCreated, &answer)
	return person{email: email, token: answer.Token}
}

// login signs in once more.
func (n *node) login(t testing.TB, who person) person {
	t.Helper()
	var answer struct{ Token string }
	n.post(t, "/api/v1/auth/login/", "", map[string]any{"email": who.email, "password": password}, http.StatusOK, &answer)
	who.token = answer.Token
	return who
}

var errRefused = errors.New("the event was refused")

// gift publishes an event with a number on a channel. An error says that it may
// or may not be in the log.
func (n *node) gift(ctx context.Context, channel string, number int) error {
	payload := json.RawMessage(fmt.Sprintf(`{"type":"gift.received","id":%d}`, number))
	status, answer, err := n.call(ctx, http.MethodPost, "/internal/publish", publishToken, map[string]any{"channel": channel, "payload": payload})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%w: %d %s", errRefused, status, answer)
	}
	return err
}

// metric reads a number without labels.
func (n *node) metric(t testing.TB, name string) float64 {
	t.Helper()
	status, text, err := n.call(t.Context(), http.MethodGet, "/metrics", "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return number
		}
	}
	require.Fail(t, "no such metric", name)
	return 0
}

// awaitUsers waits until a node counts that many users on all nodes.
func (n *node) awaitUsers(t testing.TB, want int) {
	t.Helper()
	last := -1.0
	if !eventually(func() bool { last = n.metric(t, "selflink_realtime_users"); return last == float64(want) }) {
		require.Fail(t, "wrong count of users", "node %s counts %v, not %d", n.name, last, want)
	}
}

// eventually polls until ok is true or patience ends. Unlike require.Eventually
// it asks in this goroutine, so ok may use require.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(poll) {
		if ok() {
			return true
		}
	}
	return false
}
