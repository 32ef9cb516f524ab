package payments

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"

	"selflink/appliance/httpapi"
)

// Received is the answer to every webhook that needs not come again.
type Received struct {
	Received bool `json:"received"`
}

// empty refuses without a word, as providers expect it.
func empty(status int) error { return &httpapi.Error{Status: status} }

// stripeWebhook does what a message of Stripe says. Nothing is looked at before
// the signature holds. Stripe repeats a message for days until it gets a 2xx.
func (s *Service) stripeWebhook(ctx context.Context, signature string, body []byte) (Received, error) {
	if why := judge(signature, body, s.Stripe.WebhookSecrets, s.Clock()); why != "" {
		s.hooks.refuse(why)
		s.Log.LogAttrs(ctx, slog.LevelWarn, "a webhook is not signed by Stripe, or long ago", slog.String("reason", why),
			slog.String("client_ip", httpapi.RequestInfo(ctx).ClientIP), slog.Bool("configured", len(s.Stripe.WebhookSecrets) > 0))
		return Received{}, empty(http.StatusBadRequest)
	}
	m, err := decodeMessage(body)
	if err != nil {
		s.hooks.refuse(refusedBody)
		return Received{}, empty(http.StatusBadRequest)
	}
	sum := sha256.Sum256(body)
	known, err := s.act(ctx, m, hex.EncodeToString(sum[:]))
	s.hooks.believe(m.Type, known, err)
	return Received{true}, err
}

// act does what a verified message says. known tells whether its type means
// anything here.
func (s *Service) act(ctx context.Context, m message, hash string) (known bool, err error) {
	switch m.Type {
	case "checkout.session.completed", "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed", "checkout.session.expired":
		var object session
		if json.Unmarshal(m.Data.Object, &object) != nil {
			return true, empty(http.StatusBadRequest)
		}
		if object.Mode == "subscription" {
			return true, s.subscribed(ctx, m, object, hash)
		}
		return true, s.coinsPaid(ctx, m, object, hash)
	case "customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted":
		var object subscription
		if json.Unmarshal(m.Data.Object, &object) != nil || object.ID == "" || len(object.ID) > maxExternalID || !storable(object.ID) {
			return true, empty(http.StatusBadRequest)
		}
		return true, s.tell(ctx, news{message: m, subscription: object, ours: object.Metadata.id("subscription_id"), bodyHash: hash})
	case "charge.refunded", "charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed":
		var object reversal
		if json.Unmarshal(m.Data.Object, &object) != nil {
			return true, empty(http.StatusBadRequest)
		}
		return true, s.reversed(ctx, m, object, hash)
	}
	return false, nil
}

// coinsPaid settles a checkout of coins.
func (s *Service) coinsPaid(ctx context.Context, m message, object session, hash string) error {
	st := statement{
		event: m.ID, kind: m.Type, reference: object.payment(), intent: string(object.PaymentIntent), bodyHash: hash,
	}
	switch ended := m.Type == "checkout.session.async_payment_failed" || m.Type == "checkout.session.expired"; {
	case object.PaymentStatus == "paid" && !ended:
		st.outcome = paid
	case ended && object.PaymentStatus != "paid":
		st.outcome = failed
	}
	// Else it is pending: a delayed payment method says "unpaid" first, and days
	// later whether the money came.
	if st.reference == "" {
		return refuse("Missing payment reference.")
	}
	if len(st.reference) > maxReference || !storable(st.reference) {
		return refuse("Unknown payment reference.")
	}
	amount, currency := object.AmountTotal, object.Currency
	if missing(amount) {
		amount = object.AmountReceived
	}
	if (missing(amount) || currency == "") && object.PaymentIntent != "" && s.stripe != nil {
		cents, code, err := s.stripe.intent(ctx, string(object.PaymentIntent))
		if err != nil {
			return s.stripeFailed(ctx, err)
		}
		if missing(amount) {
			amount, _ = json.Marshal(cents) //nolint:errcheck // a number
		}
		if currency == "" {
			currency = code
		}
	}
	if missing(amount) {
		return refuse("Stripe amount is required for coin minting.")
	}
	var ok bool
	if st.cents, ok = wholeCents(amount); !ok {
		return refuse("Stripe amount must be an integer.")
	}
	if st.cents <= 0 {
		return refuse("Stripe amount must be positive.")
	}
	if currency == "" {
		currency = "USD"
	}
	st.currency = strings.ToUpper(currency)
	return s.settle(ctx, st)
}

// maxReference is the longest reference of ours that there can be.
const maxReference = 64
