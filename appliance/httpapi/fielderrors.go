package httpapi

import (
	"net/http"
	"strconv"
)

// FieldErrors collects problems of an input in the order they are added. The
// zero value is ready to use. It is not safe for concurrent use.
type FieldErrors struct {
	fields []fieldError
}

type fieldError struct {
	name string
	problem
}

// problem is what is wrong with one value: messages, or the problems of a
// nested object's fields, or of a list's items. The zero problem is none.
type problem struct {
	messages []string
	nested   *FieldErrors
	items    []*FieldErrors // aligned with the input; nil where an item is well
}

func say(messages ...string) problem { return problem{messages: messages} }

func (p problem) empty() bool {
	if p.nested != nil {
		return p.nested.empty()
	}
	for _, item := range p.items {
		if item != nil && !item.empty() {
			return false
		}
	}
	return len(p.messages) == 0
}

// Add notes messages about a field; more about the same field are appended.
func (f *FieldErrors) Add(field string, messages ...string) {
	for i := range f.fields {
		if f.fields[i].name == field && f.fields[i].nested == nil && f.fields[i].items == nil {
			f.fields[i].messages = append(f.fields[i].messages, messages...)
			return
		}
	}
	f.put(field, say(messages...))
}

// Nest gives the collector of a nested object's fields.
func (f *FieldErrors) Nest(field string) *FieldErrors {
	for i := range f.fields {
		if f.fields[i].name == field && f.fields[i].nested != nil {
			return f.fields[i].nested
		}
	}
	n := new(FieldErrors)
	f.put(field, problem{nested: n})
	return n
}

func (f *FieldErrors) put(field string, p problem) {
	f.fields = append(f.fields, fieldError{field, p})
}

// Has reports whether anything was noted about a field.
func (f *FieldErrors) Has(field string) bool {
	for _, e := range f.fields {
		if e.name == field && !e.empty() {
			return true
		}
	}
	return false
}

// Err is nil when nothing was noted, else the 400 that lists everything.
func (f *FieldErrors) Err() error {
	if f.empty() {
		return nil
	}
	return f.err()
}

func (f *FieldErrors) empty() bool {
	for _, e := range f.fields {
		if !e.empty() {
			return false
		}
	}
	return true
}

func (f *FieldErrors) err() *Error {
	return &Error{Status: http.StatusBadRequest, Body: f.append(nil)}
}

func (f *FieldErrors) append(b []byte) []byte {
	b = append(b, '{')
	first := true
	for _, e := range f.fields {
		if e.empty() {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, e.name)
		b = append(b, ':')
		b = e.problem.append(b)
	}
	return append(b, '}')
}

func (p problem) append(b []byte) []byte {
	switch {
	case p.nested != nil:
		return p.nested.append(b)
	case p.items != nil:
		b = append(b, '[')
		for i, item := range p.items {
			if i > 0 {
				b = append(b, ',')
			}
			if item == nil {
				b = append(b, "{}"...)
				continue
			}
			b = item.append(b)
		}
		return append(b, ']')
	}
	b = append(b, '[')
	for i, m := range p.messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, m)
	}
	return append(b, ']')
}

// indexed names the i-th item of a plain list.
func indexed(i int) string { return strconv.Itoa(i) }
