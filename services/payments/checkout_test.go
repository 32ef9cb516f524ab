package payments_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/services/payments"
)

const anonymous = `{"detail":"Authentication credentials were not provided."}`

// TestCheckout buys, and shows what Stripe was asked for.
func TestCheckout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	res := r.as(ann).Do(t, "POST", "/api/v1/payments/stripe/checkout/", `{"amount_cents":"1500","currency":" usd "}`)
	require.Equal(t, 201, res.Status, res.Body)
	var c struct {
		ID          json.Number `json:"checkout_id"`
		Reference   string
		AmountCents int `json:"amount_cents"`
		Currency    string
		Status      string
		PaymentURL  string `json:"payment_url"`
	}
	res.JSON(t, &c)
	require.Regexp(t, `^[0-9a-f]{32}$`, c.Reference)
	require.Equal(t, 1500, c.AmountCents)
	require.Equal(t, "USD", c.Currency)
	require.Equal(t, "created", c.Status)
	require.Equal(t, "https://checkout.stripe.example/pay/cs_test_1", c.PaymentURL)
	require.Equal(t, "cs_test_1", one[string](t, r, `SELECT provider_reference FROM payment_checkouts WHERE id = $1`, c.ID.String()))

	asked := r.stripe.Requests()
	require.Len(t, asked, 1)
	require.Equal(t, "/v1/checkout/sessions", asked[0].Path)
	require.Equal(t, "selflink-checkout-"+c.Reference, asked[0].IdempotencyKey)
	for field, want := range map[string]string{
		"mode": "payment", "line_items[0][price_data][currency]": "usd", "line_items[0][price_data][unit_amount]": "1500",
		"line_items[0][price_data][product_data][name]": "SelfLink Coin (SLC)", "line_items[0][quantity]": "1",
		"client_reference_id": c.Reference, "metadata[reference]": c.Reference,
		"success_url": "http://localhost:3000/payments/success", "cancel_url": "http://localhost:3000/payments/cancel",
	} {
		require.Equal(t, want, asked[0].Form.Get(field), field)
	}
	require.NotEqual(t, c.Reference, r.buy(t, ann, 1500), "every request is a checkout of its own")
}

// TestCheckoutRefuses sends what cannot be bought; no row is left.
func TestCheckoutRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path = "/api/v1/payments/stripe/checkout/"
	scene := func(name, body, answer string) apitest.Scenario {
		return apitest.Scenario{Name: name, As: r.as(ann), Post: path, Body: body, Status: 400, JSON: answer}
	}
	r.Scenarios(t, []apitest.Scenario{
		{Name: "anonymous", Post: path, Body: `{"amount_cents":1500,"currency":"USD"}`, Status: 401, JSON: anonymous},
		{Name: "get", As: r.as(ann), Get: path, Status: 405, JSON: `{"detail":"Method \"GET\" not allowed."}`},
		{Name: "text", As: r.as(ann), Post: path, Body: "x", Header: []string{"Content-Type", "text/plain"}, Status: 415},
		{Name: "no JSON", As: r.as(ann), Post: path, Body: "{", Status: 400, Prefix: `{"detail":"JSON parse error - `},
		scene("list", "[]", `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`),
		scene("nothing", "{}", `{"amount_cents":["This field is required."],"currency":["This field is required."]}`),
		scene("null", `{"amount_cents":null,"currency":null}`, `{"amount_cents":["This field may not be null."],"currency":["This field may not be null."]}`),
		scene("zero", `{"amount_cents":0,"currency":"USD"}`, `{"amount_cents":["Ensure this value is greater than or equal to 1."]}`),
		scene("negative", `{"amount_cents":-1500,"currency":"USD"}`, `{"amount_cents":["Ensure this value is greater than or equal to 1."]}`),
		scene("fraction", `{"amount_cents":1500.5,"currency":"USD"}`, `{"amount_cents":["A valid integer is required."]}`),
		scene("true", `{"amount_cents":true,"currency":"USD"}`, `{"amount_cents":["A valid integer is required."]}`),
		scene("too little", `{"amount_cents":49,"currency":"USD"}`, `{"amount_cents":["Amount must be at least 50 cents."]}`),
		scene("too much", `{"amount_cents":2147483648,"currency":"USD"}`, `{"amount_cents":["Ensure this value is less than or equal to 2147483647."]}`),
		scene("far too much", `{"amount_cents":99999999999999999999999,"currency":"USD"}`, `{"amount_cents":["Ensure this value is less than or equal to 2147483647."]}`),
		scene("another currency", `{"amount_cents":1500,"currency":"JPY"}`, `{"currency":["Currency not supported for Stripe."]}`),
		scene("long currency", `{"amount_cents":1500,"currency":"USDUSDUSD"}`, `{"currency":["Ensure this field has no more than 8 characters."]}`),
		scene("blank currency", `{"amount_cents":1500,"currency":" "}`, `{"currency":["This field may not be blank."]}`),
		scene("both", `{"amount_cents":1,"currency":"XXX"}`, `{"amount_cents":["Amount must be at least 50 cents."],"currency":["Currency not supported for Stripe."]}`),
	})
	require.Empty(t, r.stripe.Requests())
	require.Zero(t, one[int](t, r, `SELECT count(*) FROM payment_checkouts`))

	any := newRig(t, func(d *payments.Deps) { d.Stripe.Currencies = nil })
	for currency, status := range map[string]int{"jpy": 201, "X1X": 400, "DOLLARS": 400} {
		require.Equal(t, status, any.as(ann).Do(t, "POST", path, `{"amount_cents":1500,"currency":"`+currency+`"}`).Status, currency)
	}
}

