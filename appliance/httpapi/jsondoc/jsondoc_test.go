package jsondoc

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const depth = 32

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		``:                           "Expecting value: line 1 column 1 (char 0)",
		`{"text": `:                  "Expecting value: line 1 column 10 (char 9)",
		"{\n \"é\": x}":              "Expecting value: line 2 column 7 (char 8)",
		`{a:1}`:                      "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
		`{"a" 1}`:                    "Expecting ':' delimiter: line 1 column 6 (char 5)",
		`{"a":1 "b":2}`:              "Expecting ',' delimiter: line 1 column 8 (char 7)",
		`{"a":1,}`:                   "Illegal trailing comma before end of object: line 1 column 7 (char 6)",
		`[1,]`:                       "Illegal trailing comma before end of array: line 1 column 3 (char 2)",
		`[1 2]`:                      "Expecting ',' delimiter: line 1 column 4 (char 3)",
		`{} x`:                       "Extra data: line 1 column 4 (char 3)",
		`01`:                         "Extra data: line 1 column 2 (char 1)",
		`1.`:                         "Extra data: line 1 column 2 (char 1)",
		`-`:                          "Expecting value: line 1 column 1 (char 0)",
		`"a`:                         "Unterminated string starting at: line 1 column 1 (char 0)",
		"\"a\nb\"":                   "Invalid control character at: line 1 column 3 (char 2)",
		`"\x"`:                       `Invalid \escape: line 1 column 2 (char 1)`,
		`"\u12"`:                     `Invalid \uXXXX escape: line 1 column 3 (char 2)`,
		`NaN`:                        "Out of range float values are not JSON compliant: 'NaN'",
		`[-Infinity]`:                "Out of range float values are not JSON compliant: '-Infinity'",
		"{\"text\":\"\xff\xfe\"}":    "'utf-8' codec can't decode byte 0xff in position 9: invalid start byte",
		"\"\xc3(\"":                  "'utf-8' codec can't decode byte 0xc3 in position 1: invalid continuation byte",
		"\"\xe2\x82":                 "'utf-8' codec can't decode byte 0xe2 in position 1: unexpected end of data",
		"\ufeff{}":                   "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
		strings.Repeat("[", depth+1): "Nested too deeply: line 1 column 33 (char 32)",
	} {
		_, err := Parse([]byte(source), depth)
		require.EqualError(t, err, want, "source %q", source)
	}
}

func TestFieldsAndTexts(t *testing.T) {
	t.Parallel()
	doc, err := Parse([]byte(`{"a":1,"a":"zwei","\u0061b":"\ud83d\ude00 \ud83d \"\/\n","l":[true,null,{"x":[]}]}`), depth)
	require.NoError(t, err)
	root := doc.Root()
	require.Equal(t, 4, root.Len())

	a, ok := root.Field("a")
	require.True(t, ok)
	require.Equal(t, "zwei", a.Text(), "the last of two fields counts")

	ab, ok := root.Field("ab")
	require.True(t, ok, "an escaped name is found")
	require.Equal(t, "😀 \ufffd \"/\n", ab.Text())

	list, _ := root.Field("l")
	var kinds []Kind
	list.Items(func(_ int, v Value) bool { kinds = append(kinds, v.Kind()); return true })
	require.Equal(t, []Kind{Bool, Null, Object}, kinds)

	_, ok = root.Field("x")
	require.False(t, ok, "fields of nested objects are not those of the root")
}

func TestAppend(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{ "a" : [ 1.50 , "\u00e9\u0001" ] , "b":{} }`: `{"a":[1.50,"é\u0001"],"b":{}}`,
		`"\ud800"`: "\"\ufffd\"",
	} {
		doc, err := Parse([]byte(source), depth)
		require.NoError(t, err)
		got, problem := doc.Root().Append(nil)
		require.Equal(t, Storable, problem)
		require.Equal(t, want, string(got))
	}
	for source, want := range map[string]Problem{
		`{"a":["\u0000"]}`:              HasNull,
		`{"\u0000":1}`:                  HasNull,
		`[1e400]`:                       HasHugeNumber,
		`1e-400000`:                     HasHugeNumber,
		`1e99999999999999999999`:        HasHugeNumber,
		strings.Repeat("9", 1001):       HasHugeNumber,
		`{"deep":{"deep":[0,-1e+309]}}`: HasHugeNumber,
	} {
		doc, err := Parse([]byte(source), depth)
		require.NoError(t, err)
		_, problem := doc.Root().Append(nil)
		require.Equal(t, want, problem, source)
	}
}

// FuzzParse compares with the standard library: what is accepted here is JSON
// there, and its canonical form means the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"\u00e9\ud83d\ude00"],"b":null}`, `[]`, `"\\"`, `-0.0`, `{"a":{"a":{}}}`, "\xff", `[1,]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		doc, err := Parse(src, depth)
		if err != nil {
			if json.Valid(src) && !strings.Contains(err.Error(), "deeply") && !strings.Contains(err.Error(), "codec") {
				t.Fatalf("refused %q: %v", src, err)
			}
			return
		}
		if !json.Valid(src) {
			t.Fatalf("accepted %q", src)
		}
		out, problem := doc.Root().Append(nil)
		if problem != Storable {
			return
		}
		var want, got any
		if json.Unmarshal(src, &want) != nil {
			return
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("canonical form %q of %q: %v", out, src, err)
		}
		require.Equal(t, want, got)
	})
}
