package payments_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

// withPlans adds a free plan (1), one that is paid at Stripe (2), another (3),
// and one that is gone (4).
func (r *rig) withPlans(t testing.TB) {
	r.exec(t, `INSERT INTO payment_plans (id, name, price_cents, external_price_id, is_active) VALUES
		(1, 'Free', 0, NULL, true), (2, 'Pro', 900, 'price_pro', true), (3, 'Max', 1900, 'price_max', true), (4, 'Gone', 100, NULL, false)`)
}

type subscribed struct {
	Subscription struct {
		ID     json.Number
		Plan   struct{ ID int }
		Status string
		Start  *string `json:"current_period_start"`
		End    *string `json:"current_period_end"`
	}
	CheckoutURL *string `json:"checkout_url"`
	SessionID   *string `json:"session_id"`
}

func (r *rig) subscribe(t testing.TB, user int64, body string) subscribed {
	t.Helper()
	res := r.as(user).Do(t, "POST", "/api/v1/payments/subscriptions/", body)
	require.Equal(t, 201, res.Status, res.Body)
	var s subscribed
	res.JSON(t, &s)
	return s
}

// status is the state and the plan of a subscription.
func (r *rig) status(t testing.TB, id json.Number) string {
	t.Helper()
	return one[string](t, r, `SELECT concat_ws(' ', status, plan_id, external_subscription_id) FROM payment_subscriptions WHERE id = $1`, id.String())
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withPlans(t)
	free := r.subscribe(t, ann, `{"plan_id":"1"}`)
	require.Nil(t, free.CheckoutURL)
	require.Nil(t, free.SessionID)
	require.Equal(t, "incomplete", free.Subscription.Status)

	s := r.subscribe(t, ann, `{"plan_id":2,"success_url":"https://app.example/ok"}`)
	require.Equal(t, free.Subscription.ID, s.Subscription.ID, "a person has one subscription, which moves")
	require.Equal(t, 2, s.Subscription.Plan.ID)
	require.NotNil(t, s.CheckoutURL)
	require.NotNil(t, s.SessionID)
	asked := r.stripe.Requests()
	require.Len(t, asked, 2, "one customer, one session")
	require.Equal(t, "/v1/customers", asked[0].Path)
	require.Equal(t, fmt.Sprintf("u%d@example.com", ann), asked[0].Form.Get("email"))
	require.Equal(t, fmt.Sprint(ann), asked[0].Form.Get("metadata[user_id]"))
	require.NotEmpty(t, asked[0].IdempotencyKey)
	for field, want := range map[string]string{
		"mode": "subscription", "customer": "cus_1", "line_items[0][price]": "price_pro", "line_items[0][quantity]": "1",
		"success_url": "https://app.example/ok", "cancel_url": "http://localhost:3000/payments/cancel",
		"metadata[user_id]": fmt.Sprint(ann), "metadata[plan_id]": "2", "metadata[subscription_id]": s.Subscription.ID.String(),
	} {
		require.Equal(t, want, asked[1].Form.Get(field), field)
	}
	path := "/api/v1/payments/subscriptions/" + s.Subscription.ID.String() + "/"
	missing := `{"detail":"No Subscription matches the given query."}`
	const list = "/api/v1/payments/subscriptions/"
	r.Scenarios(t, []apitest.Scenario{
		{Name: "own", As: r.as(ann), Get: path, Status: 200},
		{Name: "change changes nothing", As: r.as(ann), Patch: path, Body: `{"status":"active"}`, Status: 200},
		{Name: "replace changes nothing", As: r.as(ann), Put: path, Body: `{"plan":3}`, Status: 200},
		{Name: "own list", As: r.as(ann), Get: list + "?ordering=-updated_at", Status: 200, Prefix: `{"next":null,"previous":null,"results":[{"id":` + s.Subscription.ID.String() + `,"plan":{"id":2,`},
		{Name: "another's list", As: r.as(bob), Get: list, Status: 200, JSON: `{"next":null,"previous":null,"results":[]}`},
		{Name: "another's", As: r.as(bob), Get: path, Status: 404, JSON: missing},
		{Name: "another's change", As: r.as(bob), Patch: path, Body: "{}", Status: 404, JSON: missing},
		{Name: "another's replace", As: r.as(bob), Put: path, Body: "{}", Status: 404, JSON: missing},
		{Name: "another's end", As: r.as(bob), Delete: path, Status: 404, JSON: missing},
		{Name: "no number", As: r.as(ann), Get: list + "x/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "anonymous list", Get: list, Status: 401, JSON: anonymous},
		{Name: "anonymous", Get: path, Status: 401, JSON: anonymous},
		{Name: "anonymous change", Patch: path, Body: "{}", Status: 401, JSON: anonymous},
		{Name: "anonymous replace", Put: path, Body: "{}", Status: 401, JSON: anonymous},
		{Name: "anonymous end", Delete: path, Status: 401, JSON: anonymous},
		{Name: "anonymous subscription", Post: list, Body: `{"plan_id":1}`, Status: 401, JSON: anonymous},
		{Name: "anonymous wallet", Get: list + "wallet/", Status: 401, JSON: anonymous},
		{Name: "plan that is gone", As: r.as(ann), Post: list, Body: `{"plan_id":4}`, Status: 400, JSON: `{"plan_id":["Plan not available"]}`},
		{Name: "no plan", As: r.as(ann), Post: list, Body: `{"plan_id":77}`, Status: 400, JSON: `{"plan_id":["Plan not available"]}`},
		{Name: "no address", As: r.as(ann), Post: list, Body: `{"plan_id":2,"cancel_url":"x"}`, Status: 400, JSON: `{"cancel_url":["Enter a valid URL."]}`},
		{Name: "end", As: r.as(ann), Delete: path, Status: 204},
		{Name: "ended", As: r.as(ann), Get: path, Status: 404, JSON: missing},
	})
	require.Empty(t, r.stripe.Cancelled(), "Stripe never heard of it")

	var first, second struct {
		ID      json.Number
		Balance *int `json:"balance_cents"`
	}
	for _, w := range []any{&first, &second} {
		res := r.as(bob).Do(t, "GET", list+"wallet/", "")
		require.Equal(t, 200, res.Status)
		res.JSON(t, w)
	}
	require.Equal(t, first, second)
	require.Zero(t, *first.Balance)
	require.Zero(t, one[int](t, r, `SELECT count(*) FROM payment_wallets WHERE user_id = $1 AND external_customer_id IS NOT NULL`, bob))
}

// TestSubscriptionWithoutStripe has Stripe fail, and be missing.
func TestSubscriptionWithoutStripe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withPlans(t)
	r.stripe.Fail(1, 400, `{"error":{"type":"invalid_request_error"}}`)
	res := r.as(ann).Do(t, "POST", "/api/v1/payments/subscriptions/", `{"plan_id":2}`)
	require.Equal(t, 502, res.Status)
	require.JSONEq(t, `{"detail":"Stripe is unavailable."}`, res.Body)
	require.Zero(t, one[int](t, r, `SELECT count(*) FROM payment_subscriptions`))

	bare := newRig(t, func(d *payments.Deps) { d.Stripe.APIKey = "" })
	bare.withPlans(t)
	res = bare.as(ann).Do(t, "POST", "/api/v1/payments/subscriptions/", `{"plan_id":2}`)
	require.Equal(t, 503, res.Status)
	require.JSONEq(t, `{"detail":"Stripe is not configured."}`, res.Body)
}

