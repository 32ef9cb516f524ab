package posture

import (
	"selflink/appliance/config"
	"selflink/appliance/health"
)

// Codes of the checks of how payments are set up.
const (
	CheckWebhookSecret = "payments.webhook.secret"
	CheckStripeKey     = "payments.key"
)

// payments judges how Stripe is set up. Who has given neither a key nor a
// secret has not set it up, which is nobody's fault.
func payments(cfg *config.Config) []health.Check {
	if !cfg.Payments || !cfg.Stripe {
		return nil
	}
	key, secret := !cfg.StripeKey.IsZero(), !cfg.StripeWebhookSecrets.IsZero()
	return []health.Check{{
		Code: CheckWebhookSecret, Title: "The webhook's secret is missing", Severity: health.High,
		Impact: "People can pay, and nothing of it is credited: no webhook of Stripe is believed.",
		Remedy: "Put the signing secret of the endpoint in Stripe's dashboard into STRIPE_WEBHOOK_SECRET, and restart. Stripe repeats what it sent in the last three days.",
		Run:    fails(key && !secret, "STRIPE_API_KEY is set and STRIPE_WEBHOOK_SECRET is not"),
	}, {
		Code: CheckStripeKey, Title: "The key of Stripe is missing", Severity: health.Low,
		Impact: "Nothing can be bought. What was bought is still credited.",
		Remedy: "Set STRIPE_API_KEY and restart; or PAYMENTS_PROVIDER_ENABLED_STRIPE=false to do without it.",
		Run:    fails(secret && !key, "STRIPE_WEBHOOK_SECRET is set and STRIPE_API_KEY is not"),
	}}
}
