package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/trace"
)

// withDesk gives the bench a running server's socket, behind which handler
// answers.
func (b *bench) withDesk(t *testing.T, handler http.Handler) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl") // short: the path of a socket is
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b.environ = append(b.environ, "SELFLINK_DATA_DIR="+dir)
	b.data = dir
	listener, err := net.Listen("unix", filepath.Join(dir, appliance.SocketName))
	require.NoError(t, err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return b
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	begun := time.Now().UTC().Truncate(time.Second)
	var asked []string
	ran := false
	mux := http.NewServeMux()
	mux.HandleFunc("/dashboard/api/", func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/dashboard/api/")
		asked = append(asked, r.Method+" "+path)
		w.Header().Set("Content-Type", "application/json")
		switch path {
		case "schedules/backup.nightly/run":
			ran = true
			w.WriteHeader(http.StatusAccepted)
			_ = json.NewEncoder(w).Encode(map[string]any{"started_at": begun})
		case "schedules/backup.nightly/pause":
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "backup.nightly", "paused": true})
		case "schedules/nothing/run":
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"detail":"It is running already."}`))
		case "schedules":
			last := map[string]any{"fire_at": begun, "outcome": "succeeded", "finished_at": begun.Add(-time.Hour)}
			if ran {
				last["outcome"], last["error"], last["finished_at"] = "failed", "the disk is full", begun.Add(time.Second)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"items": []any{
				map[string]any{"name": "backup.nightly", "cron": "30 3 * * *", "next_at": "2026-01-02T03:30:00Z", "last": last, "missed_30d": 2},
			}})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	b := newBench(t).withDesk(t, mux)
	require.Equal(t, exitOK, b.run([]string{"schedule", "list"}))
	require.Contains(t, b.out.String(), "2026-01-02 03:30:00Z")
	require.Equal(t, exitOK, b.run([]string{"schedule", "pause", "backup.nightly"}))
	require.Contains(t, b.out.String(), "backup.nightly is paused.")
	require.Equal(t, exitFailed, b.run([]string{"schedule", "run", "nothing"}))
	require.Contains(t, b.err.String(), "It is running already.")
	require.Equal(t, exitFailed, b.run([]string{"schedule", "run", "--wait", "backup.nightly"}), "it failed")
	require.Contains(t, b.err.String(), "the disk is full")
	require.Equal(t, "POST schedules/backup.nightly/run", asked[3])
	require.Equal(t, exitUsage, b.run([]string{"schedule", "run"}))
}

func TestLogs(t *testing.T) {
	t.Parallel()
	line := func(id, message string) string {
		return `{"id":"` + id + `","at":"2026-01-02T03:04:05.678Z","level":"warning","component":"http","message":"` + message +
			`","request_id":"r-1","job_id":null,"user_id":null,"fields":{"status":500,"route":"/x"}}`
	}
	mux := http.NewServeMux()
	var query string
	mux.HandleFunc("/dashboard/api/logs", func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		_, _ = w.Write([]byte(`{"items":[` + line("2", "second") + `,` + line("1", "first") + `],"next":null}`))
	})
	mux.HandleFunc("/dashboard/api/logs/live", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "2" {
			_, _ = w.Write([]byte(": ping\n\nevent: line\nid: 3\ndata: " + line("3", "third") + "\n\n"))
		}
	})
	b := newBench(t).withDesk(t, mux)
	require.Equal(t, exitFailed, b.run([]string{"logs", "-f", "--level", "warning", "--request", "r-1"}), "the server ended the stream")
	require.Contains(t, query, "level=warning")
	require.Contains(t, query, "request_id=r-1")
	out := b.out.String()
	first, second, third := strings.Index(out, "first"), strings.Index(out, "second"), strings.Index(out, "third")
	require.True(t, 0 < first && first < second && second < third, out)
	require.Contains(t, out, `2026-01-02 03:04:05.678  WARNING  http        first  request_id=r-1  route="/x"  status=500`)
}

func TestWithoutServer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, args := range [][]string{{"schedule", "list"}, {"logs"}} {
		require.Equal(t, exitFailed, b.run(args))
	}
	require.Contains(t, b.err.String(), "the appliance does not run")
	require.Contains(t, b.err.String(), "selflink serve")

	// What the database knows is told all the same.
	took := 12.5
	b.withLedger(&fakeLedger{timeline: trace.Timeline{ID: "r-1", Kind: "request", Title: "GET /x 500", Entries: []trace.Entry{
		{Kind: "request", Text: "GET /x", DurationMS: &took}, {Kind: "log", Level: "error", Text: "it broke", OffsetMS: 3},
	}}})
	require.Equal(t, exitOK, b.run([]string{"explain", "r-1"}))
	require.Contains(t, b.out.String(), "request r-1: GET /x 500")
	require.Contains(t, b.out.String(), "(12.5 ms)")

	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	require.Equal(t, exitOK, b.run([]string{"diagnostics", "--output", file}), b.err.String())
	require.FileExists(t, file)
	require.Equal(t, exitFailed, b.run([]string{"diagnostics", "--output", file}), "nothing is overwritten")
}
