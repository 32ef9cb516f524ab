package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// documents are the OpenAPI document in its two forms, built once at Start.
type documents struct {
	json, yaml []byte
}

const schemaPrefix = "#/components/schemas/"

// build describes every operation. Outputs are described by huma from their
// types; inputs from the bind plans, so that what is documented is what is
// checked.
func (d *documents) build(a *API) (err error) {
	defer func() {
		if p := recover(); p != nil { // huma panics on types it cannot describe
			err = fmt.Errorf("httpapi: describe the operations: %v", p)
		}
	}()
	reg := huma.NewMapRegistry(schemaPrefix, schemaName)
	api := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: a.opts.Title, Version: a.opts.Version},
		Components: &huma.Components{
			Schemas: reg,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
			},
			Responses: errorResponses(),
		},
	}
	errorSchemas(reg.Map())
	tags := map[string]bool{}
	for _, r := range a.routes {
		if r.op.Hidden {
			continue
		}
		api.AddOperation(a.describe(reg, r))
		if r.op.Tag != "" && !tags[r.op.Tag] {
			tags[r.op.Tag] = true
			api.Tags = append(api.Tags, &huma.Tag{Name: r.op.Tag})
		}
	}
	if d.json, err = json.Marshal(api); err != nil {
		return fmt.Errorf("httpapi: encode the OpenAPI document: %w", err)
	}
	if d.yaml, err = api.YAML(); err != nil {
		return fmt.Errorf("httpapi: encode the OpenAPI document: %w", err)
	}
	return nil
}

