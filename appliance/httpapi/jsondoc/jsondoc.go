// Package jsondoc reads a JSON document from outside into a flat list of
// nodes: no maps, no interfaces, bounded depth, strict syntax, valid UTF-8.
//
// Its error texts are those that clients of the API know, with line, column
// and character of the first problem.
package jsondoc

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Kind is the type of a value.
type Kind uint8

// The kinds of values.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// SyntaxError says what is wrong with a document and where.
type SyntaxError struct {
	text string
}

// Error gives the text for the client.
func (e *SyntaxError) Error() string { return e.text }

// node is one value, or the name of a field. Children follow their parent;
// next is the index after the last of them.
type node struct {
	start, end int32 // in the source, quotes included
	next       int32
	kind       Kind
	escaped    bool // of strings: there are escapes to undo
}

// Doc is a parsed document. It points into the source, which must not change
// while the document is in use.
type Doc struct {
	src   []byte
	nodes []node
}

// Value is one value of a document. The zero Value is null.
type Value struct {
	doc *Doc
	at  int32
}

// Parse reads one document. Values nested deeper than depth are refused, as is
// anything after the document but white space. A source of 2 GiB or more is
// refused.
func Parse(src []byte, depth int) (*Doc, error) {
	if len(src) > 1<<31-2 {
		return nil, &SyntaxError{"Document is too large"}
	}
	if at := invalidUTF8(src); at >= 0 {
		return nil, &SyntaxError{encodingText(src, at)}
	}
	p := parser{src: src, doc: &Doc{src: src, nodes: make([]node, 0, 16)}}
	if bytes.HasPrefix(src, []byte("\xef\xbb\xbf")) {
		return nil, p.fail("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0)
	}
	p.space()
	if err := p.value(depth); err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(src) {
		return nil, p.fail("Extra data", p.at)
	}
	return p.doc, nil
}

func invalidUTF8(src []byte) int {
	if utf8.Valid(src) {
		return -1
	}
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

func encodingText(src []byte, at int) string {
	why := "invalid continuation byte"
	switch c := src[at]; {
	case c < 0xc2 || c > 0xf4:
		why = "invalid start byte"
	case !utf8.FullRune(src[at:]):
		why = "unexpected end of data"
	}
	return fmt.Sprintf("'utf-8' codec can't decode byte 0x%02x in position %d: %s", src[at], at, why)
}

// Root gives the document's value.
func (d *Doc) Root() Value { return Value{doc: d} }

func (v Value) node() node {
	if v.doc == nil {
		return node{}
	}
	return v.doc.nodes[v.at]
}

// Kind tells what v is.
func (v Value) Kind() Kind { return v.node().kind }

// Raw gives the source text of v, white space included.
func (v Value) Raw() []byte {
	if v.doc == nil {
		return []byte("null")
	}
	n := v.node()
	return v.doc.src[n.start:n.end]
}

// Bool gives the truth of a Bool.
func (v Value) Bool() bool { return v.Kind() == Bool && v.Raw()[0] == 't' }

// Text gives the text of a String without escapes, and the source of other
// scalars. Half of a surrogate pair becomes U+FFFD. The result is a copy.
func (v Value) Text() string {
	n := v.node()
	if n.kind != String {
		return string(v.Raw())
	}
	s := v.doc.src[n.start+1 : n.end-1]
	if !n.escaped {
		return string(s)
	}
	return string(unescape(make([]byte, 0, len(s)), s))
}

// Items calls f for each item of an Array until f returns false.
func (v Value) Items(f func(i int, item Value) bool) {
	if v.Kind() != Array {
		return
	}
	end := v.node().next
	for i, at := 0, v.at+1; at < end; i++ {
		if !f(i, Value{v.doc, at}) {
			return
		}
		at = v.doc.nodes[at].next
	}
}

// Len counts the items of an Array or the fields of an Object.
func (v Value) Len() int {
	n := v.node()
	if n.kind != Array && n.kind != Object {
		return 0
	}
	count := 0
	for at := v.at + 1; at < n.next; at = v.doc.nodes[at].next {
		count++
	}
	if n.kind == Object {
		count /= 2
	}
	return count
}

// Field gives a field of an Object by name. Of several with one name the last
// counts.
func (v Value) Field(name string) (Value, bool) {
	if v.Kind() != Object {
		return Value{}, false
	}
	var found Value
	ok := false
	end := v.node().next
	for at := v.at + 1; at < end; {
		key := v.doc.nodes[at]
		value := Value{v.doc, key.next}
		if v.isName(key, name) {
			found, ok = value, true
		}
		at = v.doc.nodes[key.next].next
	}
	return found, ok
}

func (v Value) isName(key node, name string) bool {
	s := v.doc.src[key.start+1 : key.end-1]
	if !key.escaped {
		return string(s) == name
	}
	if len(s) > escapeLength*len(name) {
		return false // saves unescaping long names that cannot be it
	}
	return string(unescape(nil, s)) == name
}

// Problem is what keeps a document from being stored as it is.
type Problem int

// The problems that [Value.Append] finds.
const (
	Storable      Problem = iota
	HasNull               // a character U+0000 in a text or a name
	HasHugeNumber         // a number that no float64 comes near, or of absurd length
)

// Limits of numbers that are stored as they came.
const (
	maxNumberLength   = 1000
	maxNumberExponent = 308
)

// Append appends v to b in canonical form: no white space, only the escapes
// that JSON demands; repeated fields stay, readers take the last. It reports
// whether Postgres can hold the document; b is unfinished when not.
func (v Value) Append(b []byte) ([]byte, Problem) {
	n := v.node()
	switch n.kind {
	case Number:
		raw := v.Raw()
		if !storableNumber(raw) {
			return b, HasHugeNumber
		}
		return append(b, raw...), Storable
	case String:
		return v.appendText(b)
	case Array:
		b = append(b, '[')
		problem := Storable
		v.Items(func(i int, item Value) bool {
			if i > 0 {
				b = append(b, ',')
			}
			b, problem = item.Append(b)
			return problem == Storable
		})
		return append(b, ']'), problem
	case Object:
		b = append(b, '{')
		problem := Storable
		for at := v.at + 1; at < n.next && problem == Storable; {
			value := Value{v.doc, v.doc.nodes[at].next}
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			if b, problem = (Value{v.doc, at}).appendText(b); problem == Storable {
				b, problem = value.Append(append(b, ':'))
			}
			at = value.node().next
		}
		return append(b, '}'), problem
	}
	return append(b, v.Raw()...), Storable
}

func (v Value) appendText(b []byte) ([]byte, Problem) {
	n := v.node()
	if !n.escaped {
		return append(b, v.doc.src[n.start:n.end]...), Storable
	}
	s := unescape(nil, v.doc.src[n.start+1:n.end-1])
	if bytes.IndexByte(s, 0) >= 0 {
		return b, HasNull
	}
	return appendQuoted(b, s), Storable
}

func storableNumber(raw []byte) bool {
	if len(raw) > maxNumberLength {
		return false
	}
	if i := bytes.IndexAny(raw, "eE"); i >= 0 {
		exp, err := strconv.Atoi(string(raw[i+1:]))
		if err != nil || exp > maxNumberExponent || exp < -maxNumberExponent {
			return false
		}
	}
	_, err := strconv.ParseFloat(string(raw), 64)
	return err == nil
}

// escapeLength is how many bytes a byte of text may take, as \u0061.
const escapeLength = 6

const hexDigits = "0123456789abcdef"

// appendQuoted appends valid UTF-8 as a JSON string.
func appendQuoted(b, s []byte) []byte {
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
