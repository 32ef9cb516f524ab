package realtimetest

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

	"github.com/stretchr/testify/require"
)

// patience bounds every wait of these tests. It is no promise about anything:
// a healthy run needs a fraction of it.
const patience = 60 * time.Second

// chromium is a browser that listens on a pipe: messages of the DevTools
// protocol, each ended by a NUL. A pipe needs no port that others could find.
type chromium struct {
	t       *testing.T
	cmd     *exec.Cmd
	to      *os.File
	ended   chan struct{} // the reader has ended
	mu      sync.Mutex    // guards what follows
	lastID  int
	waiting map[int]chan answer
	gone    error // why nothing is answered any more
}

type answer struct {
	result json.RawMessage
	err    error
}

// findChromium skips the test where no browser is installed. CI installs one,
// so there its absence is a failure.
func findChromium(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no Chromium is installed, so the realtime client was not tested in a browser: run packaging/install-deps test"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

func startChromium(t *testing.T) *chromium {
	path := findChromium(t)
	profile, err := os.MkdirTemp("", "selflink-chromium-")
	require.NoError(t, err)
	in, to, err := os.Pipe()
	require.NoError(t, err)
	from, out, err := os.Pipe()
	require.NoError(t, err)
	noise, err := os.Create(filepath.Join(profile, "log"))
	require.NoError(t, err)

	cmd := exec.Command(path, "--headless", "--remote-debugging-pipe", "--user-data-dir="+profile,
		"--no-sandbox", // its sandbox refuses root, which CI is
		"--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // it speaks to the test alone
		"about:blank")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + profile}
	cmd.ExtraFiles = []*os.File{in, out} // descriptors 3 and 4, as the flag says
	cmd.Stdout, cmd.Stderr = noise, noise
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its helpers end with it
	require.NoError(t, cmd.Start())
	for _, f := range []io.Closer{in, out, noise} {
		require.NoError(t, f.Close())
	}

	b := &chromium{t: t, cmd: cmd, to: to, ended: make(chan struct{}), waiting: map[int]chan answer{}}
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

// read hands answers to who waits for them, until the browser ends.
func (b *chromium) read(from *os.File) {
	defer close(b.ended)
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		message, err := r.ReadBytes(0)
		if err != nil {
			b.fail(fmt.Errorf("Chromium is gone: %w", err))
			return
		}
		var m struct {
			ID     int             `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(bytes.TrimSuffix(message, []byte{0}), &m); err != nil {
			b.fail(fmt.Errorf("read Chromium's message: %w", err))
			return
		}
		if m.ID == 0 {
			continue // an event, and none was asked for
		}
		a := answer{result: m.Result}
		if m.Error != nil {
			a.err = errors.New(m.Error.Message)
		}
		b.mu.Lock()
		if waiting := b.waiting[m.ID]; waiting != nil {
			waiting <- a
			delete(b.waiting, m.ID)
		}
		b.mu.Unlock()
	}
}

func (b *chromium) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = err
	for id, waiting := range b.waiting {
		waiting <- answer{err: err}
		delete(b.waiting, id)
	}
}

// call sends a command to the browser, or to a page by its session.
func (b *chromium) call(ctx context.Context, session, method string, params any, into any) error {
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

// page is a tab of the browser.
type page struct {
	t       *testing.T
	browser *chromium
	session string
}

// open shows url in a tab of its own, which closes with the test.
func (b *chromium) open(t *testing.T, url string) *page {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var target struct {
		ID string `json:"targetId"`
	}
	require.NoError(t, b.call(ctx, "", "Target.createTarget", map[string]any{"url": url}, &target))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = b.call(ctx, "", "Target.closeTarget", map[string]any{"targetId": target.ID}, nil)
	})
	var attached struct {
		Session string `json:"sessionId"`
	}
	require.NoError(t, b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached))
	p := &page{t: t, browser: b, session: attached.Session}
	require.Eventually(t, func() bool {
		var ready bool
		return p.try(ctx, "window.harness !== undefined", &ready) == nil && ready
	}, patience, 20*time.Millisecond, "the page did not load its client")
	return p
}

// try evaluates an expression, waits for it when it is a promise, and decodes
// its value.
func (p *page) try(ctx context.Context, expression string, into any) error {
	var out struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err := p.browser.call(ctx, p.session, "Runtime.evaluate",
		map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &out)
	if err != nil {
		return err
	}
	if e := out.Exception; e != nil {
		return fmt.Errorf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if into == nil || out.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(out.Result.Value, into)
}