// TestSubscriptionNews tells what becomes of a subscription, in and out of
// order.
func TestSubscriptionNews(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withPlans(t)
	s := r.subscribe(t, ann, `{"plan_id":2}`)
	id := s.Subscription.ID
	begun := r.clock.Now()
	object := func(external, state string) string {
		return fmt.Sprintf(`{"id":%q,"object":"subscription","status":%q,"customer":"cus_1","metadata":{},"items":{"object":"list","data":[{"id":"si_1","current_period_start":1764057600,"current_period_end":1766649600}]}}`, external, state)
	}
	tell := func(event, kind, external, state string, after time.Duration) {
		t.Helper()
		r.received(t, paymentstest.Event(event, "customer.subscription."+kind, begun.Add(after), object(external, state)))
	}
	completedAt := func(event, external string, plan int, after time.Duration) string {
		return paymentstest.Event(event, completed, begun.Add(after), fmt.Sprintf(
			`{"mode":"subscription","subscription":%q,"customer":"cus_1","metadata":{"subscription_id":"%s","plan_id":"%d","user_id":"%d"}}`, external, id, plan, ann))
	}
	tell("evt_1", "created", "sub_1", "incomplete", 0)
	require.Equal(t, "incomplete 2", r.status(t, id), "nobody knows it yet")

	require.Equal(t, 502, r.deliver(t, completedAt("evt_2", "sub_1", 2, time.Second)).Status, "Stripe does not answer, and comes again")
	r.stripe.SetSubscription("sub_1", object("sub_1", "active"))
	r.received(t, completedAt("evt_2", "sub_1", 2, time.Second))
	require.Equal(t, "active 2 sub_1", r.status(t, id))
	res := r.as(ann).Do(t, "GET", "/api/v1/payments/subscriptions/"+id.String()+"/", "")
	require.Contains(t, res.Body, `"current_period_start":"2025-11-25T08:00:00Z","current_period_end":"2025-12-25T08:00:00Z"`)

	for _, c := range []struct {
		kind, state, want string
		after             time.Duration
	}{
		{"updated", "past_due", "past_due", 10 * time.Second},
		{"updated", "active", "past_due", 5 * time.Second}, // older news
		{"created", "incomplete", "past_due", 20 * time.Second},
		{"updated", "trialing", "active", 20 * time.Second},
		{"updated", "unpaid", "past_due", 21 * time.Second},
		{"updated", "paused", "incomplete", 22 * time.Second},
		{"updated", "active", "active", 23 * time.Second},
	} {
		tell("evt_"+c.kind+c.state+c.after.String(), c.kind, "sub_1", c.state, c.after)
		require.Equal(t, c.want+" 2 sub_1", r.status(t, id), "%s %s", c.kind, c.state)
	}

	// Another plan: the active one stays until the new one is paid, and then it
	// is cancelled at Stripe.
	again := r.subscribe(t, ann, `{"plan_id":3}`)
	require.Equal(t, id, again.Subscription.ID)
	require.Equal(t, "active 2 sub_1", r.status(t, id))
	r.stripe.SetSubscription("sub_2", object("sub_2", "active"))
	change := completedAt("evt_3", "sub_2", 3, time.Minute)
	r.received(t, change)
	require.Equal(t, "active 3 sub_2", r.status(t, id))
	require.Equal(t, []string{"sub_1"}, r.stripe.Cancelled())
	tell("evt_4", "deleted", "sub_1", "canceled", 2*time.Minute)
	r.received(t, change)
	r.received(t, completedAt("evt_2", "sub_1", 2, time.Second))
	require.Equal(t, "active 3 sub_2", r.status(t, id), "the end of the old one is not that of the new one")
	require.Equal(t, []string{"sub_1"}, r.stripe.Cancelled())

	tell("evt_5", "deleted", "sub_2", "canceled", 3*time.Minute)
	tell("evt_6", "updated", "sub_2", "active", 4*time.Minute)
	require.Equal(t, "canceled 3 sub_2", r.status(t, id), "the end is the end")
	tell("evt_7", "updated", "sub_of_nobody", "active", 0)
	require.Equal(t, "cus_1", one[string](t, r, `SELECT external_customer_id FROM payment_wallets WHERE user_id = $1`, ann))
}

