package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"selflink/appliance/backup"
)

// backupVerb is the verb "backup": without a command of its own it makes an
// archive.
func backupVerb(ctx context.Context, p *program, args []string) error {
	if len(args) > 0 && args[0] == "list" {
		return backupList(ctx, p, args[1:])
	}
	o := p.newOptions("backup [options]", "Makes an archive of the database and the uploaded files while the appliance goes on, or starts a private\ndatabase for it. The file appears when it is complete; none is ever overwritten.\nWhat was made before:  selflink backup list")
	var r backup.Request
	o.set.StringVar(&r.Output, "output", "", "`file` to write, or a directory; by default a file in BACKUP_DIR named after the time")
	o.set.BoolVar(&r.WithSecrets, "with-secrets", false, "put the generated secrets into the archive too: whoever has it can sign in as anybody")
	if err := o.parse(args); err != nil {
		return err
	}
	line := p.progress(o)
	keeper, err := p.backups(ctx, o, line)
	if err != nil {
		return err
	}
	made, err := keeper.Create(ctx, r)
	line.clear()
	if err := closing(keeper, err); err != nil {
		return fmt.Errorf("no backup was made: %w", err)
	}
	if o.json {
		return p.printJSON(made)
	}
	fmt.Fprintf(p.stdout, "Backed up %d rows of %d tables in %s.\n  %s\n  %s, SHA-256 %s\n", made.Rows, made.Tables, made.Took.Round(10*time.Millisecond), made.File, size(made.Bytes), made.SHA256)
	if f := made.Files; f != nil && f.Included {
		fmt.Fprintf(p.stdout, "  It holds %d uploaded files, %s.\n", f.Count, size(f.Bytes))
	} else if f != nil {
		fmt.Fprintf(p.stdout, "  The uploaded files are not in it: they are in %s, which needs a backup of its own.\n", f.Place)
	}
	if len(made.Secrets) > 0 {
		fmt.Fprintln(p.stdout, "  It holds the secrets of this installation: keep it like a password.")
	}
	if made.Unrecorded != "" {
		fmt.Fprintf(p.stdout, "  It is not in the list of backups: %s.\n", made.Unrecorded)
	}
	_, err = fmt.Fprintf(p.stdout, "Prove that it can be restored with:  selflink verify %s\n", made.File)
	return err
}

// backups reads the settings and opens the database for backing up. No secrets
// are made for it.
func (p *program) backups(ctx context.Context, o *options, line *progressLine) (backupKeeper, error) {
	cfg, err := p.load(o)
	if err != nil {
		return nil, err
	}
	log, err := p.quietLogger(cfg)
	if err != nil {
		return nil, err
	}
	keeper, err := p.parts.openBackups(ctx, cfg, log, p.version, p.commit, line.show)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return keeper, nil
}

func backupList(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("backup list [options]", "Lists the backups that were made of this database, the newest first.")
	most := o.set.Int("limit", 30, "at most this `many`, up to 1000")
	if err := o.parse(args); err != nil {
		return err
	}
	if *most < 1 || *most > 1000 {
		return fmt.Errorf("%w: --limit is from 1 to 1000", errUsage)
	}
	keeper, err := p.backups(ctx, o, nil)
	if err != nil {
		return err
	}
	list, err := keeper.List(ctx, *most)
	if err := closing(keeper, err); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(append([]backup.Entry{}, list...))
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(p.stdout, "No backups yet. Make one with:  selflink backup")
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STARTED\tOUTCOME\tVERIFICATION\tSIZE\tFILE")
	for _, e := range list {
		verification, where := "not yet", e.File
		if e.VerifyOutcome != "" && e.VerifiedAt != nil {
			verification = e.VerifyOutcome + " " + moment(*e.VerifiedAt)
		} else if e.Outcome != "succeeded" {
			verification = ""
		}
		if e.Missing {
			where += " (gone)"
		}
		if why := e.Error + e.VerifyError; why != "" {
			where += ": " + oneLine(why, 200)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", moment(e.StartedAt), e.Outcome, verification, size(e.Bytes), where)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
