package payments_test

import (
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
)

func TestPlans(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, `INSERT INTO payment_plans (id, name, price_cents, features, is_active, created_at) VALUES
		(1, 'Free', 0, '{}', true, '2026-01-01'), (2, 'Premium', 900, '{"mentor":"more"}', true, '2026-01-02'),
		(3, 'Gold', 400, '{}', true, '2026-01-02'), (4, 'Gone', 100, '{}', false, '2026-01-03')`)
	premium := `{"id":2,"name":"Premium","price_cents":900,"interval":"month","features":{"mentor":"more"},"is_active":true}`
	r.Scenarios(t, []apitest.Scenario{
		{Name: "one", Get: "/api/v1/payments/plans/2/", Status: 200, JSON: premium},
		{Name: "inactive", Get: "/api/v1/payments/plans/4/", Status: 404, JSON: `{"detail":"No Plan matches the given query."}`},
		{Name: "unknown", Get: "/api/v1/payments/plans/99/", Status: 404, JSON: `{"detail":"No Plan matches the given query."}`},
		{Name: "no number", Get: "/api/v1/payments/plans/x/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "write", As: r.as(ann), Post: "/api/v1/payments/plans/", Body: "{}", Status: 405},
		{Name: "delete", As: r.as(ann), Delete: "/api/v1/payments/plans/2/", Status: 405},
		{Name: "bad cursor", Get: "/api/v1/payments/plans/?cursor=x", Status: 404, JSON: `{"detail":"Invalid cursor"}`},
	})
	for ordering, want := range map[string]string{
		"": "3 2 1", "price_cents": "1 3 2", "-price_cents": "2 3 1", "name": "1 3 2", "-id": "3 2 1", "nonsense": "3 2 1", "features": "3 2 1",
	} {
		for _, size := range []string{"1", "2", "20"} {
			path := "/api/v1/payments/plans/?page_size=" + size + "&ordering=" + ordering
			var seen []string
			var back *string
			for path != "" {
				res := r.Do(t, "GET", path, "")
				require.Equal(t, 200, res.Status, res.Body)
				var p struct {
					Next, Previous *string
					Results        []struct{ ID json.Number }
				}
				res.JSON(t, &p)
				for _, x := range p.Results {
					seen = append(seen, x.ID.String())
				}
				path, back = "", p.Previous
				if p.Next != nil {
					u, err := url.Parse(*p.Next)
					require.NoError(t, err)
					path = u.RequestURI()
				}
			}
			require.Equal(t, want, strings.Join(seen, " "), "by %q in pages of %s", ordering, size)
			if size == "1" {
				require.NotNil(t, back)
			}
		}
	}
}

// TestRecording replays the one recorded exchange of payments; those of coins
// are the ledger's, which replays them.
func TestRecording(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	raw, err := os.ReadFile("testdata/coin.json")
	require.NoError(t, err)
	var all []struct {
		Name     string
		Request  struct{ Method, Path string }
		Response struct {
			Status  int
			Headers map[string]string
			Body    json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(raw, &all))
	played := 0
	for _, x := range all {
		if !strings.HasPrefix(x.Name, "payments/") {
			continue
		}
		played++
		res := r.as(ann).Do(t, x.Request.Method, x.Request.Path, "")
		require.Equal(t, x.Response.Status, res.Status)
		require.JSONEq(t, string(x.Response.Body), res.Body)
		require.Equal(t, x.Response.Headers["content-type"], res.Header.Get("Content-Type"))
		require.Equal(t, x.Response.Headers["vary"], res.Header.Get("Vary"))
		require.Equal(t, x.Response.Headers["allow"], res.Header.Get("Allow"))
	}
	require.Equal(t, 1, played)
}
