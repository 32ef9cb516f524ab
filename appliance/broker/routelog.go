package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	// repeatAfter is how long a line about a route is not told again: a peer
	// with another token would come back every second.
	repeatAfter = time.Minute

	// maxTold bounds how many different lines are told in that time: anybody
	// who reaches the port can cause them.
	maxTold = 64
)

// routeLog brings the lines of the bus into the appliance's log. Its errors
// are warnings, because they are about other machines; who comes and goes is
// told by the bus itself.
type routeLog struct {
	log    *slog.Logger
	failed chan<- string // gets what keeps the server from starting

	mu    sync.Mutex
	since time.Time
	told  map[string]bool
}

// news reports whether what a line says was not told lately.
func (l *routeLog) news(about string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil || now.Sub(l.since) >= repeatAfter {
		l.since, l.told = now, map[string]bool{}
	}
	if l.told[about] || len(l.told) >= maxTold {
		return false
	}
	l.told[about] = true
	return true
}

// about is what a line says without what differs each time: ports, numbers of
// connections and of attempts.
func about(format string, v []any) string {
	if who, rest, ok := strings.Cut(format, " - rid:"); ok { // a line of one route
		host, _, err := net.SplitHostPort(who)
		if err != nil {
			host = who
		}
		_, what, _ := strings.Cut(rest, " - ")
		return host + " " + what
	}
	if len(v) > 0 { // its cause comes last
		return format + fmt.Sprint(v[len(v)-1])
	}
	return format
}

func (l *routeLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, fmt.Sprintf(format, v...), "component", "cluster")
}

func (l *routeLog) warn(format string, v []any) {
	level := slog.LevelDebug
	if l.news(about(format, v), time.Now()) {
		level = slog.LevelWarn
	}
	l.line(level, format, v)
}

func (l *routeLog) Warnf(format string, v ...any)   { l.warn(format, v) }
func (l *routeLog) Errorf(format string, v ...any)  { l.warn(format, v) }
func (l *routeLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *routeLog) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *routeLog) Tracef(string, ...any)           {}

// Fatalf hears of what the server can't start without. It has no client port
// on purpose, see [bus.start].
func (l *routeLog) Fatalf(format string, v ...any) {
	if strings.HasPrefix(format, "Error listening on port:") {
		return
	}
	select {
	case l.failed <- fmt.Sprintf(format, v...):
	default:
	}
}
