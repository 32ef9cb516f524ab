package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"strings"
)

// maxFormFields bounds the fields and files of a form.
const maxFormFields = 1000

// form is a parsed urlencoded or multipart body.
type form struct {
	fields []formField
}

type formField struct {
	name string
	text string
	file *File
}

// value gives what a form says about a field. An empty text is no value: it
// means null where null is allowed, nothing where the field may be left out.
// A switch that is not in the form is off, because browsers send no others.
func (f *form) value(name string, of *objectField) value {
	var v value
	for i := range f.fields {
		at := &f.fields[i]
		if at.name != name {
			continue
		}
		if at.file != nil {
			v.kind, v.file = fromFile, at.file
		} else {
			v.kind, v.form = fromForm, append(v.form, at.text)
		}
	}
	isText := of.typ.Kind() == reflect.String
	switch {
	case v.kind == absent && of.typ.Kind() == reflect.Bool && !of.opt && of.fallback == "":
		return value{kind: fromForm, form: []string{"false"}}
	case v.kind == fromForm && v.last() == "" && of.typ.Kind() != reflect.Slice && !(isText && of.blank):
		if of.null {
			return value{kind: fromJSON} // the zero document is null
		}
		if of.optional {
			return value{}
		}
	}
	return v
}

func (f *form) hasPrefix(prefix string) bool {
	for i := range f.fields {
		if strings.HasPrefix(f.fields[i].name, prefix) {
			return true
		}
	}
	return false
}

func tooManyFields() *Error {
	return Detail(http.StatusBadRequest, "The form has too many fields.")
}

// parseURLEncoded reads a form the way browsers write it. Broken escapes stay
// as they are, broken UTF-8 becomes U+FFFD.
func parseURLEncoded(body []byte) (*form, error) {
	f := new(form)
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		if len(f.fields) == maxFormFields {
			return nil, tooManyFields()
		}
		name, text, _ := strings.Cut(pair, "=")
		f.fields = append(f.fields, formField{name: unescapeForm(name), text: unescapeForm(text)})
	}
	return f, nil
}

func unescapeForm(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		s = u
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// parseMultipart reads a form with uploads. It is in memory already, within
// the limit of the body.
func parseMultipart(body []byte, contentType string) (*form, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" || len(params["boundary"]) > 200 {
		return nil, Detail(http.StatusBadRequest, "Multipart form parse error - Invalid boundary in multipart: "+strings.ToValidUTF8(params["boundary"], "\ufffd"))
	}
	f := new(form)
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return nil, Detail(http.StatusBadRequest, "Multipart form parse error - Invalid multipart body.")
		}
		if len(f.fields) == maxFormFields {
			return nil, tooManyFields()
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, Detail(http.StatusBadRequest, "Multipart form parse error - Invalid multipart body.")
		}
		name := strings.ToValidUTF8(part.FormName(), "\ufffd")
		if name == "" {
			continue
		}
		if file := part.FileName(); file != "" {
			file = path.Base(strings.ReplaceAll(strings.ToValidUTF8(file, "\ufffd"), `\`, "/"))
			f.fields = append(f.fields, formField{name: name, file: &File{Name: file, Type: strings.ToValidUTF8(part.Header.Get("Content-Type"), "\ufffd"), Data: data}})
			continue
		}
		f.fields = append(f.fields, formField{name: name, text: strings.ToValidUTF8(string(data), "\ufffd")})
	}
}
