package database

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

const (
	tailLines   = 8       // of a child's output are quoted when it cannot start
	maxLogLine  = 8 << 10 // bytes of one line of a child's output; the rest is cut
	tabContinue = "\t"    // begins a continued line of Postgres
)

// tail remembers the last lines of a child's output.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == tailLines {
		t.lines = t.lines[1:]
	}
	t.lines = append(t.lines, line)
}

// quote returns the lines as the end of an error text.
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return ""
	}
	return ": " + strings.Join(t.lines, " | ")
}

// relay turns a child's output into log lines until the pipe is closed.
func relay(r io.ReadCloser, log *slog.Logger, parse func(string) (slog.Level, string), t *tail) {
	defer r.Close()
	lines := bufio.NewReaderSize(r, maxLogLine)
	for {
		raw, err := lines.ReadSlice('\n')
		text := strings.TrimRight(string(raw), "\r\n")
		for err == bufio.ErrBufferFull { // cut: skip to the end of the line
			_, err = lines.ReadSlice('\n')
		}
		if text != "" {
			level, msg := parse(text)
			t.add(msg)
			log.Log(context.Background(), level, msg)
		}
		if err != nil {
			return
		}
	}
}

// postgresLine reads a line written with logPrefix. What a
// session was told (FATAL ends one session, not the server) is a matter of
// that session, which gets it as its own error.
func postgresLine(text string) (slog.Level, string) {
	if strings.HasPrefix(text, tabContinue) {
		return slog.LevelDebug, strings.TrimSpace(text)
	}
	rest := text
	if strings.HasPrefix(rest, "[") {
		if _, after, ok := strings.Cut(rest, "] "); ok {
			rest = after
		}
	}
	severity, msg, ok := strings.Cut(rest, ":  ")
	if !ok {
		return slog.LevelInfo, text
	}
	switch severity {
	case "PANIC":
		return slog.LevelError, msg
	case "FATAL", "ERROR", "WARNING":
		if oneSession(msg) {
			return slog.LevelDebug, msg
		}
		return slog.LevelWarn, msg
	case "LOG", "INFO", "NOTICE", "HINT", "DETAIL":
		if oneSession(msg) {
			return slog.LevelDebug, msg
		}
		return slog.LevelInfo, msg
	}
	return slog.LevelInfo, rest
}

// oneSession reports whether a message is repeated by each of many sessions
// when the server stops or starts, or a client goes.
func oneSession(msg string) bool {
	for _, begin := range [...]string{
		"the database system is starting up", "the database system is shutting down",
		"the database system is in recovery mode", "the database system is not yet accepting connections",
		"terminating connection due to ", "could not receive data from client", "could not send data to client",
		"unexpected EOF on client connection",
	} {
		if strings.HasPrefix(msg, begin) {
			return true
		}
	}
	return false
}

// pooler's severities as it writes them after "date time zone [pid]".
var poolerLevels = [...]struct {
	word  string
	level slog.Level
}{
	{"FATAL", slog.LevelError},
	{"ERROR", slog.LevelError},
	{"WARNING", slog.LevelWarn},
	{"LOG", slog.LevelDebug}, // its daily life: databases it meets, signals it gets
	{"NOISE", slog.LevelDebug},
	{"DEBUG", slog.LevelDebug},
}

// poolerLine reads a line of PgBouncer: "2026-01-02 03:04:05.678 UTC [9] LOG text".
func poolerLine(text string) (slog.Level, string) {
	_, rest, ok := strings.Cut(text, "] ")
	if !ok {
		return slog.LevelInfo, text
	}
	for _, l := range poolerLevels {
		if msg, ok := strings.CutPrefix(rest, l.word+" "); ok {
			if strings.HasPrefix(msg, "C-0x") || strings.HasPrefix(msg, "S-0x") { // one of many connections
				return slog.LevelDebug, msg
			}
			return l.level, msg
		}
	}
	return slog.LevelInfo, rest
}
