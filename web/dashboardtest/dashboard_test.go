package dashboardtest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/llm/llmtest"
	"selflink/web/chromium"
)

// TestDashboard shows that an operator can do with the pages what they are for.
// Its parts follow each other on one server, as a day would.
func TestDashboard(t *testing.T) {
	t.Parallel()
	needPages(t)
	browser := chromium.Start(t)
	model := llmtest.New(t)
	s := startServer(t, model.URL)
	tab := browser.Open(t, "about:blank")
	tab.Size(1280, 900, false)
	with := func(f func(p *page)) func(t *testing.T) {
		return func(t *testing.T) {
			p := &page{t, tab.As(t)}
			defer func() {
				if t.Failed() {
					t.Logf("what the page did wrong: %q", p.Faults())
				}
			}()
			f(p)
		}
	}
	var w *world
	for _, part := range []struct {
		name string
		run  func(p *page)
	}{
		{"first run, out and in", func(p *page) { firstRun(p, s) }},
		{"all of a first load is small", func(p *page) { smallFirstLoad(p, s) }},
		{"by keys alone", byKeysAlone},
		{"a day's work", func(p *page) { w = makeWorld(p, s, model) }},
		{"a failed job is mended", func(p *page) { mendJob(p, s, model, w) }},
		{"a schedule is run", runSchedule},
		{"files, searches and payments", func(p *page) { servicesWork(p, s, w) }},
		{"the log as it is written", func(p *page) { followLog(p, s, model, w) }},
		{"every page", func(p *page) { everyPage(p, w) }},
		{"a viewer", func(p *page) { viewerReads(p, w) }},
		{"without a database", func(p *page) { withoutDatabase(p, s) }},
	} {
		if !t.Run(part.name, with(part.run)) {
			return // what follows builds on it
		}
	}
}

func firstRun(p *page, s *server) {
	p.Go(s.firstRun)
	p.fill("name", "Ann Carter")
	p.fill("email", "ann@example.com")
	p.fill("password", password)
	p.press("Start")
	p.shows("main h1", "Settings")
	p.settled()
	p.clean()

	p.signOut("Ann Carter")
	p.Go(s.firstRun) // only the hash changes: the page is asked to forget
	p.Go(s.url + "/dashboard/")
	p.fill("email", "ann@example.com")
	p.fill("password", "not the password")
	p.press("Sign in")
	p.shows("[role=alert]", "Wrong address or password.")
	p.refused(http.StatusBadRequest)
	p.signIn("ann@example.com")
	p.shows(".top", "Ann Carter")
	p.clean()
}

func byKeysAlone(p *page) {
	p.signOut("Ann Carter")
	p.Until(`document.activeElement?.id === "email"`, "the first field had not the focus")
	p.Type("ann@example.com")
	p.Key("Tab")
	p.Type(password)
	p.Key("Enter")
	p.settled()
	p.Key("g")
	p.Key("j")
	p.shows("main h1", "Jobs")
	p.settled()
	p.Key("?")
	p.shows("dialog[open] h2", "Keyboard")
	p.Key("Escape")
	p.Until(`!document.querySelector("dialog[open]")`, "Escape did not close the help")
	p.clean()
}

func mendJob(p *page, s *server, model *llmtest.Server, w *world) {
	p.visit("#/jobs?state=dead&kind=mentor.chat_generate&error=404")
	var known []string
	const shown = `[...document.querySelectorAll("main tbody th a")].map((a) => a.hash)`
	p.Eval(shown, &known)

	model.Always(refusal)
	job := s.chat(p.t, w.ben, "Why does nobody answer?")
	link := "#/jobs/" + job
	require.NotContains(p.t, known, link)
	p.Until(shown+".includes("+js(link)+")", "the list did not get the job that died")
	p.shows("main tbody tr", "status 404")
	p.Until(`(() => { const a = document.querySelector(`+js(`main a[href="`+link+`"]`)+`); a?.click(); return a; })()`, "the job could not be opened")
	p.shows(".failure pre", "the provider answered with status 404")
	p.shows("main .badge", "Dead")
	model.Always(answer)
	p.press("Retry")
	p.shows("main .badge", "Succeeded")
	status, _ := s.ask(p.t, http.MethodGet, "/api/v1/mentor/task-status/"+job+"/", w.ben, nil, http.StatusOK)
	require.NotContains(p.t, fmt.Sprint(status), "llm_failure", "the model's answer takes the place of the text that stood for it")
	p.clean()
}

func runSchedule(p *page) {
	p.visit("#/schedules")
	p.press("health.retention")
	p.shows("main h1", "health.retention")
	p.settled()
	p.press("Run now")
	p.press("Run it now")
	p.shows("main tbody tr", "Succeeded")
	p.clean()
}

