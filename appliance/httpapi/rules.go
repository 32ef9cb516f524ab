package httpapi

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Messages of validation (contract 00 §6).
const (
	msgRequired    = "This field is required."
	msgNull        = "This field may not be null."
	msgBlank       = "This field may not be blank."
	msgString      = "Not a valid string."
	msgNullChars   = "Null characters are not allowed."
	msgEmail       = "Enter a valid email address."
	msgURL         = "Enter a valid URL."
	msgInteger     = "A valid integer is required."
	msgNumber      = "A valid number is required."
	msgTooLarge    = "String value too large."
	msgBoolean     = "Must be a valid boolean."
	msgJSON        = "Value must be valid JSON."
	msgUUID        = "Must be a valid UUID."
	msgEmptyList   = "This list may not be empty."
	msgNoFile      = "No file was submitted."
	msgNotFile     = "The submitted data was not a file. Check the encoding type on the form."
	msgEmptyFile   = "The submitted file is empty."
	msgNoData      = "No data provided"
	msgDateTime    = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
	dateFormats    = "YYYY-MM-DD"
	clockFormats   = "hh:mm[:ss[.uuuuuu]]"
	fullDateLayout = "2006-1-2"
)

// rules are what the tags of a field say.
type rules struct {
	optional bool
	null     bool
	blank    bool
	trim     bool
	strict   bool // strict:"true": numbers are no text
	nonEmpty bool // of lists: empty:"false"
	max, min *int64
	format   string
	enum     []string
	formats  string // of dates and times, as shown to clients
	layouts  []string
	fallback string // default:"…", for a field that was left out
	doc      string
}

func parseRules(f reflect.StructField) (rules, error) {
	r := rules{
		trim:     f.Tag.Get("trim") != "false",
		nonEmpty: f.Tag.Get("empty") == "false",
		format:   f.Tag.Get("format"),
		formats:  f.Tag.Get("formats"),
		fallback: f.Tag.Get("default"),
		doc:      f.Tag.Get("doc"),
	}
	for tag, dst := range map[string]*bool{"optional": &r.optional, "null": &r.null, "blank": &r.blank, "strict": &r.strict} {
		switch f.Tag.Get(tag) {
		case "":
		case "true":
			*dst = true
		default:
			return r, fmt.Errorf(`field %s: %s is "true" or absent`, f.Name, tag)
		}
	}
	for tag, dst := range map[string]**int64{"max": &r.max, "min": &r.min} {
		if s := f.Tag.Get(tag); s != "" {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return r, fmt.Errorf("field %s: %s: %w", f.Name, tag, err)
			}
			*dst = &n
		}
	}
	if s := f.Tag.Get("enum"); s != "" {
		r.enum = strings.Split(s, ",")
	}
	switch r.format {
	case "", "email", "url", "date", "time", "uuid":
	default:
		return r, fmt.Errorf("field %s: unknown format %q", f.Name, r.format)
	}
	if _, ok := f.Tag.Lookup("default"); ok {
		r.optional = true
	}
	return r, r.compileLayouts(f)
}

// compileLayouts turns formats as clients read them into layouts.
func (r *rules) compileLayouts(f reflect.StructField) error {
	if r.formats == "" {
		return nil
	}
	known := map[string]string{
		"YYYY-MM-DD": fullDateLayout, "DD/MM/YYYY": "2/1/2006", "hh:mm": "15:04", "hh:mm:ss": "15:04:05",
	}
	names := strings.Split(r.formats, ",")
	for _, name := range names {
		layout, ok := known[name]
		if !ok {
			return fmt.Errorf("field %s: unknown format %q", f.Name, name)
		}
		r.layouts = append(r.layouts, layout)
	}
	r.formats = strings.Join(names, ", ")
	return nil
}

func wrongDate(formats string) problem {
	return say("Date has wrong format. Use one of these formats instead: " + formats + ".")
}

func wrongClock(formats string) problem {
	return say("Time has wrong format. Use one of these formats instead: " + formats + ".")
}

func atMost(n int64) string {
	return "Ensure this value is less than or equal to " + strconv.FormatInt(n, 10) + "."
}

func atLeast(n int64) string {
	return "Ensure this value is greater than or equal to " + strconv.FormatInt(n, 10) + "."
}

func lengthMost(n int64, what string) string {
	return "Ensure this field has no more than " + strconv.FormatInt(n, 10) + " " + what + "."
}

func lengthLeast(n int64, what string) string {
	return "Ensure this field has at least " + strconv.FormatInt(n, 10) + " " + what + "."
}

func notAChoice(s string) problem { return say(`"` + s + `" is not a valid choice.`) }

func notAList(got string) problem {
	return say(`Expected a list of items but got type "` + got + `".`)
}

func notAnObject(got string) *FieldErrors {
	f := new(FieldErrors)
	f.Add(nonField, "Invalid data. Expected a dictionary, but got "+got+".")
	return f
}
