package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"selflink/appliance/upgrade"
)

// upgradeVerb is the verb "upgrade".
func upgradeVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "upgrade", args, []verb{
		{"check", "tell whether this version could take over the installed data", upgradeCheck},
		{"postgres", "move the private database to another major version of PostgreSQL", upgradePostgres},
		{"forget", "remove what is kept to go back from the last upgrade", upgradeForget},
	})
}

// upgradeCheck looks before an upgrade.
func upgradeCheck(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("upgrade check [options]", `Tells whether this version could take over the installed data: the settings, the
version of PostgreSQL, PgBouncer, the way of the schema, the disk for a snapshot, and
what is kept of earlier upgrades. It changes nothing; the server may run or not. A
private database that does not run is started for it. Exits with 1 when the upgrade
would fail.`)
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	report := upgrade.Report{To: upgrade.Build{Version: p.version, Commit: p.commit}, Pending: []string{}}
	settings := upgrade.Finding{What: "settings", Verdict: upgrade.Good, Text: "they are understood"}
	if err == nil {
		log, logErr := p.quietLogger(cfg)
		if logErr != nil {
			return logErr
		}
		keeper, openErr := p.parts.newUpgrader(cfg, log, p.version, p.commit)
		if openErr != nil {
			return openErr
		}
		if report, err = keeper.Check(ctx); err != nil {
			return fmt.Errorf("upgrade check: %w", err)
		}
	} else {
		settings.Verdict, settings.Text, settings.Todo = upgrade.Fail, err.Error(), "selflink config check"
	}
	report.Findings = append([]upgrade.Finding{settings}, report.Findings...)
	if o.json {
		err = p.printJSON(report)
	} else {
		err = p.printReport(report)
	}
	if err == nil && !report.OK {
		return errSilent
	}
	return err
}

func (p *program) printReport(r upgrade.Report) error {
	fmt.Fprintf(p.stdout, "Upgrade to selflink %s\n\n", r.To)
	if err := p.printFindings(r.Findings); err != nil {
		return err
	}
	last := "Nothing stands in the way."
	switch {
	case !r.OK:
		last = "The upgrade would fail. Nothing was changed."
	case len(r.Pending) > 0:
		last = "Nothing stands in the way. The next start takes a snapshot and brings the schema up to date."
	}
	_, err := fmt.Fprintf(p.stdout, "\n%s\n", last)
	return err
}

func (p *program) printFindings(all []upgrade.Finding) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, f := range all {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", f.Verdict, f.What, f.Text)
		if f.Todo != "" {
			fmt.Fprintf(w, "  \t\t→ %s\n", f.Todo)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// upgradeForget gives up the way back.
func upgradeForget(_ context.Context, p *program, args []string) error {
	o := p.newOptions("upgrade forget [options]", `Removes the snapshot of the last upgrade and what else is kept of it, and with them
the way back. Without --yes it says what it would do and exits with 1.`)
	yes := o.set.Bool("yes", false, "do it")
	if err := o.parse(args); err != nil {
		return err
	}
	keeper, err := p.upgrader(o)
	if err != nil {
		return err
	}
	gone, err := keeper.Forget(!*yes)
	if err != nil {
		return fmt.Errorf("upgrade forget: %w", err)
	}
	switch {
	case o.json:
		err = p.printJSON(gone)
	case gone.Upgrade == nil:
		fmt.Fprintln(p.stdout, "Nothing is kept of an upgrade.")
		return nil
	case *yes:
		fmt.Fprintf(p.stdout, "Removed %s. There is no way back to %s any more.\n", size(gone.Bytes), gone.Upgrade.From)
	default:
		fmt.Fprintf(p.stdout, "This would remove %s, kept of the upgrade from %s to %s of %s (%s).\n  There would be no way back any more. Nothing was changed. Do it with --yes.\n",
			size(gone.Bytes), gone.Upgrade.From, gone.Upgrade.To, moment(gone.Upgrade.Began), gone.Upgrade.Phase)
	}
	if err == nil && !*yes {
		return errSilent
	}
	return err
}

// upgrader makes what looks after upgrades.
func (p *program) upgrader(o *options) (upgrader, error) {
	cfg, err := p.load(o)
	if err != nil {
		return nil, err
	}
	log, err := p.quietLogger(cfg)
	if err != nil {
		return nil, err
	}
	return p.parts.newUpgrader(cfg, log, p.version, p.commit)
}
