package main

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/upgrade"
)

// upgradePostgres moves the private database to another major version.
func upgradePostgres(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("upgrade postgres [options]", `Moves the private database to another major version of PostgreSQL, while no server
runs. An archive of it is restored into a new cluster beside the old one and counted,
then the two are exchanged in one step. The old one is kept: selflink rollback brings it
back, selflink upgrade forget removes it. The programs of both versions have to be
installed. With --dry-run it says what it would do, how long that takes and what is in
the way, and exits with 1 when something is.`)
	var m upgrade.Move
	o.set.IntVar(&m.To, "to", 0, "major `version`, as in 17")
	o.set.StringVar(&m.Bin, "bin", "", "`directory` of the new version's programs, when they are not found by themselves")
	dry := o.set.Bool("dry-run", false, "only say what would be done")
	if err := o.parse(args); err != nil {
		return err
	}
	if m.To == 0 {
		return fmt.Errorf("%w: name the version, as in: selflink upgrade postgres --to 17 --dry-run", errUsage)
	}
	keeper, err := p.upgrader(o)
	if err != nil {
		return err
	}
	if *dry {
		plan, err := keeper.PlanMove(m)
		if err != nil {
			return fmt.Errorf("upgrade postgres: %w", err)
		}
		return p.printMovePlan(o, plan)
	}
	line := p.progress(o)
	keeper.OnProgress(line.show)
	done, err := keeper.MovePostgres(ctx, m)
	line.clear()
	if err != nil {
		return fmt.Errorf("upgrade postgres: %w", err)
	}
	if o.json {
		return p.printJSON(done)
	}
	_, err = fmt.Fprintf(p.stdout, "The database is one of PostgreSQL %d now: %d rows of %d tables, counted (%.1f s).\n  The one of PostgreSQL %d is kept: %s\n  Go back to it with:  selflink rollback\n  Remove it with:      selflink upgrade forget --yes\nStart the appliance:  systemctl start selflink\n",
		done.To, done.Rows, done.Tables, done.Seconds, done.From, done.Aside)
	return err
}

func (p *program) printMovePlan(o *options, plan upgrade.MovePlan) error {
	if o.json {
		if err := p.printJSON(plan); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.stdout, "This would move the database, %s, from PostgreSQL %d to %d.\n\n", size(plan.Bytes), plan.From, plan.To)
		if err := p.printFindings(plan.Findings); err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "\n  Without service: about %s (an estimate from the size).\n  Nothing was changed.\n", time.Duration(plan.Estimate*float64(time.Second)).Round(time.Second))
	}
	if !plan.OK {
		return errSilent
	}
	return nil
}
