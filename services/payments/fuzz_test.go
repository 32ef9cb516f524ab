package payments_test

import (
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

// FuzzSignature compares our reading of the header with that of Stripe's own
// library: nothing is believed here that is not believed there.
func FuzzSignature(f *testing.F) {
	now := time.Now()
	f.Add(paymentstest.Sign("{}", secret, now), "{}")
	f.Add("t=1,v1=00", "")
	f.Add("t=,v1=,v1", "x")
	f.Add(paymentstest.Sign("{}", secret, now)+",t=5", "{}")
	f.Add(paymentstest.Sign("{}", secret, now)+",0", "{}")
	f.Add("v1=ABC,t=99999999999999999999", "{}")
	f.Fuzz(func(t *testing.T, header, body string) {
		ours := payments.Signed(header, []byte(body), []string{secret}, now)
		theirs := webhook.ValidatePayloadIgnoringTolerance([]byte(body), header, secret) == nil
		if ours && !theirs {
			t.Fatalf("%q is believed for %q", header, body)
		}
		// What is signed is believed, and nothing that differs from it.
		good := paymentstest.Sign(body, secret, now)
		if !payments.Signed(good, []byte(body), []string{secret}, now) {
			t.Fatalf("a good signature is refused: %q", good)
		}
		if payments.Signed(good, []byte(body+" "), []string{secret}, now) || payments.Signed(good, []byte(body), []string{oldSecret, ""}, now) {
			t.Fatal("a forged one is believed")
		}
	})
}

// FuzzEvent decodes whatever could be signed.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(paymentstest.Event("evt_1", "checkout.session.completed", time.Now(), paymentstest.Session("r", 5, "usd", "paid", "pi_1"))))
	f.Add([]byte(`{"id":"evt_1","type":"charge.refunded","data":{"object":{"payment_intent":{"id":"pi"},"amount_refunded":1e3}}}`))
	f.Add([]byte(`{"id":"evt_1","type":"x","created":-1}`))
	f.Add([]byte(`{"id":"e","type":"customer.subscription.updated","data":{"object":{"items":{"data":[{"current_period_start":9e18}]},"metadata":null}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if id, ok := payments.Decode(body); ok && (id == "" || len(id) > 255) {
			t.Fatalf("the id is %q", id)
		}
	})
}
