package appliance

import (
	"cmp"
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/config"
	"selflink/services/accounts"
	"selflink/services/payments"
)

func (a *Appliance) newPayments(cfg *config.Config, metrics prometheus.Registerer) (*payments.Service, error) {
	return payments.New(payments.Deps{
		DB: a.database.Pool(), IDs: a.ids, Coins: a.coin, People: customers{a.accounts}, Log: a.log, Metrics: metrics, Enabled: cfg.Payments,
		Stripe: payments.Stripe{
			Enabled: cfg.Stripe, APIKey: cfg.StripeKey.Reveal(),
			WebhookSecrets: strings.FieldsFunc(cfg.StripeWebhookSecrets.Reveal(), func(r rune) bool { return r == ',' || r == ' ' }),
			Currencies:     cfg.StripeCurrencies, MinCents: cfg.StripeMinCents,
			SuccessURL: cmp.Or(cfg.StripeSuccessURL, cfg.PaymentsSuccessURL), CancelURL: cmp.Or(cfg.StripeCancelURL, cfg.PaymentsCancelURL),
			PlanSuccessURL: cfg.PaymentsSuccessURL, PlanCancelURL: cfg.PaymentsCancelURL,
		},
	})
}

// customers tells a provider of payments what it has to know of somebody.
type customers struct{ accounts *accounts.Service }

// Email implements [payments.People].
func (c customers) Email(ctx context.Context, user int64) (string, error) {
	who, err := c.accounts.PersonDetail(ctx, user)
	return who.Email, err
}
