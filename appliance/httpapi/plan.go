package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// plan knows how to fill one input type.
type plan struct {
	fields []planField
}

type planField struct {
	source string // "path", "query", "header", "body"
	name   string
	index  []int
	param  int
}

func compilePlan(t reflect.Type, op Operation) (*plan, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("input %s is not a struct", t)
	}
	p := new(plan)
	for _, f := range reflect.VisibleFields(t) {
		for _, source := range []string{"path", "query", "header"} {
			if name := f.Tag.Get(source); name != "" {
				p.fields = append(p.fields, planField{source: source, name: name, index: f.Index})
			}
		}
		if f.Name == "Body" {
			p.fields = append(p.fields, planField{source: "body", index: f.Index})
		}
	}
	return p, nil
}

func (p *plan) bind(rc *request, in reflect.Value) error {
	for _, f := range p.fields {
		v := in.FieldByIndex(f.index)
		var text string
		switch f.source {
		case "path":
			text = strings.Clone(rc.param(f.name))
		case "query":
			text = strings.Clone(rc.fc.Query(f.name))
		case "header":
			text = rc.header(f.name)
		default:
			body := rc.fc.Body()
			if len(body) == 0 {
				body = []byte("{}")
			}
			if err := json.Unmarshal(body, v.Addr().Interface()); err != nil {
				return Detail(400, "JSON parse error - "+err.Error())
			}
			continue
		}
		switch v.Kind() {
		case reflect.Int64:
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return NoSuchPath()
			}
			v.SetInt(n)
		case reflect.String:
			v.SetString(text)
		}
	}
	return nil
}
