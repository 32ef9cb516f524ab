package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is the built binary on a data directory of its own.
type server struct {
	bin, dir, addr string
	env            []string
	cmd            *exec.Cmd
}

// newServer prepares a server; nothing runs yet. The limits are off: they
// would be measured instead of the work.
func newServer(bin string, env ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "selflink-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	s := &server{bin: bin, dir: dir, addr: addr}
	s.env = append(os.Environ(), append([]string{
		"SELFLINK_DATA_DIR=" + filepath.Join(dir, "data"),
		"SELFLINK_LISTEN=" + addr,
		"SELFLINK_ENV_FILE=/dev/null",
		"LOG_LEVEL=WARNING", "APP_LOG_LEVEL=WARNING",
		"THROTTLE_IP_RATE=0", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0", "THROTTLE_MENTOR_RATE=0",
	}, env...)...)
	return s, nil
}

// start runs the server and returns the time from exec to ready.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	s.cmd = exec.CommandContext(ctx, s.bin, "serve")
	s.cmd.Env = s.env
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return 0, err
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for time.Since(begin) < 30*time.Second {
		if response, err := client.Get("http://" + s.addr + "/ready"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(begin), nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, errors.New("the server is not ready after 30 s: see " + filepath.Join(s.dir, "log"))
}

// stop ends the server in order.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := s.cmd.Wait()
	s.cmd = nil
	return err
}

// remove deletes the data of a stopped server.
func (s *server) remove() error { return os.RemoveAll(s.dir) }

// call sends one JSON request and decodes a 2xx answer into answer.
func (s *server) call(method, path, token, body string, answer any) error {
	request, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return fmt.Errorf("%s %s: %s %s", method, path, response.Status, text)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// register opens an account and returns its access token.
func (s *server) register(name string) (string, error) {
	var answer struct{ Token string }
	err := s.call("POST", "/api/v1/auth/register/", "", fmt.Sprintf(`{"email":"%s@example.com","password":"bench-pass-1","name":"Bench %s"}`, name, name), &answer)
	return answer.Token, err
}

// pss is the proportional set size in MiB of the process alone and of its
// whole tree (proc(5), smaps_rollup).
func (s *server) pss() (alone, tree float64, processes int, err error) {
	pids := append([]int{s.cmd.Process.Pid}, childrenOf(s.cmd.Process.Pid)...)
	for i, pid := range pids {
		kib, err := pssOf(pid)
		if err != nil {
			continue // a backend may have ended meanwhile
		}
		if i == 0 {
			alone = kib / 1024
		}
		tree += kib / 1024
		processes++
	}
	if processes == 0 {
		return 0, 0, 0, errors.New("no process to measure")
	}
	return alone, tree, processes, nil
}

// cpu is the processor time of the server's tree so far.
func (s *server) cpu() (time.Duration, error) {
	total := time.Duration(0)
	for _, pid := range append([]int{s.cmd.Process.Pid}, childrenOf(s.cmd.Process.Pid)...) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // a backend may have ended meanwhile
		}
		// The name is in parentheses and may contain anything; after it,
		// utime and stime are the 12th and 13th field (proc(5)).
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) < 13 {
			return 0, errors.New("unreadable /proc/pid/stat")
		}
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseInt(string(field), 10, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 on Linux
		}
	}
	return total, nil
}

// ownCPU is the processor time of this process so far.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func pssOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "Pss:" {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, errors.New("no Pss line")
}

// childrenOf are all descendants of pid.
func childrenOf(pid int) []int {
	var all []int
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for field := range bytes.FieldsSeq(text) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				all = append(all, child)
				all = append(all, childrenOf(child)...)
			}
		}
	}
	return all
}