func followLog(p *page, s *server, model *llmtest.Server, w *world) {
	p.visit("#/logs?level=warning&component=llm")
	p.shows("[aria-label=Log]", "Following")
	model.Always(refusal)
	id := s.askNow(p.t, w.ben, "Is anybody there?", http.StatusBadGateway)
	model.Always(answer)
	explain := js(`.lines a[href="#/explain/` + id + `"]`)
	p.Until("document.querySelector("+explain+")", "the line that the request caused did not appear")

	p.visit("#/logs?request_id=" + id)
	p.shows(".lines", "generation failed")
	var others int
	p.Eval(fmt.Sprintf(`[...document.querySelectorAll(".lines li")].filter((li) => !li.querySelector(%s)).length`, js(`a[href="#/explain/`+id+`"]`)), &others)
	require.Zero(p.t, others, "lines of other requests are shown")

	p.press("request")
	p.shows("main h1", "/api/v1/mentor/chat/")
	p.shows("main tbody tr", "generation failed")
	p.press("Its log lines")
	p.shows(".lines", "generation failed")

	p.visit("#/explain/" + w.dead)
	p.shows("main h1", "mentor.chat_generate")
	p.shows("main tbody tr", "status 404")
	p.clean()
}

// viewerReads shows that who may only read is offered nothing else.
func viewerReads(p *page, w *world) {
	p.signOut("Ann Carter")
	p.signIn("vera@example.com")
	const acts = `[...document.querySelectorAll("main button")].filter((b) => %s.test(b.innerText.trim()))`
	for hash, words := range map[string]string{
		"#/jobs?state=dead":             `/^(Retry|Cancel|Delete|Pause|Resume)/`,
		"#/jobs/" + w.dead:              `/^(Retry|Cancel|Delete)/`,
		"#/schedules":                   `/^(Run|Pause|Resume)/`,
		"#/schedules/health.retention":  `/^(Run|Pause|Resume)/`,
		"#/realtime?user=" + w.benID:    `/^(Close|End)/`,
		"#/mentor":                      `/^Ask/`,
		"#/storage":                     `/^(Check|Sweep)/`,
		"#/search":                      `/^Find/`,
		"#/payments":                    `/^Check/`,
		"#/people/" + w.benID:           `/^(End|Deactivate|Make)/`,
		"#/settings":                    `/diagnostics/i`,
		"#/jobs?state=dead&view=errors": `/^(Retry|Delete)/`,
	} {
		p.visit(hash)
		found := fmt.Sprintf(acts, words)
		p.Until(found+".length > 0", "no act was found on "+hash)
		var usable []string
		p.Eval(found+`.filter((b) => b.ariaDisabled !== "true" && !b.disabled).map((b) => b.innerText)`, &usable)
		require.Empty(p.t, usable, "%s offers acts to a viewer", hash)
		p.Eval(found+".forEach((b) => b.click())", nil)
		p.Until(`!document.querySelector("dialog[open]")`, "an act of "+hash+" began")
	}
	p.clean() // which an act that was tried and refused would not leave
	p.signOut("Vera Lind")
	p.signIn("ann@example.com")
}

// withoutDatabase kills Postgres as often as it takes to be noticed.
func withoutDatabase(p *page, s *server) {
	p.visit("#/overview")
	p.clean()
	const warning = `#problem-database`
	var begun time.Time
	var shown string // when the warning was seen: it goes when Postgres is back
	killed := map[int]bool{}
	until(p.t, "no warning appeared on the page", func(ctx context.Context) bool {
		var state struct {
			PID     int    `json:"pid"`
			Warning string `json:"warning"`
		}
		err := p.Try(ctx, `fetch("/dashboard/api/overview").then((r) => r.json()).then((o) => ({
			pid: o.processes.find((p) => p.name === "postgres")?.pid ?? 0,
			warning: [`+js(warning)+`, ".verdict", ".mark"].map((e) => document.querySelector(e)?.innerText ?? "").join("\\n"),
		}))`, &state)
		require.NoError(p.t, err, "the overview must answer without a database")
		if strings.Contains(state.Warning, "Postgres does not answer") {
			shown = state.Warning
			return true
		}
		if state.PID != 0 && !killed[state.PID] && isPostgres(state.PID) {
			killed[state.PID] = true
			require.NoError(p.t, syscall.Kill(state.PID, syscall.SIGKILL))
			if begun.IsZero() {
				begun = time.Now()
			}
		}
		return false
	})
	p.t.Logf("the warning was on the page %.1f s after Postgres was killed first, and after %d kills", time.Since(begun).Seconds(), len(killed))
	for _, part := range []string{"Impact", "The appliance can't serve without it.", "Remedy", "Down", "Live"} {
		require.Contains(p.t, shown, part)
	}

	// What lies in memory is there.
	p.visit("#/logs?component=postgres")
	p.shows(".lines", "database system is ready")
	p.visit("#/overview")
	p.Until(`!document.querySelector(`+js(warning)+`)`, "the warning did not go away")
	p.Until(`!document.querySelector(".verdict.high")`, "the page did not say that all is well again")
	p.visit("#/people")
	p.shows("main tbody", "Ann Carter")
	p.noFaultsBut("status of 503", "status of 500")
}

// isPostgres tells whether a process is one, before it is killed.
func isPostgres(pid int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.HasPrefix(string(name), "postgres")
}
