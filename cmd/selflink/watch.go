package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"selflink/appliance/health"
)

const (
	// watchEvery is the time between two looks at the problems for the status
	// text of the service manager.
	watchEvery = health.Interval

	// beatShare: a sign of life is sent that many times in the time after which
	// the service manager gives the process up, so that one which is late is
	// no death.
	beatShare = 4

	// vitalTimeout bounds the question whether this process answers requests.
	vitalTimeout = 5 * time.Second

	// startEvery is the time between two requests for more time to start.
	startEvery = 10 * time.Second

	// statusMost bounds the status text in bytes; it is one line of systemctl.
	statusMost = 250
)

// watchdog keeps a service manager informed of a running server. It gives signs
// of life as long as the process is in order in itself: the health checks go
// round and a request is answered. What they say does not matter: a database
// elsewhere that is away does not come back when this process is killed.
type watchdog struct {
	notify func(state string)
	health *health.Registry
	turned func() time.Time // when the last round of the health checks ended
	// answers asks the server for a sign of life, the way clients do.
	answers func(ctx context.Context) error
	limit   time.Duration // after which the manager gives the process up; 0: it does not look
	where   string        // the server listens
	every   time.Duration // between two looks
	clock   func() time.Time

	said  string    // the last status text
	begun time.Time // when the watch began
	beat  time.Time // the last sign of life
}

// run looks until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	w.begun = w.clock()
	ticker := time.NewTicker(w.pace())
	defer ticker.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// pace is the time between two looks.
func (w *watchdog) pace() time.Duration {
	pace := w.every
	if w.limit > 0 {
		pace = min(pace, w.limit/beatShare)
	}
	return pace
}

// look says what has changed and gives a sign of life when one is due.
func (w *watchdog) look(ctx context.Context) {
	if text := statusText(w.where, w.health.Problems()); text != w.said {
		w.said = text
		w.notify("STATUS=" + text)
	}
	now := w.clock()
	if w.limit <= 0 || now.Sub(w.beat) < w.limit/beatShare && !w.beat.IsZero() {
		return
	}
	if err := w.alive(ctx, now); err != nil {
		if ctx.Err() == nil { // this may be the last that is heard of it
			w.notify("STATUS=no sign of life: " + err.Error())
			w.said = ""
		}
		return
	}
	w.beat = now
	w.notify("WATCHDOG=1")
}

// alive says what is wrong with the process itself.
func (w *watchdog) alive(ctx context.Context, now time.Time) error {
	last := w.turned()
	if last.Before(w.begun) { // none since; the first takes its time
		last = w.begun
	}
	if idle := now.Sub(last); idle > w.limit/2 {
		return fmt.Errorf("the health checks have not gone round for %s", idle.Round(time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, min(vitalTimeout, w.limit/beatShare))
	defer cancel()
	if err := w.answers(ctx); err != nil {
		return fmt.Errorf("a request is not answered: %w", err)
	}
	return nil
}

// statusText is the line that "systemctl status" shows.
func statusText(where string, problems []health.Problem) string {
	text := "ready on " + where
	switch len(problems) {
	case 0:
		return text
	case 1:
		text += "; 1 problem: "
	default:
		text += fmt.Sprintf("; %d problems: ", len(problems))
	}
	for i, p := range problems { // the worst come first
		if i > 0 {
			text += ", "
		}
		text += p.Code + " (" + strings.Join(strings.Fields(p.Title), " ") + ")"
		if len(text) > statusMost && i+1 < len(problems) {
			return text + ", …"
		}
	}
	return text
}

// watchdogLimit is after how long without a sign of life the service manager
// ends this process; 0: it does not look.
func watchdogLimit(environ []string, pid int) time.Duration {
	if of := lookup(environ, "WATCHDOG_PID"); of != "" && of != strconv.Itoa(pid) {
		return 0 // another process is watched
	}
	micros, err := strconv.ParseInt(lookup(environ, "WATCHDOG_USEC"), 10, 64)
	if err != nil || micros <= 0 {
		return 0
	}
	return time.Duration(micros) * time.Microsecond
}

// waiting tells the service manager about a start that takes its time: what it
// does, and that it needs more of it. A part that bounds itself gets more time
// once, when it begins; one that takes as long as there is data, as the recovery
// of a database does, for as long as it takes.
type waiting struct {
	notify func(state string)
	phase  func() (part string, long bool)
	every  time.Duration

	mu   sync.Mutex
	last time.Time // when the start said itself what it does
}

// told passes on what the start says itself.
func (w *waiting) told(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	w.notify(extend("STATUS=" + what))
}

// run speaks for parts that say nothing themselves, until ctx ends.
func (w *waiting) run(ctx context.Context) {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	begin, before := time.Now(), ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		part, long := w.phase()
		if part == "" {
			continue
		}
		state := fmt.Sprintf("STATUS=starting: %s, since %s", part, time.Since(begin).Round(time.Second))
		if long || part != before {
			state = extend(state)
		}
		before = part
		w.mu.Lock()
		if time.Since(w.last) > 2*w.every {
			w.notify(state)
		}
		w.mu.Unlock()
	}
}

// extend asks for more time with a state.
func extend(state string) string {
	return fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", state, startMore.Microseconds())
}

// answersHealth asks the server over its own socket whether it answers.
func (d *desk) answersHealth(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/health", nil)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the server: %s", response.Status)
	}
	return nil
}
