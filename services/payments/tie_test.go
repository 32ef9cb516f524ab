package payments_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

// stood is a subscription as Stripe shows it.
func stood(state string, end int64) string {
	return fmt.Sprintf(`{"id":"sub_1","object":"subscription","status":%q,"customer":"cus_1","metadata":{},"items":{"object":"list","data":[{"id":"si_1","current_period_start":1764057600,"current_period_end":%d}]}}`, state, end)
}

// active makes a subscription that is paid, and gives its id.
func (r *rig) active(t testing.TB) json.Number {
	t.Helper()
	r.withPlans(t)
	id := r.subscribe(t, ann, `{"plan_id":2}`).Subscription.ID
	r.exec(t, `UPDATE payment_subscriptions SET status = 'active', external_subscription_id = 'sub_1' WHERE id = $1`, id.String())
	return id
}

// asked counts how often Stripe was asked how the subscription stands.
func (r *rig) asked() (n int) {
	for _, q := range r.stripe.Requests() {
		if q.Method == "GET" && strings.HasPrefix(q.Path, "/v1/subscriptions/") {
			n++
		}
	}
	return n
}

// TestEventsOfOneSecond has Stripe stamp two changes of a subscription with the
// same second: whatever order they come in, what Stripe says in the end counts.
func TestEventsOfOneSecond(t *testing.T) {
	t.Parallel()
	const oldEnd, newEnd = 1766649600, 1769328000
	for name, order := range map[string][]int{"in order": {0, 1}, "the other way round": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			id, at := r.active(t), r.clock.Now()
			events := []string{
				paymentstest.Event("evt_a", "customer.subscription.updated", at, stood("past_due", oldEnd)),
				paymentstest.Event("evt_b", "customer.subscription.updated", at, stood("active", newEnd)),
			}
			r.stripe.SetSubscription("sub_1", stood("active", newEnd))
			r.received(t, events[order[0]])
			require.Zero(t, r.asked(), "one alone needs no judge")

			// Stripe does not answer: nothing is noted, and it comes again.
			r.stripe.Fail(1, 401, `{"error":{"type":"invalid_request_error"}}`)
			require.Equal(t, 502, r.deliver(t, events[order[1]]).Status)
			require.Equal(t, 1, one[int](t, r, `SELECT count(*) FROM payment_notices`))
			r.received(t, events[order[1]])
			require.Equal(t, "active 2 sub_1", r.status(t, id))
			require.Equal(t, int64(newEnd), one[int64](t, r, `SELECT extract(epoch FROM current_period_end)::bigint FROM payment_subscriptions WHERE id = $1`, id.String()))

			// Repetitions ask nobody and change nothing.
			asked := r.asked()
			for _, e := range events {
				r.received(t, e)
			}
			require.Equal(t, asked, r.asked())
			require.Equal(t, "active 2 sub_1", r.status(t, id))

			// The end needs no judge, nor what comes after it.
			r.received(t, paymentstest.Event("evt_c", "customer.subscription.deleted", at, stood("canceled", newEnd)))
			r.received(t, paymentstest.Event("evt_d", "customer.subscription.updated", at, stood("active", newEnd)))
			require.Equal(t, asked, r.asked())
			require.Equal(t, "canceled 2 sub_1", r.status(t, id))
		})
	}
}

// TestManyEventsOfOneSecond delivers them at once.
func TestManyEventsOfOneSecond(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id, at := r.active(t), r.clock.Now()
	r.stripe.SetSubscription("sub_1", stood("past_due", 1769328000))
	var all sync.WaitGroup
	for i, state := range []string{"active", "past_due", "unpaid", "paused", "trialing", "incomplete"} {
		body := paymentstest.Event(fmt.Sprint("evt_", i), "customer.subscription.updated", at, stood(state, 1766649600))
		header := paymentstest.Sign(body, secret, at)
		all.Go(func() {
			// One that met all others is told to come again.
			for status := 0; status != 200; {
				status = r.Do(t, "POST", hook, body, "Stripe-Signature", header).Status
				if status != 200 && status != 500 {
					t.Errorf("answered %d", status)
					return
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, "past_due 2 sub_1", r.status(t, id))
	require.Equal(t, 6, one[int](t, r, `SELECT count(*) FROM payment_notices`))
}

// TestEventsOfOneSecondWithoutStripe cannot ask: Stripe comes again.
func TestEventsOfOneSecondWithoutStripe(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(d *payments.Deps) { d.Stripe.APIKey = "" })
	r.withPlans(t)
	r.exec(t, `INSERT INTO payment_subscriptions (id, user_id, plan_id, status, external_subscription_id, created_at, updated_at) VALUES (5, $1, 2, 'active', 'sub_1', now(), now())`, ann)
	at := r.clock.Now()
	r.received(t, paymentstest.Event("evt_a", "customer.subscription.updated", at, stood("past_due", 1766649600)))
	require.Equal(t, 503, r.deliver(t, paymentstest.Event("evt_b", "customer.subscription.updated", at, stood("active", 1766649600))).Status)
	r.received(t, paymentstest.Event("evt_c", "customer.subscription.updated", at.Add(time.Second), stood("active", 1766649600)))
	require.Equal(t, "active 2 sub_1", r.status(t, "5"))
}
