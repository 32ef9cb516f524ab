package config

import (
	"errors"
	"math"
	"net/url"
	"strings"
)

// webhookSecrets is the one secret that may be several.
const webhookSecrets = "STRIPE_WEBHOOK_SECRET"

// paymentTable is about buying coins and subscriptions.
func paymentTable() []Setting {
	return []Setting{
		{Key: "FEATURE_PAYMENTS", Group: Payments, Default: "true",
			Doc: "Whether anything can be bought at all. Only the word true is on.",
			set: into(func(c *Config) *bool { return &c.Payments }, parseTrue)},
		{Key: "PAYMENTS_PROVIDER_ENABLED_STRIPE", Group: Payments, Default: "true",
			Doc: "Whether Stripe is used: its checkouts and its webhook. Only the word true is on.",
			set: into(func(c *Config) *bool { return &c.Stripe }, parseTrue)},
		{Key: "STRIPE_API_KEY", Group: Payments, Secret: true, Auto: "none: nothing can be bought",
			Doc: "Secret or restricted key of the Stripe account.",
			set: into(func(c *Config) *Secret { return &c.StripeKey }, parseSecret)},
		{Key: webhookSecrets, Group: Payments, Secret: true, Auto: "none: no webhook is believed",
			Doc: "Signing secret of the webhook endpoint at Stripe. While one is replaced by another give both, as a comma list.",
			set: into(func(c *Config) *Secret { return &c.StripeWebhookSecrets }, parseSecret)},
		{Key: "STRIPE_ALLOWED_CURRENCIES", Group: Payments, Blank: true, Default: "USD,EUR,GEL",
			Doc: "Currencies of checkouts, as a comma list; nothing is any. A cent of each buys one cent of coins.",
			set: into(func(c *Config) *[]string { return &c.StripeCurrencies }, parseCurrencies)},
		{Key: "STRIPE_CHECKOUT_MIN_CENTS", Group: Payments, Default: "50", Unit: "cents",
			Doc: "Least amount of a checkout.",
			set: into(func(c *Config) *int { return &c.StripeMinCents }, parseInt(1, math.MaxInt32))},
		{Key: "STRIPE_CHECKOUT_SUCCESS_URL", Group: Payments, Auto: "PAYMENTS_CHECKOUT_SUCCESS_URL",
			Doc: "Page to which Stripe sends people after they bought coins.",
			set: into(func(c *Config) *string { return &c.StripeSuccessURL }, parseReturn)},
		{Key: "STRIPE_CHECKOUT_CANCEL_URL", Group: Payments, Auto: "PAYMENTS_CHECKOUT_CANCEL_URL",
			Doc: "Page to which Stripe sends people who bought none.",
			set: into(func(c *Config) *string { return &c.StripeCancelURL }, parseReturn)},
		{Key: "PAYMENTS_CHECKOUT_SUCCESS_URL", Group: Payments, Auto: "http://localhost:3000/payments/success",
			Doc: "Page to which people come back after a checkout.",
			set: into(func(c *Config) *string { return &c.PaymentsSuccessURL }, parseReturn)},
		{Key: "PAYMENTS_CHECKOUT_CANCEL_URL", Group: Payments, Auto: "http://localhost:3000/payments/cancel",
			Doc: "Page to which people come back from a checkout that they left.",
			set: into(func(c *Config) *string { return &c.PaymentsCancelURL }, parseReturn)},
	}
}

// parseTrue keeps a rule of the old stack: whatever is not the word true is
// off. Money is nothing to be switched on by a misspelling.
func parseTrue(raw string) (bool, error) { return strings.EqualFold(raw, "true"), nil }

func parseCurrencies(raw string) ([]string, error) {
	list := splitList(strings.ToUpper(raw))
	for _, code := range list {
		if len(code) != 3 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return nil, errors.New("is not a list of currencies such as USD,EUR")
		}
	}
	return list, nil
}

// parseReturn accepts the address of a page, with a query if need be.
func parseReturn(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", errors.New("is not a web address such as https://host/path")
	}
	return raw, nil
}
