package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // a second signal, as shells number it
)

// program is one call of the command with everything it touches.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string // "NAME=value"
	version        string
	commit         string

	parts parts
	// outlined and listed receive what a verb says of itself instead of who
	// reads, for the manual and the completions. nil: it is printed.
	outlined func(usage, about string, flags *flag.FlagSet)
	listed   func(all []verb)

	// signals starts the delivery of requests to stop and returns how to end
	// it. The channel holds several: none is lost while nobody looks.
	signals func() (requests <-chan os.Signal, end func())
}

// verb is one sub-command.
type verb struct {
	name    string
	summary string
	run     func(ctx context.Context, p *program, args []string) error
}

func verbs() []verb {
	return []verb{
		{"serve", "run the appliance", serve},
		{"status", "tell whether it runs and what does not", status},
		{"doctor", "examine the installation, whether it runs or not", examine},
		{"migrate", "bring the database's schema up to date", migrate},
		{"upgrade", "look before an upgrade, remove what is kept to go back", upgradeVerb},
		{"rollback", "go back from the last upgrade", rollbackVerb},
		{"backup", "make an archive of the database, list those there are", backupVerb},
		{"verify", "prove that an archive is whole and can be restored", verifyVerb},
		{"restore", "put an archive in the place of the database, or undo that", restoreVerb},
		{"storage", "where files are kept: status, check, copy", storageVerb},
		{"import", "copy accounts and more from the database of the old backend", importVerb},
		{"config", "show, check or document the settings", configure},
		{"admin", "create and promote administrators, reset passwords", admin},
		{"coin", "check the ledger of coins", coinVerb},
		{"cluster", "make what several processes join by", clusterVerb},
		{"jobs", "list, show, retry and cancel background jobs", jobsVerb},
		{"schedule", "list, run, pause and resume schedules", scheduleVerb},
		{"search", "build the index of people anew, tell how it is", searchVerb},
		{"logs", "print the log of the running server", logs},
		{"audit", "list what people with rights did, verify the trail", auditVerb},
		{"explain", "tell what happened to a request or a job", explain},
		{"diagnostics", "make a bundle for whoever helps", bundle},
		{"completion", "print the completion of a shell", completionVerb},
		{"man", "print the manual page", manual},
		{"version", "print version and commit", showVersion},
	}
}

// Errors that choose the exit code.
var (
	// errUsage is a command line that makes no sense; it wraps what is wrong.
	errUsage = errors.New("usage")
	// errHelp means that help was asked for and printed.
	errHelp = errors.New("help was printed")
	// errSilent means that the failure has been told already.
	errSilent = errors.New("told already")
	// errInterrupted means that a second signal cut the stopping short.
	errInterrupted = errors.New("interrupted by a second signal: the next start repairs what was left")
)

// run carries out one command line and returns the exit code.
func (p *program) run(args []string) int {
	err := p.dispatch(args)
	switch {
	case err == nil, errors.Is(err, errHelp):
		return exitOK
	case errors.Is(err, errSilent):
		return exitFailed
	case errors.Is(err, errUsage):
		fmt.Fprintf(p.stderr, "selflink: %s\n", strings.TrimPrefix(err.Error(), errUsage.Error()+": "))
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "selflink: %v\n", err)
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(p.stderr, "  %s\n", hint)
	}
	if errors.Is(err, errInterrupted) {
		return exitInterrupted
	}
	return exitFailed
}

func (p *program) dispatch(args []string) error {
	if len(args) == 0 {
		p.help(p.stderr)
		return fmt.Errorf("%w: name a command", errUsage)
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			p.help(p.stdout)
			return errHelp
		}
		name, rest = rest[0], append(slices.Clone(rest[1:]), "-h")
	case "-v", "-version", "--version":
		name = "version"
	}
	all := verbs()
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == name })
	if i < 0 {
		p.help(p.stderr)
		return fmt.Errorf("%w: there is no command %q", errUsage, name)
	}
	if name == "serve" { // it stops in order, by its own rules
		return all[i].run(context.Background(), p, rest)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	requests, end := p.signals()
	defer end()
	go func() { // ends with ctx
		select {
		case <-requests:
			cancel()
		case <-ctx.Done():
		}
	}()
	return all[i].run(ctx, p, rest)
}

func (p *program) help(w io.Writer) {
	fmt.Fprint(w, "SelfLink appliance: the whole backend in one process.\n\nUsage: selflink COMMAND [options]\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-11s %s\n", v.name, v.summary)
	}
	fmt.Fprint(w, "\nEach command explains itself with -h and prints JSON with --json.\nSettings come from flags, the environment and the env file: selflink config docs.\n")
}

// sub runs one of a verb's own verbs.
func (p *program) sub(ctx context.Context, name string, args []string, all []verb) error {
	usage := func(w io.Writer) {
		fmt.Fprintf(w, "Usage: selflink %s COMMAND [options]\n\n", name)
		for _, v := range all {
			fmt.Fprintf(w, "  %-15s %s\n", v.name, v.summary)
		}
	}
	if len(args) == 0 {
		usage(p.stderr)
		return fmt.Errorf("%w: selflink %s needs one of these commands", errUsage, name)
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		if p.listed != nil {
			p.listed(all)
			return errHelp
		}
		usage(p.stdout)
		return errHelp
	}
	for _, v := range all {
		if v.name == args[0] {
			return v.run(ctx, p, args[1:])
		}
	}
	usage(p.stderr)
	return fmt.Errorf("%w: there is no command %q of selflink %s", errUsage, args[0], name)
}

// processSignals delivers SIGINT and SIGTERM of this process.
func processSignals() (<-chan os.Signal, func()) {
	requests := make(chan os.Signal, 4)
	signal.Notify(requests, os.Interrupt, syscall.SIGTERM)
	return requests, func() { signal.Stop(requests) }
}
