package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxEnvFile bounds an env file in bytes.
const maxEnvFile = 1 << 20

// Entry is one NAME=value of an env file.
type Entry struct {
	Key     string
	Value   string
	Line    int  // from 1, where the name stands
	Literal bool // a shell would put something else in place of a ${ or $( in it
}

// ParseEnv reads NAME=value lines as a shell, systemd and Compose agree on
// them: blank lines and lines that begin with # are skipped, "export " before
// a name too; blanks around name and value do not count; a value in single
// quotes is taken as it is, in double quotes \n \r \t \" \\ \$ \` stand for a
// character, and either may span lines; without quotes a " #" begins a
// comment. Variables are not substituted. CRLF and a byte order mark are fine.
//
// It returns all mistakes at once; their texts name the line and never quote
// it, because any line may hold a secret.
func ParseEnv(text string) ([]Entry, error) {
	if len(text) > maxEnvFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxEnvFile)
	}
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return nil, errors.New("is in UTF-16; save it as UTF-8")
	}
	text = strings.TrimPrefix(text, "\ufeff")
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return nil, errors.New("is not UTF-8 text")
	}
	p := envParser{rest: strings.ReplaceAll(text, "\r\n", "\n"), line: 1}
	var out []Entry
	var errs []error
	for p.rest != "" {
		at := p.line
		e, ok, err := p.next()
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", at, err))
		} else if ok {
			e.Line = at
			out = append(out, e)
		}
	}
	return out, errors.Join(errs...)
}

// envParser walks through a file line by line.
type envParser struct {
	rest string
	line int
}

// take cuts the current line off the rest.
func (p *envParser) take() string {
	line, rest, _ := strings.Cut(p.rest, "\n")
	p.rest = rest
	p.line++
	return line
}

// next reads one line, or more when a quoted value spans them; ok is false
// when it assigns nothing.
func (p *envParser) next() (a Entry, ok bool, err error) {
	line := strings.TrimSpace(p.take())
	if line == "" || line[0] == '#' {
		return a, false, nil
	}
	if rest, found := strings.CutPrefix(line, "export"); found && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
		line = strings.TrimSpace(rest)
	}
	name, value, found := strings.Cut(line, "=")
	if !found {
		return a, false, errors.New("has no =; write NAME=value, or # before a remark")
	}
	a.Key = strings.TrimSpace(name)
	if !isName(a.Key) {
		return a, false, errors.New("the part before = is not a name of letters, digits and _")
	}
	value = strings.TrimLeft(value, " \t")
	switch {
	case value != "" && (value[0] == '"' || value[0] == '\''):
		err = p.quoted(&a, value[0], value[1:])
	default:
		if i := commentAt(value); i >= 0 {
			value = value[:i]
		}
		a.Value = strings.TrimSpace(value)
		a.Literal = substitutes(a.Value)
	}
	return a, err == nil, err
}

// quoted reads a value up to its closing quote.
func (p *envParser) quoted(a *Entry, quote byte, text string) error {
	var b strings.Builder
	for {
		for i := 0; i < len(text); i++ {
			c := text[i]
			switch {
			case c == quote:
				rest := strings.TrimSpace(text[i+1:])
				if rest != "" && rest[0] != '#' {
					return errors.New("something follows the closing quote; put all of the value inside the quotes")
				}
				a.Value = b.String()
				return nil
			case c == '\\' && quote == '"' && i+1 < len(text):
				i++
				b.WriteString(unescape(text[i]))
			default:
				if c == '$' && quote == '"' && substitutes(text[i:min(i+2, len(text))]) {
					a.Literal = true
				}
				b.WriteByte(c)
			}
		}
		if p.rest == "" {
			return errors.New("the closing quote is missing")
		}
		b.WriteByte('\n')
		text = p.take()
	}
}

// unescape gives what a backslash and c stand for in double quotes.
func unescape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case '"', '\\', '$', '`':
		return string(c)
	}
	return string([]byte{'\\', c}) // as shells do; c may be the first byte of a longer character
}

// commentAt finds a # that a blank precedes, or one right after the =.
func commentAt(value string) int {
	for i := range len(value) {
		if value[i] == '#' && (i == 0 || value[i-1] == ' ' || value[i-1] == '\t') {
			return i
		}
	}
	return -1
}

func substitutes(text string) bool {
	return strings.Contains(text, "${") || strings.Contains(text, "$(")
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}
