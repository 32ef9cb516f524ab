package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"selflink/appliance/upgrade"
)

// rollbackVerb is the verb "rollback".
func rollbackVerb(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("rollback [options]", `Goes back from the last upgrade, while no server runs: the snapshot takes the place of
the database in one step, and the kept program of before that of this one. What was
written since the snapshot is lost from the database; the database of now is kept
aside. An interrupted rollback goes on when this is run again. It asks before; with
--yes it does not.`)
	yes := o.set.Bool("yes", false, "do it without asking")
	if err := o.parse(args); err != nil {
		return err
	}
	keeper, err := p.upgrader(o)
	if err != nil {
		return err
	}
	plan, err := keeper.Plan(ctx)
	if err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	if !*yes {
		if o.json {
			if err := p.printJSON(plan); err != nil {
				return err
			}
			return errSilent
		}
		p.printPlan(plan)
		if terminal(p.stdin) == nil {
			fmt.Fprintln(p.stdout, "  Nothing was changed. Do it with --yes.")
			return errSilent
		}
		fmt.Fprint(p.stdout, "Go back? [y/N] ")
		answer, err := readLine(ctx, p.stdin)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			fmt.Fprintln(p.stdout, "Nothing was changed.")
			return errSilent
		}
	}
	line := p.progress(o)
	keeper.OnProgress(line.show)
	done, err := keeper.Rollback(ctx)
	line.clear()
	if err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	if o.json {
		return p.printJSON(done)
	}
	return p.printReturned(done)
}

func (p *program) printPlan(plan upgrade.Plan) {
	if plan.PostgresTo != 0 {
		fmt.Fprintf(p.stdout, "This would go back from PostgreSQL %d to %d.\n", plan.PostgresFrom, plan.PostgresTo)
	} else {
		fmt.Fprintf(p.stdout, "This would go back from selflink %s to %s.\n", plan.From, plan.To)
	}
	if plan.Restored {
		fmt.Fprintln(p.stdout, "  The database is the one of before already.")
	} else {
		fmt.Fprintf(p.stdout, "  The database would be that of %s, at step %d of the schema. What was written since then,\n  for %s, would be lost from it; the database of now would be kept aside.\n",
			moment(plan.Snapshot.At), plan.SchemaTo, (time.Duration(plan.Lost) * time.Second).Round(time.Second))
		fmt.Fprintln(p.stdout, "  Uploaded files stay as they are.")
	}
	if plan.PostgresTo != 0 {
		return
	}
	if plan.Program.Replace {
		fmt.Fprintf(p.stdout, "  The program %s would be that of %s again.\n", plan.Program.Path, plan.Program.Version)
	} else {
		fmt.Fprintf(p.stdout, "  The program %s stays: %s.\n", plan.Program.Path, plan.Program.Why)
	}
}

func (p *program) printReturned(done upgrade.Returned) error {
	fmt.Fprintf(p.stdout, "The database is that of before the upgrade, at step %d of the schema (%.1f s).\n", done.SchemaTo, done.Seconds)
	if done.Aside != "" {
		fmt.Fprintf(p.stdout, "  What was there is kept: %s\n  Remove it with:  %s\n", done.Aside, dropCommand(done))
	}
	switch program := done.Program; {
	case program.Replace:
		fmt.Fprintf(p.stdout, "  The program %s is that of %s again; the other one is kept as %s.\n", program.Path, program.Version, program.Kept)
		fmt.Fprintf(p.stdout, "  The package manager does not know of it: let it install the same version when you can:\n    %s\n", program.Install())
	case done.PostgresTo != 0:
	case done.To.Version != "" && done.To.Version == p.version:
	default:
		fmt.Fprintf(p.stdout, "  The program stays: %s. Before the next start install the version of before, as in:\n    %s\n", program.Why, program.Install())
	}
	_, err := fmt.Fprintln(p.stdout, "Then start the appliance:  systemctl start selflink")
	return err
}

// dropCommand removes what a rollback kept aside.
func dropCommand(done upgrade.Returned) string {
	if done.Snapshot.Kind == upgrade.Archive {
		return "selflink restore --drop-old --yes"
	}
	return "selflink upgrade forget --yes"
}
