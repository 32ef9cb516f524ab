package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"selflink/appliance/config"
	"selflink/appliance/health"
)

const (
	// statusTimeout bounds the question to the server, which gives each of its
	// own checks health.Timeout.
	statusTimeout = health.Timeout + 3*time.Second

	// maxStatus bounds the server's answer in bytes.
	maxStatus = 1 << 20
)

// States of the appliance as seen from outside.
const (
	stateReady    = "ready"
	stateNotReady = "not ready"
	stateStarting = "starting" // it holds its data directory and does not answer yet
	stateDown     = "down"
	stateForeign  = "not selflink" // something else answers at its address
)

// standing is what "status" finds out.
type standing struct {
	State    string          `json:"state"`
	URL      string          `json:"url,omitempty"` // that was asked
	PID      int             `json:"pid,omitempty"` // of the process that holds the data directory
	NotReady []string        `json:"not_ready,omitempty"`
	Checks   []health.Result `json:"checks,omitempty"`
	// Problems are the faults that last and are nobody's effect.
	Problems []health.Problem `json:"problems,omitempty"`
	Reason   string           `json:"reason,omitempty"`
}

// status asks the server how it is.
func status(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("status [options]", "Asks the server on this machine whether it is ready, and says what is not.\nIt also tells a server that is starting from one that is down.\nExits with 0 whatever it finds; with --strict with 1 unless the server is ready.")
	o.setting("listen", "SELFLINK_LISTEN", "`addresses` the server listens on, a comma list of host:port")
	strict := o.set.Bool("strict", false, "exit with 1 unless the server is ready")
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	var invalid *config.Error
	if errors.As(err, &invalid) { // where it listens may be known all the same
		fmt.Fprintf(p.stderr, "selflink: %v\n", err)
	} else if err != nil {
		return err
	}
	s := look(ctx, cfg)
	if o.json {
		if err := p.printJSON(s); err != nil {
			return err
		}
	} else {
		s.print(p.stdout)
	}
	if *strict && s.State != stateReady {
		return errSilent
	}
	return nil
}

// look finds out how the appliance is.
func look(ctx context.Context, cfg *config.Config) standing {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var last standing
	for _, address := range cfg.Listen {
		_, port, err := net.SplitHostPort(address)
		if err != nil || port == "0" {
			last = standing{Reason: "SELFLINK_LISTEN lets the system choose a port, so it is not known where to ask"}
			continue
		}
		var answered bool
		if last, answered = ask(ctx, localURL(cfg, address), cfg); answered {
			return last
		}
	}
	last.State = stateDown
	if pid, held := holder(filepath.Join(cfg.DataDir, lockFile)); held {
		last.State, last.PID = stateStarting, pid
		last.Reason = "a process holds the data directory and does not answer requests yet, or any more"
	}
	return last
}

// ask puts the question to one address; answered is false when nobody is
// there.
func ask(ctx context.Context, base string, cfg *config.Config) (s standing, answered bool) {
	s.URL = base + "/ready"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		s.Reason = err.Error()
		return s, false
	}
	if !cfg.MetricsToken.IsZero() { // shows the reasons where the address is not loopback
		request.Header.Set("Authorization", "Bearer "+cfg.MetricsToken.Reveal())
	}
	client := &http.Client{
		// It asks this machine, so through no proxy, and under a name that the
		// certificate need not have.
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // see above
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			s.Reason = "nothing listens at " + base[strings.Index(base, "//")+2:]
			return s, false
		}
		s.State, s.Reason = stateNotReady, "it accepts connections and does not answer: "+plainError(err)
		return s, true
	}
	defer response.Body.Close()
	var body struct {
		Status   string           `json:"status"`
		NotReady []string         `json:"not_ready"`
		Checks   []health.Result  `json:"checks"`
		Problems []health.Problem `json:"problems"`
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxStatus))
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	known := response.StatusCode == http.StatusOK || response.StatusCode == http.StatusServiceUnavailable
	if err != nil || !known || body.Status == "" {
		s.State, s.Reason = stateForeign, "what answers there is not this appliance: HTTP "+strconv.Itoa(response.StatusCode)
		return s, true
	}
	s.Checks, s.NotReady, s.Problems = body.Checks, body.NotReady, body.Problems
	switch {
	case response.StatusCode == http.StatusOK:
		s.State = stateReady
	case body.Status == stateStarting:
		s.State = stateStarting
	default:
		s.State = stateNotReady
	}
	return s, true
}

// plainError leaves out the method and the URL that net/http adds.
func plainError(err error) string {
	var e *url.Error
	if errors.As(err, &e) {
		if e.Timeout() {
			return "no answer within " + statusTimeout.String()
		}
		return e.Err.Error()
	}
	return err.Error()
}

// localURL is where this machine reaches a listening address of the server
// that cfg describes.
func localURL(cfg *config.Config, address string) string {
	base := baseURL(address)
	if cfg.TLS() {
		return "https" + strings.TrimPrefix(base, "http")
	}
	return base
}

// baseURL is where this machine reaches a listening address.
func baseURL(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "http://" + address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return "http://" + net.JoinHostPort(host, port)
}

// print says it to people.
func (s standing) print(w io.Writer) {
	fmt.Fprintf(w, "SelfLink is %s", s.State)
	if s.State == stateForeign {
		fmt.Fprint(w, " there")
	}
	if s.PID != 0 {
		fmt.Fprintf(w, " (process %d)", s.PID)
	}
	if s.URL != "" {
		fmt.Fprintf(w, "  %s", s.URL)
	}
	fmt.Fprintln(w)
	if s.Reason != "" {
		fmt.Fprintf(w, "  %s\n", s.Reason)
	}
	s.printChecks(w)
	for _, p := range s.Problems {
		fmt.Fprintf(w, "\n  %s: %s  (%s, since %s)\n", p.Severity, p.Title, p.Code, p.Since.Local().Format(time.DateTime))
		for _, line := range []string{p.Text, p.Impact, p.Remedy} {
			if line != "" {
				fmt.Fprintf(w, "    %s\n", line)
			}
		}
	}
	if s.State == stateDown {
		fmt.Fprintln(w, "  Start it with:  selflink serve")
	}
}

// nameWidth is the least width of the column of names.
const nameWidth = 12

// printChecks lists what the server needs and what fails; the rest is counted.
func (s standing) printChecks(w io.Writer) {
	width, others := nameWidth, 0
	for _, c := range s.Checks {
		if c.Ready || !c.OK {
			width = max(width, len(c.Name))
		}
	}
	for _, c := range s.Checks {
		verdict := "ok"
		switch {
		case c.OK && !c.Ready:
			others++
			continue
		case c.OK:
		case c.HiddenBehind != "":
			verdict = "failed because of " + c.HiddenBehind
		case c.Ready:
			verdict = "FAILED"
		default:
			verdict = "failed, not required"
		}
		fmt.Fprintf(w, "  %-*s %s", width, c.Name, verdict)
		if c.Error != "" {
			fmt.Fprintf(w, ": %s", c.Error)
		}
		fmt.Fprintln(w)
	}
	if others > 0 {
		fmt.Fprintf(w, "  and %d more: ok\n", others)
	}
}
