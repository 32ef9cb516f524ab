package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"selflink/appliance/httpapi/jsondoc"
)

// maxDepth is how deep the values of a request body may nest.
const maxDepth = 32

// objectPlan knows how to fill one struct from an object or a form. It is made
// once per operation and read by all requests.
type objectPlan struct {
	typ    reflect.Type
	fields []*objectField
}

type objectField struct {
	rules
	name    string
	index   []int
	typ     reflect.Type // of the value, without pointer or Opt
	opt     bool
	pointer bool
	decode  decoder
	object  *objectPlan // of a nested struct
	element *objectPlan // of a list of structs
}

type optional interface{ isOpt() }

// compileObject makes the plan of a struct. seen guards against types that
// contain themselves.
func compileObject(t reflect.Type, seen []reflect.Type) (*objectPlan, error) {
	for _, s := range seen {
		if s == t {
			return nil, fmt.Errorf("%s contains itself", t)
		}
	}
	seen = append(seen, t)
	p := &objectPlan{typ: t}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			return nil, fmt.Errorf("field %s of %s has no json name", f.Name, t)
		}
		of, err := compileField(f, seen)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
		of.name = name
		p.fields = append(p.fields, of)
	}
	return p, nil
}

func compileField(f reflect.StructField, seen []reflect.Type) (*objectField, error) {
	r, err := parseRules(f)
	if err != nil {
		return nil, err
	}
	of := &objectField{rules: r, index: f.Index, typ: f.Type}
	if f.Type.Implements(reflect.TypeFor[optional]()) {
		of.opt, of.optional = true, true
		of.typ = f.Type.Field(2).Type
	} else if f.Type.Kind() == reflect.Pointer {
		of.pointer = true
		of.typ = f.Type.Elem()
	}
	if of.null && !of.opt && !of.pointer && !nilable(of.typ) {
		return nil, fmt.Errorf("field %s may be null: its type must be a pointer or Opt", f.Name)
	}
	of.decode, err = of.compile(of.typ, seen)
	if err != nil {
		return nil, fmt.Errorf("field %s: %w", f.Name, err)
	}
	return of, nil
}

// nilable types have a zero value that tells null from every other value.
func nilable(t reflect.Type) bool {
	return t.Kind() == reflect.Slice || t == reflect.TypeFor[Date]() || t == reflect.TypeFor[Timestamp]()
}

func (of *objectField) compile(t reflect.Type, seen []reflect.Type) (decoder, error) {
	r := of.rules
	switch t {
	case reflect.TypeFor[Timestamp]():
		return decodeTimestamp, nil
	case reflect.TypeFor[Date]():
		return decodeDate(r), nil
	case reflect.TypeFor[Clock]():
		return decodeClock(r), nil
	case reflect.TypeFor[json.RawMessage]():
		return decodeRaw, nil
	case reflect.TypeFor[File]():
		return decodeFile, nil
	}
	switch t.Kind() {
	case reflect.String:
		switch {
		case r.enum != nil:
			return decodeEnum(r), nil
		case r.format == "date":
			return decodeDate(r), nil
		case r.format == "time":
			return decodeClock(r), nil
		case r.format == "uuid":
			return decodeUUID, nil
		}
		return decodeText(r), nil
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt(r, t.Bits()), nil
	case reflect.Float32, reflect.Float64:
		return decodeFloat(r), nil
	case reflect.Bool:
		return decodeBool, nil
	case reflect.Slice:
		// The bounds of the tags are those of the list; format, enum and
		// blank are those of its items.
		item := objectField{rules: rules{trim: r.trim, blank: r.blank, format: r.format, enum: r.enum, formats: r.formats, layouts: r.layouts}}
		d, err := item.compile(t.Elem(), seen)
		if err != nil {
			return nil, err
		}
		of.element = item.object
		return decodeList(r, d, item.object != nil), nil
	case reflect.Struct:
		p, err := compileObject(t, seen)
		if err != nil {
			return nil, err
		}
		of.object = p
		return p.decode, nil
	}
	return nil, fmt.Errorf("type %s cannot be read from a request", t)
}

// decode implements decoder for a nested object.
func (p *objectPlan) decode(v value, dst reflect.Value) problem {
	if v.kind != fromJSON || v.json.Kind() != jsondoc.Object {
		return problem{nested: notAnObject(v.typeName())}
	}
	errs := new(FieldErrors)
	p.fill(source{json: v.json}, dst, errs)
	if errs.empty() {
		return problem{}
	}
	return problem{nested: errs}
}

// source is where the fields of an object come from: a JSON object, or the
// fields of a form whose names begin with prefix.
type source struct {
	json   jsondoc.Value
	form   *form
	prefix string
}

func (s source) field(f *objectField) value {
	if s.form == nil {
		v, ok := s.json.Field(f.name)
		if !ok {
			return value{}
		}
		return value{kind: fromJSON, json: v}
	}
	return s.form.value(s.prefix+f.name, f)
}

// fill reads every field in the order of declaration and collects all
// problems.
func (p *objectPlan) fill(s source, dst reflect.Value, errs *FieldErrors) {
	for _, f := range p.fields {
		if s.form != nil && f.object != nil && s.form.hasPrefix(s.prefix+f.name+".") {
			nested := new(FieldErrors)
			f.object.fill(source{form: s.form, prefix: s.prefix + f.name + "."}, f.target(dst), nested)
			if !nested.empty() {
				errs.put(f.name, problem{nested: nested})
			}
			continue
		}
		if bad := f.read(s.field(f), dst); !bad.empty() {
			errs.put(f.name, bad)
		}
	}
}

func (f *objectField) read(v value, dst reflect.Value) problem {
	switch {
	case v.kind == absent && f.fallback != "":
		return f.decode(value{kind: fromForm, form: []string{f.fallback}}, f.target(dst))
	case v.kind == absent && f.optional:
		return problem{}
	case v.kind == absent && f.typ == reflect.TypeFor[File]():
		return say(msgNoFile)
	case v.kind == absent:
		return say(msgRequired)
	case v.null() && !f.null:
		return say(msgNull)
	case v.null():
		if f.opt {
			at := dst.FieldByIndex(f.index)
			at.Field(0).SetBool(true)
			at.Field(1).SetBool(true)
		}
		return problem{}
	}
	return f.decode(v, f.target(dst))
}

// target gives the place of the field's value, and marks an Opt as set.
func (f *objectField) target(dst reflect.Value) reflect.Value {
	at := dst.FieldByIndex(f.index)
	switch {
	case f.opt:
		at.Field(0).SetBool(true)
		return at.Field(2)
	case f.pointer:
		at.Set(reflect.New(f.typ))
		return at.Elem()
	}
	return at
}
