package payments_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

const completed = "checkout.session.completed"

func (r *rig) paid(id, reference string, cents int) string {
	return paymentstest.Event(id, completed, r.clock.Now(), paymentstest.Session(reference, cents, "usd", "paid", "pi_"+reference))
}

// TestPaid credits once, whatever is repeated.
func TestPaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ref := r.buy(t, ann, 1500)
	first := r.paid("evt_1", ref, 1500)
	for range 3 {
		r.received(t, first)
	}
	require.Equal(t, state{"paid", "minted", 1500}, r.state(t, ref))
	r.received(t, r.paid("evt_2", ref, 1500))
	require.Equal(t, state{"paid", "minted received", 1500}, r.state(t, ref), "another event of the same checkout credits nobody")
	r.received(t, first)
	require.Equal(t, state{"paid", "minted received", 1500}, r.state(t, ref))

	other := r.buy(t, bob, 1500)
	res := r.deliver(t, r.paid("evt_1", other, 1500))
	require.Equal(t, 400, res.Status)
	require.JSONEq(t, `{"detail":"Payment event mismatch."}`, res.Body)
	require.Equal(t, state{"created", "", 0}, r.state(t, other))

	// The payer is the checkout's, whatever the metadata say.
	object := strings.Replace(paymentstest.Session(other, 1500, "usd", "paid", "pi_x"), `"metadata":{`, fmt.Sprintf(`"metadata":{"user_id":"%d",`, ann), 1)
	r.received(t, paymentstest.Event("evt_3", completed, r.clock.Now(), object))
	require.Equal(t, state{"paid", "minted", 1500}, r.state(t, other))
}

