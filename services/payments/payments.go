// Package payments sells coins and subscriptions by way of Stripe.
//
// A payment is credited once, whatever its provider sends, how often, and in
// which order: what a webhook changes, the provider's event, the entry in the
// ledger and the state of the checkout, is one transaction under the lock of
// the checkout's row, and unique indexes judge what locks should have
// prevented. A webhook is believed for its signature alone; who is credited,
// and with how much, is what the checkout says.
package payments

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/database"
	"selflink/services/payments/paymentsdb"
)

const (
	// Tolerance is for how long a signed webhook is taken. Older ones were
	// recorded by somebody, or the clock of this machine is wrong.
	Tolerance = 300 * time.Second

	// MaxCents is the most that one checkout asks for: the largest number of
	// the column.
	MaxCents = 1<<31 - 1

	// maxWebhook is the largest webhook in bytes. Stripe's are some KiB.
	maxWebhook = 512 << 10

	// defaultSuccess and defaultCancel are where people come back to when nothing else is set.
	defaultSuccess = "http://localhost:3000/payments/success"
	defaultCancel  = "http://localhost:3000/payments/cancel"

	providerStripe = "stripe"
)

// IDs makes ids that no other process makes. *snowflake.Generator is one.
type IDs interface{ Next() int64 }

// Coins is the ledger. *coin.Service is one.
type Coins interface {
	// Mint credits a user once for an event of a provider, in tx, and returns
	// the id of the ledger's event. An error with a method Reason() string is a
	// refusal that will be repeated.
	Mint(ctx context.Context, tx database.Tx, provider, externalID string, user, cents int64, metadata map[string]any) (int64, error)
}

// People tells what a provider has to know of a customer.
type People interface {
	Email(ctx context.Context, user int64) (string, error)
}

// Stripe says how Stripe is used.
type Stripe struct {
	Enabled bool
	// APIKey opens Stripe's API. Empty: nothing can be bought, but what was
	// bought is still credited.
	APIKey string
	// WebhookSecrets are all that webhooks may be signed with: two while one is
	// replaced by another. Empty: no webhook is believed.
	WebhookSecrets []string
	// Currencies are the codes that can be paid in, in capitals. Empty: any.
	Currencies []string
	MinCents   int // least of a checkout
	// SuccessURL and CancelURL are where people come back to after a checkout
	// of coins; PlanSuccessURL and PlanCancelURL after that of a subscription.
	SuccessURL, CancelURL         string
	PlanSuccessURL, PlanCancelURL string
	// BaseURL is another server that speaks Stripe's API, for tests. Empty:
	// Stripe's own.
	BaseURL string
}

// Deps are what the service needs. DB, IDs, Coins and People are required.
type Deps struct {
	DB      database.Pool
	IDs     IDs
	Coins   Coins
	People  People
	Log     *slog.Logger     // nil: silent
	Clock   func() time.Time // nil: time.Now
	Metrics prometheus.Registerer
	Enabled bool // the master switch
	Stripe  Stripe
}

// Service sells. It is safe for concurrent use.
type Service struct {
	Deps
	q      *paymentsdb.Queries
	stripe *stripeAPI // nil: without a key
	hooks  *hooks
	counts counts
}

// New makes the service.
func New(d Deps) (*Service, error) {
	if d.DB == nil || d.IDs == nil || d.Coins == nil || d.People == nil {
		return nil, errors.New("payments: a database, ids, a ledger and people are needed")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.Log = d.Log.With("component", "payments")
	if d.Clock == nil {
		d.Clock = time.Now
	}
	for _, u := range []struct {
		url       *string
		byDefault string
	}{
		{&d.Stripe.SuccessURL, defaultSuccess}, {&d.Stripe.CancelURL, defaultCancel},
		{&d.Stripe.PlanSuccessURL, defaultSuccess}, {&d.Stripe.PlanCancelURL, defaultCancel},
	} {
		if *u.url == "" {
			*u.url = u.byDefault
		}
	}
	d.Stripe.Currencies = slices.Clone(d.Stripe.Currencies)
	for i, code := range d.Stripe.Currencies {
		d.Stripe.Currencies[i] = strings.ToUpper(code)
	}
	hooks, err := newHooks(d.Clock, d.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Service{Deps: d, q: paymentsdb.New(d.DB), hooks: hooks}
	if d.Stripe.APIKey != "" {
		s.stripe = newStripeAPI(d.Stripe.APIKey, d.Stripe.BaseURL)
	}
	return s, nil
}

// stripeOn reports whether Stripe may be used.
func (s *Service) stripeOn() bool { return s.Enabled && s.Stripe.Enabled }

// now is the time as Postgres can store it.
func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }
