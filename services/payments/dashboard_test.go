package payments_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/dashboard"
	"selflink/appliance/health"
	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

// named gives the counts of a tally by name.
func named(day []dashboard.Tallied) map[string]int64 {
	out := map[string]int64{}
	for _, t := range day {
		out[t.Name] = t.Count
	}
	return out
}

func TestInsight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	seen, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.Nil(t, seen.LastEvent)
	require.Nil(t, seen.Hooks.Last)
	require.Empty(t, seen.Day.Checkouts)
	require.Equal(t, []payments.Provider{{
		Name: "stripe", Enabled: true, Mode: "test", Secrets: 2, Currencies: []string{"USD", "EUR", "GEL"}, MinCents: 50, Webhook: "/api/v1/payments/stripe/webhook/",
	}}, seen.Providers)

	first, second, third := r.buy(t, ann, 1500), r.buy(t, ann, 700), r.buy(t, bob, 300)
	r.received(t, r.paid("evt_1", first, 1500))
	r.received(t, r.paid("evt_1", first, 1500)) // again
	r.received(t, paymentstest.Event("evt_2", "checkout.session.expired", r.clock.Now(), paymentstest.Session(second, 700, "usd", "unpaid", "pi_2")))
	r.received(t, paymentstest.Event("evt_3", "charge.refunded", r.clock.Now(), fmt.Sprintf(`{"payment_intent":%q,"amount_refunded":400,"currency":"usd"}`, "pi_"+first)))
	r.received(t, paymentstest.Event("evt_4", "invoice.paid", r.clock.Now(), `{}`))
	require.Equal(t, 400, r.deliver(t, r.paid("evt_5", "nobody's", 100)).Status)
	r.ledger.refuses.Store(true)
	require.Equal(t, 400, r.deliver(t, r.paid("evt_6", third, 300)).Status)
	r.ledger.refuses.Store(false)

	other := *r // another process, or the same after a restart
	deps := r.svc.Deps
	other.svc, err = payments.New(deps)
	require.NoError(t, err)
	seen, err = other.svc.Insight(t.Context())
	require.NoError(t, err)
	require.NotNil(t, seen.LastEvent)
	require.Nil(t, seen.Hooks.Last, "it saw none itself")
	require.Equal(t, []payments.CheckoutCount{{"created", "USD", 1, 300}, {"failed", "USD", 1, 700}, {"paid", "USD", 1, 1500}}, seen.Day.Checkouts)
	require.ElementsMatch(t, []payments.EventCount{
		{"checkout.session.completed", "minted", 1}, {"checkout.session.completed", "refused", 1}, {"checkout.session.expired", "failed", 1}, {"charge.refunded", "noted", 1},
	}, seen.Day.Events)
	require.EqualValues(t, 1, seen.Uncredited.Events)
	require.NotNil(t, seen.Uncredited.Oldest)

	mine, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.NotNil(t, mine.Hooks.Last)
	require.Equal(t, map[string]int64{"checkout.session.completed": 2, "checkout.session.expired": 1, "charge.refunded": 1}, named(mine.Hooks.Handled))
	require.Equal(t, map[string]int64{"invoice.paid": 1}, named(mine.Hooks.Ignored))
	require.Equal(t, map[string]int64{"checkout.session.completed": 2}, named(mine.Hooks.Failed))
	require.Empty(t, mine.Hooks.Refused)
	text, err := json.Marshal(mine)
	require.NoError(t, err)
	for _, never := range []string{paymentstest.Key, secret, oldSecret} {
		require.NotContains(t, string(text), never)
	}

	// The same event again, when the ledger takes it: nothing is left to mend.
	r.received(t, r.paid("evt_6", third, 300))
	seen, err = other.svc.Insight(t.Context())
	require.NoError(t, err)
	require.Zero(t, seen.Uncredited.Events)
}

