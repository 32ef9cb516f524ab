package telemetry_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/telemetry"
)

func TestRedactorJSON(t *testing.T) {
	t.Parallel()
	r := telemetry.NewRedactor("configured-secret")
	long := strings.Repeat("ä", 50)
	for name, c := range map[string]struct{ in, want string }{
		"ids and numbers stay": {`{"session_id":12345678901234567,"unique_key":"a","tokens":7}`, `{"session_id":12345678901234567,"unique_key":"a","tokens":7}`},
		"names of secrets":     {`{"password":"p","accessToken":"t","key":"k","Cookie":["c"],"a":{"authorization":"x"}}`, `{"password":"[redacted]","accessToken":"[redacted]","key":"[redacted]","Cookie":"[redacted]","a":{"authorization":"[redacted]"}}`},
		"what a person wrote":  {`{"message":"I feel low"}`, `{"message":"[redacted]"}`},
		"texts like secrets":   {`["Bearer abc","see configured-secret"]`, `["Bearer ***","see ***"]`},
		"long texts":           {`{"note":"` + long + `"}`, `{"note":"` + strings.Repeat("ä", 10) + `…"}`},
		"nothing":              {"", "null"},
		"no JSON":              {"{", `"[1 bytes]"`},
	} {
		require.JSONEq(t, c.want, string(r.JSON([]byte(c.in), 20)), name)
	}
	many := "[" + strings.Repeat("1,", 300) + "1]"
	require.Contains(t, string(r.JSON([]byte(many), 20)), `"[101 more]"]`)
	require.Equal(t, "token=***", r.Text("token=abc", 100))
}
