package jsondoc

import (
	"bytes"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

type parser struct {
	src []byte
	at  int
	doc *Doc
}

// fail describes a problem at a byte offset, counting characters.
func (p *parser) fail(what string, at int) error {
	before := p.src[:min(at, len(p.src))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	char := utf8.RuneCount(before)
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return &SyntaxError{fmt.Sprintf("%s: line %d column %d (char %d)", what, line, column, char)}
}

func (p *parser) space() {
	for p.at < len(p.src) {
		switch p.src[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	if p.at < len(p.src) {
		return p.src[p.at]
	}
	return 0
}

// open adds a node that begins here and gives its index.
func (p *parser) open(k Kind) int {
	p.doc.nodes = append(p.doc.nodes, node{start: int32(p.at), kind: k})
	return len(p.doc.nodes) - 1
}

// close ends the node at the current place.
func (p *parser) close(i int) {
	p.doc.nodes[i].end = int32(p.at)
	p.doc.nodes[i].next = int32(len(p.doc.nodes))
}

func (p *parser) value(depth int) error {
	switch c := p.peek(); {
	case c == '"':
		return p.text()
	case c == '{':
		if depth == 0 {
			return p.fail("Nested too deeply", p.at)
		}
		return p.object(depth - 1)
	case c == '[':
		if depth == 0 {
			return p.fail("Nested too deeply", p.at)
		}
		return p.array(depth - 1)
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == 't':
		return p.word("true", Bool)
	case c == 'f':
		return p.word("false", Bool)
	case c == 'n':
		return p.word("null", Null)
	}
	for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(p.src[p.at:], []byte(name)) {
			return &SyntaxError{"Out of range float values are not JSON compliant: '" + name + "'"}
		}
	}
	return p.fail("Expecting value", p.at)
}

func (p *parser) word(s string, k Kind) error {
	if !bytes.HasPrefix(p.src[p.at:], []byte(s)) {
		return p.fail("Expecting value", p.at)
	}
	i := p.open(k)
	p.at += len(s)
	p.close(i)
	return nil
}

func (p *parser) digits() bool {
	from := p.at
	for p.at < len(p.src) && p.src[p.at] >= '0' && p.src[p.at] <= '9' {
		p.at++
	}
	return p.at > from
}

func (p *parser) number() error {
	begin := p.at
	i := p.open(Number)
	if p.peek() == '-' {
		p.at++
		if bytes.HasPrefix(p.src[p.at:], []byte("Infinity")) {
			return &SyntaxError{"Out of range float values are not JSON compliant: '-Infinity'"}
		}
	}
	if p.peek() == '0' {
		p.at++ // no other digit may follow; one that does is a missing comma or extra data
	} else if !p.digits() {
		return p.fail("Expecting value", begin)
	}
	// A point or an exponent without digits ends the number before it.
	whole := p.at
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			p.at = whole
		}
	}
	whole = p.at
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !p.digits() {
			p.at = whole
		}
	}
	p.close(i)
	return nil
}

func (p *parser) array(depth int) error {
	i := p.open(Array)
	p.at++
	p.space()
	if p.peek() == ']' {
		p.at++
		p.close(i)
		return nil
	}
	for {
		if err := p.value(depth); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case ',':
			comma := p.at
			p.at++
			p.space()
			if p.peek() == ']' {
				return p.fail("Illegal trailing comma before end of array", comma)
			}
		case ']':
			p.at++
			p.close(i)
			return nil
		default:
			return p.fail("Expecting ',' delimiter", p.at)
		}
	}
}

func (p *parser) object(depth int) error {
	i := p.open(Object)
	p.at++
	p.space()
	if p.peek() == '}' {
		p.at++
		p.close(i)
		return nil
	}
	for {
		if p.peek() != '"' {
			return p.fail("Expecting property name enclosed in double quotes", p.at)
		}
		if err := p.text(); err != nil {
			return err
		}
		p.space()
		if p.peek() != ':' {
			return p.fail("Expecting ':' delimiter", p.at)
		}
		p.at++
		p.space()
		if err := p.value(depth); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case ',':
			comma := p.at
			p.at++
			p.space()
			if p.peek() == '}' {
				return p.fail("Illegal trailing comma before end of object", comma)
			}
		case '}':
			p.at++
			p.close(i)
			return nil
		default:
			return p.fail("Expecting ',' delimiter", p.at)
		}
	}
}

// text reads a string and checks its escapes.
func (p *parser) text() error {
	begin := p.at
	i := p.open(String)
	p.at++
	for p.at < len(p.src) {
		switch c := p.src[p.at]; {
		case c == '"':
			p.at++
			p.close(i)
			return nil
		case c < 0x20:
			return p.fail("Invalid control character at", p.at)
		case c == '\\':
			p.doc.nodes[i].escaped = true
			if err := p.escape(begin); err != nil {
				return err
			}
		default:
			p.at++
		}
	}
	return p.fail("Unterminated string starting at", begin)
}

func (p *parser) escape(begin int) error {
	p.at++
	if p.at >= len(p.src) {
		return p.fail("Unterminated string starting at", begin)
	}
	switch p.src[p.at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		p.at++
		return nil
	case 'u':
		if _, ok := hex4(p.src[p.at+1:]); !ok {
			return p.fail(`Invalid \uXXXX escape`, p.at)
		}
		p.at += 5
		return nil
	}
	return p.fail(`Invalid \escape`, p.at-1)
}

// hex4 reads four hexadecimal digits.
func hex4(s []byte) (r rune, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for _, c := range s[:4] {
		r <<= 4
		switch {
		case c >= '0' && c <= '9':
			r |= rune(c - '0')
		case c >= 'a' && c <= 'f':
			r |= rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			r |= rune(c-'A') + 10
		default:
			return 0, false
		}
	}
	return r, true
}

// unescape appends the meaning of s, whose escapes are known to be right.
func unescape(b, s []byte) []byte {
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b = append(b, s[i])
			i++
			continue
		}
		c := s[i+1]
		i += 2
		switch c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, _ := hex4(s[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				var low rune
				if i+1 < len(s) && s[i] == '\\' && s[i+1] == 'u' {
					low, _ = hex4(s[i+2:])
				}
				if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
					r = both
					i += 6
				} else {
					r = utf8.RuneError
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
	return b
}
