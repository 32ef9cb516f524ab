package chromium

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Page is a tab. Its methods fail the test that opened it, and are for its
// goroutine alone.
type Page struct {
	t       testing.TB
	browser *Browser
	session string

	faults *faults
}

// faults are what a tab did wrong. They are safe for concurrent use.
type faults struct {
	mu  sync.Mutex
	all []string
}

// Open shows url in a tab of its own, which closes with the test. It does not
// wait for the page: see [Page.Until].
func (b *Browser) Open(t testing.TB, url string) *Page {
	t.Helper()
	p := &Page{t: t, browser: b, faults: &faults{}}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var target struct {
		ID string `json:"targetId"`
	}
	check(t, b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		_ = b.call(ctx, "", "Target.closeTarget", map[string]any{"targetId": target.ID}, nil)
	})
	var attached struct {
		Session string `json:"sessionId"`
	}
	check(t, b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached))
	p.session = attached.Session
	b.mu.Lock()
	b.heard[p.session] = p.hear
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Audits"} {
		p.Command(domain+".enable", map[string]any{}, nil)
	}
	p.Go(url)
	return p
}

// As is the same tab for a part of the test, which fails in its place. Both must
// not be used at once.
func (p *Page) As(t testing.TB) *Page {
	return &Page{t: t, browser: p.browser, session: p.session, faults: p.faults}
}

// hear collects what a page must not do: break, complain, or cross its content
// policy.
func (p *Page) hear(method string, params json.RawMessage) {
	var fault string
	switch method {
	case "Runtime.exceptionThrown":
		var e struct {
			Details struct {
				Text      string `json:"text"`
				Exception struct {
					Description string `json:"description"`
				} `json:"exception"`
			} `json:"exceptionDetails"`
		}
		if json.Unmarshal(params, &e) == nil {
			fault = "exception: " + e.Details.Text + " " + e.Details.Exception.Description
		}
	case "Runtime.consoleAPICalled":
		var e struct {
			Type string `json:"type"`
			Args []struct {
				Value       json.RawMessage `json:"value"`
				Description string          `json:"description"`
			} `json:"args"`
		}
		if json.Unmarshal(params, &e) == nil && e.Type == "error" {
			fault = "console:"
			for _, arg := range e.Args {
				fault += " " + string(arg.Value) + arg.Description
			}
		}
	case "Log.entryAdded":
		var e struct {
			Entry struct {
				Level  string `json:"level"`
				Source string `json:"source"`
				Text   string `json:"text"`
				URL    string `json:"url"`
			} `json:"entry"`
		}
		if json.Unmarshal(params, &e) == nil && (e.Entry.Level == "error" || e.Entry.Source == "security") {
			fault = e.Entry.Source + ": " + e.Entry.Text + " " + e.Entry.URL
		}
	case "Audits.issueAdded":
		var e struct {
			Issue struct {
				Code    string `json:"code"`
				Details struct {
					Policy json.RawMessage `json:"contentSecurityPolicyIssueDetails"`
				} `json:"details"`
			} `json:"issue"`
		}
		if json.Unmarshal(params, &e) == nil && e.Issue.Code == "ContentSecurityPolicyIssue" {
			fault = "content policy: " + string(e.Issue.Details.Policy)
		}
	}
	if fault != "" {
		p.faults.mu.Lock()
		p.faults.all = append(p.faults.all, fault)
		p.faults.mu.Unlock()
	}
}

// Faults are the exceptions, errors of the console and violations of the
// content policy since the last call.
func (p *Page) Faults() []string {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	out := p.faults.all
	p.faults.all = nil
	return out
}

// Command sends any command of the protocol.
func (p *Page) Command(method string, params, into any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), Patience)
	defer cancel()
	check(p.t, p.browser.call(ctx, p.session, method, params, into))
}

// Go leads the tab to url.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.Command("Page.navigate", map[string]any{"url": url}, nil)
}

// Try evaluates an expression, waits for it when it is a promise, and decodes
// its value into into, unless that is nil.
func (p *Page) Try(ctx context.Context, expression string, into any) error {
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

// Eval is Try that must not fail.
func (p *Page) Eval(expression string, into any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), Patience)
	defer cancel()
	check(p.t, p.Try(ctx, expression, into))
}

// lookAgain is the time between two evaluations of a condition.
const lookAgain = 50 * time.Millisecond

// Until waits until an expression is true; why says what did not happen.
func (p *Page) Until(expression, why string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), Patience)
	defer cancel()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	var last error
	for {
		var ok bool
		// While a page loads, what is asked of it may fail.
		if last = p.Try(ctx, "Boolean("+expression+")", &ok); last == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			var text string
			look, end := context.WithTimeout(context.Background(), lookTime)
			defer end()
			_ = p.Try(look, "document.body.innerText", &text)
			p.t.Fatalf("%s (last error: %v)\nthe page shows:\n%s", why, last, strings.TrimSpace(text))
		case <-ticker.C:
		}
	}
}

// lookTime bounds the last look at a page that did not do what it should.
const lookTime = 5 * time.Second

// Shot is a picture of the page in PNG.
func (p *Page) Shot() []byte {
	p.t.Helper()
	var out struct {
		Data []byte `json:"data"`
	}
	p.Command("Page.captureScreenshot", map[string]any{"format": "png"}, &out)
	return out.Data
}

// Size gives the page this many pixels, and the wish of a person for dark or
// light colours.
func (p *Page) Size(width, height int, dark bool) {
	p.t.Helper()
	p.Command("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.Command("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
}

// Type types text where the focus is, as a person does.
func (p *Page) Type(text string) {
	p.t.Helper()
	p.Command("Input.insertText", map[string]any{"text": text}, nil)
}

// Key presses and releases a key, by its name in the DOM: "Enter", "Tab".
func (p *Page) Key(key string) {
	p.t.Helper()
	codes := map[string]int{"Enter": 13, "Tab": 9, "Escape": 27}
	event := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
	switch {
	case key == "Enter":
		event["text"] = "\r"
	case len(key) == 1:
		event["text"] = key
	}
	p.Command("Input.dispatchKeyEvent", event, nil)
	p.Command("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}, nil)
}
