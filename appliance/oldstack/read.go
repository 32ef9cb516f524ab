package oldstack

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// JSON is a column of JSON, as Postgres writes jsonb; empty: null.
type JSON string

// maxBatchBytes ends a batch early whose texts are long.
const maxBatchBytes = 8 << 20

// column is a field of the struct that an old row is read into. Its tags are
//
//	old:"birth_place"  the column
//	or:"''"            SQL that stands for null, and for the column where the
//	                   schema is older than it; without it the column must exist
//	max:"255"          most characters; a longer one refuses its row
//	must:"true"        null or infinity refuses the row
//
// A field is a string, *string, int64, bool, [JSON] or one of pgtype's
// Timestamptz, Date, Time and Float8.
type column struct {
	name, or string
	max      int
	must     bool
	kind     reflect.Type
}

var (
	typeString   = reflect.TypeFor[string]()
	typeText     = reflect.TypeFor[*string]()
	typeInt      = reflect.TypeFor[int64]()
	typeBool     = reflect.TypeFor[bool]()
	typeJSON     = reflect.TypeFor[JSON]()
	typeMoment   = reflect.TypeFor[pgtype.Timestamptz]()
	typeDate     = reflect.TypeFor[pgtype.Date]()
	typeTime     = reflect.TypeFor[pgtype.Time]()
	typeFloat    = reflect.TypeFor[pgtype.Float8]()
	castOfTypes  = map[reflect.Type]string{typeString: "text", typeText: "text", typeInt: "bigint", typeBool: "boolean", typeJSON: "jsonb", typeMoment: "timestamptz", typeDate: "date", typeTime: "time", typeFloat: "double precision"}
	zeroOfString = map[reflect.Type]string{typeString: "''", typeInt: "0", typeBool: "false", typeJSON: "''"}
)

// columnsOf reads the tags of O.
func columnsOf[O any]() ([]column, error) {
	t := reflect.TypeFor[O]()
	columns := make([]column, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		c := column{name: f.Tag.Get("old"), or: f.Tag.Get("or"), must: f.Tag.Get("must") == "true", kind: f.Type}
		if castOfTypes[f.Type] == "" || c.name == "" || !f.IsExported() {
			return nil, fmt.Errorf("oldstack: %s.%s cannot be read", t, f.Name)
		}
		if text := f.Tag.Get("max"); text != "" {
			var err error
			if c.max, err = strconv.Atoi(text); err != nil {
				return nil, fmt.Errorf("oldstack: %s.%s: max: %w", t, f.Name, err)
			}
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// expression is what is selected for the column of a table that has it or not.
func (c column) expression(t *oldTable) string {
	cast := castOfTypes[c.kind]
	value := "NULL"
	if t.columns[c.name] {
		value = pgx.Identifier{c.name}.Sanitize()
	}
	value += "::" + cast
	if c.or != "" {
		value = "COALESCE(" + value + ", (" + c.or + ")::" + cast + ")"
	}
	if c.kind == typeJSON {
		value = "(" + value + ")::text"
	}
	if zero := zeroOfString[c.kind]; zero != "" {
		value = "COALESCE(" + value + ", " + zero + ")"
	}
	return value
}

// selection is the query of a batch of O's from a table, and the columns that
// the table lacks. It fails with ErrSchema when it must not lack one.
func selection(columns []column, t *oldTable) (sql string, missing []string, err error) {
	var expressions, needed []string
	for _, c := range columns {
		if !t.columns[c.name] {
			if c.or == "" {
				needed = append(needed, c.name)
			}
			missing = append(missing, t.name+"."+c.name)
		}
		expressions = append(expressions, c.expression(t))
	}
	if len(needed) > 0 {
		return "", nil, fmt.Errorf("%w: %s has no column %s", ErrSchema, t.name, strings.Join(needed, ", "))
	}
	if !t.readable {
		return "", nil, fmt.Errorf("%w: this user may not read %s", ErrSchema, t.name)
	}
	return "SELECT " + strings.Join(expressions, ", ") + " FROM " + pgx.Identifier{t.name}.Sanitize() +
		" WHERE id > $1 ORDER BY id LIMIT $2", missing, nil
}

// readBatch reads the rows after an id, which is the first column. A batch
// ends early when its texts are long.
func readBatch[O any](ctx context.Context, s *Source, sql string, after int64, most int) ([]O, error) {
	rows, err := s.conn.Query(ctx, sql, after, most)
	if err != nil {
		return nil, fmt.Errorf("read a batch: %w", err)
	}
	defer rows.Close()
	var batch []O
	var bytes int
	for bytes < maxBatchBytes && rows.Next() {
		for _, raw := range rows.RawValues() {
			bytes += len(raw)
		}
		var o O
		v := reflect.ValueOf(&o).Elem()
		into := make([]any, v.NumField())
		for i := range into {
			into[i] = v.Field(i).Addr().Interface()
		}
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("read a batch: %w", err)
		}
		batch = append(batch, o)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read a batch: %w", err)
	}
	return batch, nil
}

// fault says why an old row cannot be kept whatever becomes of it, or nothing.
// It names columns and never what is in them.
func fault(columns []column, o any) string {
	v := reflect.ValueOf(o).Elem()
	for i, c := range columns {
		if why := faultOf(c, v.Field(i).Interface()); why != "" {
			return c.name + " " + why
		}
	}
	return ""
}

func faultOf(c column, value any) string {
	switch x := value.(type) {
	case string:
		return textFault(c, x)
	case *string:
		if x != nil {
			return textFault(c, *x)
		}
	case JSON:
		if x != "" && !json.Valid([]byte(x)) { // nested too deep: Postgres keeps more than we can read
			return "is not JSON that can be read"
		}
		return textFault(c, string(x))
	case pgtype.Timestamptz:
		switch {
		case !x.Valid && c.must:
			return "is missing"
		case x.Valid && (x.InfinityModifier != pgtype.Finite || x.Time.Year() < 1 || x.Time.Year() > 9999):
			return "is not a moment of the years 1 to 9999"
		}
	case pgtype.Date:
		switch {
		case !x.Valid && c.must:
			return "is missing"
		case x.Valid && (x.InfinityModifier != pgtype.Finite || x.Time.Year() < 1 || x.Time.Year() > 9999):
			return "is not a day of the years 1 to 9999"
		}
	case pgtype.Float8:
		if x.Valid && (math.IsNaN(x.Float64) || math.IsInf(x.Float64, 0)) {
			return "is not a number"
		}
	}
	return ""
}

func textFault(c column, text string) string {
	switch {
	case !utf8.ValidString(text):
		return "is not text in UTF-8"
	case c.max > 0 && utf8.RuneCountInString(text) > c.max:
		return fmt.Sprintf("is longer than %d characters", c.max)
	}
	return ""
}
