package database

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// processesLife is how long memory and versions are remembered: a
	// postmaster's backends are many files to read.
	processesLife = 10 * time.Second

	// versionWait bounds the question for the version of Postgres.
	versionWait = time.Second

	// familyMost bounds the processes of one child that are added up.
	familyMost = 2000
)

// Process is one process that people know by name. It marshals to what the
// dashboard answers.
type Process struct {
	Name     string  `json:"name"`   // postgres, pgbouncer
	Parent   string  `json:"parent"` // who supervises it; empty: nobody here
	PID      int     `json:"pid"`    // 0: none, or unknown
	Version  string  `json:"version"`
	Uptime   float64 `json:"uptime_seconds"`
	Restarts int     `json:"restarts"`
	Memory   int64   `json:"memory_bytes"` // with its own children; 0: unknown
	State    string  `json:"state"`        // running, restarting, external
}

// processes keeps what is costly to know.
type processes struct {
	mu      sync.Mutex
	at      time.Time
	memory  map[int]int64
	version string    // of Postgres
	born    time.Time // of Postgres
}

// Processes lists Postgres and, where it is managed, PgBouncer. It is empty
// while the server does not run. The version and age of Postgres are asked for
// within a second, at most every ten.
func (s *Server) Processes(ctx context.Context) []Process {
	r := s.running.Load()
	out := []Process{}
	if r == nil {
		return out
	}
	p := &s.processes
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.at) >= processesLife {
		p.at, p.memory = now, map[int]int64{}
		s.askPostgres(ctx, p)
	}
	postgres := Process{Name: "postgres", Version: p.version, State: "external"}
	if !p.born.IsZero() {
		postgres.Uptime = now.Sub(p.born).Round(time.Second).Seconds()
	}
	if r.postgres != nil {
		postgres = r.postgres.seen(p, now)
		postgres.Version = p.version
	}
	out = append(out, postgres)
	if r.pooler != nil {
		pooler := r.pooler.seen(p, now)
		pooler.Version = r.poolerVersion
		out = append(out, pooler)
	}
	return out
}

// askPostgres keeps what was known when there is no answer.
func (s *Server) askPostgres(ctx context.Context, p *processes) {
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	err := s.direct.QueryRow(ctx, "SELECT current_setting('server_version'), pg_postmaster_start_time()").Scan(&p.version, &p.born)
	if err != nil {
		s.log.Debug("the version of Postgres was not asked for", "error", err)
	}
}

// seen tells of a supervised child.
func (s *supervisor) seen(p *processes, now time.Time) Process {
	out := Process{Name: s.spec.name, Parent: appName, State: "restarting", Restarts: s.restartCount()}
	pid := s.pid()
	if pid == 0 {
		return out
	}
	s.mu.Lock()
	born := s.current.born
	s.mu.Unlock()
	if _, known := p.memory[pid]; !known {
		p.memory[pid] = memoryOf(family(pid))
	}
	out.PID, out.State, out.Memory = pid, "running", p.memory[pid]
	out.Uptime = now.Sub(born).Round(time.Second).Seconds()
	return out
}

// OwnMemory is how much memory this process takes, without its children, in
// bytes. It is 0 where the system does not tell.
func OwnMemory() int64 { return memoryOf([]int{os.Getpid()}) }

// memoryOf adds up what processes take; what several share is counted once.
func memoryOf(pids []int) int64 {
	var proportional, private, shared int64
	exact := true
	for _, member := range pids {
		if pss, ok := procBytes(member, "smaps_rollup", "Pss"); ok {
			proportional += pss["Pss"]
			continue
		}
		// Another user's may not be readable. What it shares is about the
		// same as what its siblings share.
		if status, ok := procBytes(member, "status", "RssAnon", "RssFile", "RssShmem"); ok {
			exact = false
			private += status["RssAnon"]
			shared = max(shared, status["RssFile"]+status["RssShmem"])
		}
	}
	if exact {
		return proportional
	}
	return proportional + private + shared
}

// family is a process and all its descendants.
func family(pid int) []int {
	out := []int{pid}
	for i := 0; i < len(out) && len(out) < familyMost; i++ {
		id := strconv.Itoa(out[i])
		tasks, err := os.ReadDir("/proc/" + id + "/task")
		if err != nil {
			continue
		}
		for _, task := range tasks {
			text, err := os.ReadFile("/proc/" + id + "/task/" + task.Name() + "/children")
			if err != nil {
				continue
			}
			for _, child := range strings.Fields(string(text)) {
				if n, err := strconv.Atoi(child); err == nil {
					out = append(out, n)
				}
			}
		}
	}
	return out
}

// procBytes reads lines such as "Pss:   12 kB" of a file below /proc. ok is
// false when none is there.
func procBytes(pid int, file string, names ...string) (values map[string]int64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return nil, false
	}
	values = map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, rest, found := strings.Cut(lines.Text(), ":")
		if !found {
			continue
		}
		for _, want := range names {
			if name != want {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				values[name] = n << 10
			}
		}
	}
	return values, len(values) > 0
}
