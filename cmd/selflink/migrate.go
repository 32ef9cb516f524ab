package main

import (
	"context"
	"fmt"

	"selflink/appliance/backup"
)

// migrate brings the schema up to date without serving.
func migrate(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("migrate [options]", "Brings the database's schema up to date over the direct connection and under a lock.\nThe server does the same at its start, so this is for those who want it done before;\nan upgrade that failed is tried again by this alone. A snapshot is taken first, see\nselflink rollback. A private database is started for it, unless the server runs.")
	if err := o.parse(args); err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	line := p.progress(o)
	if snapshots, ok := led.(interface{ ShowProgress(f func(backup.Progress)) }); ok {
		snapshots.ShowProgress(line.show)
	}
	from, to, err := led.Migrate(ctx)
	line.clear()
	if err := closing(led, err); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if o.json {
		return p.printJSON(map[string]int64{"from": from, "to": to})
	}
	if from == to {
		fmt.Fprintf(p.stdout, "The schema is up to date (version %d).\n", to)
	} else {
		fmt.Fprintf(p.stdout, "The schema went from version %d to %d.\n", from, to)
	}
	return nil
}