func TestLists(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var references []string
	for i := range 5 {
		references = append(references, r.buy(t, ann, 1000+i))
	}
	for i, ref := range references[:3] {
		r.received(t, r.paid(fmt.Sprintf("evt_%d", i), ref, 1000+i))
	}
	r.received(t, paymentstest.Event("evt_r", "charge.refunded", r.clock.Now(), fmt.Sprintf(`{"payment_intent":%q,"amount_refunded":400,"currency":"usd"}`, "pi_"+references[0])))

	walk := func(status string) (out []string) {
		for page := (dashboard.PageInput{Limit: "2"}); ; {
			list, err := r.svc.NewestCheckouts(t.Context(), status, page)
			require.NoError(t, err)
			for _, c := range list.Items {
				out = append(out, c.Reference)
			}
			if list.Next == nil {
				return out
			}
			page.Cursor = *list.Next
		}
	}
	reversed := []string{references[4], references[3], references[2], references[1], references[0]}
	require.Equal(t, reversed, walk(""))
	require.Equal(t, reversed[2:], walk("paid"))
	require.Equal(t, reversed[:2], walk("created"))
	require.Empty(t, walk("failed"))
	_, err := r.svc.NewestCheckouts(t.Context(), "odd", dashboard.PageInput{})
	require.Error(t, err)
	_, err = r.svc.NewestCheckouts(t.Context(), "", dashboard.PageInput{Cursor: "x"})
	require.Error(t, err)

	var events []string
	for page := (dashboard.PageInput{Limit: "1"}); ; {
		list, err := r.svc.NewestEvents(t.Context(), page)
		require.NoError(t, err)
		for _, e := range list.Items {
			require.NotNil(t, e.User, e.ID)
			require.Equal(t, "USD", e.Currency)
			events = append(events, fmt.Sprintf("%s %s %s %d", e.ID, e.Outcome, e.Reference, e.Cents))
		}
		if list.Next == nil {
			break
		}
		page.Cursor = *list.Next
	}
	require.Equal(t, []string{
		"evt_r noted " + references[0] + " 400", "evt_2 minted " + references[2] + " 1002", "evt_1 minted " + references[1] + " 1001", "evt_0 minted " + references[0] + " 1000",
	}, events)
	_, err = r.svc.NewestEvents(t.Context(), dashboard.PageInput{Cursor: "x"})
	require.Error(t, err)
}

// check is the error of one health check.
func (r *rig) check(t testing.TB, code string) error {
	t.Helper()
	for _, c := range r.svc.HealthChecks() {
		require.NotEmpty(t, c.Title+c.Impact)
		require.NotEmpty(t, c.Remedy)
		if c.Code == code {
			return c.Run(t.Context())
		}
	}
	t.Fatalf("there is no check %s", code)
	return nil
}

func TestRefusedWebhooksPileUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	body := `{"id":"evt_1","type":"invoice.paid"}`
	send := func(header string) {
		t.Helper()
		require.Equal(t, 400, r.Do(t, "POST", hook, body, "Stripe-Signature", header).Status)
	}
	forged := func() { send(paymentstest.Sign(body, "whsec_of_somebody", r.clock.Now())) }
	for range 20 {
		send("nonsense") // whoever finds the address
	}
	for range 4 {
		forged()
	}
	require.NoError(t, r.check(t, payments.CheckRefused))
	forged()
	require.ErrorContains(t, r.check(t, payments.CheckRefused), "another secret")
	r.clock.Advance(11 * time.Minute)
	require.NoError(t, r.check(t, payments.CheckRefused), "it is over")
	for range 5 {
		send(paymentstest.Sign(body, secret, r.clock.Now().Add(-payments.Tolerance-time.Minute)))
	}
	require.ErrorContains(t, r.check(t, payments.CheckRefused), "five minutes ago")
	seen, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"unsigned": 20, "signature": 5, "too_old": 5}, named(seen.Hooks.Refused))

	unset := newRig(t, func(d *payments.Deps) { d.Stripe.WebhookSecrets = nil })
	for range 5 {
		require.Equal(t, 400, unset.deliver(t, body).Status)
	}
	require.ErrorContains(t, unset.check(t, payments.CheckRefused), "STRIPE_WEBHOOK_SECRET is not set")
	off := newRig(t, func(d *payments.Deps) { d.Enabled = false })
	require.Equal(t, []health.Check(nil), off.svc.HealthChecks())
}

func TestUncreditedPayment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ref := r.buy(t, ann, 1500)
	require.NoError(t, r.check(t, payments.CheckUncredited))
	r.ledger.refuses.Store(true)
	require.Equal(t, 400, r.deliver(t, r.paid("evt_1", ref, 1500)).Status)
	require.ErrorContains(t, r.check(t, payments.CheckUncredited), "1 payment is not credited since")
	require.ErrorContains(t, r.check(t, payments.CheckUncredited), "Coin account is not active.")
	r.ledger.refuses.Store(false)
	r.received(t, r.paid("evt_2", ref, 1500)) // another event says the same
	require.NoError(t, r.check(t, payments.CheckUncredited))
	require.Equal(t, "paid", one[string](t, r, `SELECT status FROM payment_checkouts WHERE reference = $1`, ref))
	require.True(t, strings.HasPrefix(one[string](t, r, `SELECT refused FROM payment_events WHERE provider_event_id = 'evt_1'`), "Coin account"))
}
