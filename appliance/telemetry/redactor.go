package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// listMost is how many elements of a list and fields of an object are shown.
const listMost = 200

// Redactor applies the rules of the log to what is shown to people. It is safe
// for concurrent use.
type Redactor struct{ masker *masker }

// NewRedactor makes a redactor. hidden are configured secrets, which are
// masked wherever they stand.
func NewRedactor(hidden ...string) *Redactor { return &Redactor{newMasker(hidden)} }

// Text masks what looks like a secret in s and cuts it after longest bytes.
func (r *Redactor) Text(s string, longest int) string { return cut(r.masker.text(s), longest) }

// JSON returns a JSON value without what a log line would not show: values
// whose names say that they are secrets, or what a person wrote or is, and
// texts that look like secrets. Texts are cut after longest bytes, lists and
// objects after 200 elements. What is no JSON becomes a text that says so;
// nothing becomes null.
func (r *Redactor) JSON(raw []byte, longest int) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return json.RawMessage(fmt.Sprintf(`"[%d bytes]"`, len(raw)))
	}
	out, err := json.Marshal(trim(r.masker.plain(plain, 0), longest))
	if err != nil {
		return json.RawMessage(fmt.Sprintf(`"[%d bytes]"`, len(raw)))
	}
	return out
}

// trim bounds redacted JSON. A field called just "key" is one to a door more
// often than one to a table.
func trim(v any, longest int) any {
	switch v := v.(type) {
	case string:
		return cut(v, longest)
	case []any:
		more := len(v) - listMost
		if more > 0 {
			v = v[:listMost]
		}
		for i := range v {
			v[i] = trim(v[i], longest)
		}
		if more > 0 {
			v = append(v, fmt.Sprintf("[%d more]", more))
		}
		return v
	case map[string]any:
		out := make(map[string]any, min(len(v), listMost))
		for name, inner := range v {
			if len(out) == listMost {
				out["…"] = fmt.Sprintf("[%d more]", len(v)-listMost)
				break
			}
			words := split(name)
			if _, text := inner.(string); text && len(words) == 1 && (words[0] == "key" || words[0] == "keys") {
				inner = blanked
			}
			out[cut(name, longest)] = trim(inner, longest)
		}
		return out
	}
	return v
}

// cut shortens a text to at most longest bytes and says that it did.
func cut(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	for longest > 0 && !utf8.RuneStart(s[longest]) {
		longest--
	}
	return s[:longest] + "…"
}
