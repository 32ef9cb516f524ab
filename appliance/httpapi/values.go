package httpapi

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"selflink/appliance/httpapi/jsondoc"
)

// value is one value of a request: a node of a JSON document, the texts of a
// form field, or an upload.
type value struct {
	kind valueKind
	json jsondoc.Value
	form []string
	file *File
}

type valueKind uint8

const (
	absent valueKind = iota
	fromJSON
	fromForm
	fromFile
)

func (v value) null() bool { return v.kind == fromJSON && v.json.Kind() == jsondoc.Null }

// last gives the last text of a form field, which is the one that counts.
func (v value) last() string { return v.form[len(v.form)-1] }

// scalar gives the text of a string or a number; ok is false for anything
// else.
func (v value) scalar() (s string, ok bool) {
	switch v.kind {
	case fromForm:
		return v.last(), true
	case fromJSON:
		if k := v.json.Kind(); k == jsondoc.String || k == jsondoc.Number {
			return v.json.Text(), true
		}
	}
	return "", false
}

// typeName names v's type in messages, the way clients know it.
func (v value) typeName() string {
	if v.kind == fromForm {
		return "str"
	}
	if v.kind == fromFile {
		return "InMemoryUploadedFile"
	}
	switch v.json.Kind() {
	case jsondoc.Bool:
		return "bool"
	case jsondoc.Number:
		if strings.ContainsAny(v.json.Text(), ".eE") {
			return "float"
		}
		return "int"
	case jsondoc.String:
		return "str"
	case jsondoc.Array:
		return "list"
	case jsondoc.Object:
		return "dict"
	}
	return "NoneType"
}

// decoder puts a value, which is there and not null, into dst, or says what is
// wrong with it. Decoders are made once, at registration.
type decoder func(v value, dst reflect.Value) problem

// decodeText reads text: strings as they are, numbers as their digits.
func decodeText(r rules) decoder {
	return func(v value, dst reflect.Value) problem {
		s, ok := v.scalar()
		if !ok || r.strict && v.kind == fromJSON && v.json.Kind() != jsondoc.String {
			return say(msgString)
		}
		if r.trim {
			s = strings.TrimSpace(s)
		}
		if s == "" {
			if !r.blank {
				return say(msgBlank)
			}
			dst.SetString("")
			return problem{}
		}
		var p problem
		if r.max != nil || r.min != nil {
			n := int64(utf8.RuneCountInString(s))
			if r.max != nil && n > *r.max {
				p.messages = append(p.messages, lengthMost(*r.max, "characters"))
			}
			if r.min != nil && n < *r.min {
				p.messages = append(p.messages, lengthLeast(*r.min, "characters"))
			}
		}
		if strings.IndexByte(s, 0) >= 0 {
			p.messages = append(p.messages, msgNullChars)
		}
		if m := checkFormat(r.format, s); m != "" {
			p.messages = append(p.messages, m)
		}
		dst.SetString(s)
		return p
	}
}

func checkFormat(format, s string) string {
	switch {
	case format == "email" && !isEmail(s):
		return msgEmail
	case format == "url" && !isURL(s):
		return msgURL
	}
	return ""
}

// decodeUUID reads an id in any of its usual forms and stores the canonical
// one.
func decodeUUID(v value, dst reflect.Value) problem {
	s, _ := v.scalar()
	id, err := uuid.Parse(strings.TrimSpace(s))
	if err != nil {
		return say(msgUUID)
	}
	dst.SetString(id.String())
	return problem{}
}

// decodeEnum reads one of the allowed texts.
func decodeEnum(r rules) decoder {
	return func(v value, dst reflect.Value) problem {
		s, ok := v.scalar()
		if !ok {
			s = string(v.json.Raw())
		}
		if s == "" && r.blank || slices.Contains(r.enum, s) {
			dst.SetString(s)
			return problem{}
		}
		return notAChoice(s)
	}
}

// maxNumberText bounds the text of a number.
const maxNumberText = 1000

// decodeInt reads whole numbers, also as text and with zeros after a point.
func decodeInt(r rules, bits int) decoder {
	hi := int64(math.MaxInt64) >> (64 - bits)
	lo := -hi - 1
	if r.max != nil {
		hi = min(hi, *r.max)
	}
	if r.min != nil {
		lo = max(lo, *r.min)
	}
	return func(v value, dst reflect.Value) problem {
		s, ok := v.scalar()
		if !ok {
			return say(msgInteger)
		}
		n, over, ok := parseInt(s)
		switch {
		case len(s) > maxNumberText:
			return say(msgTooLarge)
		case !ok:
			return say(msgInteger)
		case over > 0 || over == 0 && n > hi:
			return say(atMost(hi))
		case over < 0 || n < lo:
			return say(atLeast(lo))
		}
		dst.SetInt(n)
		return problem{}
	}
}

// parseInt reads a whole number; over is its sign when it does not fit in 64
// bits.
func parseInt(s string) (n int64, over int, ok bool) {
	s = strings.TrimSpace(s)
	if whole, zeros, found := strings.Cut(s, "."); found && strings.Trim(zeros, "0") == "" {
		s = whole
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil {
		return n, 0, true
	}
	digits := strings.TrimLeft(s, "+-")
	if digits != "" && len(s)-len(digits) <= 1 && strings.Trim(digits, "0123456789") == "" {
		if s[0] == '-' {
			return 0, -1, true
		}
		return 0, 1, true
	}
	if strings.ContainsAny(s, "eE") { // 1e3 is a whole number too
		f, err := strconv.ParseFloat(s, 64)
		if err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f), 0, true
		}
	}
	return 0, 0, false
}

