// Package chromium drives a real Chromium in tests, by the DevTools protocol
// over a pipe, which needs no port that others could find. It knows as much of
// the protocol as the tests of the front end need.
package chromium

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait. It is no promise about anything: a healthy run
// needs a fraction of it.
const Patience = 60 * time.Second

// Browser is a running Chromium with a profile of its own. It speaks to
// 127.0.0.1 alone and ends with the test.
type Browser struct {
	t       testing.TB
	cmd     *exec.Cmd
	to      *os.File
	ended   chan struct{} // the reader has ended
	mu      sync.Mutex    // guards what follows
	lastID  int
	waiting map[int]chan answer
	heard   map[string]func(method string, params json.RawMessage) // by session
	gone    error                                                  // why nothing is answered any more
}

type answer struct {
	result json.RawMessage
	err    error
}

// find skips the test where no browser is installed. CI installs one, so there
// its absence is a failure.
func find(t testing.TB) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no Chromium is installed, so nothing was tested in a browser: run packaging/install-deps test"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// Start starts a browser. It skips the test where none is installed, but fails
// it in CI.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := find(t)
	profile, err := os.MkdirTemp("", "selflink-chromium-")
	check(t, err)
	in, to, err := os.Pipe()
	check(t, err)
	from, out, err := os.Pipe()
	check(t, err)
	noise, err := os.Create(filepath.Join(profile, "log"))
	check(t, err)

	cmd := exec.Command(path, "--headless", "--remote-debugging-pipe", "--user-data-dir="+profile,
		"--no-sandbox", // its sandbox refuses root, which CI is
		"--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
		"--hide-scrollbars",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // it speaks to the test alone
		"about:blank")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + profile}
	cmd.ExtraFiles = []*os.File{in, out} // descriptors 3 and 4, as the flag says
	cmd.Stdout, cmd.Stderr = noise, noise
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its helpers end with it
	check(t, cmd.Start())
	for _, f := range []io.Closer{in, out, noise} {
		check(t, f.Close())
	}

	b := &Browser{
		t: t, cmd: cmd, to: to, ended: make(chan struct{}), waiting: map[int]chan answer{},
		heard: map[string]func(string, json.RawMessage){},
	}
	go b.read(from)
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		<-b.ended
		_ = to.Close()
		if t.Failed() {
			if text, err := os.ReadFile(filepath.Join(profile, "log")); err == nil {
				t.Logf("the last that Chromium said:\n%s", text[max(0, len(text)-2000):])
			}
		}
		_ = os.RemoveAll(profile)
	})
	return b
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read hands answers to who waits for them and events to who hears them, until
// the browser ends.
func (b *Browser) read(from *os.File) {
	defer close(b.ended)
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		message, err := r.ReadBytes(0)
		if err != nil {
			b.fail(fmt.Errorf("the browser is gone: %w", err))
			return
		}
		var m struct {
			ID      int             `json:"id"`
			Method  string          `json:"method"`
			Session string          `json:"sessionId"`
			Params  json.RawMessage `json:"params"`
			Result  json.RawMessage `json:"result"`
			Error   *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(bytes.TrimSuffix(message, []byte{0}), &m); err != nil {
			b.fail(fmt.Errorf("read the browser's message: %w", err))
			return
		}
		b.mu.Lock()
		hear := b.heard[m.Session]
		waiting := b.waiting[m.ID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case m.ID == 0 && hear != nil:
			hear(m.Method, m.Params)
		case waiting != nil:
			a := answer{result: m.Result}
			if m.Error != nil {
				a.err = errors.New(m.Error.Message)
			}
			waiting <- a
		}
	}
}

func (b *Browser) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = err
	for id, waiting := range b.waiting {
		waiting <- answer{err: err}
		delete(b.waiting, id)
	}
}

// call sends a command to the browser, or to a page by its session.
func (b *Browser) call(ctx context.Context, session, method string, params, into any) error {
	done := make(chan answer, 1)
	b.mu.Lock()
	b.lastID++
	id := b.lastID
	gone := b.gone
	if gone == nil {
		b.waiting[id] = done
	}
	b.mu.Unlock()
	if gone != nil {
		return gone
	}
	message := map[string]any{"id": id, "method": method, "params": params}
	if session != "" {
		message["sessionId"] = session
	}
	text, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return fmt.Errorf("send %s: %w", method, err)
	}
	select {
	case a := <-done:
		if a.err != nil {
			return fmt.Errorf("%s: %w", method, a.err)
		}
		if into == nil {
			return nil
		}
		return json.Unmarshal(a.result, into)
	case <-ctx.Done():
		b.mu.Lock()
		delete(b.waiting, id)
		b.mu.Unlock()
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}
