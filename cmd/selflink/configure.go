package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"selflink/appliance/config"
)

// configure is "selflink config".
func configure(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "config", args, []verb{
		{"show", "print the settings in force and where each came from", configShow},
		{"check", "report every problem at once", configCheck},
		{"docs", "print the documentation of all settings", configDocs},
	})
}

// configShow prints the settings even when some are refused, because that is
// when one wants to see them.
func configShow(_ context.Context, p *program, args []string) error {
	o := p.newOptions("config show [options]", "Prints the settings in force and where each came from. Secrets are masked.")
	cfg, report, err := p.inspect(o, args)
	if cfg == nil {
		return err
	}
	if o.json {
		err = errors.Join(p.printJSON(report.Values), err)
	} else {
		w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
		for _, v := range report.Values {
			fmt.Fprintf(w, "%s\t%s\t%s\n", v.Key, orDash(v.Value), orDash(v.Source))
		}
		err = errors.Join(w.Flush(), err)
	}
	return err
}

// configCheck exits with 1 when serve would refuse to start.
func configCheck(_ context.Context, p *program, args []string) error {
	o := p.newOptions("config check [options]", "Reports every problem and every remark about the settings at once. Nothing is\nstarted or written. The exit code is 1 when the server would refuse to start.")
	cfg, report, err := p.inspect(o, args)
	if cfg == nil {
		return err
	}
	if o.json {
		type remark struct {
			Level   string `json:"level"`
			Setting string `json:"setting,omitempty"`
			Text    string `json:"text"`
		}
		notes := make([]remark, 0, len(report.Notes))
		for _, n := range report.Notes {
			notes = append(notes, remark{n.Level.String(), n.Key, n.Text})
		}
		problems := report.Problems
		if problems == nil {
			problems = []config.Problem{}
		}
		if printErr := p.printJSON(map[string]any{"ok": err == nil, "problems": problems, "remarks": notes}); printErr != nil {
			return printErr
		}
		if err != nil {
			return errSilent
		}
		return nil
	}
	for _, n := range report.Notes {
		word := "note"
		if n.Level >= slog.LevelWarn {
			word = "warning"
		}
		fmt.Fprintf(p.stdout, "%s: %s\n", word, n.Text)
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "selflink: %v\n", err)
		return errSilent
	}
	_, err = fmt.Fprintln(p.stdout, "The settings are in order.")
	return err
}

// configDocs prints what the table says; it reads no setting.
func configDocs(_ context.Context, p *program, args []string) error {
	o := p.newOptions("config docs [options]", "Prints the documentation of all settings: as Markdown, as an env file to\nstart from, or as the manual page selflink.env(5).")
	format := o.set.String("format", "markdown", "`form`: markdown, env or man")
	if err := o.parse(args); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(described())
	}
	var text string
	switch *format {
	case "markdown", "md":
		text = config.Docs()
	case "env":
		text = config.DocsEnv()
	case "man":
		text = envManual(p.version)
	default:
		return fmt.Errorf("%w: --format is markdown, env or man, not %q", errUsage, *format)
	}
	_, err := io.WriteString(p.stdout, text)
	return err
}

// inspect reads the settings without changing anything. cfg is nil when the
// command line is wrong; with a refused configuration it holds what could be
// read, and err says what is refused.
func (p *program) inspect(o *options, args []string) (cfg *config.Config, report config.Report, err error) {
	o.setting("listen", "SELFLINK_LISTEN", "`addresses` to listen on, a comma list of host:port")
	if err := o.parse(args); err != nil {
		return nil, report, err
	}
	src := p.sources(o)
	src.ReadOnly, src.Files = true, true
	return config.Load(src)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// description is one setting in "config docs --json".
type description struct {
	Setting string   `json:"setting"`
	Aliases []string `json:"aliases,omitempty"`
	Group   string   `json:"group"`
	Default string   `json:"default"`
	Auto    string   `json:"when_not_given,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Doc     string   `json:"meaning,omitempty"`
	Secret  bool     `json:"secret"`
	Used    bool     `json:"used"`
}

func described() []description {
	var out []description
	for _, s := range config.Settings() {
		out = append(out, description{
			Setting: s.Key, Aliases: s.Aliases, Group: string(s.Group), Default: s.Default, Auto: s.Auto,
			Unit: s.Unit, Doc: s.Doc, Secret: s.Secret, Used: s.Status == config.Used,
		})
	}
	return out
}
