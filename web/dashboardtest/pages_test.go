package dashboardtest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// place is a page in one of its states.
type place struct {
	name string
	hash string
	// picture says that docs/DASHBOARD.md shows it.
	picture bool
}

func places(w *world) []place {
	return []place{
		{"overview", "#/overview", true},
		{"jobs", "#/jobs", true},
		{"jobs-dead", "#/jobs?state=dead", false},
		{"jobs-errors", "#/jobs?state=dead&view=errors", false},
		{"job", "#/jobs/" + w.dead, true},
		{"schedules", "#/schedules", true},
		{"schedule", "#/schedules/health.retention", false},
		{"realtime", "#/realtime", true},
		{"realtime-user", "#/realtime?user=" + w.benID, false},
		{"database", "#/database", true},
		{"broker", "#/broker", true},
		{"mentor", "#/mentor", true},
		{"storage", "#/storage", true},
		{"search", "#/search", true},
		{"payments", "#/payments", true},
		{"checkouts", "#/payments?tab=checkouts", false},
		{"payment-events", "#/payments?tab=events", false},
		{"logs", "#/logs?level=warning", true},
		{"requests", "#/logs?tab=requests", false},
		{"explain", "#/explain/" + w.failed, true},
		{"people", "#/people", true},
		{"person", "#/people/" + w.benID, false},
		{"audit", "#/people?tab=audit", false},
		{"settings", "#/settings", true},
		{"checklist", "#/settings?tab=checklist", false},
		{"unknown", "#/nowhere", false},
	}
}

// everyPage shows that each page is sound in both themes, on a desk and on a
// phone: no complaint of the browser, nothing that a person with a reader or a
// keyboard could not use, nothing to scroll sideways for.
func everyPage(p *page, w *world) {
	axe, err := os.ReadFile(filepath.Join("..", "node_modules", "axe-core", "axe.min.js"))
	require.NoError(p.t, err)
	p.Eval(string(axe)+";void 0", nil) // by the debugger, which no content policy stops
	defer p.Size(1280, 900, false)
	for _, place := range places(w) {
		p.t.Run(place.name, func(t *testing.T) {
			p := &page{t, p.As(t)}
			p.Size(1280, 900, false)
			p.visit(place.hash)
			for _, dark := range []bool{false, true} {
				for _, width := range []int{1280, 380} {
					p.Size(width, 900, dark)
					p.settled()
					look := fmt.Sprintf("%d px, dark %t", width, dark)
					var wide int
					p.Eval("document.documentElement.scrollWidth - innerWidth", &wide)
					require.LessOrEqual(t, wide, 0, "%s: the page is wider than the window", look)
					require.Empty(t, p.barriers(), look)
				}
				if place.picture && os.Getenv("UPDATE_SHOTS") == "1" {
					shoot(p, place.name, dark)
				}
			}
			p.clean()
		})
	}
}

// barriers are the serious faults that axe finds in what the page shows.
func (p *page) barriers() (found []string) {
	p.t.Helper()
	p.Eval(`axe.run({resultTypes: ["violations"]}).then((r) => r.violations
		.filter((v) => v.impact === "serious" || v.impact === "critical")
		.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html + " " + n.failureSummary)))`, &found)
	return found
}

// mostFirstLoad bounds what must arrive before the first page is shown, in
// bytes as they travel.
const mostFirstLoad = 150 << 10

// smallFirstLoad weighs all that the browser loads of the dashboard until the
// overview stands.
func smallFirstLoad(p *page, s *server) {
	p.Go("about:blank")
	p.Go(s.url + "/dashboard/")
	p.shows("main h1", "Overview")
	p.settled()
	var loaded []string
	p.Eval(`[location.origin + location.pathname, ...performance.getEntriesByType("resource").map((e) => e.name)]
		.filter((url) => !url.includes("/dashboard/api/"))`, &loaded)
	require.Greater(p.t, len(loaded), 2, "a page, a script and a style sheet at least")
	seen, sum := map[string]bool{}, 0
	for _, url := range loaded {
		if !seen[url] {
			seen[url] = true
			sum += weigh(p.t, url)
		}
	}
	p.t.Logf("the first load: %d files, %.1f KiB", len(seen), float64(sum)/1024)
	require.LessOrEqual(p.t, sum, mostFirstLoad)
	p.clean()
}

// weigh fetches a file packed and returns its size on the way.
func weigh(t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Header.Set("Accept-Encoding", "gzip") // by hand: nothing is unpacked
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode, url)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return len(body)
}
