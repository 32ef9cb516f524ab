package config

import (
	"fmt"
	"io"
	"log/slog"
)

// masked is what a secret looks like wherever it is printed.
const masked = "********"

// Secret is a value that prints as asterisks through fmt, slog, JSON and text
// encodings, whatever struct it sits in. Only [Secret.Reveal] gives the text.
// The zero value is no secret. Copies are safe for concurrent use.
type Secret struct {
	// A pointer, so that a reflecting printer that finds it inside another
	// type's unexported field shows an address instead of the text.
	text *string
}

// NewSecret hides text; an empty one is the zero value.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal gives the text, for the one place that needs it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == nil }

// String gives asterisks, or nothing for the zero value.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return masked
}

// Format covers every verb of fmt, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) {
	// A failed write shows up in the caller's own use of the writer.
	_, _ = io.WriteString(f, s.String())
}

// MarshalText masks the secret in JSON, also as a map's key.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue masks the secret in slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

var (
	_ fmt.Formatter  = Secret{}
	_ fmt.Stringer   = Secret{}
	_ slog.LogValuer = Secret{}
)
