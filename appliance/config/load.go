package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sources are where values come from, the first one that has a value wins:
// Flags, Environ, the env file, the defaults.
type Sources struct {
	// Flags are values by key from the command line. Secrets are refused here,
	// because everybody on a machine can read the arguments of a process.
	Flags map[string]string
	// Environ is the environment as "NAME=value". Its SELFLINK_ENV_FILE, or
	// that of Flags, names the env file; blank: none.
	Environ []string
	// ReadOnly leaves the data directory as it is. Without it missing secrets
	// are made there.
	ReadOnly bool
	// Files makes a ReadOnly Load judge the files that settings name as well.
	// Without it a command beside the server does not stumble over a
	// certificate that is just being renewed, or that its user may not read.
	Files bool
	// Root is where the default env file, the default data directory and
	// /.dockerenv are looked for, "/" when empty. For tests.
	Root string
}

// names of sources, as operators see them.
const (
	fromFlag      = "flag"
	fromEnviron   = "environment"
	fromDefault   = "default"
	fromGenerated = "generated"
	fromDerived   = "chosen"

	// maxSecretFile bounds a NAME_FILE in bytes; certificates fit.
	maxSecretFile = 64 << 10
)

// found is a value with its origin.
type found struct {
	text   string
	source string
}

// layer is one source: values by name.
type layer map[string]found

// loader gathers everything there is to say instead of stopping at the first
// mistake.
type loader struct {
	src      Sources
	cfg      *Config
	layers   []layer // the strongest first
	given    map[string]found
	problems []Problem
}

// Load reads all sources and returns the configuration.
//
// All problems are reported at once: the error is then an [*Error], and the
// configuration holds what could be read, for showing. Unless ReadOnly, and
// when there is no problem, missing secrets are made in the data directory;
// several processes may do so at once and get the same ones.
func Load(src Sources) (*Config, Report, error) {
	if src.Root == "" {
		src.Root = "/"
	}
	l := &loader{src: src, cfg: &Config{}, given: map[string]found{}}
	l.readLayers()
	settings := Settings()
	for _, s := range settings {
		l.apply(s)
	}
	l.derive()
	l.guard()
	l.legacy(settings)
	l.unknown(settings)
	l.secrets()
	l.values(settings)
	c := l.cfg
	c.hidden = l.hidden(settings)
	report := Report{Notes: c.Notes(), Problems: l.problems, Values: c.Effective()}
	if len(l.problems) > 0 {
		return c, report, &Error{Problems: l.problems}
	}
	return c, report, nil
}

func (l *loader) problem(key, text, fix string) {
	l.problems = append(l.problems, Problem{Key: key, Source: l.given[key].source, Text: text, Fix: fix})
}

func (l *loader) note(level slog.Level, key, text string) {
	l.cfg.notes = append(l.cfg.notes, Note{Level: level, Key: key, Text: text})
}

// readLayers fills the layers: flags, environment, env file.
func (l *loader) readLayers() {
	flags, environ := layer{}, layer{}
	for key, text := range l.src.Flags {
		flags[key] = found{text, fromFlag}
	}
	for _, entry := range l.src.Environ {
		if key, text, ok := strings.Cut(entry, "="); ok && key != "" {
			environ[key] = found{text, fromEnviron}
		}
	}
	l.layers = []layer{flags, environ}

	path, named := l.lookup(envFileKey)
	if !named {
		path = found{filepath.Join(l.src.Root, defaultEnvFile), fromDefault}
	}
	file := strings.TrimSpace(path.text)
	if file == "" {
		return
	}
	entries, loose, err := readEnvFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return
	case err != nil:
		l.problems = append(l.problems, Problem{Key: envFileKey, Source: path.source,
			Text: fmt.Sprintf("%s cannot be used: %v", file, err),
			Fix:  "Correct the file, or name another one with " + envFileKey + "."})
	}
	values := layer{}
	for _, e := range entries {
		if old, twice := values[e.Key]; twice && old.text != e.Value {
			l.note(slog.LevelWarn, e.Key, fmt.Sprintf("%s is set twice in %s: the one in line %d counts", e.Key, file, e.Line))
		}
		if e.Literal {
			l.note(slog.LevelWarn, e.Key, fmt.Sprintf("%s in line %d of %s is taken as it is written: variables are not put in. Single quotes around the value say that this is meant", e.Key, e.Line, file))
		}
		values[e.Key] = found{e.Value, fmt.Sprintf("%s line %d", file, e.Line)}
	}
	if loose && len(entries) > 0 {
		l.note(slog.LevelWarn, envFileKey, fmt.Sprintf("everybody on this machine can read %s: chmod 640 it", file))
	}
	l.layers = append(l.layers, values)
}