// decodeFloat reads finite numbers, also as text.
func decodeFloat(r rules) decoder {
	return func(v value, dst reflect.Value) problem {
		s, ok := v.scalar()
		if !ok {
			return say(msgNumber)
		}
		if len(s) > maxNumberText {
			return say(msgTooLarge)
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		switch {
		case err != nil || math.IsInf(f, 0) || math.IsNaN(f):
			return say(msgNumber)
		case r.max != nil && f > float64(*r.max):
			return say(atMost(*r.max))
		case r.min != nil && f < float64(*r.min):
			return say(atLeast(*r.min))
		}
		dst.SetFloat(f)
		return problem{}
	}
}

func decodeBool(v value, dst reflect.Value) problem {
	var s string
	if v.kind == fromJSON && v.json.Kind() == jsondoc.Bool {
		dst.SetBool(v.json.Bool())
		return problem{}
	}
	s, _ = v.scalar()
	b, ok := parseBool(s)
	if !ok {
		return say(msgBoolean)
	}
	dst.SetBool(b)
	return problem{}
}

func parseBool(s string) (b, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "t", "yes", "y", "on", "1", "1.0":
		return true, true
	case "false", "f", "no", "n", "off", "0", "0.0":
		return false, true
	}
	return false, false
}

func decodeTimestamp(v value, dst reflect.Value) problem {
	s, ok := v.scalar()
	t, good := parseTimestamp(strings.TrimSpace(s))
	if !ok || !good {
		return say(msgDateTime)
	}
	dst.Set(reflect.ValueOf(Timestamp(t.Truncate(time.Microsecond))))
	return problem{}
}

func decodeDate(r rules) decoder {
	formats := r.formats
	if formats == "" {
		formats, r.layouts = dateFormats, []string{fullDateLayout}
	}
	return func(v value, dst reflect.Value) problem {
		s, ok := v.scalar()
		s = strings.TrimSpace(s)
		for _, layout := range r.layouts {
			t, err := time.Parse(layout, s)
			if !ok || err != nil || t.Year() < 1 {
				continue
			}
			if dst.Kind() == reflect.String {
				dst.SetString(DateOf(t).String())
			} else {
				dst.Set(reflect.ValueOf(DateOf(t)))
			}
			return problem{}
		}
		return wrongDate(formats)
	}
}

func decodeClock(r rules) decoder {
	formats := r.formats
	if formats == "" {
		formats = clockFormats
	}
	return func(v value, dst reflect.Value) problem {
		s, ok := v.scalar()
		s = strings.TrimSpace(s)
		c, good := ParseClock(s)
		if len(r.layouts) > 0 {
			good = good && !strings.Contains(s, ".")
		}
		if !ok || !good {
			return wrongClock(formats)
		}
		if dst.Kind() == reflect.String {
			dst.SetString(c.String())
		} else {
			dst.SetInt(int64(c))
		}
		return problem{}
	}
}

// decodeRaw keeps any JSON value, in canonical form. A form field holds it as
// text.
func decodeRaw(v value, dst reflect.Value) problem {
	doc := v.json
	switch v.kind {
	case fromForm:
		parsed, err := jsondoc.Parse([]byte(v.last()), maxDepth)
		if err != nil {
			return say(msgJSON)
		}
		doc = parsed.Root()
	case fromFile:
		return say(msgJSON)
	}
	b, bad := doc.Append(nil)
	switch bad {
	case jsondoc.HasNull:
		return say(msgNullChars)
	case jsondoc.HasHugeNumber:
		return say(msgJSON)
	}
	dst.Set(reflect.ValueOf(json.RawMessage(b)))
	return problem{}
}

func decodeFile(v value, dst reflect.Value) problem {
	switch {
	case v.kind != fromFile:
		return say(msgNotFile)
	case len(v.file.Data) == 0:
		return say(msgEmptyFile)
	}
	dst.Set(reflect.ValueOf(*v.file))
	return problem{}
}

// decodeList reads a list whose items all pass item. Problems of plain items
// are named by index, those of objects are aligned with the input.
func decodeList(r rules, item decoder, objects bool) decoder {
	return func(v value, dst reflect.Value) problem {
		var items []value
		switch {
		case v.kind == fromForm:
			for _, s := range v.form {
				items = append(items, value{kind: fromForm, form: []string{s}})
			}
		case v.kind == fromJSON && v.json.Kind() == jsondoc.Array:
			items = make([]value, 0, v.json.Len())
			v.json.Items(func(_ int, j jsondoc.Value) bool {
				items = append(items, value{kind: fromJSON, json: j})
				return true
			})
		default:
			return notAList(v.typeName())
		}
		if len(items) == 0 && r.nonEmpty {
			return say(msgEmptyList)
		}
		var p problem
		if n := int64(len(items)); r.max != nil && n > *r.max {
			p.messages = append(p.messages, lengthMost(*r.max, "elements"))
		} else if r.min != nil && n < *r.min {
			p.messages = append(p.messages, lengthLeast(*r.min, "elements"))
		}
		if len(p.messages) > 0 {
			return p
		}
		list := reflect.MakeSlice(dst.Type(), len(items), len(items))
		for i, it := range items {
			bad := say(msgNull)
			if !it.null() {
				bad = item(it, list.Index(i))
			}
			if bad.empty() {
				continue
			}
			if objects {
				if p.items == nil {
					p.items = make([]*FieldErrors, len(items))
				}
				p.items[i] = bad.nested
				if bad.nested == nil {
					p.items[i] = new(FieldErrors)
					p.items[i].Add(nonField, bad.messages...)
				}
				continue
			}
			if p.nested == nil {
				p.nested = new(FieldErrors)
			}
			p.nested.put(indexed(i), bad)
		}
		dst.Set(list)
		return p
	}
}
