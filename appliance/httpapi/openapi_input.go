package httpapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// describe adds parameters and body to op.
func (p *plan) describe(reg huma.Registry, op *huma.Operation) {
	for seg := range strings.SplitSeq(op.Path, "/") {
		name, ok := strings.CutPrefix(seg, "{")
		name = strings.TrimSuffix(name, "}")
		declared := slices.ContainsFunc(p.params, func(f *paramField) bool { return f.in == "path" && f.name == name })
		if ok && !declared { // read by the handler of a stream itself
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
	}
	for _, f := range p.params {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: f.name, In: f.in, Description: f.doc,
			Required: f.in == "path" || !f.optional,
			Schema:   f.schema(reg),
		})
	}
	switch p.body {
	case bodyObject:
		schema := p.object.schema(reg)
		content := map[string]*huma.MediaType{}
		media := []string{typeJSON, "application/x-www-form-urlencoded", "multipart/form-data"}
		if p.object.hasFile() {
			media = media[2:]
		}
		for _, m := range media {
			content[m] = &huma.MediaType{Schema: schema}
		}
		op.RequestBody = &huma.RequestBody{Content: content}
	case bodyAny:
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{typeJSON: {Schema: &huma.Schema{}}}}
	case bodyBytes:
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	}
}

func (p *objectPlan) hasFile() bool {
	for _, f := range p.fields {
		if f.typ == reflect.TypeFor[File]() {
			return true
		}
	}
	return false
}

// schema describes the object as it is bound.
func (p *objectPlan) schema(reg huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}}
	for _, f := range p.fields {
		s.Properties[f.name] = f.schema(reg)
		if !f.optional {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

func (f *objectField) schema(reg huma.Registry) *huma.Schema {
	s := f.value(reg)
	s.Description = f.doc
	if f.null && s.Type != "" {
		s.Nullable = s.Type != huma.TypeObject
	}
	if f.fallback != "" && s.Type == huma.TypeString {
		s.Default = f.fallback
	}
	return s
}

func (f *objectField) value(reg huma.Registry) *huma.Schema {
	bound := func(n *int64) *int {
		if n == nil {
			return nil
		}
		i := int(*n)
		return &i
	}
	limit := func(n *int64) *float64 {
		if n == nil {
			return nil
		}
		x := float64(*n)
		return &x
	}
	switch {
	case f.object != nil:
		return f.object.schema(reg)
	case f.element != nil:
		return &huma.Schema{Type: huma.TypeArray, Items: f.element.schema(reg), MinItems: bound(f.min), MaxItems: bound(f.max)}
	}
	switch f.typ {
	case reflect.TypeFor[json.RawMessage]():
		return &huma.Schema{}
	case reflect.TypeFor[File]():
		return &huma.Schema{Type: huma.TypeString, Format: "binary"}
	case reflect.TypeFor[Timestamp]():
		return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
	case reflect.TypeFor[Date]():
		return &huma.Schema{Type: huma.TypeString, Format: "date"}
	case reflect.TypeFor[Clock]():
		return &huma.Schema{Type: huma.TypeString, Format: "time"}
	}
	switch f.typ.Kind() {
	case reflect.String:
		s := &huma.Schema{Type: huma.TypeString, Format: strings.ReplaceAll(f.format, "url", "uri"), MinLength: bound(f.min), MaxLength: bound(f.max)}
		for _, e := range f.enum {
			s.Enum = append(s.Enum, e)
		}
		return s
	case reflect.Bool:
		return &huma.Schema{Type: huma.TypeBoolean}
	case reflect.Float32, reflect.Float64:
		return &huma.Schema{Type: huma.TypeNumber, Minimum: limit(f.min), Maximum: limit(f.max)}
	case reflect.Slice:
		item := objectField{rules: rules{format: f.format, enum: f.enum}, typ: f.typ.Elem()}
		return &huma.Schema{Type: huma.TypeArray, Items: item.value(reg), MinItems: bound(f.min), MaxItems: bound(f.max)}
	}
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: limit(f.min), Maximum: limit(f.max)}
}
