package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"selflink/appliance/trace"
)

// explain is the verb "explain".
func explain(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("explain [options] ID", "Tells what is known of a request or a job in the order of time: the request with its\nSQL, the jobs it made, their attempts, and the lines of the log. The id of a request\nis in the answer's X-Request-ID. Requests are kept for a day when they failed or were\nslow. Without a running server the lines of the log are missing.")
	o.least, o.most = 1, 1
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	var line trace.Timeline
	err = openDesk(cfg).ask(ctx, http.MethodGet, "explain/"+url.PathEscape(o.words[0]), nil, &line)
	if errors.Is(err, errNoServer) {
		line, err = p.explainBeside(ctx, o)
	}
	if err != nil {
		return err
	}
	if o.json {
		return p.printJSON(line)
	}
	printTimeline(p.stdout, line)
	return nil
}

// explainBeside asks the database.
func (p *program) explainBeside(ctx context.Context, o *options) (trace.Timeline, error) {
	led, err := p.ledger(ctx, o)
	if err != nil {
		return trace.Timeline{}, err
	}
	line, err := led.Explain(ctx, o.words[0])
	return line, closing(led, err)
}

func printTimeline(w io.Writer, t trace.Timeline) {
	fmt.Fprintf(w, "%s %s: %s\n", t.Kind, t.ID, t.Title)
	for _, e := range t.Entries {
		took := ""
		if e.DurationMS != nil {
			took = fmt.Sprintf("  (%.1f ms)", *e.DurationMS)
		}
		ref := ""
		if e.Ref != "" && e.Ref != t.ID {
			ref = "  " + e.Ref
		}
		mark := " "
		if e.Level == "error" {
			mark = "!"
		}
		fmt.Fprintf(w, "%s %9.1f ms  %-7s  %s%s%s\n", mark, e.OffsetMS, e.Kind, strings.ReplaceAll(e.Text, "\n", " "), took, ref)
	}
}
