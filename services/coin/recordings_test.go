package coin_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// differences are all recorded exchanges that are answered in another way, each
// with its reason.
func differences() map[string]struct {
	status int
	reason string
} {
	type difference = struct {
		status int
		reason string
	}
	later := difference{404, "there is no spending of coins yet"}
	return map[string]difference{
		"coin/transfer insufficient": later,
		"coin/transfer self":         later,
		"coin/transfer negative":     later,
		"coin/spend insufficient":    later,
		"coin/products":              later,
		"coin/purchase unknown":      later,
		"payments/plans":             {404, "another service's, which replays it itself"},
	}
}

// TestRecordings replays what was recorded of the old backend.
func TestRecordings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	raw, err := os.ReadFile("testdata/coin.json")
	require.NoError(t, err)
	var all []struct {
		Name    string
		Request struct {
			Method, Path string
			Body         json.RawMessage
		}
		Response struct {
			Status  int
			Headers map[string]string
			Body    json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(raw, &all))
	require.Len(t, all, 10)
	for _, x := range all {
		t.Run(x.Name, func(t *testing.T) {
			body := string(x.Request.Body)
			if bytes.Equal(x.Request.Body, []byte("null")) {
				body = ""
			}
			res := r.as(ann).Do(t, x.Request.Method, x.Request.Path, body)
			if d, ok := differences()[x.Name]; ok {
				require.Equal(t, d.status, res.Status, d.reason)
				return
			}
			require.Equal(t, x.Response.Status, res.Status, res.Body)
			require.JSONEq(t, string(x.Response.Body), res.Body)
			require.Equal(t, x.Response.Headers["content-type"], res.Header.Get("Content-Type"))
			require.Equal(t, x.Response.Headers["vary"], res.Header.Get("Vary"))
			require.Equal(t, x.Response.Headers["allow"], res.Header.Get("Allow"))
		})
	}
}
