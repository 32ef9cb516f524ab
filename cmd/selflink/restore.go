package main

import (
	"context"
	"fmt"

	"selflink/appliance/backup"
)

// restoreVerb is the verb "restore".
func restoreVerb(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("restore [options] [FILE]", `Puts an archive in the place of the database, while no appliance runs. It is restored
beside the current database, counted, brought up to this version's schema, and then
takes its name in one step; an interruption leaves the old state or the new one. The
old database is kept under another name: --undo swaps them, --drop-old drops it.
Without --yes it says what it would do and exits with 1.`)
	var r backup.RestoreRequest
	yes := o.set.Bool("yes", false, "do it")
	undo := o.set.Bool("undo", false, "swap the database with the one that the last restore put aside")
	o.set.BoolVar(&r.DropOld, "drop-old", false, "drop what this and earlier restores put aside; alone, without restoring")
	o.set.BoolVar(&r.WithSecrets, "with-secrets", false, "put back the secrets in the archive too; those of now are kept beside them")
	o.most = 1
	if err := o.parse(args); err != nil {
		return err
	}
	if len(o.words) > 0 {
		r.File = o.words[0]
	}
	switch {
	case *undo && (r.File != "" || r.DropOld || r.WithSecrets):
		return fmt.Errorf("%w: --undo stands alone", errUsage)
	case r.File == "" && r.WithSecrets, r.File == "" && !*undo && !r.DropOld:
		return fmt.Errorf("%w: name the archive; selflink restore -h explains", errUsage)
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	log, err := p.quietLogger(cfg)
	if err != nil {
		return err
	}
	line := p.progress(o)
	re := p.parts.newRestorer(cfg, log, line.show)
	if !*yes {
		return p.restorePlan(ctx, o, re, r, *undo, line)
	}
	var done backup.Restored
	switch {
	case *undo:
		done, err = re.Undo(ctx)
	case r.File == "":
		done, err = re.DropOld(ctx)
	default:
		done, err = re.Restore(ctx, r)
	}
	line.clear()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if o.json {
		return p.printJSON(done)
	}
	return p.printRestored(done, *undo)
}

func (p *program) printRestored(done backup.Restored, undone bool) error {
	switch {
	case undone:
		fmt.Fprintf(p.stdout, "The database that the last restore put aside is the current one again.\n")
	case done.File != "":
		fmt.Fprintf(p.stdout, "Restored %d rows of %d tables; the schema is at step %d.\n", done.Rows, done.Tables, done.Schema)
	}
	if done.Aside != "" {
		fmt.Fprintf(p.stdout, "  What was there is kept as database %s.\n  Go back to it with:  selflink restore --undo --yes\n  Drop it with:        selflink restore --drop-old --yes\n", done.Aside)
	}
	printFiles(p, done)
	for _, name := range done.Dropped {
		fmt.Fprintf(p.stdout, "Dropped the database %s.\n", name)
	}
	for _, path := range done.FilesDropped {
		fmt.Fprintf(p.stdout, "Removed the files in %s.\n", path)
	}
	for _, name := range done.Secrets {
		fmt.Fprintf(p.stdout, "  The secret %s is that of the archive.\n", name)
	}
	for _, path := range done.Kept {
		fmt.Fprintf(p.stdout, "  The one of before is kept as %s.\n", path)
	}
	if done.File == "" && !undone {
		if len(done.Dropped)+len(done.FilesDropped) == 0 {
			fmt.Fprintln(p.stdout, "No restore has put a database aside.")
		}
		return nil
	}
	_, err := fmt.Fprintln(p.stdout, "Start the appliance:  selflink serve")
	return err
}

// printFiles says what became of the uploaded files.
func printFiles(p *program, done backup.Restored) {
	switch f := done.Files; {
	case f != nil && f.Included:
		fmt.Fprintf(p.stdout, "  %d uploaded files, %s, are in MEDIA_ROOT again.\n", f.Count, size(f.Bytes))
	case f != nil:
		fmt.Fprintf(p.stdout, "  The archive has no uploaded files: they are in %s.\n", f.Place)
	case done.File != "":
		fmt.Fprintln(p.stdout, "  The archive has no uploaded files; those that are here stay.")
	}
	if done.FilesAside != "" {
		fmt.Fprintf(p.stdout, "  The files that were there are kept in %s.\n", done.FilesAside)
	}
}

// filesPlanned says what would become of the uploaded files.
func filesPlanned(m backup.Manifest) string {
	switch f := m.Files; {
	case f != nil && f.Included:
		return fmt.Sprintf("with %d uploaded files, %s; those that are here now would be kept aside too", f.Count, size(f.Bytes))
	case f != nil:
		return "without uploaded files, which are in " + f.Place
	default:
		return "without uploaded files; those that are here would stay"
	}
}

// restorePlan says what would be done.
func (p *program) restorePlan(ctx context.Context, o *options, re restorer, r backup.RestoreRequest, undo bool, line *progressLine) error {
	if r.File == "" {
		what := "drop every database that a restore put aside"
		if undo {
			what = "swap the database with the one that the last restore put aside"
		}
		if o.json {
			if err := p.printJSON(map[string]string{"would": what, "target": re.Target()}); err != nil {
				return err
			}
			return errSilent
		}
		fmt.Fprintf(p.stdout, "This would %s, in %s.\n  Nothing was changed. Do it with --yes.\n", what, re.Target())
		return errSilent
	}
	plan, err := re.Plan(ctx, r)
	line.clear()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if o.json {
		if err := p.printJSON(plan); err != nil {
			return err
		}
		return errSilent
	}
	m := plan.Manifest
	fmt.Fprintf(p.stdout, "This would restore %s\n  of %s, selflink %s, schema %d: %d rows of %d tables\n  in the place of %s.\n",
		plan.File, moment(m.StartedAt), m.Appliance.Version, m.Schema, m.Rows(), len(m.Tables), plan.Target)
	fmt.Fprintf(p.stdout, "  %s.\n", filesPlanned(m))
	fmt.Fprintln(p.stdout, "  What is there now would be kept under another name unless it is empty; everything since\n  the archive would be gone from the current database. The broker's streams would be rebuilt.")
	for _, name := range plan.Secrets {
		fmt.Fprintf(p.stdout, "  The secret %s would be that of the archive.\n", name)
	}
	if r.DropOld {
		fmt.Fprintln(p.stdout, "  Then what this and earlier restores put aside would be dropped.")
	}
	fmt.Fprintln(p.stdout, "  Its checksums are right. Nothing was changed. Do it with --yes.")
	return errSilent
}
