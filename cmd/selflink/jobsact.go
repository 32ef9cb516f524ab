package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"selflink/appliance/jobs"
)

func jobsRetry(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs retry [options] ID…", "Queues jobs that are dead, cancelled or waiting for later, with all their attempts anew.")
	return p.actOnJobs(ctx, o, args, "queued", jobKeeper.Retry)
}

func jobsCancel(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs cancel [options] ID…", "Ends waiting jobs at once and asks running ones to stop.")
	return p.actOnJobs(ctx, o, args, "asked to end", jobKeeper.Cancel)
}

func jobsDelete(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs delete [options] ID…", "Forgets jobs that have ended. Waiting ones are cancelled first: selflink jobs cancel.")
	return p.actOnJobs(ctx, o, args, "deleted", jobKeeper.Delete)
}

// acted is what became of one job.
type acted struct {
	ID    jobs.ID `json:"id"`
	Done  string  `json:"done,omitempty"`
	Error string  `json:"error,omitempty"`
}

// actOnJobs does something to every job named and tells each outcome: one
// that fails does not keep the others from it.
func (p *program) actOnJobs(ctx context.Context, o *options, args []string, done string, act func(jobKeeper, context.Context, jobs.ID) error) error {
	o.least, o.most = 1, 1000
	ids, err := o.parseIDs(args)
	if err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	var out []acted
	var errs []error
	for _, id := range ids {
		if err := act(led.Jobs(), ctx, id); err != nil {
			out = append(out, acted{ID: id, Error: err.Error()})
			errs = append(errs, err) // it names the job
			continue
		}
		out = append(out, acted{ID: id, Done: done})
	}
	if o.json {
		errs = append(errs, p.printJSON(out))
	} else {
		for _, a := range out {
			if a.Error == "" {
				fmt.Fprintf(p.stdout, "%s is %s.\n", a.ID, a.Done)
			}
		}
	}
	return closing(led, errors.Join(errs...))
}

// byCommand is who pauses a queue from the command line.
const byCommand = "the command line"

func jobsPause(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs pause [options] QUEUE", "Lets the jobs of a queue wait on every node until selflink jobs resume; those that run go on to their end.")
	return p.actOnQueue(ctx, o, args, "paused", func(ctx context.Context, k jobKeeper, name string) error {
		return k.PauseQueue(ctx, name, byCommand)
	})
}

func jobsResume(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs resume [options] QUEUE", "Lets a paused queue go on.")
	return p.actOnQueue(ctx, o, args, "resumed", func(ctx context.Context, k jobKeeper, name string) error {
		return k.ResumeQueue(ctx, name)
	})
}

func (p *program) actOnQueue(ctx context.Context, o *options, args []string, done string, act func(context.Context, jobKeeper, string) error) error {
	o.least, o.most = 1, 1
	if err := o.parse(args); err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	name := o.words[0]
	if err := closing(led, act(ctx, led.Jobs(), name)); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(map[string]string{"queue": name, "done": done})
	}
	fmt.Fprintf(p.stdout, "Queue %s is %s; every node obeys within a second or two.\n", name, done)
	return nil
}

func jobsErrors(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("jobs errors [options]", "Shows what dead jobs died of, the most frequent first, without the numbers in which the errors differ.")
	if err := o.parse(args); err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	groups, err := led.Jobs().ErrorGroups(ctx)
	if err := closing(led, err); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(append([]jobs.ErrorGroup{}, groups...))
	}
	if len(groups) == 0 {
		fmt.Fprintln(p.stdout, "No job is dead.")
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "JOBS\tKIND\tLAST\tONE OF THEM\tERROR")
	for _, g := range groups {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", g.Count, g.Kind, moment(g.LastAt), g.SampleID, oneLine(g.Error, 100))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
