package main

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"

	"selflink/appliance/config"
)

// manual is "selflink man".
func manual(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("man [options]", "Prints the manual page selflink(1), made from the commands and their options.\nThat of the settings, selflink.env(5):  selflink config docs --format man")
	if err := o.parse(args); err != nil {
		return err
	}
	all, err := p.outlines(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return p.printJSON(all)
	}
	_, err = io.WriteString(p.stdout, commandManual(p.version, all))
	return err
}

// shared are the options that every command has; they are explained once.
var shared = []string{"data-dir", "env-file", "json"}

// commandManual is selflink(1).
func commandManual(version string, all []outline) string {
	var r roff
	r.title("selflink", 1, version)
	r.section("Name")
	r.WriteString("selflink \\- the whole backend of SelfLink in one process\n")
	r.section("Synopsis")
	r.WriteString("\\fBselflink\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n")
	r.section("Description")
	r.paragraphs(`The appliance serves the REST, WebSocket and event-stream API of the SelfLink apps on one port. It runs a database, a pooler and a message broker of its own, so there is nothing else to start or to watch. The same program holds the tools of its operator.

As a service of this machine it is started by systemd as selflink.service. Run its tools as root or as the user selflink: others may read neither the settings nor the data.`)
	r.section("Options")
	r.paragraphs("Every command explains itself with -h and has these:")
	for _, o := range all[0].Options {
		if slices.Contains(shared, o.Name) {
			r.option(o)
		}
	}
	r.section("Commands")
	walk(all, func(o outline) {
		if o.Usage == "" { // what is below it says all
			return
		}
		r.subsection("selflink " + o.Usage)
		r.paragraphs(o.About)
		for _, option := range o.Options {
			if !slices.Contains(shared, option.Name) {
				r.option(option)
			}
		}
	})
	r.section("Exit status")
	r.item("0", "", "It did what it was asked to.")
	r.item(strconv.Itoa(exitFailed), "", "It could not, or what was asked about is not as it should be.")
	r.item(strconv.Itoa(exitUsage), "", "The command line makes no sense.")
	r.item(strconv.Itoa(exitInterrupted), "", "A second signal cut the stopping short; the next start repairs what was left.")
	r.section("Signals")
	r.paragraphs("SIGTERM and SIGINT stop \"selflink serve\" in order. A second one ends it at once.")
	r.section("Files")
	r.item("/etc/selflink/selflink.env", "", "Settings, see selflink.env(5).")
	r.item("/var/lib/selflink", "", "Everything that is kept: database, broker, files, backups and generated secrets.")
	r.section("Examples")
	r.example("selflink status\nselflink admin create --email you@example.com\nselflink doctor\njournalctl -u selflink")
	r.section("See also")
	r.WriteString("selflink.env(5), systemctl(1), journalctl(1)\n")
	return r.String()
}

func (r *roff) option(o option) {
	about := o.About
	if o.Usual != "" && !strings.Contains(about, o.Usual) {
		about += "; default " + o.Usual
	}
	r.item(dashed(o.Name), o.Value, about)
}

// dashed is how an option is written: letters with one dash, words with two.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// envManual is selflink.env(5).
func envManual(version string) string {
	var r roff
	r.title("selflink.env", 5, version)
	r.section("Name")
	r.WriteString("selflink.env \\- settings of the SelfLink appliance\n")
	r.section("Synopsis")
	r.WriteString("/etc/selflink/selflink.env\n")
	r.section("Description")
	r.paragraphs(`One NAME=value a line. Blank lines and lines that begin with # are skipped. A value may stand in single quotes, which take it as it is, or in double quotes. Variables are not put in.

A value comes from an option of the command line, else from the environment, else from this file, else the default counts. A blank value counts as not given, except where it says that nothing means something.

A secret may instead be given as NAME_FILE, the path of a file that holds it, and never on the command line. Secrets that are not given are generated at the first start.

Changes take effect when the service is restarted. Before that:`)
	r.example("selflink config check\nselflink config show\nsystemctl restart selflink")
	r.section("Settings")
	settings := config.Settings()
	for _, group := range config.Groups() {
		if group == config.Other {
			continue
		}
		r.subsection(string(group))
		for _, s := range settings {
			if s.Group == group {
				r.setting(s)
			}
		}
	}
	r.section("Settings of older installations")
	r.paragraphs("Accepted, so that an old file works as it is, reported once at the start, and without effect:")
	var names []string
	for _, s := range settings {
		if s.Status != config.Used {
			names = append(names, s.Key)
		}
	}
	r.text(strings.Join(names, ", ") + ".")
	r.section("Files")
	r.item("/etc/selflink/selflink.env", "", "This file; SELFLINK_ENV_FILE names another. Its mode is 0640, its group selflink: it may hold secrets.")
	r.section("See also")
	r.WriteString("selflink(1)\n")
	return r.String()
}

func (r *roff) setting(s config.Setting) {
	r.item(s.Key, "", s.Doc)
	say := func(what, text string) {
		if text != "" {
			r.WriteString(".br\n")
			r.text(what + ": " + text)
		}
	}
	say("Default", s.Default)
	if s.Default == "" {
		say("When not given", s.Auto)
	}
	say("Unit", s.Unit)
	say("Other names", strings.Join(s.Aliases, ", "))
	if s.Secret {
		say("Secret; or", s.Key+"_FILE")
	}
}