// TestOrders plays the ways in which a delayed payment can be told.
func TestOrders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kinds := map[string]struct{ kind, status string }{
		"unpaid": {completed, "unpaid"}, "paid": {completed, "paid"}, "free": {completed, "no_payment_required"},
		"late": {"checkout.session.async_payment_succeeded", "paid"}, "lost": {"checkout.session.async_payment_failed", "unpaid"},
		"expired": {"checkout.session.expired", "unpaid"},
	}
	for i, c := range []struct {
		told string
		want state
	}{
		{"unpaid", state{"created", "received", 0}},
		{"unpaid late", state{"paid", "received minted", 700}},
		{"late unpaid", state{"paid", "minted received", 700}},
		{"late unpaid late", state{"paid", "minted received", 700}},
		{"unpaid lost", state{"failed", "received failed", 0}},
		{"lost unpaid", state{"failed", "failed received", 0}},
		{"lost late", state{"paid", "failed minted", 700}},
		{"late lost", state{"paid", "minted failed", 700}},
		{"expired", state{"failed", "failed", 0}},
		{"expired paid", state{"paid", "failed minted", 700}},
		{"paid expired", state{"paid", "minted failed", 700}},
		{"free", state{"created", "received", 0}},
		{"paid late", state{"paid", "minted received", 700}},
	} {
		t.Run(c.told, func(t *testing.T) {
			// Somebody new each time, whose balance says what this one brought.
			id := bob + int64(i) + 1
			r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, created_at, updated_at) VALUES ($1, $2, $2, $2, '', now(), now())`, id, fmt.Sprintf("n%d", i))
			ref := r.buy(t, id, 700)
			for _, word := range strings.Fields(c.told) {
				k := kinds[word]
				r.received(t, paymentstest.Event("evt_"+word+ref, k.kind, r.clock.Now(), paymentstest.Session(ref, 700, "usd", k.status, "pi_"+ref)))
			}
			require.Equal(t, c.want, r.state(t, ref))
		})
	}
}

// TestForged sends what is not Stripe's word, or makes no sense; nothing of it
// is stored.
func TestForged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ref := r.buy(t, ann, 1500)
	good := r.paid("evt_1", ref, 1500)
	now := r.clock.Now()
	for name, header := range map[string]string{
		"none": "", "garbage": "garbage", "somebody's": paymentstest.Sign(good, "whsec_guess", now),
		"old":               paymentstest.Sign(good, secret, now.Add(-payments.Tolerance-2*time.Second)),
		"of another body":   paymentstest.Sign(good+" ", secret, now),
		"of an empty body":  paymentstest.Sign("", secret, now),
		"an unknown scheme": strings.ReplaceAll(paymentstest.Sign(good, secret, now), "v1=", "v2="),
	} {
		res := r.Do(t, "POST", hook, good, "Stripe-Signature", header)
		require.Equal(t, apitest.Response{Status: 400}, bare(res), name)
	}
	recorded := paymentstest.Sign(good, secret, now)
	r.clock.Advance(payments.Tolerance + 2*time.Second)
	require.Equal(t, 400, r.Do(t, "POST", hook, good, "Stripe-Signature", recorded).Status, "replayed when it is too old")

	for name, body := range map[string]string{
		"no JSON": "{", "null": "null", "a list": "[]", "text": `"x"`, "no id": `{"type":"checkout.session.completed","data":{"object":{}}}`,
		"no type": `{"id":"evt_9","data":{}}`, "long id": `{"id":"` + strings.Repeat("e", 256) + `","type":"x"}`,
		"id with a zero": `{"id":"a\u0000b","type":"x"}`, "no object": `{"id":"evt_9","type":"checkout.session.completed"}`,
		"object of text":                `{"id":"evt_9","type":"checkout.session.completed","data":{"object":"x"}}`,
		"subscription without id":       paymentstest.Event("evt_9", "customer.subscription.updated", now, `{}`),
		"refund of another currency":    paymentstest.Event("evt_9", "charge.refunded", now, `{"currency":"123456789"}`),
		"refund of a number that isn't": paymentstest.Event("evt_9", "charge.refunded", now, `{"amount_refunded":"x"}`),
	} {
		require.Equal(t, apitest.Response{Status: 400}, bare(r.deliver(t, body)), name)
	}
	event := func(object string) string { return paymentstest.Event("evt_9", completed, now, object) }
	with := func(amount string) string {
		return event(fmt.Sprintf(`{"mode":"payment","client_reference_id":%q,"payment_status":"paid","currency":"usd","amount_total":%s}`, ref, amount))
	}
	for _, c := range []struct{ name, body, detail string }{
		{"no reference", event(`{"mode":"payment","amount_total":1500}`), "Missing payment reference."},
		{"unknown reference", event(paymentstest.Session("0123456789abcdef0123456789abcdef", 1500, "usd", "paid", "")), "Unknown payment reference."},
		{"long reference", event(paymentstest.Session(strings.Repeat("r", 65), 1500, "usd", "paid", "")), "Unknown payment reference."},
		{"no amount", with("null"), "Stripe amount is required for coin minting."},
		{"amount of text", with(`"many"`), "Stripe amount must be an integer."},
		{"fraction", with("1500.5"), "Stripe amount must be an integer."},
		{"beyond 64 bits", with("99999999999999999999"), "Stripe amount must be an integer."},
		{"zero", with("0"), "Stripe amount must be positive."},
		{"negative", with("-1500"), "Stripe amount must be positive."},
		{"less", with("1499"), "Payment amount mismatch."},
		{"huge", with("9223372036854775807"), "Payment amount mismatch."},
		{"currency", event(paymentstest.Session(ref, 1500, "eur", "paid", "")), "Payment amount mismatch."},
	} {
		res := r.deliver(t, c.body)
		require.Equal(t, 400, res.Status, c.name)
		require.JSONEq(t, `{"detail":"`+c.detail+`"}`, res.Body, c.name)
	}
	require.Equal(t, 413, r.Do(t, "POST", hook, strings.Repeat(" ", 600<<10)).Status)
	for _, kind := range []string{"payment_intent.succeeded", "charge.succeeded", "x"} {
		r.received(t, paymentstest.Event("evt_9", kind, now, `{}`))
	}
	require.Zero(t, r.rows(t))
	require.Equal(t, state{"created", "", 0}, r.state(t, ref))

	r.received(t, good)
	require.Equal(t, state{"paid", "minted", 1500}, r.state(t, ref))

	res := newRig(t, func(d *payments.Deps) { d.Stripe.WebhookSecrets = nil }).deliver(t, good)
	require.Equal(t, apitest.Response{Status: 400}, bare(res), "without a secret nobody is believed")
}

// TestRotation takes webhooks of both secrets while one replaces the other, and
// needs no key of the API.
func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ref := r.buy(t, ann, 1500)
	body := r.paid("evt_1", ref, 1500)
	res := r.Do(t, "POST", hook, body, "Stripe-Signature", paymentstest.Sign(body, oldSecret, r.clock.Now()), "Content-Type", "application/json; charset=utf-8")
	require.Equal(t, 200, res.Status, res.Body)
	require.Equal(t, state{"paid", "minted", 1500}, r.state(t, ref))
}

// TestAmountOfIntent asks Stripe for what the session does not say.
func TestAmountOfIntent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ref := r.buy(t, ann, 1500)
	body := paymentstest.Event("evt_1", completed, r.clock.Now(), fmt.Sprintf(`{"client_reference_id":%q,"payment_status":"paid","payment_intent":"pi_1"}`, ref))
	require.Equal(t, 502, r.deliver(t, body).Status, "Stripe comes again")
	require.Equal(t, state{"created", "", 0}, r.state(t, ref))
	r.stripe.SetIntent("pi_1", `{"id":"pi_1","object":"payment_intent","amount_received":1500,"currency":"usd"}`)
	r.received(t, body)
	require.Equal(t, state{"paid", "minted", 1500}, r.state(t, ref))
}

// TestLedgerRefuses keeps a payment that cannot be credited yet.
func TestLedgerRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ref := r.buy(t, ann, 1500)
	body := r.paid("evt_1", ref, 1500)
	r.ledger.refuses.Store(true)
	res := r.deliver(t, body)
	require.Equal(t, 400, res.Status)
	require.JSONEq(t, `{"detail":"Coin account is not active."}`, res.Body)
	require.Equal(t, state{"created", "received", 0}, r.state(t, ref))
	r.ledger.refuses.Store(false)
	r.received(t, body)
	require.Equal(t, state{"paid", "minted", 1500}, r.state(t, ref))
}

// TestRefunds are recorded and linked to their checkout, in either order.
func TestRefunds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ref, later := r.buy(t, ann, 1500), r.buy(t, ann, 900)
	refund := func(id, kind, intent string) string {
		return paymentstest.Event(id, kind, r.clock.Now(), fmt.Sprintf(`{"id":"ch_1","payment_intent":{"id":%q},"amount":1500,"amount_refunded":400,"currency":"usd"}`, intent))
	}
	r.received(t, r.paid("evt_1", ref, 1500))
	for range 2 {
		r.received(t, refund("evt_2", "charge.refunded", "pi_"+ref))
	}
	r.received(t, refund("evt_3", "charge.dispute.created", "pi_"+ref))
	r.received(t, refund("evt_4", "charge.refunded", "pi_"+later))
	r.received(t, refund("evt_5", "charge.refunded", "pi_of_nobody"))
	r.received(t, r.paid("evt_6", later, 900))
	list := one[string](t, r, `SELECT string_agg(concat_ws(' ', n.provider_event_id, n.event_type, n.amount_cents, coalesce(c.reference, '-')), E'\n' ORDER BY n.provider_event_id)
		FROM payment_notices n LEFT JOIN payment_checkouts c ON c.id = n.checkout_id`)
	require.Equal(t, strings.Join([]string{
		"evt_2 charge.refunded 400 " + ref, "evt_3 charge.dispute.created 1500 " + ref, "evt_4 charge.refunded 400 " + later, "evt_5 charge.refunded 400 -",
	}, "\n"), list)
	require.EqualValues(t, 2400, r.state(t, ref).balance, "coins stay where they are")
}
