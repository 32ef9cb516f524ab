// Command bench measures the appliance beside plain baselines in one run and
// prints a table with ratios. "make bench" builds and runs it.
//
// Client and server share the machine's cores, so absolute figures are those
// of this machine; the ratios travel.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if ok, err := loadMain(os.Args); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	bin := flag.String("bin", "../../bin/selflink", "the built binary")
	seconds := flag.Int("seconds", 4, "length of each HTTP run in seconds")
	conns := flag.Int("conns", 32, "connections of each HTTP run")
	only := flag.String("only", "", "comma list of sections: start,http,streams,jobs (default all of these), realtime, files, search")
	runs := flag.String("realtime", "", "comma list of runs of that section: connect,idle,burst5000,closed,burst,paced,bare,churn,slow,sse (default all)")
	figures := flag.String("json", "", "file for the figures of that section as JSON")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{bin: *bin, length: time.Duration(*seconds) * time.Second, conns: *conns, runs: *runs, json: *figures}
	if err := b.run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench holds the choices of one run.
type bench struct {
	bin    string
	length time.Duration
	conns  int

	// Of the realtime section.
	runs    string // comma list; empty: all
	json    string // file for the figures; empty: none
	figures []figure
}

func (b *bench) run(ctx context.Context, only string) error {
	fmt.Printf("%d cores, %s, %s\n", runtime.NumCPU(), runtime.Version(), time.Now().UTC().Format("2006-01-02 15:04 MST"))
	fmt.Printf("%-54s %14s %10s %10s  %s\n", "what", "figure", "p50", "p99", "beside")
	sections := []struct {
		name string
		run  func(context.Context) error
	}{
		{"start", b.coldStart},
		{"http", b.overHTTP},
		{"streams", b.streams},
		{"jobs", b.jobs},
		{"realtime", b.realtime},
		{"files", b.files},
		{"search", b.search},
	}
	// They take as long as all the others.
	asked := map[string]bool{"realtime": true, "files": true, "search": true}
	for _, section := range sections {
		if only == "" && asked[section.name] {
			continue
		}
		if only != "" && !strings.Contains(","+only+",", ","+section.name+",") {
			continue
		}
		if err := section.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return nil
}

// row prints one line of the table.
func row(what, figure string, p50, p99 time.Duration, beside string) {
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.Round(10 * time.Microsecond).String()
	}
	fmt.Printf("%-54s %14s %10s %10s  %s\n", what, figure, text(p50), text(p99), beside)
}

// coldStart times the first start, initdb included, and the second, and weighs
// the idle tree.
func (b *bench) coldStart(ctx context.Context) error {
	s, err := newServer(b.bin)
	if err != nil {
		return err
	}
	defer func() { _ = s.remove() }()
	for _, what := range []string{"first start to ready, initdb included", "second start to ready"} {
		took, err := s.start(ctx)
		if err != nil {
			return err
		}
		row(what, took.Round(time.Millisecond).String(), 0, 0, "")
		if what == "second start to ready" {
			if err := weigh(s, "idle"); err != nil {
				return err
			}
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	return nil
}

// weigh prints the memory of the process and its tree.
func weigh(s *server, when string) error {
	// Idle means idle: caches of the start have been returned.
	time.Sleep(2 * time.Second)
	alone, tree, processes, err := s.pss()
	if err != nil {
		return err
	}
	row("memory "+when+", process alone", fmt.Sprintf("%.0f MiB PSS", alone), 0, 0, "")
	row("memory "+when+", whole tree", fmt.Sprintf("%.0f MiB PSS", tree), 0, 0, fmt.Sprintf("%d processes", processes))
	return nil
}

// overHTTP measures the request paths on one server.
func (b *bench) overHTTP(ctx context.Context) error {
	s, err := newServer(b.bin, "MENTOR_LLM_PROVIDER=mock")
	if err != nil {
		return err
	}
	defer func() { _ = s.remove() }()
	if _, err := s.start(ctx); err != nil {
		return err
	}
	defer func() { _ = s.stop() }()

	tokens := make([]string, b.conns)
	for i := range tokens {
		if tokens[i], err = s.register(fmt.Sprintf("http%d", i)); err != nil {
			return err
		}
	}
	measure := func(what string, want int, next func(conn, turn int) []byte) (result, error) {
		r, err := closedLoop(s.addr, b.conns, b.length, want, next)
		if err != nil {
			return r, fmt.Errorf("%s: %w", what, err)
		}
		return r, nil
	}
	plain := func(what, path string) error {
		prepared := make([][]byte, len(tokens))
		for i := range tokens {
			prepared[i] = request("GET", path, tokens[i], "")
		}
		r, err := measure(what, 200, func(conn, _ int) []byte { return prepared[conn] })
		if err != nil {
			return err
		}
		row(what, fmt.Sprintf("%.0f req/s", r.rate()), r.p50, r.p99, "")
		return nil
	}
	if err := plain("GET health", "/api/v1/health/"); err != nil {
		return err
	}
	if err := b.meBesideBare(ctx, s, tokens); err != nil {
		return err
	}
	if err := plain("GET users (20 of a page)", "/api/v1/users/"); err != nil {
		return err
	}

	r, err := measure("chat", 200, func(conn, turn int) []byte {
		return syncChat(tokens[conn], fmt.Sprintf("question %d of %d", turn, conn))
	})
	if err != nil {
		return err
	}
	row("POST mentor/chat, sync, mock model", fmt.Sprintf("%.0f req/s", r.rate()), r.p50, r.p99, "")

	r, err = measure("login", 200, func(conn, _ int) []byte {
		return request("POST", "/api/v1/auth/login/", "", fmt.Sprintf(`{"email":"http%d@example.com","password":"bench-pass-1"}`, conn))
	})
	if err != nil {
		return err
	}
	row("POST login (argon2id)", fmt.Sprintf("%.0f req/s", r.rate()), r.p50, r.p99, "")
	return weigh(s, "after load")
}

// syncChat is a question that is answered in the same request.
func syncChat(token, text string) []byte {
	body := fmt.Sprintf(`{"message":%q}`, text)
	return []byte(fmt.Sprintf("POST /api/v1/mentor/chat/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nX-Sync: true\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", token, len(body), body))
}
