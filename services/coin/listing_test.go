package coin_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
)

type page struct {
	Results []struct {
		ID       int64
		Metadata map[string]any `json:"event_metadata"`
	}
	NextCursor *string `json:"next_cursor"`
}

// TestNew shows what somebody has who never paid, and what strangers see.
func TestNew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	none := `{"detail":"Authentication credentials were not provided."}`
	r.Scenarios(t, []apitest.Scenario{
		{Name: "balance", As: r.as(ann), Get: "/api/v1/coin/balance/", Status: 200, JSON: `{"account_key":"user:382706366684336128","balance_cents":0,"currency":"SLC"}`},
		{Name: "ledger", As: r.as(ann), Get: "/api/v1/coin/ledger/", Status: 200, JSON: `{"results":[],"next_cursor":null}`},
		{Name: "recipient", As: r.as(bob), Get: "/api/v1/users/me/recipient-id/", Status: 200, JSON: `{"account_key":"user:382706367850352640"}`},
		{Name: "entitlements", As: r.as(ann), Get: "/api/v1/me/entitlements/", Status: 200,
			JSON: `{"premium":{"active":false,"active_until":null},"premium_plus":{"active":false,"active_until":null}}`},
		{Name: "anonymous balance", Get: "/api/v1/coin/balance/", Status: 401, JSON: none},
		{Name: "anonymous ledger", Get: "/api/v1/coin/ledger/", Status: 401, JSON: none},
		{Name: "anonymous recipient", Get: "/api/v1/users/me/recipient-id/", Status: 401, JSON: none},
		{Name: "anonymous entitlements", Get: "/api/v1/me/entitlements/", Status: 401, JSON: none},
		{Name: "wrong method", As: r.as(ann), Post: "/api/v1/coin/balance/", Status: 405, JSON: `{"detail":"Method \"POST\" not allowed."}`},
	})
	r.exec(t, `INSERT INTO coin_entitlements (user_id, key, active_until) VALUES ($1, 'premium', '2020-01-01T00:00:00Z'), ($1, 'premium_plus', '2999-12-31T00:00:00Z')`, ann)
	res := r.as(ann).Do(t, "GET", "/api/v1/me/entitlements/", "")
	require.JSONEq(t, `{"premium":{"active":false,"active_until":"2020-01-01T00:00:00Z"},"premium_plus":{"active":true,"active_until":"2999-12-31T00:00:00Z"}}`, res.Body)
}

// TestPages walks through entries of one moment without losing or repeating
// any, and refuses what is no cursor.
func TestPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var ids []int64
	for i := range 5 {
		_, err := r.pay(t.Context(), fmt.Sprintf("evt_%d", i), ann, 100)
		require.NoError(t, err)
	}
	_, err := r.pay(t.Context(), "evt_bob", bob, 100)
	require.NoError(t, err)
	r.exec(t, `ALTER TABLE coin_entries DISABLE TRIGGER USER`)
	r.exec(t, `UPDATE coin_entries SET created_at = '2026-01-05T09:00:00Z'`)

	get := func(query string) page {
		res := r.as(ann).Do(t, "GET", "/api/v1/coin/ledger/?"+query, "")
		require.Equal(t, 200, res.Status, res.Body)
		var p page
		res.JSON(t, &p)
		return p
	}
	query := "limit=2"
	for {
		p := get(query)
		for _, e := range p.Results {
			ids = append(ids, e.ID)
		}
		if p.NextCursor == nil {
			break
		}
		require.Len(t, p.Results, 2)
		query = "limit=2&cursor=" + url.QueryEscape(*p.NextCursor)
	}
	require.Len(t, ids, 5)
	require.IsIncreasing(t, ids)

	whole := get("limit=5")
	require.NotNil(t, whole.NextCursor, "a full page may be followed by an empty one")
	require.Equal(t, "ref-evt_0", whole.Results[0].Metadata["reference"])
	require.Equal(t, "stripe", whole.Results[0].Metadata["provider"])
	last := get("cursor=" + *whole.NextCursor)
	require.Empty(t, last.Results)
	require.Nil(t, last.NextCursor)
	old := get(fmt.Sprintf("cursor=%d&limit=1", ids[1]))
	require.Equal(t, ids[2], old.Results[0].ID, "a cursor of long ago is the id of an entry")

	for limit, n := range map[string]int{"0": 1, "-5": 1, "1000": 5, "2": 2, "%202": 2, "99999999999999999999": 5} {
		require.Len(t, get("limit="+limit).Results, n, limit)
	}
	for _, limit := range []string{"", "x", "1.5", "1e2"} {
		res := r.as(ann).Do(t, "GET", "/api/v1/coin/ledger/?limit="+limit, "")
		require.Equal(t, 400, res.Status)
		require.JSONEq(t, `{"detail":"Invalid limit."}`, res.Body)
	}
	var bobs int64
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), `SELECT id FROM coin_entries WHERE account_key = $1`, account(bob)).Scan(&bobs))
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for _, cursor := range []string{
		"x", "1", "99999999999999999999", fmt.Sprint(bobs), enc("[]"), enc("{}"), enc(`{"id":1}`), enc(`{"id":"1","ts":"2026-01-05T09:00:00Z"}`),
		enc(`{"id":1.5,"ts":"2026-01-05T09:00:00Z"}`), enc(`{"id":1,"ts":5}`), enc(`{"id":1,"ts":"yesterday"}`), enc(`{"id":1,"ts":"2026-01-05T09:00:00Z"}x`),
		strings.Repeat("A", 2000), "%00",
	} {
		res := r.as(ann).Do(t, "GET", "/api/v1/coin/ledger/?cursor="+cursor, "")
		require.Equal(t, 400, res.Status, cursor)
		require.JSONEq(t, `{"detail":"Invalid cursor."}`, res.Body, cursor)
	}
	require.Len(t, get("cursor="+enc(`{"id":0,"ts":"2026-01-05T08:59:59"}`)).Results, 5, "a time without a zone is UTC")
}

// TestOpen looks at a balance twice and finds one account.
func TestOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 2 {
		require.Zero(t, r.balance(t, ann))
	}
	var n int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM coin_accounts WHERE user_id = $1`, ann).Scan(&n))
	require.Equal(t, 1, n)
}
