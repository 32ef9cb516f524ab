package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"selflink/appliance"
	"selflink/appliance/config"
	"selflink/appliance/oldstack"
)

// faultsFile is where the rows that were not copied are listed, in the data
// directory unless told otherwise.
const faultsFile = "import-faults.jsonl"

// longestAddress bounds what is read as the old database's address.
const longestAddress = 8 << 10

const importHelp = `Copies accounts with all that is theirs, and the mentor's conversations, from the
database of the old backend. Ids, times and passwords stay as they are. The old database
is only read, in one snapshot; both backends may run meanwhile.

It may be interrupted at any moment; called again, it goes on from there. Called again
later, it also copies what is new there, and what changed there unless it was changed
here too. Exits with 1 when rows were refused.

The address of the old database holds a password, and everybody on this machine can read
arguments: set SELFLINK_IMPORT_FROM, or put it into a file for --from-file.`

// importVerb is the verb "import".
func importVerb(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("import [options]", importHelp)
	from := o.set.String("from", "", "`address` of the old database: postgres://user@host:5432/database")
	fromFile := o.set.String("from-file", "", "`file` that holds the address, - for the standard input")
	dry := o.set.Bool("dry-run", false, "tell what would be done, and write nothing to the database")
	missing := o.set.Bool("missing-ok", false, "go on without tables that the old database does not have")
	media := o.set.String("media-url", "", "`address` below which the old backend served its files, as in https://api.example.com/media/")
	batch := o.set.Int("batch", 0, "`rows` in one transaction (500)")
	report := o.set.String("report", "", "`file` for all rows that are not copied, one JSON object a line ("+faultsFile+" in the data directory)")
	if err := o.parse(args); err != nil {
		return err
	}
	if *batch < 0 || *batch > 10000 {
		return fmt.Errorf("%w: --batch is 1 to 10000", errUsage)
	}
	if *media != "" {
		u, err := url.Parse(*media)
		if err != nil || u.Host == "" || !strings.HasSuffix(u.Path, "/") {
			return fmt.Errorf("%w: --media-url is an address that ends with /, as in https://api.example.com/media/", errUsage)
		}
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	address, err := p.oldDatabase(cfg, *from, *fromFile)
	if err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	line := &importLine{out: io.Discard}
	if !o.json && terminal(p.stderr) != nil {
		line.out = p.stderr
	}
	list := &faultList{path: first(*report, filepath.Join(cfg.DataDir, faultsFile))}
	result, err := led.Import(ctx, appliance.ImportRequest{
		From: address.Reveal(), MediaURL: *media, DryRun: *dry, MissingOK: *missing, Batch: *batch, KeptFor: cfg.MentorRetention,
		Progress: line.show, Fault: list.add,
	})
	line.clear()
	err = closing(led, errors.Join(err, list.close()))
	if len(result.Kinds) > 0 {
		if printErr := p.printImport(o, result, list); err == nil {
			err = printErr
		}
	}
	if err == nil && result.Total().Refused > 0 {
		return errSilent
	}
	return err
}

// oldDatabase finds the address of the old database in the arguments, in a
// file, or in the settings.
func (p *program) oldDatabase(cfg *config.Config, from, file string) (config.Secret, error) {
	switch {
	case from != "" && file != "":
		return config.Secret{}, fmt.Errorf("%w: give --from or --from-file", errUsage)
	case from != "":
		if u, err := url.Parse(from); err == nil && u.User != nil {
			if _, ok := u.User.Password(); ok {
				fmt.Fprintln(p.stderr, "selflink: everybody on this machine can read the password in --from while this runs: use SELFLINK_IMPORT_FROM or --from-file")
			}
		}
		return config.NewSecret(from), nil
	case file != "":
		in := p.stdin
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return config.Secret{}, fmt.Errorf("read the address of the old database: %w", err)
			}
			defer f.Close() //nolint:errcheck // it was only read
			in = f
		}
		text, err := io.ReadAll(io.LimitReader(in, longestAddress))
		if err != nil {
			return config.Secret{}, fmt.Errorf("read the address of the old database: %w", err)
		}
		if address := strings.TrimSpace(string(text)); address != "" {
			return config.NewSecret(address), nil
		}
		return config.Secret{}, fmt.Errorf("%w: %s is empty", errUsage, file)
	case !cfg.ImportFrom.IsZero():
		return cfg.ImportFrom, nil
	}
	return config.Secret{}, fmt.Errorf("%w: name the old database with SELFLINK_IMPORT_FROM, --from-file or --from", errUsage)
}

