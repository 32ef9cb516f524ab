package appliance_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/config"
	"selflink/appliance/health"
)

// lines is a log that tests read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// about lists the log's lines that contain text.
func (l *lines) about(text string) (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// The database dies under the whole appliance and comes back: one problem, once,
// with everything that fails by it hidden behind it.
func TestDeadDatabaseIsOneProblemOfTheAppliance(t *testing.T) {
	t.Parallel()
	const patience = 90 * time.Second
	dir, err := os.MkdirTemp("", "selflink-health-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	data := filepath.Join(dir, "data")
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"SELFLINK_DATA_DIR=" + data, "SELFLINK_LISTEN=127.0.0.1:0", "SELFLINK_ENV_FILE=", "PATH=" + os.Getenv("PATH"),
	}})
	require.NoError(t, err)
	var log lines
	a, err := appliance.New(cfg, slog.New(slog.NewTextHandler(&log, nil)), nil, appliance.Build{Version: "test"})
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, a.Stop(ctx))
	})
	ready := func() int {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+a.Addrs()[0]+"/ready", nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		return response.StatusCode
	}
	firstOperator(t, a) // without one, that is a problem too
	settled := func() bool {
		for _, component := range a.Health().Checks() {
			for _, check := range component.Checks {
				if check.State != health.StateHealthy && !strings.HasPrefix(check.Code, "disk.") {
					return false
				}
			}
		}
		return true
	}
	require.Eventually(t, settled, patience, 20*time.Millisecond, "%v", a.Health().Problems())
	require.Equal(t, 200, ready())

	about := func(text string) (codes []string) {
		for _, line := range log.about(text) {
			if !strings.Contains(line, "code=disk.") && !strings.Contains(line, "code=admin.") { // seen before there was an operator
				codes = append(codes, line)
			}
		}
		return codes
	}
	control := filepath.Join(data, "postgres", "global", "pg_control")
	require.NoError(t, os.Rename(control, control+".away")) // so that it cannot start again
	raw, err := os.ReadFile(filepath.Join(data, "postgres", "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return ready() == 503 }, patience, 10*time.Millisecond, "/ready does not wait for the loop")
	databaseOf := func() (found []health.Problem) {
		for _, p := range a.Health().Problems() {
			if !strings.HasPrefix(p.Code, "disk.") { // of this machine
				found = append(found, p)
			}
		}
		return found
	}
	hidden := []string{"pooler", "realtime", "jobs.default.stalled"} // each shows as its own probe first fails
	require.Eventually(t, func() bool {
		p := databaseOf()
		if len(p) != 1 || p[0].Code != "database" || len(log.about("code=database")) == 0 {
			return false
		}
		return !slices.ContainsFunc(hidden, func(code string) bool { return !slices.Contains(p[0].Effects, code) })
	}, patience, 20*time.Millisecond)

	require.NoError(t, os.Rename(control+".away", control))
	require.Eventually(t, settled, patience, 20*time.Millisecond)
	require.Eventually(t, func() bool { return len(about("a problem has cleared")) > 0 }, patience, 20*time.Millisecond)
	require.Equal(t, 200, ready())

	require.Len(t, about("a problem appeared"), 1, "told once, and its effects never")
	require.Contains(t, about("a problem appeared")[0], "code=database")
	require.Len(t, about("a problem has cleared"), 1)
	require.Empty(t, about("hidden_behind"))
	// What could not be written while it was away is written now.
	require.Eventually(t, func() bool {
		h, err := a.Health().History(t.Context(), 1)
		require.NoError(t, err)
		for _, p := range h.Problems {
			if p.Code == "database" && p.Cleared != nil {
				return h.Hours[len(h.Hours)-1].Worst == health.High || h.Hours[0].Worst == health.High
			}
		}
		return false
	}, patience, 20*time.Millisecond)
}
