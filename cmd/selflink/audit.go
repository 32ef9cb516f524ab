package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"selflink/appliance/audit"
)

// auditVerb is the verb "audit".
func auditVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "audit", args, []verb{
		{"list", "list the audit trail, the newest first", auditList},
		{"verify", "compute the chain again and tell whether it holds", auditVerify},
	})
}

func auditList(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("audit list [options]", "Lists what people with rights and commands did, the newest first. The next page:\n--cursor with what the end of this one says.")
	var q audit.Query
	o.set.StringVar(&q.Action, "action", "", "only this `action`")
	o.set.Int64Var(&q.Actor, "actor", 0, "only what the account with this `id` did")
	o.set.StringVar(&q.ObjectID, "object", "", "only what was done to the object with this `id`")
	o.set.StringVar(&q.Cursor, "cursor", "", "go on from this `place`")
	o.set.IntVar(&q.Limit, "limit", audit.DefaultLimit, "at most this `many`, up to 200")
	if err := o.parse(args); err != nil {
		return err
	}
	if q.Limit < 1 || q.Limit > 200 {
		return fmt.Errorf("%w: --limit is from 1 to 200", errUsage)
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	page, err := led.Audit().Page(ctx, q)
	if err := closing(led, err); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(page)
	}
	if len(page.Items) == 0 {
		fmt.Fprintln(p.stdout, "Nothing is recorded.")
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AT\tWHO\tACTION\tOBJECT\tMORE")
	for _, e := range page.Items {
		who := e.ActorName
		switch {
		case e.ActorUser == nil:
			who = "the command line"
		case who == "":
			who = *e.ActorUser
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s %s\t%s\n", moment(e.CreatedAt), who, e.Action, e.ObjectType, e.ObjectID, oneLine(string(e.Metadata), 80))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if page.Next != nil {
		fmt.Fprintf(p.stdout, "More:  selflink audit list --cursor %s\n", *page.Next)
	}
	return nil
}

func auditVerify(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("audit verify [options]", "Computes the hashes of the audit trail again, from its beginning. Exits with 1 when a row\nwas changed, removed or slipped in.")
	if err := o.parse(args); err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	found, err := led.Audit().Verify(ctx)
	if err := closing(led, err); err != nil {
		return err
	}
	if o.json {
		if err := p.printJSON(found); err != nil {
			return err
		}
	} else {
		switch {
		case !found.OK && found.FirstBad != nil:
			fmt.Fprintf(p.stdout, "The trail does not hold: the first bad event is %s, after %d good ones.\n", *found.FirstBad, found.Checked)
		case !found.OK:
			fmt.Fprintln(p.stdout, "The trail does not hold: events are missing at its end.")
		case found.Truncated:
			fmt.Fprintf(p.stdout, "The first %d events hold; there was no time for the others.\n", found.Checked)
		default:
			fmt.Fprintf(p.stdout, "All %d events hold.\n", found.Checked)
		}
	}
	if !found.OK {
		return errSilent
	}
	return nil
}
