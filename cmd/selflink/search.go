package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"selflink/services/search"
)

// searchVerb is the verb "search".
func searchVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "search", args, []verb{
		{"reindex", "build what people are found by anew, while all goes on", searchReindex},
		{"status", "tell how Postgres and OpenSearch are", searchStatus},
	})
}

func searchReindex(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("search reindex [options]", "Builds the index of people anew, while searches and changes go on. "+
		"It may be interrupted at any moment; called again, it goes on from there. The server may run or not.")
	engine := o.set.String("engine", "", "`which` one: opensearch or postgres; the one that is asked first when not given")
	if err := o.parse(args); err != nil {
		return err
	}
	switch *engine {
	case "", search.EnginePostgres, search.EngineOpenSearch:
	default:
		return fmt.Errorf("%w: --engine is %s or %s", errUsage, search.EngineOpenSearch, search.EnginePostgres)
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	line := p.accountsLine(o)
	done, err := led.Search().Rebuild(ctx, *engine, line.show)
	line.clear()
	if err := closing(led, err); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(done)
	}
	how := "built"
	if done.Resumed {
		how = "built to its end"
	}
	fmt.Fprintf(p.stdout, "%s was %s in %s with %d accounts in %.1f s.\n", done.Index, how, done.Engine, done.Done, done.Seconds)
	return nil
}

func searchStatus(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("search status [options]", "Tells what answers searches, and how Postgres and OpenSearch are. It fails when OpenSearch is configured and does not answer.")
	if err := o.parse(args); err != nil {
		return err
	}
	led, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	s, err := led.Search().Status(ctx)
	if err := closing(led, err); err != nil {
		return err
	}
	if o.json {
		err = p.printJSON(s)
	} else {
		err = p.printSearch(s)
	}
	if err == nil && s.OpenSearch != nil && s.OpenSearch.Error != "" {
		return errSilent
	}
	return err
}

// printSearch prints a status for people.
func (p *program) printSearch(s search.Status) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "asked first\t%s\n", s.Engine)
	fmt.Fprintf(w, "postgres\t%d accounts, typing errors %s, accents %s\n", s.Postgres.Accounts,
		choose(s.Postgres.Trigrams, "forgiven", "not forgiven: pg_trgm is missing"), choose(s.Postgres.Unaccent, "ignored", "not ignored: unaccent is missing"))
	if o := s.OpenSearch; o != nil {
		fmt.Fprintf(w, "opensearch\t%s\n", o.Address)
		if o.Index != "" {
			fmt.Fprintf(w, "index\t%s, %s, %d documents\n", o.Index, choose(o.Health == "", "health unknown", o.Health), o.Documents)
		}
		if b := o.Building; b != nil {
			fmt.Fprintf(w, "building\t%s, %d of %d accounts, last step %s\n", b.Index, b.Done, b.Total, moment(b.UpdatedAt))
		}
		for _, stray := range o.Stray {
			fmt.Fprintf(w, "left over\t%s: the next reindex deletes it\n", stray)
		}
		if o.Error != "" {
			fmt.Fprintf(w, "problem\t%s\n", oneLine(o.Error, 300))
		}
	} else {
		fmt.Fprint(w, "opensearch\tnot configured\n")
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func choose(first bool, yes, no string) string {
	if first {
		return yes
	}
	return no
}

// accountsLine tells somebody who waits how far a rebuild is. One that nobody
// sees tells nothing.
type accountsLine struct {
	p     *program
	seen  bool
	shown time.Time
}

// accountsLine makes the line of a verb; it is for terminals alone.
func (p *program) accountsLine(o *options) *accountsLine {
	return &accountsLine{p: p, seen: !o.json && terminal(p.stderr) != nil}
}

// show draws the line anew, not too often.
func (l *accountsLine) show(at search.Progress) {
	if now := time.Now(); l.seen && now.Sub(l.shown) >= progressEvery {
		l.shown = now
		fmt.Fprintf(l.p.stderr, "\r\x1b[K%s: %d of %d accounts", at.Index, at.Done, at.Total)
	}
}

// clear removes the line.
func (l *accountsLine) clear() {
	if !l.shown.IsZero() {
		fmt.Fprint(l.p.stderr, "\r\x1b[K")
	}
}