// TestCheckoutWithoutStripe has Stripe fail in its ways.
func TestCheckoutWithoutStripe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path, body = "/api/v1/payments/stripe/checkout/", `{"amount_cents":1500,"currency":"USD"}`
	const down = `{"detail":"Stripe is unavailable."}`
	last := func() string {
		return one[string](t, r, `SELECT status FROM payment_checkouts ORDER BY id DESC LIMIT 1`)
	}
	for _, c := range []struct {
		name   string
		times  int
		status int
		answer string
		want   int
		json   string
		row    string
	}{
		{"comes back", 2, 429, `{"error":{"type":"invalid_request_error","code":"lock_timeout"}}`, 201, "", "created"},
		{"is down", 1, 503, `{"error":{"type":"api_error"}}`, 502, down, "failed"},
		{"refuses the key", 1, 401, `{"error":{"type":"invalid_request_error","message":"Invalid API Key"}}`, 502, down, "failed"},
		{"answers garbage", 1, 200, `<html>`, 502, down, "failed"},
		{"answers without an address", 1, 200, `{"id":"cs_1"}`, 502, down, "failed"},
		{"finds it too little", 1, 400, `{"error":{"type":"invalid_request_error","code":"amount_too_small"}}`, 400, `{"amount_cents":["Amount is not accepted by Stripe."]}`, "failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.stripe.Fail(c.times, c.status, c.answer)
			before := len(r.stripe.Requests())
			res := r.as(ann).Do(t, "POST", path, body)
			require.Equal(t, c.want, res.Status, res.Body)
			if c.json != "" {
				require.JSONEq(t, c.json, res.Body)
			}
			require.Equal(t, c.row, last())
			keys := map[string]bool{}
			for _, asked := range r.stripe.Requests()[before:] {
				keys[asked.IdempotencyKey] = true
			}
			require.Len(t, keys, 1, "all tries of one request have one key")
		})
	}
	bare := newRig(t, func(d *payments.Deps) { d.Stripe.APIKey = "" })
	res := bare.as(ann).Do(t, "POST", path, body)
	require.Equal(t, http.StatusServiceUnavailable, res.Status)
	require.JSONEq(t, `{"detail":"Stripe is not configured."}`, res.Body)
	require.Zero(t, one[int](t, bare, `SELECT count(*) FROM payment_checkouts`))
}

// TestSwitches turns everything off, and Stripe alone.
func TestSwitches(t *testing.T) {
	t.Parallel()
	const page = `{"next":null,"previous":null,"results":[]}`
	seed := func(r *rig) {
		r.exec(t, `INSERT INTO payment_plans (id, name, price_cents) VALUES (5, 'Free', 0)`)
	}
	off := newRig(t, func(d *payments.Deps) { d.Enabled = false })
	seed(off)
	off.Scenarios(t, []apitest.Scenario{
		{Name: "plans", Get: "/api/v1/payments/plans/", Status: 200, JSON: page},
		{Name: "plan", Get: "/api/v1/payments/plans/5/", Status: 200},
		{Name: "subscriptions", As: off.as(ann), Get: "/api/v1/payments/subscriptions/", Status: 200, JSON: page},
		{Name: "wallet", As: off.as(ann), Get: "/api/v1/payments/subscriptions/wallet/", Status: 200},
		{Name: "subscribe, whatever is sent", As: off.as(ann), Post: "/api/v1/payments/subscriptions/", Body: "{", Status: 403, JSON: `{"detail":"Payments disabled"}`},
		{Name: "subscribe, anonymous", Post: "/api/v1/payments/subscriptions/", Body: "{}", Status: 401, JSON: anonymous},
		{Name: "checkout", As: off.as(ann), Post: "/api/v1/payments/stripe/checkout/", Body: "{}", Status: 403, JSON: `{"detail":"Stripe disabled"}`},
		{Name: "checkout, anonymous", Post: "/api/v1/payments/stripe/checkout/", Body: "{}", Status: 401, JSON: anonymous},
	})
	require.Equal(t, apitest.Response{Status: 403, Body: ""}, bare(off.deliver(t, "{}")))

	noStripe := newRig(t, func(d *payments.Deps) { d.Stripe.Enabled = false })
	seed(noStripe)
	noStripe.Scenarios(t, []apitest.Scenario{
		{Name: "plans", Get: "/api/v1/payments/plans/", Status: 200, Prefix: `{"next":null,"previous":null,"results":[{"id":5,`},
		{Name: "checkout", As: noStripe.as(ann), Post: "/api/v1/payments/stripe/checkout/", Body: "{}", Status: 403, JSON: `{"detail":"Stripe disabled"}`},
		{Name: "subscribe", As: noStripe.as(ann), Post: "/api/v1/payments/subscriptions/", Body: "{}", Status: 400, JSON: `{"plan_id":["This field is required."]}`},
	})
	require.Equal(t, apitest.Response{Status: 403, Body: ""}, bare(noStripe.deliver(t, "{}")))
}

// bare is an answer without its headers.
func bare(r apitest.Response) apitest.Response {
	r.Header = nil
	return r
}
