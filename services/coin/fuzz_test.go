package coin_test

import (
	"encoding/base64"
	"testing"

	"selflink/services/coin"
)

// FuzzCursor decodes whatever clients send; what is accepted has one spelling
// that means the same.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{`{"id":1,"ts":"2026-01-05T09:00:00.013644+00:00"}`, `{"id":-1,"ts":"0001-01-01T00:00:00Z"}`, `{"ts":"9999-12-31 23:59:59+14:00","id":0}`, `[]`} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(s)))
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		once, ok := coin.CursorRoundTrip(cursor)
		if !ok {
			return
		}
		if twice, ok := coin.CursorRoundTrip(once); !ok || twice != once {
			t.Fatalf("%q became %q, then %q", cursor, once, twice)
		}
	})
}
