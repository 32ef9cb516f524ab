package main

import (
	"context"
	"fmt"
)

// coinVerb is the verb "coin".
func coinVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "coin", args, []verb{
		{"check", "count what must not be in the ledger", coinCheck},
	})
}

func coinCheck(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("coin check [options]", "Reads the whole ledger of coins and counts what must not be in it. Exits 1 when\nthere is any. It changes nothing and may run beside the server.")
	if err := o.parse(args); err != nil {
		return err
	}
	l, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	report, err := l.Coin().Check(ctx)
	if err := closing(l, err); err != nil {
		return err
	}
	if o.json {
		if err := p.printJSON(report); err != nil {
			return err
		}
		return report.Err()
	}
	fmt.Fprintln(p.stdout, "coin_invariant_check:")
	for _, c := range report.Counts {
		fmt.Fprintf(p.stdout, "- %s=%d\n", c.Name, c.Count)
	}
	for _, note := range report.Notes {
		fmt.Fprintf(p.stdout, "note: %s\n", note)
	}
	return report.Err()
}
