package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/config"
	"selflink/appliance/health"
)

// watched is a watchdog at a time that the test sets, whose words are kept.
type watched struct {
	*watchdog
	now    time.Time
	round  time.Time // when the last round of the checks ended
	words  []string
	answer error
}

func newWatched(limit time.Duration) *watched {
	w := &watched{now: time.Now()}
	w.watchdog = &watchdog{
		notify: func(state string) { w.words = append(w.words, state) }, health: &health.Registry{},
		answers: func(context.Context) error { return w.answer },
		turned:  func() time.Time { return w.round },
		limit:   limit, where: "127.0.0.1:1", clock: func() time.Time { return w.now }, begun: w.now,
		said: statusText("127.0.0.1:1", nil),
	}
	return w
}

// heard looks once, after some time, and gives what was said.
func (w *watched) heard(after time.Duration) string {
	w.words = nil
	w.now = w.now.Add(after)
	w.look(context.Background())
	return strings.Join(w.words, "\n")
}

// goRound asks the checks.
func (w *watched) goRound() {
	w.health.Round(context.Background())
	w.round = w.now
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	w := newWatched(time.Minute)
	require.Equal(t, "WATCHDOG=1", w.heard(0), "the first sign of life comes at once")
	require.Empty(t, w.heard(time.Second), "and the next when it is due")
	require.Equal(t, "WATCHDOG=1", w.heard(15*time.Second))

	// What the checks say is no reason to be killed.
	away := errors.New("no answer")
	w.health.Add(health.Check{Code: "database", Title: "The database does not answer", Severity: health.High, Run: func(context.Context) error { return away }})
	w.health.Add(health.Check{Code: "llm", Title: "The model fails", Severity: health.Low, Run: func(context.Context) error { return away }})
	w.goRound()
	require.Equal(t, "STATUS=ready on 127.0.0.1:1; 2 problems: database (The database does not answer), llm (The model fails)\nWATCHDOG=1", w.heard(15*time.Second))
	away = nil
	w.goRound()
	require.Equal(t, "STATUS=ready on 127.0.0.1:1\nWATCHDOG=1", w.heard(15*time.Second))

	// A server that does not answer is, and checks that do not go round are.
	w.answer = errors.New("nobody is there")
	require.Equal(t, "STATUS=no sign of life: a request is not answered: nobody is there", w.heard(15*time.Second))
	w.answer = nil
	require.Contains(t, w.heard(15*time.Second), "STATUS=no sign of life: the health checks have not gone round for")
	w.goRound()
	require.Equal(t, "STATUS=ready on 127.0.0.1:1\nWATCHDOG=1", w.heard(time.Second))
}

func TestWatchdogThatNobodyHears(t *testing.T) {
	t.Parallel()
	w := newWatched(0)
	w.answer = errors.New("not asked")
	require.Empty(t, w.heard(time.Hour))

	for _, c := range []struct {
		environ []string
		limit   time.Duration
	}{
		{nil, 0},
		{[]string{"WATCHDOG_USEC=60000000"}, time.Minute},
		{[]string{"WATCHDOG_USEC=60000000", "WATCHDOG_PID=" + strconv.Itoa(os.Getpid())}, time.Minute},
		{[]string{"WATCHDOG_USEC=60000000", "WATCHDOG_PID=1"}, 0},
		{[]string{"WATCHDOG_USEC=soon"}, 0},
		{[]string{"WATCHDOG_USEC=-1"}, 0},
	} {
		require.Equal(t, c.limit, watchdogLimit(c.environ, os.Getpid()), c.environ)
	}
}

func TestStatusTextIsOneLineOfBoundedLength(t *testing.T) {
	t.Parallel()
	var many []health.Problem
	for i := range 50 {
		many = append(many, health.Problem{Code: "c" + strconv.Itoa(i), Title: "Something\nis wrong"})
	}
	text := statusText("x", many)
	require.Less(t, len(text), statusMost+100)
	require.Contains(t, text, "50 problems: c0 (Something is wrong), c1")
	require.NotContains(t, text, "\n")
}

// TestServeFeedsTheWatchdog goes all the way: the manager's socket hears signs
// of life of a server that answers on its own socket.
func TestServeFeedsTheWatchdog(t *testing.T) {
	t.Parallel()
	path, next := manager(t)
	dir, err := os.MkdirTemp("", "sl") // short: the path of a socket is
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, appliance.SocketName))
	require.NoError(t, err)
	own := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	go func() { _ = own.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = own.Close() })

	b := newBench(t, "NOTIFY_SOCKET="+path, "SELFLINK_DATA_DIR="+dir, "WATCHDOG_USEC=3600000000")
	b.withServer(&fakeServer{})
	code := make(chan int, 1)
	go func() { code <- b.run([]string{"serve"}) }()
	require.Equal(t, "STATUS=starting", next())
	require.Equal(t, "READY=1\nSTATUS=ready on 0.0.0.0:8123", next())
	require.Equal(t, "WATCHDOG=1", next())
	b.signal <- os.Interrupt
	require.Equal(t, "STOPPING=1\nSTATUS=stopping", next())
	require.Equal(t, exitOK, <-code)
}

func TestAnswersHealth(t *testing.T) {
	t.Parallel()
	err := openDesk(&config.Config{DataDir: t.TempDir()}).answersHealth(context.Background())
	require.ErrorContains(t, err, "ask the server")
}

// TestWaiting follows a start through a quick part and one that takes as long as
// there is data.
func TestWaiting(t *testing.T) {
	t.Parallel()
	extended := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", startMore.Microseconds())
	parts := make(chan string, 8)
	heard := make(chan string)
	w := &waiting{
		every: time.Millisecond, notify: func(state string) { heard <- state },
		phase: func() (string, bool) {
			part := <-parts
			return part, part == "database"
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); w.run(ctx) }()
	for _, step := range []struct {
		part string
		more bool
	}{{"ids", true}, {"ids", false}, {"database", true}, {"database", true}} {
		parts <- step.part
		said := <-heard
		require.Contains(t, said, "STATUS=starting: "+step.part+", since ")
		require.Equal(t, step.more, strings.Contains(said, extended), said)
	}
	cancel()
	parts <- "" // nothing starts any more
	<-ended

	go w.told("copying: 3 of 7 MiB")
	require.Equal(t, "STATUS=copying: 3 of 7 MiB\n"+extended, <-heard)
}
