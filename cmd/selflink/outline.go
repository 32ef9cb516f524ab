package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// outline is what a verb says of itself: the manual page and the completions
// are made of it, so they know what the program knows.
type outline struct {
	Name    string    `json:"name"` // with the verbs above it, "jobs list"
	Summary string    `json:"summary"`
	Usage   string    `json:"usage,omitempty"` // its line; empty: it has verbs of its own
	About   string    `json:"about,omitempty"`
	Options []option  `json:"options,omitempty"`
	Verbs   []outline `json:"verbs,omitempty"`
}

// option is one flag of a verb.
type option struct {
	Name  string `json:"name"`            // without dashes
	Value string `json:"value,omitempty"` // what is given with it, in a word; empty: nothing is
	About string `json:"about"`
	Usual string `json:"default,omitempty"`
}

// inner are verbs that stand behind one that also works alone, so that its
// explanation does not list them.
var inner = map[string][]verb{"backup": {{"list", "list the backups that were made", backupVerb}}}

// outlines asks every verb to explain itself, as -h does.
func (p *program) outlines(ctx context.Context) ([]outline, error) {
	return p.outlineAll(ctx, "", verbs())
}

func (p *program) outlineAll(ctx context.Context, above string, all []verb) ([]outline, error) {
	var out []outline
	for _, v := range all {
		o, err := p.outlineOf(ctx, strings.TrimSpace(above+" "+v.name), v)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func (p *program) outlineOf(ctx context.Context, name string, v verb) (outline, error) {
	o := outline{Name: name, Summary: v.summary}
	var below []verb
	asked := *p
	asked.stdout, asked.stderr = io.Discard, io.Discard
	asked.listed = func(all []verb) { below = all }
	asked.outlined = func(usage, about string, flags *flag.FlagSet) {
		o.Usage, o.About = usage, about
		flags.VisitAll(func(f *flag.Flag) {
			value, text := flag.UnquoteUsage(f)
			usual := f.DefValue
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
				value, usual = "", ""
			}
			if usual == "0" || usual == "0s" {
				usual = ""
			}
			o.Options = append(o.Options, option{f.Name, value, text, usual})
		})
	}
	args := []string{"-h"}
	if parent, last, ok := strings.Cut(name, " "); ok && len(inner[parent]) > 0 {
		args = []string{last, "-h"}
	}
	if err := v.run(ctx, &asked, args); !errors.Is(err, errHelp) {
		return o, fmt.Errorf("ask selflink %s to explain itself: %w", name, errors.Join(err, errors.New("it has no -h")))
	}
	var err error
	o.Verbs, err = p.outlineAll(ctx, name, append(slices.Clone(below), inner[name]...))
	return o, err
}

// walk calls visit for every verb, those above before those below.
func walk(all []outline, visit func(outline)) {
	for _, o := range all {
		visit(o)
		walk(o.Verbs, visit)
	}
}
