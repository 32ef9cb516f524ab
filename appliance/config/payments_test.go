package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPaymentSettings(t *testing.T) {
	t.Parallel()
	c, _, err := load(t)
	require.NoError(t, err)
	require.True(t, c.Payments)
	require.True(t, c.Stripe)
	require.Equal(t, []string{"USD", "EUR", "GEL"}, c.StripeCurrencies)
	require.Equal(t, 50, c.StripeMinCents)
	require.True(t, c.StripeWebhookSecrets.IsZero())

	c, _, err = load(t, "FEATURE_PAYMENTS=TRUE", "PAYMENTS_PROVIDER_ENABLED_STRIPE=1", "STRIPE_ALLOWED_CURRENCIES=", "STRIPE_WEBHOOK_SECRET=whsec_new_0123456789, whsec_old_0123456789",
		"STRIPE_CHECKOUT_SUCCESS_URL=https://app.example/paid?session={CHECKOUT_SESSION_ID}", "STRIPE_CHECKOUT_MIN_CENTS=100")
	require.NoError(t, err)
	require.True(t, c.Payments)
	require.False(t, c.Stripe, "only the word true is on")
	require.Empty(t, c.StripeCurrencies)
	require.Equal(t, "https://app.example/paid?session={CHECKOUT_SESSION_ID}", c.StripeSuccessURL)
	require.Equal(t, 100, c.StripeMinCents)
	require.Subset(t, c.Hidden(), []string{"whsec_new_0123456789", "whsec_old_0123456789"}, "each of the secrets is hidden")

	_, _, err = load(t, "STRIPE_ALLOWED_CURRENCIES=USD;EUR", "STRIPE_CHECKOUT_MIN_CENTS=0", "PAYMENTS_CHECKOUT_CANCEL_URL=app://back")
	require.Len(t, problemsOf(t, err), 3)
}