// TestUnsubscribe ends a subscription at Stripe before it is forgotten here.
func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withPlans(t)
	path := "/api/v1/payments/subscriptions/" + r.subscribe(t, ann, `{"plan_id":2}`).Subscription.ID.String() + "/"
	r.exec(t, `UPDATE payment_subscriptions SET status = 'active', external_subscription_id = 'sub_1'`)
	r.stripe.SetSubscription("sub_1", `{"id":"sub_1","object":"subscription"}`)
	r.stripe.Fail(1, 500, `{"error":{"type":"api_error"}}`)
	require.Equal(t, 502, r.as(ann).Do(t, "DELETE", path, "").Status)
	require.Equal(t, 200, r.as(ann).Do(t, "GET", path, "").Status)
	require.Equal(t, 204, r.as(ann).Do(t, "DELETE", path, "").Status)
	require.Equal(t, []string{"sub_1"}, r.stripe.Cancelled())
	require.Equal(t, 404, r.as(ann).Do(t, "GET", path, "").Status)

	path = "/api/v1/payments/subscriptions/" + r.subscribe(t, ann, `{"plan_id":2}`).Subscription.ID.String() + "/"
	r.exec(t, `UPDATE payment_subscriptions SET status = 'active', external_subscription_id = 'sub_unknown'`)
	require.Equal(t, 204, r.as(ann).Do(t, "DELETE", path, "").Status, "Stripe does not know it: it has ended")
}