// readEnvFile reads and parses a file; loose is whether everybody can read it.
func readEnvFile(path string) (entries []Entry, loose bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, false, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxEnvFile+1))
	if err != nil {
		return nil, false, err
	}
	entries, err = ParseEnv(string(text))
	return entries, info.Mode().Perm()&0o004 != 0, err
}

// lookup finds a name in the layers without any rule about blanks.
func (l *loader) lookup(key string) (found, bool) {
	for _, values := range l.layers {
		if f, ok := values[key]; ok {
			return f, true
		}
	}
	return found{}, false
}

// apply finds the value of a setting, or takes its default, and sets it.
func (l *loader) apply(s Setting) {
	f, ok := l.resolve(s)
	if ok {
		l.given[s.Key] = f
	} else {
		f = found{s.Default, fromDefault}
	}
	var err error
	switch {
	case s.set != nil:
		err = s.set(l.cfg, f.text)
	case s.check != nil && f.text != "":
		err = s.check(f.text)
	}
	if err == nil {
		return
	}
	fix := "Correct it, or leave it out."
	if s.Default != "" {
		fix = fmt.Sprintf("Correct it, or leave it out to get the default, %s.", s.Default)
	}
	l.problem(s.Key, err.Error(), fix)
	if s.set != nil {
		// The guardrails look at the rest as if nothing had been given. A
		// default is never wrong: a test reads them all.
		_ = s.set(l.cfg, s.Default)
	}
}

// resolve finds the value of a setting under any of its names.
func (l *loader) resolve(s Setting) (found, bool) {
	for i, values := range l.layers {
		var winner found
		var by string
		for _, name := range s.names() {
			f, ok := values[name]
			f.text = strings.TrimSpace(f.text)
			if ok && f.text == "" && !s.Blank {
				ok = false
			}
			if s.Secret {
				f, ok = l.secretFile(values, name, f, ok)
			}
			switch {
			case !ok:
			case by == "":
				winner, by = f, name
			case f.text != winner.text:
				l.note(slog.LevelWarn, s.Key, fmt.Sprintf("%s and %s are both given with different values: %s counts", by, name, by))
			}
		}
		if by == "" {
			continue
		}
		if i == 0 && s.Secret {
			l.problems = append(l.problems, Problem{Key: s.Key, Source: fromFlag,
				Text: "is a secret, and everybody on this machine can read the arguments of a process",
				Fix:  fmt.Sprintf("Give it in the environment, in the env file, or as a file named in %s_FILE.", s.Key)})
			return found{}, false
		}
		if by != s.Key {
			winner.source += " as " + by
		}
		return winner, true
	}
	return found{}, false
}

// secretFile reads NAME_FILE of a secret when it is given.
func (l *loader) secretFile(values layer, name string, f found, ok bool) (found, bool) {
	pointer, given := values[name+"_FILE"]
	path := strings.TrimSpace(pointer.text)
	if !given || path == "" {
		return f, ok
	}
	key := name + "_FILE"
	bad := func(text, fix string) (found, bool) {
		l.problems = append(l.problems, Problem{Key: key, Source: pointer.source, Text: text, Fix: fix})
		return found{}, false
	}
	if ok {
		return bad("is given together with "+name, "Leave one of the two out.")
	}
	text, err := readSmall(path)
	if err != nil {
		return bad(fmt.Sprintf("cannot be read: %v", err), "Correct the path, or let the user of this process read the file.")
	}
	if text == "" {
		return bad(path+" is empty", "Write the secret into it, or leave "+key+" out.")
	}
	return found{text, "file " + path}, true
}

// readSmall reads a file that holds one secret, without the white space
// around it.
func readSmall(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(raw) > maxSecretFile {
		return "", fmt.Errorf("%s is longer than %d bytes", path, maxSecretFile)
	}
	return strings.TrimSpace(string(raw)), nil
}

// values lists what is in force.
func (l *loader) values(settings []Setting) {
	for _, s := range settings {
		f, ok := l.given[s.Key]
		switch {
		case ok:
		case s.Status != Used:
			continue
		default:
			f = found{s.Default, fromDefault}
		}
		l.cfg.values = append(l.cfg.values, Value{Key: s.Key, Value: s.shown(f.text), Source: f.source})
	}
}

// hidden gathers the texts of all secrets, whether used or not, and the
// passwords inside of URLs.
func (l *loader) hidden(settings []Setting) []string {
	var out []string
	for _, s := range settings {
		f := l.given[s.Key]
		if f.text == "" {
			continue
		}
		if s.Secret {
			out = append(out, f.text)
		}
		if s.Key == webhookSecrets { // each of them alone signs
			out = append(out, splitList(f.text)...)
		}
		if s.Secret || s.show != nil {
			out = append(out, passwords(f.text)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
