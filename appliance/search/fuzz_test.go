package search

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzAnswers feeds the decoders of answers what a server, or something else at
// its address, might send.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"took":1,"timed_out":false,"_shards":{"failed":0},"hits":{"hits":[{"_id":"7"},{"_id":"8"}]}}`,
		`{"took":1,"timed_out":true,"_shards":{"failed":1},"hits":{"hits":[]}}`,
		`{"items":[{"index":{"_index":"users_v1_1","_id":"7","status":200}},{"delete":{"status":404,"error":{"type":"index_not_found_exception","reason":"x"}}}]}`,
		`{"users_v1_20200101000000000":{"aliases":{"users_v1":{}}}}`,
		`{"error":{"type":"t","reason":"r"},"status":400}`, `{"error":"text"}`, `null`, `[]`, `{"hits":null}`, "\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if ids, err := decodeHits(body, 2); err == nil {
			if len(ids) > 2 {
				t.Fatalf("%d ids", len(ids))
			}
			for _, id := range ids {
				if id <= 0 {
					t.Fatalf("id %d", id)
				}
			}
		}
		if items, err := decodeBulk(body, 2); err == nil && len(items) != 2 {
			t.Fatalf("%d items", len(items))
		} else if err == nil {
			for _, i := range items {
				_, _ = i.missing(), i.failed()
			}
		}
		if known, err := decodeAliases(body); err == nil {
			for index, aliases := range known {
				_, _ = index, aliases
			}
		}
		if text := reasonOf(body).String(); len(text) > reasonMost+2 || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\x00") {
			t.Fatalf("reason %q", text)
		}
	})
}

// FuzzNear compares the count of mistakes with what it must be whatever the
// words.
func FuzzNear(f *testing.F) {
	f.Add("giorgi", "georgi")
	f.Add("ab", "ba")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := []rune(a), []rune(b)
		if len(x) > 40 || len(y) > 40 {
			return
		}
		most := len(x) + len(y)
		n := mistakes(x, y, most)
		if n != mistakes(y, x, most) || n > max(len(x), len(y)) || n < max(len(x)-len(y), len(y)-len(x)) || (n == 0) != (string(x) == string(y)) {
			t.Fatalf("%q and %q: %d", a, b, n)
		}
		near(strings.Fields(a), b)
	})
}
