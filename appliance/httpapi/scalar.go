package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Timestamp is a moment on the wire: ISO 8601 in UTC with microseconds, or
// without a fraction when it is zero: 2026-11-23T00:54:12.055108Z. The zero
// Timestamp is encoded as null.
type Timestamp time.Time

// NullTimestamp gives nil for a nil or zero time.
func NullTimestamp(t *time.Time) *Timestamp {
	if t == nil || t.IsZero() {
		return nil
	}
	ts := Timestamp(*t)
	return &ts
}

// Time gives the moment as a time.Time.
func (t Timestamp) Time() time.Time { return time.Time(t) }

// String gives the wire form without quotes; it is empty for the zero value.
func (t Timestamp) String() string {
	if time.Time(t).IsZero() {
		return ""
	}
	return string(t.append(nil))
}

func (t Timestamp) append(b []byte) []byte {
	u := time.Time(t).UTC()
	if u.Nanosecond()/1000 == 0 {
		return u.AppendFormat(b, "2006-01-02T15:04:05Z")
	}
	return u.AppendFormat(b, "2006-01-02T15:04:05.000000Z")
}

// MarshalJSON implements json.Marshaler.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	b := make([]byte, 1, 32)
	b[0] = '"'
	return append(t.append(b), '"'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	s, ok, err := scalarText(b)
	if err != nil || !ok {
		*t = Timestamp{}
		return err
	}
	v, ok := parseTimestamp(s)
	if !ok {
		return fmt.Errorf("httpapi: %q is not a timestamp", s)
	}
	*t = Timestamp(v)
	return nil
}

// Schema implements huma.SchemaProvider.
func (Timestamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

// Date is a calendar day without a zone, YYYY-MM-DD on the wire. The zero Date
// is encoded as null.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf gives the calendar day of t in t's own zone.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// ParseDate reads YYYY-MM-DD; ok is false for other texts and for days that do
// not exist.
func ParseDate(s string) (d Date, ok bool) {
	t, err := time.Parse("2006-1-2", s)
	if err != nil || t.Year() < 1 || len(s) > len("2006-01-02") || len(s) < len("2006-1-2") {
		return Date{}, false
	}
	return DateOf(t), true
}

// IsZero reports whether the day is unset.
func (d Date) IsZero() bool { return d == Date{} }

// Time gives midnight UTC of the day.
func (d Date) Time() time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }

// String gives YYYY-MM-DD.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day) }

// MarshalJSON implements json.Marshaler.
func (d Date) MarshalJSON() ([]byte, error) {
	if d.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + d.String() + `"`), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Date) UnmarshalJSON(b []byte) error {
	s, ok, err := scalarText(b)
	if err != nil || !ok {
		*d = Date{}
		return err
	}
	if *d, ok = ParseDate(s); !ok {
		return fmt.Errorf("httpapi: %q is not a date", s)
	}
	return nil
}

// Schema implements huma.SchemaProvider.
func (Date) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date"}
}

// Clock is a time of day without a zone, HH:MM:SS[.ffffff] on the wire, kept
// as the time since midnight in microseconds resolution. Midnight is a value
// like any other; use *Clock or Opt where it may be missing.
type Clock time.Duration

// ParseClock reads hh:mm[:ss[.uuuuuu]].
func ParseClock(s string) (c Clock, ok bool) {
	for _, layout := range []string{"15:04:05", "15:04"} {
		t, err := time.Parse(layout, s) // a fraction after the seconds is read too
		if err == nil {
			return Clock(t.Sub(t.Truncate(24 * time.Hour)).Truncate(time.Microsecond)), true
		}
	}
	return 0, false
}

// String gives the wire form.
func (c Clock) String() string {
	t := time.Unix(0, 0).UTC().Add(time.Duration(c))
	if t.Nanosecond()/1000 == 0 {
		return t.Format("15:04:05")
	}
	return t.Format("15:04:05.000000")
}

// MarshalJSON implements json.Marshaler.
func (c Clock) MarshalJSON() ([]byte, error) { return []byte(`"` + c.String() + `"`), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (c *Clock) UnmarshalJSON(b []byte) error {
	s, ok, err := scalarText(b)
	if err != nil || !ok {
		*c = 0
		return err
	}
	if *c, ok = ParseClock(s); !ok {
		return fmt.Errorf("httpapi: %q is not a time of day", s)
	}
	return nil
}

// Schema implements huma.SchemaProvider.
func (Clock) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "time"}
}

// scalarText unquotes a JSON string; ok is false for null.
func scalarText(b []byte) (s string, ok bool, err error) {
	if string(b) == "null" {
		return "", false, nil
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return "", false, fmt.Errorf("httpapi: decode scalar: %w", err)
	}
	return s, true, nil
}

// timestampLayouts are the forms of ISO 8601 that clients send. Those without
// a zone are UTC.
var timestampLayouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05Z0700",
}

func parseTimestamp(s string) (time.Time, bool) {
	for _, layout := range timestampLayouts {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1 && t.Year() <= 9999 {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// Opt is a field that a client may leave out (PATCH). Set says whether the
// field was sent, Null whether it was sent as null; Value is meaningful only
// when Set and not Null.
type Opt[T any] struct {
	Set   bool
	Null  bool
	Value T
}

// Or gives the value when one was sent, else old. A null gives the zero value.
func (o Opt[T]) Or(old T) T {
	if !o.Set {
		return old
	}
	return o.Value
}

// Ptr gives nil for a missing or null value.
func (o Opt[T]) Ptr() *T {
	if !o.Set || o.Null {
		return nil
	}
	return &o.Value
}

// isOpt marks the type for the binder, which fills the three fields in order.
func (Opt[T]) isOpt() {}

// Schema implements huma.SchemaProvider.
func (Opt[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// File is an uploaded file, held in memory. Data is valid until the handler
// returns: copy or store it before.
type File struct {
	Name string // base name as the client sent it, without any folder
	Type string // the client's own claim, not to be trusted
	Data []byte
}
