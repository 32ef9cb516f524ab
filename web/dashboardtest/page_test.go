package dashboardtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/web/chromium"
)

// password is that of all accounts.
const password = "correct-horse-battery"

// page is a tab with the dashboard in it.
type page struct {
	t *testing.T
	*chromium.Page
}

// js writes a value as JavaScript.
func js(v any) string {
	text, _ := json.Marshal(v) // strings always encode
	return string(text)
}

// visit leads the page to a place, by its hash, and waits until it is drawn.
func (p *page) visit(hash string) {
	p.t.Helper()
	p.Eval("void (location.hash = "+js(hash)+")", nil)
	p.settled()
}

// settled waits until nothing of the page is on its way any more, and its
// stream follows.
func (p *page) settled() {
	p.t.Helper()
	p.Until(`document.querySelector("main h1") && !document.querySelector("main .waiting") &&
		document.querySelector(".mark.live") && !/^Connecting$/m.test(document.querySelector("[aria-label=Log]")?.innerText)`, "the page was not drawn")
}

// shows waits until the page, or what selector names of it, says text.
func (p *page) shows(selector, text string) {
	p.t.Helper()
	p.Until(fmt.Sprintf("[...document.querySelectorAll(%s)].some((e) => e.innerText.includes(%s))", js(selector), js(text)),
		fmt.Sprintf("%q was not shown in %s", text, selector))
}

// press presses the button or follows the link of a name, seen or spoken, as
// soon as it is there and of use.
func (p *page) press(name string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`(() => {
		const within = document.querySelector("dialog[open]") ?? document;
		const found = [...within.querySelectorAll("button, a")].find((e) => [e.innerText.trim(), e.ariaLabel].includes(%s) && e.ariaDisabled !== "true");
		found?.click();
		return found;
	})()`, js(name)), fmt.Sprintf("there was no %q to press", name))
}

// fill writes into the field of an id.
func (p *page) fill(id, text string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`(() => { const e = document.getElementById(%s); e?.focus(); e?.select(); return e && document.activeElement === e; })()`, js(id)),
		"there was no field "+id)
	p.Type(text)
}

// signIn signs in, from the page where one does.
func (p *page) signIn(email string) {
	p.t.Helper()
	p.fill("email", email)
	p.fill("password", password)
	p.press("Sign in")
	p.settled()
}

// signOut signs out by the menu of the person that is shown with this name.
func (p *page) signOut(name string) {
	p.t.Helper()
	p.press(name)
	p.press("Sign out")
	p.Until(`document.querySelector("#password")`, "there was no way to sign in again")
}

// clean fails the test for what the page must not do.
func (p *page) clean() {
	p.t.Helper()
	require.Empty(p.t, p.Faults(), "exceptions, errors of the console and violations of the content policy")
}

// refused takes the one fault that a refused request leaves in the console.
func (p *page) refused(status int) {
	p.t.Helper()
	faults := p.Faults()
	require.Len(p.t, faults, 1)
	require.Contains(p.t, faults[0], fmt.Sprintf("status of %d", status))
}

// noFaultsBut fails for faults that do not contain one of the words.
func (p *page) noFaultsBut(words ...string) {
	p.t.Helper()
faults:
	for _, fault := range p.Faults() {
		for _, word := range words {
			if strings.Contains(fault, word) {
				continue faults
			}
		}
		p.t.Error(fault)
	}
}

// lookAgain is the time between two looks at a condition that is not the
// page's alone.
const lookAgain = 100 * time.Millisecond

// until waits for a condition that is not the page's alone.
func until(t *testing.T, why string, condition func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), chromium.Patience)
	defer cancel()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for !condition(ctx) {
		select {
		case <-ctx.Done():
			t.Fatal(why)
		case <-ticker.C:
		}
	}
}
