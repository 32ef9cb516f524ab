package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"selflink/appliance/telemetry"
)

// maxEvent bounds one line of a live stream in bytes.
const maxEvent = 1 << 20

// logs is the verb "logs".
func logs(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("logs [options]", "Prints the newest lines of the running server's log, the oldest first. The server\nkeeps the last few megabytes; what is older is where its standard error goes, with\nsystemd:  journalctl -u selflink")
	query := url.Values{}
	filter := func(name, key, about string) {
		o.set.Func(name, about, func(text string) error {
			query.Set(key, text)
			return nil
		})
	}
	filter("level", "level", "only lines of at least this `level`: debug, info, warning, error")
	filter("component", "component", "only lines of this `component`")
	filter("request", "request_id", "only lines of the request with this `id`")
	filter("job", "job_id", "only lines of the job with this `id`")
	filter("grep", "q", "only lines that contain this `text`")
	follow := o.set.Bool("follow", false, "go on with new lines until interrupted")
	o.set.BoolVar(follow, "f", false, "the same as --follow")
	most := o.set.Int("limit", 100, "at most this `many` lines, up to 200")
	if err := o.parse(args); err != nil {
		return err
	}
	if *most < 1 || *most > 200 {
		return fmt.Errorf("%w: --limit is from 1 to 200", errUsage)
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	query.Set("limit", strconv.Itoa(*most))
	d := openDesk(cfg)
	var page telemetry.LinePage
	if err := d.ask(ctx, http.MethodGet, "logs?"+query.Encode(), nil, &page); err != nil {
		return err
	}
	slices.Reverse(page.Items)
	for _, line := range page.Items {
		if err := p.printLine(line, o.json); err != nil {
			return err
		}
	}
	if !*follow {
		return nil
	}
	if n := len(page.Items); n > 0 {
		query.Set("after", page.Items[n-1].ID)
	}
	stream, err := d.open(ctx, http.MethodGet, "logs/live?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer stream.Close()
	err = p.printStream(stream, o.json)
	if ctx.Err() != nil { // the way it is meant to end
		return nil
	}
	return err
}

// printStream prints the lines of a live stream until it ends.
func (p *program) printStream(stream io.Reader, asJSON bool) error {
	scanner := bufio.NewScanner(stream)
	scanner.Buffer(make([]byte, 0, 64<<10), maxEvent)
	for scanner.Scan() {
		data, ok := strings.CutPrefix(scanner.Text(), "data: ")
		if !ok {
			continue
		}
		var line telemetry.Line
		if err := json.Unmarshal([]byte(data), &line); err != nil {
			return fmt.Errorf("read a line of the log: %w", err)
		}
		if err := p.printLine(line, asJSON); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	return errors.New("the server has ended the stream: it stops or restarts")
}

// printLine prints one line, as JSON or for people.
func (p *program) printLine(line telemetry.Line, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(line)
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", b)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-7s  %-10s  %s", line.At.UTC().Format("2006-01-02 15:04:05.000"), strings.ToUpper(line.Level), line.Component, line.Message)
	for _, id := range []struct {
		name string
		text *string
	}{{"request_id", line.RequestID}, {"job_id", line.JobID}, {"user_id", line.UserID}} {
		if id.text != nil {
			fmt.Fprintf(&b, "  %s=%s", id.name, *id.text)
		}
	}
	names := make([]string, 0, len(line.Fields))
	for name := range line.Fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "  %s=%s", name, line.Fields[name])
	}
	_, err := fmt.Fprintln(p.stdout, b.String())
	return err
}
