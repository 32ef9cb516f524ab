package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/jobs"
)

// jobsVerb is the verb "jobs".
func jobsVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "jobs", args, []verb{
		{"list", "list jobs, the newest first", jobsList},
		{"show", "show one job with its failures and its result", jobsShow},
		{"retry", "run dead, cancelled or waiting jobs now", jobsRetry},
		{"cancel", "end waiting jobs, stop running ones", jobsCancel},
		{"delete", "forget jobs that have ended", jobsDelete},
		{"errors", "what dead jobs died of", jobsErrors},
		{"pause", "let the jobs of a queue wait", jobsPause},
		{"resume", "let a paused queue go on", jobsResume},
	})
}

func states() []string {
	var out []string
	for _, s := range jobs.States() {
		out = append(out, string(s))
	}
	return out
}

func jobsList(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs list [options]", "Lists jobs, the newest first. The next page: --before with the last id.")
	var f jobs.Filter
	o.set.Func("state", "only jobs in this `state`: "+strings.Join(states(), ", "), func(text string) error {
		if !slices.Contains(states(), text) {
			return fmt.Errorf("no such state; there are %s", strings.Join(states(), ", "))
		}
		f.State = jobs.State(text)
		return nil
	})
	o.set.StringVar(&f.Kind, "kind", "", "only jobs of this `kind`")
	o.set.StringVar(&f.Queue, "queue", "", "only jobs of this `queue`")
	o.set.StringVar(&f.Error, "error", "", "only jobs whose last error contains this `text`")
	o.set.Func("since", "only jobs created since then: a `time` as 2026-01-31T12:00:00Z, or how long ago, as 90m", timeOrAgo(&f.Since))
	o.set.Func("until", "only jobs created before that `time`", timeOrAgo(&f.Until))
	o.set.Func("before", "only jobs older than the one with this `id`", func(text string) error {
		id, err := uuid.Parse(text)
		f.Before = id
		return err
	})
	o.set.IntVar(&f.Most, "limit", 50, "at most this `many`, up to 500")
	if err := o.parse(args); err != nil {
		return err
	}
	if f.Most < 1 || f.Most > 500 {
		return fmt.Errorf("%w: --limit is from 1 to 500", errUsage)
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	list, err := led.Jobs().List(ctx, f)
	if err := closing(led, err); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(append([]jobs.Info{}, list...))
	}
	if len(list) == 0 {
		fmt.Fprintln(p.stdout, "No such jobs.")
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tKIND\tSTATE\tATTEMPT\tCREATED\tLAST FAILURE")
	for _, j := range list {
		failure := ""
		if n := len(j.Failures); n > 0 {
			failure = oneLine(j.Failures[n-1].Error, 80)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", j.ID, j.Kind, j.State, j.Attempt, moment(j.CreatedAt), failure)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func jobsShow(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs show [options] ID", "Shows all that is kept of one job.")
	o.least, o.most = 1, 1
	ids, err := o.parseIDs(args)
	if err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	job, err := led.Jobs().Show(ctx, ids[0])
	if err := closing(led, err); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(job)
	}
	printJob(p.stdout, job)
	return nil
}

func printJob(w io.Writer, j jobs.Info) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-9s %s\n", name, value)
		}
	}
	row("Job", j.ID.String())
	row("Kind", j.Kind)
	row("Queue", j.Queue)
	row("State", string(j.State))
	row("Attempt", fmt.Sprint(j.Attempt))
	row("Unique", j.Unique)
	row("Request", j.RequestID)
	row("Created", moment(j.CreatedAt))
	row("Due", moment(j.RunAt))
	if j.StartedAt != nil {
		row("Started", moment(*j.StartedAt))
	}
	if j.FinishedAt != nil {
		row("Finished", moment(*j.FinishedAt))
	}
	if j.Instance != nil {
		row("Runs in", j.Instance.String())
	}
	row("Node", j.Node)
	row("Arguments", string(j.Args))
	row("Result", string(j.Result))
	for i, f := range j.Failures {
		row(fmt.Sprintf("Failure %d", i+1), moment(f.At)+"  "+f.Error)
	}
}

// parseIDs reads the flags and the ids of jobs.
func (o *options) parseIDs(args []string) ([]jobs.ID, error) {
	if err := o.parse(args); err != nil {
		return nil, err
	}
	ids := make([]jobs.ID, len(o.words))
	for i, word := range o.words {
		id, err := uuid.Parse(word)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is not the id of a job; selflink jobs list shows them", errUsage, word)
		}
		ids[i] = id
	}
	return ids, nil
}

// timeOrAgo reads a time, or how long ago it was.
func timeOrAgo(into *time.Time) func(text string) error {
	return func(text string) error {
		if ago, err := time.ParseDuration(text); err == nil {
			*into = time.Now().Add(-ago)
			return nil
		}
		at, err := time.Parse(time.RFC3339, text)
		*into = at
		return err
	}
}

func moment(t time.Time) string { return t.UTC().Format(time.DateTime) + "Z" }

// oneLine fits a text into a column.
func oneLine(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
