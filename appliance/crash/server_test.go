//go:build crash

package crash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/loopback"
)

// readyLimit bounds every wait for the server. It is no promise: how long a start
// took is printed, since a busy machine takes longer than an idle one.
var readyLimit = flag.Duration("ready", 30*time.Second, "how long a start may take")

// server is the real binary, started, killed and started again on one data
// directory.
type server struct {
	t    *testing.T
	bin  string
	data string
	addr string
	env  []string
	log  *os.File

	cmd *exec.Cmd
}

// newServer prepares a server with its data in a directory that Postgres's
// own user can reach.
func newServer(t *testing.T, bin string, env ...string) *server {
	dir, err := os.MkdirTemp("", "selflink-crash-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	logFile, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	addr := loopback.Address(t)
	s := &server{t: t, bin: bin, data: filepath.Join(dir, "data"), addr: addr, log: logFile}
	s.env = append(os.Environ(), append([]string{
		"SELFLINK_DATA_DIR=" + s.data,
		"SELFLINK_LISTEN=" + addr,
		"SELFLINK_ENV_FILE=/dev/null",
	}, env...)...)
	t.Cleanup(func() {
		if s.cmd != nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
		_ = logFile.Close()
		if t.Failed() {
			t.Logf("the server's log and data are kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return s
}

// start runs the binary and returns how long it took to be ready.
func (s *server) start() time.Duration {
	s.cmd = exec.Command(s.bin, "serve")
	s.cmd.Env = s.env
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	begin := time.Now()
	require.NoError(s.t, s.cmd.Start())
	s.awaitReady("start")
	return time.Since(begin)
}

// awaitReady polls /ready until it is 200.
func (s *server) awaitReady(after string) time.Duration {
	begin := time.Now()
	var last string
	for time.Since(begin) < *readyLimit {
		response, err := probe.Get("http://" + s.addr + "/ready")
		if err == nil {
			body, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(begin)
			}
			last = string(body)
		} else {
			last = err.Error()
		}
		<-time.After(10 * time.Millisecond)
	}
	require.Failf(s.t, "not ready", "after %s: not ready within %s: %s", after, *readyLimit, last)
	return 0
}

// probe never keeps a connection that a killed process may have left dead.
var probe = &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// kill ends the process with SIGKILL and fails when a descendant outlives it.
func (s *server) kill() {
	family := descendants(s.cmd.Process.Pid)
	require.NotEmpty(s.t, family, "the running server has no children: is the database managed?")
	require.NoError(s.t, s.cmd.Process.Kill())
	_ = s.cmd.Wait()
	s.cmd = nil
	s.requireGone(family)
}

// terminate stops the process as an operator would.
func (s *server) terminate() time.Duration {
	family := descendants(s.cmd.Process.Pid)
	begin := time.Now()
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.cmd.Wait()
	took := time.Since(begin)
	s.cmd = nil
	require.NoError(s.t, err, "SIGTERM must end the process in order")
	s.requireGone(family)
	return took
}

func (s *server) requireGone(family []process) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		for _, p := range family {
			if p.alive() {
				return false
			}
		}
		return true
	}, *readyLimit, 10*time.Millisecond, "a child was left behind")
}

// killChild ends one supervised child: "postgres" or "pgbouncer".
func (s *server) killChild(name string) {
	for _, p := range descendants(s.cmd.Process.Pid) {
		if p.parent == s.cmd.Process.Pid && p.name == name {
			require.NoError(s.t, syscall.Kill(p.pid, syscall.SIGKILL))
			require.Eventually(s.t, func() bool { return !p.alive() }, *readyLimit, 5*time.Millisecond)
			return
		}
	}
	require.Failf(s.t, "no such child", "the server runs no %s", name)
}

// process is one entry of /proc; its start time tells a reused pid apart.
type process struct {
	pid, parent int
	name        string
	started     string
}

func (p process) alive() bool {
	now, state, err := readProcess(p.pid)
	return err == nil && now.started == p.started && state != "Z"
}

// descendants are all processes below pid.
func descendants(pid int) []process {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	children := map[int][]process{}
	for _, entry := range entries {
		id, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if p, state, err := readProcess(id); err == nil && state != "Z" {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	var all []process
	var walk func(int)
	walk = func(id int) {
		for _, child := range children[id] {
			all = append(all, child)
			walk(child.pid)
		}
	}
	walk(pid)
	return all
}

// readProcess reads /proc/PID/stat; the name in it may hold blanks, so fields
// are counted from the closing parenthesis (proc(5)).
func readProcess(pid int) (process, string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, "", err
	}
	open, shut := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || shut < open {
		return process{}, "", errors.New("unreadable stat")
	}
	fields := strings.Fields(string(stat[shut+1:]))
	if len(fields) < 20 {
		return process{}, "", errors.New("short stat")
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, "", err
	}
	return process{pid: pid, parent: parent, name: string(stat[open+1 : shut]), started: fields[19]}, fields[0], nil
}

// group runs functions until their context ends and waits for them.
type group struct {
	wait   sync.WaitGroup
	cancel context.CancelFunc
	ctx    context.Context
}

func newGroup() *group {
	ctx, cancel := context.WithCancel(context.Background())
	return &group{ctx: ctx, cancel: cancel}
}

func (g *group) goLoop(step func(ctx context.Context)) {
	g.wait.Go(func() {
		for g.ctx.Err() == nil {
			step(g.ctx)
		}
	})
}

func (g *group) stop() {
	g.cancel()
	g.wait.Wait()
}