// faultList writes the rows that were not copied to a file, which it makes for
// the first of them.
type faultList struct {
	path string
	rows int
	file *os.File
	out  *bufio.Writer
}

func (l *faultList) add(f oldstack.Fault) error {
	if l.file == nil {
		if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
			return fmt.Errorf("list what is not copied: %w", err)
		}
		var err error
		if l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
			return fmt.Errorf("list what is not copied: %w", err)
		}
		l.out = bufio.NewWriter(l.file)
	}
	l.rows++
	if err := json.NewEncoder(l.out).Encode(f); err != nil {
		return fmt.Errorf("list what is not copied: %w", err)
	}
	return nil
}

func (l *faultList) close() error {
	if l.file == nil {
		return nil
	}
	if err := errors.Join(l.out.Flush(), l.file.Close()); err != nil {
		return fmt.Errorf("list what is not copied: %w", err)
	}
	return nil
}

// importReport is what "import --json" prints.
type importReport struct {
	oldstack.Result
	FaultsFile string `json:"faults_file,omitempty"` // all of them
}

func (p *program) printImport(o *options, r oldstack.Result, list *faultList) error {
	if o.json {
		report := importReport{Result: r}
		if list.rows > 0 {
			report.FaultsFile = list.path
		}
		return p.printJSON(report)
	}
	head := fmt.Sprintf("Copied from the old database as it was at %s, in %.1f s.", moment(r.Snapshot), r.Seconds)
	if r.DryRun {
		head = fmt.Sprintf("A dry run on the old database as it was at %s, in %.1f s: nothing was written.", moment(r.Snapshot), r.Seconds)
	}
	fmt.Fprintf(p.stdout, "%s\n\n", head)
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ROWS\tNEW\tCHANGED\tSAME\tKEPT\tSKIPPED\tREFUSED\t OF")
	total := r.Total()
	total.Kind = "all"
	for _, c := range append(append([]oldstack.Count{}, r.Kinds...), total) {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t %s\n", c.Rows, c.Copied, c.Changed, c.Same, c.Kept, c.Skipped, c.Refused, c.Kind)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	for _, t := range r.Absent {
		fmt.Fprintf(p.stdout, "\nThe old database has no table %s: nothing was copied of it.", t)
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(p.stdout, "\nThe old database lacks these columns, which got defaults: %s.", strings.Join(r.Missing, ", "))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(p.stdout, "\n%d %s: %s.", n.Rows, n.Kind, n.Text)
	}
	for _, c := range r.Kinds {
		if c.Gone > 0 {
			fmt.Fprintf(p.stdout, "\n%d %s were copied before and are not in the old database any more: ours stay.", c.Gone, c.Kind)
		}
	}
	if len(r.Absent)+len(r.Missing)+len(r.Notes) > 0 || total.Gone > 0 {
		fmt.Fprintln(p.stdout)
	}
	if len(r.Faults) > 0 {
		fmt.Fprintln(p.stdout, "\nNot copied:")
		for _, f := range r.Faults {
			fmt.Fprintf(p.stdout, "  %s %d is %s: %s\n", f.Kind, f.ID, f.Verdict, f.Reason)
		}
	}
	if list.rows > 0 {
		fmt.Fprintf(p.stdout, "\nAll %d rows that were not copied are listed in %s\n", list.rows, list.path)
	}
	return nil
}

// importLine tells somebody who waits how far an import is.
type importLine struct {
	out   io.Writer
	shown time.Time
}

func (l *importLine) show(at oldstack.Progress) {
	if now := time.Now(); now.Sub(l.shown) >= progressEvery {
		l.shown = now
		fmt.Fprintf(l.out, "\r\x1b[K%s: %d of %d", at.Kind, at.Done, at.Total)
	}
}

func (l *importLine) clear() {
	if !l.shown.IsZero() {
		fmt.Fprint(l.out, "\r\x1b[K")
	}
}
