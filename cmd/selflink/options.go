package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"selflink/appliance/config"
)

// options are the flags of one verb. Those that are settings override the
// environment.
type options struct {
	set      *flag.FlagSet
	help     func() // prints the explanation
	json     bool
	settings map[string]string // key → value, as given
	words    []string          // what is not a flag, in order
	least    int               // how many words are needed
	most     int               // how many are understood
}

// newOptions starts the flags of a verb; usage is its line without "selflink",
// about one or more sentences on what it does.
func (p *program) newOptions(usage, about string) *options {
	name, _, _ := strings.Cut(usage, " [")
	o := &options{set: flag.NewFlagSet(name, flag.ContinueOnError), settings: map[string]string{}}
	o.set.SetOutput(io.Discard) // run prints mistakes itself
	o.set.BoolVar(&o.json, "json", false, "print JSON")
	o.setting("data-dir", "SELFLINK_DATA_DIR", "`directory` of all data")
	o.setting("env-file", "SELFLINK_ENV_FILE", "`file` of settings, one NAME=value a line")
	o.set.Usage = func() {} // a mistake gets one line, help all of it
	o.help = func() {
		if p.outlined != nil {
			p.outlined(usage, about, o.set)
			return
		}
		fmt.Fprintf(p.stdout, "Usage: selflink %s\n\n%s\n\nOptions:\n", usage, about)
		o.set.SetOutput(p.stdout)
		o.set.PrintDefaults()
		o.set.SetOutput(io.Discard)
	}
	return o
}

// setting adds a flag that is a setting. Secrets never get one: the arguments
// of a process are public.
func (o *options) setting(name, key, about string) {
	o.set.Func(name, about+" ("+key+")", func(text string) error {
		o.settings[key] = text
		return nil
	})
}

// parse reads the flags, which may stand before, between and after the words.
func (o *options) parse(args []string) error {
	for {
		if err := o.set.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				o.help()
				return errHelp
			}
			return fmt.Errorf("%w: %w; selflink %s -h explains", errUsage, err, o.set.Name())
		}
		if args = o.set.Args(); len(args) == 0 {
			break
		}
		o.words, args = append(o.words, args[0]), args[1:]
	}
	switch {
	case len(o.words) > o.most:
		return fmt.Errorf("%w: %q is one word too many; selflink %s -h explains", errUsage, o.words[o.most], o.set.Name())
	case len(o.words) < o.least:
		return fmt.Errorf("%w: something is missing; selflink %s -h explains", errUsage, o.set.Name())
	}
	return nil
}

// sources says where the settings of this call come from.
func (p *program) sources(o *options) config.Sources {
	return config.Sources{Flags: o.settings, Environ: p.environ}
}

// load reads the settings for looking at them. It makes no secrets and does not
// repeat the remarks that the server logs.
func (p *program) load(o *options) (*config.Config, error) {
	src := p.sources(o)
	src.ReadOnly = true
	cfg, _, err := config.Load(src)
	return cfg, err
}

// printJSON writes v indented.
func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
