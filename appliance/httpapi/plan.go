package httpapi

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"selflink/appliance/httpapi/jsondoc"
)

// plan knows how to fill one input type. It is compiled at registration, so a
// request costs no look at tags.
type plan struct {
	params []*paramField
	body   bodyKind
	index  []int
	object *objectPlan
}

type bodyKind uint8

const (
	bodyNone   bodyKind = iota
	bodyObject          // a struct
	bodyAny             // json.RawMessage
	bodyBytes           // []byte, of any media type
)

// paramField is a parameter of the path, the query or the headers.
type paramField struct {
	objectField
	in   string
	slot int // of the path parameter
	raw  bool
}

func compilePlan(t reflect.Type, op Operation) (*plan, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("input %s is not a struct", t)
	}
	var names []string
	for seg := range strings.SplitSeq(op.Path, "/") {
		if name, ok := strings.CutPrefix(seg, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	p := new(plan)
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue
		}
		if f.Name == "Body" {
			if err := p.compileBody(f); err != nil {
				return nil, err
			}
			continue
		}
		param, err := compileParam(f, names)
		if err != nil {
			return nil, err
		}
		p.params = append(p.params, param)
	}
	return p, nil
}

func compileParam(f reflect.StructField, names []string) (*paramField, error) {
	for _, in := range []string{"path", "query", "header"} {
		name := f.Tag.Get(in)
		if name == "" {
			continue
		}
		of, err := compileField(f, nil)
		if err != nil {
			return nil, err
		}
		switch {
		case of.object != nil, of.element != nil, of.typ == reflect.TypeFor[File]():
			return nil, fmt.Errorf("parameter %s cannot be a %s", name, of.typ)
		}
		of.name = name
		p := &paramField{objectField: *of, in: in, slot: slices.Index(names, name), raw: f.Tag.Get("raw") == "true"}
		if in == "path" && p.slot < 0 {
			return nil, fmt.Errorf("the path has no parameter %q", name)
		}
		// Parameters may be left out, and an empty text is as good as none.
		p.optional = f.Tag.Get("required") != "true"
		p.blank = true
		if p.decode, err = p.compile(p.typ, nil); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		return p, nil
	}
	return nil, fmt.Errorf("field %s is no parameter and no Body", f.Name)
}

func (p *plan) compileBody(f reflect.StructField) error {
	p.index = f.Index
	switch t := f.Type; {
	case t == reflect.TypeFor[json.RawMessage]():
		p.body = bodyAny
	case t == reflect.TypeFor[[]byte]():
		p.body = bodyBytes
	case t.Kind() == reflect.Struct:
		object, err := compileObject(t, nil)
		if err != nil {
			return err
		}
		p.body, p.object = bodyObject, object
	default:
		return fmt.Errorf("body %s: a struct, json.RawMessage or []byte is needed", t)
	}
	return nil
}

// bind fills in from the request. A path parameter of the wrong form is 404,
// everything else that is wrong with the input is one 400.
func (p *plan) bind(rc *request, in reflect.Value) error {
	var errs FieldErrors
	for _, f := range p.params {
		text, ok := f.text(rc)
		if !ok {
			if !f.optional {
				errs.Add(f.name, msgRequired)
			} else if f.fallback != "" {
				f.decode(value{kind: fromForm, form: []string{f.fallback}}, f.target(in))
			}
			continue
		}
		if f.in == "path" && !utf8.ValidString(text) {
			return NoSuchPath()
		}
		if f.raw {
			f.target(in).SetString(text)
			continue
		}
		v := value{kind: fromForm, form: []string{text}}
		if f.typ.Kind() == reflect.Slice {
			v.form = rc.queryAll(f.name)
		}
		bad := f.decode(v, f.target(in))
		if bad.empty() {
			continue
		}
		if f.in == "path" {
			return NoSuchPath()
		}
		errs.put(f.name, bad)
	}
	if p.body != bodyNone {
		if err := p.bindBody(rc, in.FieldByIndex(p.index), &errs); err != nil {
			return err
		}
	}
	return errs.Err()
}

// text finds the text of the parameter, in memory that stays.
func (f *paramField) text(rc *request) (string, bool) {
	switch f.in {
	case "path":
		return rc.params[f.slot], true
	case "header":
		s := rc.header(f.name)
		return strings.ToValidUTF8(s, "\ufffd"), s != ""
	}
	all := rc.queryAll(f.name)
	if len(all) == 0 || all[len(all)-1] == "" && f.typ.Kind() != reflect.String {
		return "", false
	}
	return all[len(all)-1], true
}

// queryAll gives all values of a query parameter, copied; of several the last
// counts.
func (rc *request) queryAll(name string) []string {
	if rc.query == "" {
		return nil
	}
	var all []string
	for key, val := range rc.fc.Context().QueryArgs().All() {
		if string(key) == name {
			all = append(all, strings.ToValidUTF8(string(val), "\ufffd"))
		}
	}
	return all
}

func (p *plan) bindBody(rc *request, dst reflect.Value, errs *FieldErrors) error {
	raw := rc.fc.Request().Body()
	if p.body == bodyBytes {
		dst.SetBytes(append([]byte(nil), raw...))
		return nil
	}
	src, err := parseBody(rc, raw)
	if err != nil {
		return err
	}
	if p.body == bodyAny {
		return bindAny(src, dst)
	}
	if src.form == nil && src.json.Kind() != jsondoc.Object {
		if src.json.Kind() == jsondoc.Null {
			return NonField(msgNoData)
		}
		return notAnObject(value{kind: fromJSON, json: src.json}.typeName()).err()
	}
	p.object.fill(src, dst, errs)
	return nil
}

// parseBody reads a body by its media type. An empty one is an empty object
// whatever its type.
func parseBody(rc *request, raw []byte) (source, error) {
	if len(raw) == 0 {
		doc, err := jsondoc.Parse([]byte("{}"), 1)
		if err != nil {
			return source{}, err
		}
		return source{json: doc.Root()}, nil
	}
	header := string(rc.fc.Request().Header.ContentType())
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		media, _, _ = strings.Cut(header, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	switch media {
	case typeJSON:
		doc, err := jsondoc.Parse(raw, maxDepth)
		if err != nil {
			return source{}, Detail(http.StatusBadRequest, "JSON parse error - "+err.Error())
		}
		return source{json: doc.Root()}, nil
	case "application/x-www-form-urlencoded":
		f, err := parseURLEncoded(raw)
		return source{form: f}, err
	case "multipart/form-data":
		f, err := parseMultipart(raw, header)
		return source{form: f}, err
	}
	if !utf8.ValidString(header) {
		header = strings.ToValidUTF8(header, "\ufffd")
	}
	return source{}, Detail(http.StatusUnsupportedMediaType, `Unsupported media type "`+header+`" in request.`)
}

// bindAny keeps a whole document; a form becomes an object of its texts.
func bindAny(src source, dst reflect.Value) error {
	if src.form != nil {
		b := []byte{'{'}
		for i, f := range src.form.fields {
			if f.file != nil || strings.IndexByte(f.text, 0) >= 0 || strings.IndexByte(f.name, 0) >= 0 {
				return Invalid(f.name, msgJSON)
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, f.name), ':')
			b = appendString(b, f.text)
		}
		dst.SetBytes(append(b, '}'))
		return nil
	}
	if bad := decodeRaw(value{kind: fromJSON, json: src.json}, dst); !bad.empty() {
		return NonField(bad.messages...)
	}
	return nil
}