// schemaName names a type after its package and itself, so that equal names of
// two services stay apart: accounts.User is AccountsUser.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	name := t.Name()
	if name == "" {
		name = hint
	}
	pkg := t.PkgPath()
	if i := strings.LastIndexByte(pkg, '/'); i >= 0 {
		pkg = pkg[i+1:]
	}
	if pkg == "httpapi" {
		pkg = ""
	}
	var b strings.Builder
	// A generic type is called Page[selflink/services/accounts.User].
	for word := range strings.FieldsFuncSeq(pkg+"."+name, func(r rune) bool { return r == '.' || r == '[' || r == ']' || r == ',' || r == '*' }) {
		if i := strings.LastIndexByte(word, '/'); i >= 0 {
			word = word[i+1:]
		}
		if word, _, _ = strings.Cut(word, "·"); word != "" { // types local to a function
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

func (a *API) describe(reg huma.Registry, r *route) *huma.Operation {
	op := &huma.Operation{
		OperationID: r.op.ID, Method: r.op.Method, Path: r.op.Path,
		Summary: r.op.Summary, Description: r.op.Description,
		Responses: map[string]*huma.Response{},
		Security:  []map[string][]string{{"bearer": {}}},
	}
	if r.op.Tag != "" {
		op.Tags = []string{r.op.Tag}
	}
	if r.op.Access == AccessPublic {
		op.Security = []map[string][]string{{}}
	}
	r.plan.describe(reg, op)
	op.Responses[strconv.Itoa(r.op.Status)] = a.describeSuccess(reg, r)
	for _, status := range r.errors() {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/Error" + strconv.Itoa(status)}
	}
	return op
}

func (a *API) describeSuccess(reg huma.Registry, r *route) *huma.Response {
	res := &huma.Response{Description: http.StatusText(r.op.Status)}
	switch {
	case r.stream && r.op.Produces != "":
		res.Content = map[string]*huma.MediaType{r.op.Produces: {Schema: &huma.Schema{Type: huma.TypeString}}}
		return res
	case r.stream:
		return res
	}
	out := r.out
	if out.Implements(reflect.TypeFor[resulter]()) {
		if chosen, ok := reflect.Zero(out).Interface().(resulter); ok {
			out = chosen.bodyType()
		}
	}
	if out != reflect.TypeFor[NoContent]() {
		schema := &huma.Schema{}
		if out.Kind() != reflect.Interface && out != reflect.TypeFor[json.RawMessage]() {
			schema = reg.Schema(out, true, r.op.ID+"Response")
		}
		res.Content = map[string]*huma.MediaType{typeJSON: {Schema: schema}}
	}
	return res
}

// errors lists the statuses that may be answered beside success.
func (r *route) errors() []int {
	var list []int
	add := func(when bool, status int) {
		if when && !slices.Contains(list, status) {
			list = append(list, status)
		}
	}
	if !r.op.system {
		hasPath, hasInput := r.plan.takes()
		add(hasInput, http.StatusBadRequest)
		add(r.op.Access != AccessPublic, http.StatusUnauthorized)
		add(r.op.Access == AccessStaff, http.StatusForbidden)
		add(hasPath, http.StatusNotFound)
		add(true, http.StatusNotAcceptable)
		add(r.plan.body != bodyNone, http.StatusRequestEntityTooLarge)
		add(r.plan.body != bodyNone && r.plan.body != bodyBytes, http.StatusUnsupportedMediaType)
		add(true, http.StatusTooManyRequests)
		add(true, http.StatusInternalServerError)
		add(true, http.StatusServiceUnavailable)
	}
	for _, status := range r.op.Errors {
		add(errorText(status) != "", status)
	}
	slices.Sort(list)
	return list
}

// takes tells which kinds of input a plan reads.
func (p *plan) takes() (hasPath, hasInput bool) {
	hasInput = p.body == bodyObject || p.body == bodyAny
	for _, f := range p.params {
		hasPath = hasPath || f.in == "path" || f.name == "cursor"
		hasInput = hasInput || f.in != "path" && !f.raw
	}
	return hasPath, hasInput
}

func errorText(status int) string {
	return map[int]string{
		400: "The input is wrong: messages by field, or one text.",
		401: "No caller, or bad credentials.",
		403: "The caller may not do this.",
		404: "There is no such thing.",
		405: "The path has no such method.",
		406: "The Accept header takes nothing that is offered.",
		409: "The state of the thing forbids it.",
		413: "The body is too large.",
		415: "The media type of the body is not understood.",
		429: "Too many requests.",
		500: "A fault of the server; it was logged with the request id.",
		502: "A service behind this one failed.",
		503: "A part of the server is busy or down; try again after Retry-After seconds.",
		504: "A service behind this one took too long.",
	}[status]
}

// errorResponses are the envelopes of refusals, by status.
func errorResponses() map[string]*huma.Response {
	all := map[string]*huma.Response{}
	for _, status := range []int{400, 401, 403, 404, 405, 406, 409, 413, 415, 429, 500, 502, 503, 504} {
		schema := &huma.Schema{Ref: schemaPrefix + "Detail"}
		if status == http.StatusBadRequest {
			schema = &huma.Schema{AnyOf: []*huma.Schema{{Ref: schemaPrefix + "FieldErrors"}, {Ref: schemaPrefix + "Detail"}}}
		}
		res := &huma.Response{
			Description: errorText(status),
			Content:     map[string]*huma.MediaType{typeJSON: {Schema: schema}},
		}
		header := func(name, doc string) {
			res.Headers = map[string]*huma.Param{name: {Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}}
		}
		switch status {
		case http.StatusUnauthorized:
			header("WWW-Authenticate", `Always Bearer realm="api".`)
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			header("Retry-After", "Seconds after which to come back; the burst limiter sends none.")
		}
		all["Error"+strconv.Itoa(status)] = res
	}
	return all
}

func errorSchemas(to map[string]*huma.Schema) {
	text := &huma.Schema{Type: huma.TypeString}
	to["Detail"] = &huma.Schema{
		Type:     huma.TypeObject,
		Required: []string{"detail"},
		Properties: map[string]*huma.Schema{
			"detail": text,
			"code":   text,
			"messages": {Type: huma.TypeArray, Items: &huma.Schema{
				Type:       huma.TypeObject,
				Properties: map[string]*huma.Schema{"token_class": text, "token_type": text, "message": text},
			}},
		},
	}
	to["FieldErrors"] = &huma.Schema{
		Type:        huma.TypeObject,
		Description: "Messages by field, in the order of the fields; non_field_errors holds those of several fields. Nested objects nest, lists of objects hold one object per item.",
		AdditionalProperties: &huma.Schema{AnyOf: []*huma.Schema{
			{Type: huma.TypeArray, Items: text},
			{Type: huma.TypeObject},
			{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject}},
		}},
	}
}
