package realtimetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/web/chromium"
)

// TestChromium shows what the client promises where it will live: in a
// browser, against the appliance, over connections that break.
func TestChromium(t *testing.T) {
	t.Parallel()
	browser := chromium.Start(t) // before anything is built: it may not be there
	pages := servePages(t)
	server := startServer(t, pages)
	open := func(t *testing.T) *page {
		p := &page{t, browser.Open(t, pages+"/page.html")}
		p.Until("window.harness !== undefined", "the page did not load its client")
		return p
	}

	t.Run("cut and resumed", func(t *testing.T) {
		gate := newGate(t, server.addr)
		p := open(t)
		p.start(gate.url(), server.register(t, "ann"), "post:1")
		p.until(0, `{state: "open", transport: "websocket"}`)
		server.gifts(t, "post:1", 1, 2, 3)
		seen := p.untilGift(3)
		gate.close()
		p.until(seen, `{state: "waiting"}`)
		server.gifts(t, "post:1", 4, 5, 6)
		gate.open()
		p.untilGift(6)
		server.gifts(t, "post:1", 7)
		p.untilGift(7)
		require.Equal(t, []string{"1", "2", "3", "recovered", "4", "5", "6", "7"}, p.told())
	})

	t.Run("server-sent events", func(t *testing.T) {
		gate := newGate(t, server.addr)
		gate.refuseSockets()
		p := open(t)
		p.start(gate.url(), server.register(t, "bob"), "post:2")
		p.until(0, `{state: "open", transport: "sse"}`)
		require.Equal(t, 2, gate.refusals(), "WebSocket is tried twice before")
		server.gifts(t, "post:2", 1, 2)
		seen := p.untilGift(2)
		gate.close()
		p.until(seen, `{state: "waiting"}`)
		server.gifts(t, "post:2", 3, 4)
		gate.open()
		p.untilGift(4)
		require.Equal(t, []string{"1", "2", "recovered", "3", "4"}, p.told())
	})

	t.Run("other channels without a gap", func(t *testing.T) {
		p := open(t)
		p.start(server.url(), server.register(t, "dora"), "post:4")
		p.until(0, `{state: "open"}`)
		server.gifts(t, "post:4", 1)
		seen := p.untilGift(1)
		p.Eval(`harness.connection.channels(["post:4", "comment:4"])`, nil)
		server.gifts(t, "post:4", 2)
		p.until(seen, `{recovered: true}`)
		server.gifts(t, "comment:4", 3)
		p.untilGift(3)
		require.Equal(t, []string{"1", "2", "3"}, without(p.told(), "recovered"))
	})

	t.Run("signed out", func(t *testing.T) {
		p := open(t)
		token := server.register(t, "carl")
		p.start(server.url(), token)
		seen := p.until(0, `{state: "open"}`)
		server.post(t, "/api/v1/auth/logout/", token, map[string]any{}, http.StatusOK)
		p.until(seen, `{state: "signed-out"}`)
	})

	// Last, since it ends the server that all share.
	t.Run("over restarts", func(t *testing.T) {
		p := open(t)
		p.start(server.url(), server.register(t, "eve"), "post:5")
		p.until(0, `{state: "open"}`)
		server.gifts(t, "post:5", 1)
		seen := p.untilGift(1)

		server.terminate()
		p.until(seen, `{state: "waiting"}`)
		server.start()
		server.gifts(t, "post:5", 2, 3)
		seen = p.untilGift(3)

		server.kill()
		p.until(seen, `{state: "waiting"}`)
		server.start()
		server.gifts(t, "post:5", 4, 5)
		p.untilGift(5)
		require.Equal(t, []string{"1", "2", "3", "4", "5"}, without(p.told(), "recovered"))
	})
}

// servePages serves the page of testdata and the compiled client.
func servePages(t *testing.T) (url string) {
	client := filepath.Join("..", "realtime", "build")
	_, err := os.Stat(filepath.Join(client, "index.js"))
	require.NoError(t, err, "the client is not compiled: run make web")
	files := http.NewServeMux()
	files.Handle("/", http.FileServer(http.Dir("testdata")))
	files.Handle("/client/", http.StripPrefix("/client/", http.FileServer(http.Dir(client))))
	server := httptest.NewServer(files)
	t.Cleanup(server.Close)
	return server.URL
}

// entry is one thing that the client told, as page.js notes it.
type entry struct {
	Event *struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"event"`
	Recovered *bool  `json:"recovered"`
	State     string `json:"state"`
	Transport string `json:"transport"`
	Error     string `json:"error"`
}

// page is a tab with the client in it.
type page struct {
	t *testing.T
	*chromium.Page
}

// start connects the page's client.
func (p *page) start(url, token string, channels ...string) {
	p.t.Helper()
	options, err := json.Marshal(map[string]any{"url": url, "token": token, "channels": append([]string{}, channels...)})
	require.NoError(p.t, err)
	p.Eval(fmt.Sprintf("harness.start(%s)", options), nil)
}

// until waits for something that the client tells, among what it told after
// the first from things, and returns how much it has told by then.
func (p *page) until(from int, want string) (seen int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), chromium.Patience)
	defer cancel()
	var log []entry
	if err := p.Try(ctx, fmt.Sprintf("harness.until(%d, %s)", from, want), &log); err != nil {
		var told json.RawMessage
		p.Eval("harness.log()", &told)
		require.NoError(p.t, err, "waiting for %s; the client told %s", want, told)
	}
	return len(log)
}

func (p *page) untilGift(n int) (seen int) {
	p.t.Helper()
	return p.until(0, fmt.Sprintf(`{type: "gift.received", id: %q}`, giftID(n)))
}

// told are the gifts, by their numbers, and the words on recovery, in order.
func (p *page) told() (told []string) {
	p.t.Helper()
	var log []entry
	p.Eval("harness.log()", &log)
	for _, e := range log {
		switch {
		case e.Event != nil && e.Event.Type == "gift.received":
			told = append(told, e.Event.ID)
		case e.Recovered != nil && *e.Recovered:
			told = append(told, "recovered")
		case e.Recovered != nil:
			told = append(told, "lost")
		}
	}
	for i, id := range told {
		for n := range 10 {
			if id == giftID(n) {
				told[i] = fmt.Sprint(n)
			}
		}
	}
	return told
}

func without(all []string, word string) (rest []string) {
	for _, s := range all {
		if s != word {
			rest = append(rest, s)
		}
	}
	return rest
}
