package audit_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/audit"
)

// TestCanonical compares with what Python's json.dumps(sort_keys=True,
// separators=(",", ":"), ensure_ascii=True) and hashlib gave for the same.
func TestCanonical(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 0, 54, 12, 55_108_000, time.UTC)
	actor := int64(7)
	for _, c := range []struct {
		name     string
		metadata map[string]any
		text     string
		hash     string
	}{
		{"empty", map[string]any{}, `{}`, "a45addb7fc39bd4b93ab70c6a9158c480483482e50f6566fed9d7cedb7b5f0c4"},
		{
			"beyond ASCII", map[string]any{"ключ": "გიორგი ünï", "emoji": "😀", "é": 1, "z": "\u2028\uffff", "𐀀": 0, "\uff5e": 0},
			`{"emoji":"\ud83d\ude00","z":"\u2028\uffff","\u00e9":1,"\u043a\u043b\u044e\u0447":"\u10d2\u10d8\u10dd\u10e0\u10d2\u10d8 \u00fcn\u00ef","\uff5e":0,"\ud800\udc00":0}`,
			"f450b3904d5937e36560d8551ae1e3f75a17f50f369d618d6a2cd9c4673c8806",
		},
		{
			"nested", map[string]any{"b": []any{1, []any{}, map[string]any{}, map[string]any{"y": nil, "x": []bool{true, false}}}, "a": map[string]any{"c": map[string]string{"b": "a"}}},
			`{"a":{"c":{"b":"a"}},"b":[1,[],{},{"x":[true,false],"y":null}]}`,
			"53fe781d7ddd20a85f87580bc641806c4ebedf444692203d06a89b4120b9bf3c",
		},
		{
			"floats", map[string]any{"f": []any{0.0, math.Copysign(0, -1), 1.0, 1.5, 0.1, 1e-4, 1e-5, 1.25e-7, 123456789012345.6, 1e15, 1e16, 1.5e16, 1e22, 1e100, 5e-324, math.MaxFloat64, json.Number("1E5")}},
			`{"f":[0.0,-0.0,1.0,1.5,0.1,0.0001,1e-05,1.25e-07,123456789012345.6,1000000000000000.0,1e+16,1.5e+16,1e+22,1e+100,5e-324,1.7976931348623157e+308,100000.0]}`,
			"3a3ba237253e94193445e764aa756f7bf057f1e77bce597444f122ff63e83997",
		},
		{
			"whole numbers", map[string]any{"n": []any{json.Number("-0"), -1, uint32(1)<<31 - 1<<31, int64(382706366684336128), int64(math.MinInt64), uint64(math.MaxUint64), json.Number("123456789012345678901234567890")}},
			`{"n":[0,-1,0,382706366684336128,-9223372036854775808,18446744073709551615,123456789012345678901234567890]}`, "",
		},
		{
			"control characters", map[string]any{"c": "\x00\x01\b\t\n\x0b\f\r\x1f \"\\/<>&'\x7f\u0080"},
			`{"c":"\u0000\u0001\b\t\n\u000b\f\r\u001f \"\\/<>&'\u007f\u0080"}`,
			"8d1638925b52a27d72e3610d102fe152d65dac3340f366388e6c18676efdcfab",
		},
	} {
		got, err := audit.Canonical(c.metadata)
		require.NoError(t, err, c.name)
		require.Equal(t, c.text, string(got), c.name)
		if c.hash != "" {
			require.Equal(t, c.hash, audit.Hash("a.b", &actor, at, got, "9", "user", strings.Repeat("ab", 32)), c.name)
		}
	}
	require.Equal(t, "31e54cdc1f388285d14fb1d2cfee29b149f7d5ff842658ce67e102c86a91aba5",
		audit.Hash(`გ "q"`, nil, at.Truncate(time.Second).In(time.FixedZone("", 4*3600)), []byte("{}"), "", "", ""), "a whole second, nobody, the first row")
}

func TestWhatIsNeverStored(t *testing.T) {
	t.Parallel()
	got, err := audit.Canonical(map[string]any{
		"password": "p", "New-Password": "p", "apiKey": map[string]any{"x": "p"}, "refresh_token": "p", "Authorization": []string{"p"}, "secret": "",
		"tokens_in": 12, "has_password": true, "csrf": nil, "by": "command", "deep": []any{map[string]any{"Cookie": "p", "name": "n"}},
	})
	require.NoError(t, err)
	require.Equal(t, `{"Authorization":"[redacted]","New-Password":"[redacted]","apiKey":"[redacted]","by":"command","csrf":null,"deep":[{"Cookie":"[redacted]","name":"n"}],`+
		`"has_password":true,"password":"[redacted]","refresh_token":"[redacted]","secret":"","tokens_in":12}`, string(got))

	got, err = audit.Canonical(map[string]any{"long": strings.Repeat("é", 5000), "broken": "a\xffb"})
	require.NoError(t, err)
	require.Equal(t, `{"broken":"a\ufffdb","long":"`+strings.Repeat(`\u00e9`, 1999)+`\u2026"}`, string(got))

	deep := any("x")
	for range 20 {
		deep = []any{deep}
	}
	for name, m := range map[string]map[string]any{
		"NaN": {"a": math.NaN()}, "infinity": {"a": math.Inf(1)}, "too large a float": {"a": json.Number("1e999")}, "no number": {"a": json.Number("0x1")},
		"no JSON": {"a": func() {}}, "deep": {"a": deep}, "large": {"a": make([]int, 10_000)},
	} {
		_, err := audit.Canonical(m)
		require.Error(t, err, name)
	}
}

// FuzzCanonical writes any JSON object and expects to read the same, and to
// write the same again.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5e3,"\ud83d\ude00",null,{"password":"x"}],"é":-0.0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if d.Decode(&m) != nil {
			return
		}
		once, err := audit.Canonical(m)
		if err != nil {
			return
		}
		for _, c := range once {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("%q is not plain", once)
			}
		}
		d = json.NewDecoder(bytes.NewReader(once))
		d.UseNumber()
		var again map[string]any
		if err := d.Decode(&again); err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if again == nil {
			again = map[string]any{}
		}
		twice, err := audit.Canonical(again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s (%v)", once, twice, err)
		}
	})
}
