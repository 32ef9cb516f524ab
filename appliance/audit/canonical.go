package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxMetadata bounds what is stored of an entry's metadata, in bytes.
	maxMetadata = 16 << 10
	// maxDepth bounds how deep metadata are nested.
	maxDepth = 16
	// maxText is where a text inside metadata is cut, in characters.
	maxText = 2000
)

// covered is what a hash covers.
type covered struct {
	action               string
	actor                *int64
	at                   time.Time
	metadata             []byte // canonical JSON
	objectID, objectType string
	prev                 string
}

// stamp is Python's isoformat of a moment in UTC: without a fraction when that
// is zero.
func stamp(t time.Time) string {
	t = t.UTC().Truncate(time.Microsecond)
	if t.Nanosecond() == 0 {
		return t.Format("2006-01-02T15:04:05") + "+00:00"
	}
	return t.Format("2006-01-02T15:04:05.000000") + "+00:00"
}

// hash is the SHA-256 of the compact JSON of what it covers, names in order,
// everything beyond ASCII escaped (contract 00 §13).
func hash(c covered) string {
	actor := ""
	if c.actor != nil {
		actor = strconv.FormatInt(*c.actor, 10)
	}
	b := make([]byte, 0, 512+len(c.metadata))
	b = appendText(append(b, `{"action":`...), c.action)
	b = appendText(append(b, `,"actor_user_id":`...), actor)
	b = appendText(append(b, `,"created_at":`...), stamp(c.at))
	b = append(append(b, `,"metadata":`...), c.metadata...)
	b = appendText(append(b, `,"object_id":`...), c.objectID)
	b = appendText(append(b, `,"object_type":`...), c.objectType)
	b = appendText(append(b, `,"prev":`...), c.prev)
	sum := sha256.Sum256(append(b, '}'))
	return hex.EncodeToString(sum[:])
}

// canonical writes a value as json.dumps of Python does with sort_keys,
// ensure_ascii and separators without spaces, after taking out secrets and
// cutting long texts. Writing what it wrote gives the same again.
func canonical(v any) ([]byte, error) {
	b, err := appendValue(nil, v, 0)
	if err != nil {
		return nil, err
	}
	if len(b) > maxMetadata {
		return nil, fmt.Errorf("metadata of %d bytes, more than %d", len(b), maxMetadata)
	}
	return b, nil
}

func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("metadata nested deeper than %d", maxDepth)
	}
	if len(b) > maxMetadata { // no more work for what will be refused
		return b, nil
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendText(b, shorten(v)), nil
	case float64:
		return appendFloat(b, v)
	case json.Number:
		return appendNumber(b, string(v))
	case map[string]any:
		return appendObject(b, v, depth)
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendValue(b, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
	plain, err := simplify(v)
	if err != nil {
		return nil, err
	}
	return appendValue(b, plain, depth)
}

// simplify makes of any other Go value what its JSON says.
func simplify(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write metadata: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read metadata: more than one value")
	}
	return plain, nil
}

func appendObject(b []byte, m map[string]any, depth int) ([]byte, error) {
	// Python orders texts by code points, which in UTF-8 is the order of bytes.
	// A name is cut and repaired before, so that the order is that of what is
	// written; of two that become one the later stays.
	fields := make(map[string]any, len(m))
	for _, name := range sorted(m) {
		fields[shorten(name)] = m[name]
	}
	b = append(b, '{')
	for i, name := range sorted(fields) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, name), ':')
		value := fields[name]
		if secret(name, value) {
			value = redacted
		}
		var err error
		if b, err = appendValue(b, value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func sorted(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// appendNumber writes the text of a number: whole ones of any length as they
// are, all others as Python's float.
func appendNumber(b []byte, s string) ([]byte, error) {
	if !json.Valid([]byte(s)) {
		return nil, fmt.Errorf("metadata with the number %q", cut(s, 40))
	}
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("metadata with a number: %w", err)
		}
		return appendFloat(b, f)
	}
	if s == "-0" {
		s = "0"
	}
	return append(b, s...), nil
}

// appendFloat writes a float as repr does in Python: the fewest digits that
// mean it, with an exponent below 1e-4 and from 1e16 on, else with a point.
func appendFloat(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errors.New("metadata with a number that JSON does not know")
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, 64), nil
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if bytes.IndexByte(b[start:], '.') < 0 {
		b = append(b, ".0"...)
	}
	return b, nil
}

const hexDigits = "0123456789abcdef"

// appendText writes a text in quotes, ASCII alone; beyond the first 65 536
// characters as two surrogates.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= 0x20 && r < 0x7f:
			b = append(b, byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r < 0x10000:
			b = appendUnit(b, r)
		default:
			r -= 0x10000
			b = appendUnit(appendUnit(b, 0xd800|r>>10), 0xdc00|r&0x3ff)
		}
	}
	return append(b, '"')
}

func appendUnit(b []byte, u rune) []byte {
	return append(b, '\\', 'u', hexDigits[u>>12&15], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}

// shorten cuts a long text and repairs broken UTF-8. A NUL stays: it is written
// as an escape, which Postgres keeps in json.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxText || utf8.RuneCountInString(s) <= maxText {
		return s
	}
	return cut(s, maxText-1) + "…"
}
