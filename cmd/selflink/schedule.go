package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"selflink/appliance/dashboard"
	"selflink/appliance/schedule"
)

// scheduleVerb is the verb "schedule".
func scheduleVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "schedule", args, []verb{
		{"list", "list the schedules with their next and last firing", scheduleList},
		{"run", "fire a schedule now", scheduleRun},
		{"pause", "fire a schedule no more", schedulePause},
		{"resume", "fire a paused schedule again", scheduleResume},
	})
}

func scheduleList(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("schedule list [options]", "Lists the schedules of the running server, with their next and last firing.")
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	var list dashboard.Schedules
	if err := openDesk(cfg).ask(ctx, http.MethodGet, "schedules", nil, &list); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(list.Items)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCRON\tNEXT\tLAST\tOUTCOME\tMISSED IN 30 DAYS")
	for _, s := range list.Items {
		next, last, outcome := "paused", "never", ""
		if !s.Paused && s.NextAt != nil {
			next = moment(*s.NextAt)
		}
		if s.Last != nil {
			last, outcome = moment(s.Last.FireAt), s.Last.Outcome
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", s.Name, s.Cron, next, last, outcome, s.Missed)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func scheduleRun(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("schedule run [options] NAME", "Fires a schedule now, beside its times. With --wait it waits for the outcome.")
	wait := o.set.Bool("wait", false, "wait until it has ended, and fail when it fails")
	o.least, o.most = 1, 1
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	d, name := openDesk(cfg), o.words[0]
	var begun dashboard.Begun
	if err := d.ask(ctx, http.MethodPost, "schedules/"+url.PathEscape(name)+"/run", nil, &begun); err != nil {
		return err
	}
	if !*wait {
		if o.json {
			return p.printJSON(begun)
		}
		fmt.Fprintf(p.stdout, "%s was started at %s. See how it went with:  selflink schedule list\n", name, moment(begun.StartedAt))
		return nil
	}
	last, err := d.ended(ctx, name, begun.StartedAt)
	if err != nil {
		return err
	}
	if o.json {
		if err := p.printJSON(last); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.stdout, "%s %s.\n", name, last.Outcome)
	}
	if last.Outcome == "failed" {
		if !o.json && last.Error != nil {
			fmt.Fprintf(p.stderr, "selflink: %s\n", *last.Error)
		}
		return errSilent
	}
	return nil
}

// lookAgain is the time between two looks at a firing.
const lookAgain = 300 * time.Millisecond

// ended waits for the firing that began at a moment.
func (d *desk) ended(ctx context.Context, name string, begun time.Time) (schedule.Fired, error) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		var list dashboard.Schedules
		if err := d.ask(ctx, http.MethodGet, "schedules", nil, &list); err != nil {
			return schedule.Fired{}, err
		}
		for _, s := range list.Items {
			if s.Name == name && !s.Running && s.Last != nil && s.Last.FinishedAt != nil && !s.Last.FinishedAt.Before(begun) {
				return *s.Last, nil
			}
		}
		select {
		case <-ctx.Done():
			return schedule.Fired{}, ctx.Err()
		case <-ticker.C:
		}
	}
}

func schedulePause(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("schedule pause [options] NAME", "Fires a schedule no more, on any node, until it is resumed.")
	return p.actOnSchedule(ctx, o, args, "pause", "is paused")
}

func scheduleResume(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("schedule resume [options] NAME", "Fires a paused schedule again, at its next time.")
	return p.actOnSchedule(ctx, o, args, "resume", "fires again")
}

func (p *program) actOnSchedule(ctx context.Context, o *options, args []string, act, done string) error {
	o.least, o.most = 1, 1
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	var now schedule.Status
	if err := openDesk(cfg).ask(ctx, http.MethodPost, "schedules/"+url.PathEscape(o.words[0])+"/"+act, nil, &now); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(now)
	}
	fmt.Fprintf(p.stdout, "%s %s.\n", now.Name, done)
	return nil
}
