package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that keeps a configuration from being used.
type Problem struct {
	Key    string `json:"setting,omitempty"` // the setting it is about; empty: a file
	Source string `json:"source,omitempty"`  // where its value came from
	Text   string `json:"problem"`           // what is wrong, without secrets
	Fix    string `json:"fix"`               // what to do
}

// Error holds all problems of a configuration. Its text shows no secret.
type Error struct{ Problems []Problem }

// Error lists every problem with what to do.
func (e *Error) Error() string {
	var b strings.Builder
	if n := len(e.Problems); n == 1 {
		b.WriteString("the configuration has a problem:")
	} else {
		fmt.Fprintf(&b, "the configuration has %d problems:", n)
	}
	for _, p := range e.Problems {
		b.WriteString("\n  - ")
		if p.Key != "" {
			b.WriteString(p.Key)
			if p.Source != "" {
				b.WriteString(" (" + p.Source + ")")
			}
			b.WriteString(": ")
		}
		b.WriteString(p.Text)
		if p.Fix != "" {
			b.WriteString("\n    " + p.Fix)
		}
	}
	return b.String()
}

// Report is what [Load] found out besides the configuration itself.
type Report struct {
	Notes    []Note    // for the operator to know
	Problems []Problem // the same as in the error
	Values   []Value   // what is in force and where it came from
}

// Value is a setting in force.
type Value struct {
	Key    string `json:"setting"`
	Value  string `json:"value"` // secrets are masked
	Source string `json:"source"`
}

// Effective lists the settings in force, secrets masked, in the order of the
// table. Settings of older installations are listed only when given.
func (c *Config) Effective() []Value { return append([]Value(nil), c.values...) }
