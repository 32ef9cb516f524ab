package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"unicode"
)

const (
	// blanked stands for the value of an attribute with a secret's name.
	blanked = "[redacted]"

	// maxDepth bounds the nesting of a value that is looked into; what is
	// deeper is left out.
	maxDepth = 16

	// maxNames bounds the memory for judged attribute names.
	maxNames = 4096

	// maxText bounds one text of a line in bytes: a log is no place for
	// documents, and stack traces fit.
	maxText = 16 << 10
)

// attr redacts one attribute and all that is nested in it.
func (m *masker) attr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch m.verdict(a.Key) {
	case null:
		return slog.Any(a.Key, nil)
	case blank:
		if !harmless(a.Value) {
			return slog.String(a.Key, blanked)
		}
	}
	a.Value = m.value(a.Value)
	return a
}

// harmless values say nothing although their name sounds secret: a count of
// tokens, whether there is a password, how long a token lives.
func harmless(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindBool, slog.KindDuration, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindTime:
		return true
	}
	return !given(v)
}

// value redacts what a value contains.
func (m *masker) value(v slog.Value) slog.Value {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(m.text(v.String()))
	case slog.KindGroup:
		attrs := v.Group()
		out := make([]slog.Attr, len(attrs))
		for i, a := range attrs {
			out[i] = m.attr(a)
		}
		return slog.GroupValue(out...)
	case slog.KindAny:
		return slog.AnyValue(m.any(v.Any()))
	default:
		return v
	}
}

// any turns a value of an unknown type into plain JSON values and redacts
// those: what its type hides or shows is then what is looked at.
func (m *masker) any(v any) (out any) {
	defer func() {
		if p := recover(); p != nil { // a broken method of the value must not end its caller
			out = fmt.Sprintf("[%T cannot be shown]", v)
		}
	}()
	switch v := v.(type) {
	case nil:
		return nil
	case error:
		return m.text(v.Error())
	case []byte:
		return fmt.Sprintf("[%d bytes]", len(v))
	case *url.URL:
		return m.text(v.String())
	case url.URL:
		return m.text(v.String())
	case json.Marshaler:
	case fmt.Stringer:
		if k := reflect.Indirect(reflect.ValueOf(v)).Kind(); k != reflect.Struct && k != reflect.Map {
			return m.text(v.String())
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("[%T]", v) // its text could hold anything
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return fmt.Sprintf("[%T]", v)
	}
	return m.plain(plain, 0)
}

// plain redacts decoded JSON.
func (m *masker) plain(v any, depth int) any {
	if depth > maxDepth {
		return "[…]"
	}
	switch v := v.(type) {
	case string:
		return m.text(v)
	case []any:
		for i := range v {
			v[i] = m.plain(v[i], depth+1)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, inner := range v {
			verdict := verdict(key)
			switch inner.(type) {
			case bool, json.Number, nil:
				if verdict == blank {
					verdict = keep
				}
			}
			switch verdict {
			case null:
				out[m.text(key)] = nil
			case blank:
				out[m.text(key)] = blanked
			default:
				out[m.text(key)] = m.plain(inner, depth+1)
			}
		}
		return out
	}
	return v
}

// judgement is what becomes of an attribute because of its name.
type judgement int

const (
	keep  judgement = iota
	null            // contract 00 §12: the attribute stays, its value goes
	blank           // a secret, or what a person wrote or is
)

// verdict remembers the judgements of attribute names, of which a program has
// some hundred. Names beyond maxNames are judged each time.
func (m *masker) verdict(key string) judgement {
	if known, ok := m.names.Load(key); ok {
		if j, ok := known.(judgement); ok {
			return j
		}
	}
	j := verdict(key)
	if m.count.Load() < maxNames {
		m.names.Store(key, j)
		m.count.Add(1)
	}
	return j
}

func verdict(key string) judgement {
	words := split(key)
	name := strings.Join(words, "_")
	switch name {
	case "request", "request_body", "data", "body":
		return null
	case "response_body", "message", "text", "prompt", "content", "question", "reply", "answer", "payload", "form", "query_string", "raw_query",
		"email", "phone", "birth_date", "birth_time", "birth_place", "dsn", "session", "passphrase", "headers":
		return blank
	}
	for _, w := range words {
		switch w {
		case "password", "passwd", "pwd", "secret", "secrets", "token", "authorization", "cookie", "cookies",
			"credential", "credentials", "jwt", "bearer", "apikey", "otp", "ticket":
			return blank
		}
	}
	for _, end := range []string{"api_key", "llm_key", "signing_key", "secret_key", "private_key", "access_key", "auth_key", "encryption_key"} {
		if name == end || strings.HasSuffix(name, "_"+end) {
			return blank
		}
	}
	return keep
}

// split cuts a name into lower-case words: apiKey, API-Key and api_key are one.
func split(key string) []string {
	var words []string
	var word strings.Builder
	flush := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	runes := []rune(key)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			continue
		case unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || unicode.IsDigit(runes[i-1]) ||
			unicode.IsUpper(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			flush()
		}
		word.WriteRune(unicode.ToLower(r))
	}
	flush()
	return words
}
