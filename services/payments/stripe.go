package payments

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"
)

const (
	// stripeTry bounds one request to Stripe, stripeWait all tries of one call.
	stripeTry  = 10 * time.Second
	stripeWait = 25 * time.Second

	// stripeRetries is how often a request is repeated that got no answer, or
	// met another about the same object. Each try carries the same idempotency
	// key, so Stripe acts once. Errors that Stripe answers are final: it would
	// answer the same again.
	stripeRetries = 2

	// maxStripeAnswer is the most that is read of an answer, in bytes.
	maxStripeAnswer = 4 << 20
)

// stripeAPI calls Stripe by its own client.
type stripeAPI struct{ client *stripe.Client }

func newStripeAPI(key, base string) *stripeAPI {
	config := &stripe.BackendConfig{
		EnableTelemetry:   stripe.Bool(false),
		HTTPClient:        &http.Client{Timeout: stripeTry, Transport: bounded{http.DefaultTransport}},
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull}, // errors are logged where they end
		MaxNetworkRetries: stripe.Int64(stripeRetries),
	}
	if base != "" {
		config.URL = stripe.String(base)
	}
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, config)
	return &stripeAPI{stripe.NewClient(key, stripe.WithBackends(&stripe.Backends{API: backend}))}
}

// bounded reads no answer without end.
type bounded struct{ inner http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.inner.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxStripeAnswer), res.Body}
	}
	return res, err
}

// coinSession asks for the page where a checkout of coins is paid. The key
// makes a repetition give the same page.
func (a *stripeAPI) coinSession(ctx context.Context, c checkout, success, cancel string) (id, url string, err error) {
	params := &stripe.CheckoutSessionCreateParams{
		Mode: stripe.String("payment"),
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{{
			PriceData: &stripe.CheckoutSessionCreateLineItemPriceDataParams{
				Currency:    stripe.String(strings.ToLower(c.currency)),
				UnitAmount:  stripe.Int64(int64(c.cents)),
				ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: stripe.String("SelfLink Coin (SLC)")},
			},
			Quantity: stripe.Int64(1),
		}},
		ClientReferenceID: stripe.String(c.reference),
		SuccessURL:        stripe.String(success),
		CancelURL:         stripe.String(cancel),
		Metadata:          map[string]string{"reference": c.reference},
	}
	params.SetIdempotencyKey("selflink-checkout-" + c.reference)
	return a.createSession(ctx, params)
}

// planSession asks for the page where a subscription is paid.
func (a *stripeAPI) planSession(ctx context.Context, customer, price, success, cancel, key string, ours map[string]string) (id, url string, err error) {
	params := &stripe.CheckoutSessionCreateParams{
		Mode:       stripe.String("subscription"),
		Customer:   stripe.String(customer),
		LineItems:  []*stripe.CheckoutSessionCreateLineItemParams{{Price: stripe.String(price), Quantity: stripe.Int64(1)}},
		SuccessURL: stripe.String(success),
		CancelURL:  stripe.String(cancel),
		Metadata:   ours,
	}
	params.SetIdempotencyKey(key)
	return a.createSession(ctx, params)
}

func (a *stripeAPI) createSession(ctx context.Context, params *stripe.CheckoutSessionCreateParams) (id, url string, err error) {
	ctx, done := context.WithTimeout(ctx, stripeWait)
	defer done()
	s, err := a.client.V1CheckoutSessions.Create(ctx, params)
	if err != nil {
		return "", "", fmt.Errorf("create a checkout session: %w", err)
	}
	if s.ID == "" || s.URL == "" {
		return "", "", errors.New("create a checkout session: the answer has no address")
	}
	return s.ID, s.URL, nil
}

// customer makes a customer; the same user gets the same one, also when the
// answer was lost.
func (a *stripeAPI) customer(ctx context.Context, user, email string) (string, error) {
	ctx, done := context.WithTimeout(ctx, stripeWait)
	defer done()
	params := &stripe.CustomerCreateParams{Email: stripe.String(email), Metadata: map[string]string{"user_id": user}}
	// A key with other parameters than before is refused, so it has them all.
	sum := sha256.Sum256([]byte(email))
	params.SetIdempotencyKey("selflink-customer-" + user + "-" + hex.EncodeToString(sum[:8]))
	c, err := a.client.V1Customers.Create(ctx, params)
	if err != nil {
		return "", fmt.Errorf("create a customer: %w", err)
	}
	if c.ID == "" {
		return "", errors.New("create a customer: the answer has no id")
	}
	return c.ID, nil
}

// subscription reads a subscription as it is now.
func (a *stripeAPI) subscription(ctx context.Context, id string) (subscription, error) {
	ctx, done := context.WithTimeout(ctx, stripeWait)
	defer done()
	found, err := a.client.V1Subscriptions.Retrieve(ctx, id, nil)
	if err != nil {
		return subscription{}, fmt.Errorf("read a subscription: %w", err)
	}
	s := subscription{ID: found.ID, Status: string(found.Status), Metadata: found.Metadata}
	if found.Customer != nil {
		s.Customer = reference(found.Customer.ID)
	}
	if found.Items != nil && len(found.Items.Data) > 0 {
		s.period = period{found.Items.Data[0].CurrentPeriodStart, found.Items.Data[0].CurrentPeriodEnd}
	}
	return s, nil
}

// cancel ends a subscription now. One that Stripe does not know has ended.
func (a *stripeAPI) cancel(ctx context.Context, id string) error {
	ctx, done := context.WithTimeout(ctx, stripeWait)
	defer done()
	_, err := a.client.V1Subscriptions.Cancel(ctx, id, nil)
	var refused *stripe.Error
	if errors.As(err, &refused) && refused.HTTPStatusCode == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cancel a subscription: %w", err)
	}
	return nil
}

// intent reads what a payment brought.
func (a *stripeAPI) intent(ctx context.Context, id string) (cents int64, currency string, err error) {
	ctx, done := context.WithTimeout(ctx, stripeWait)
	defer done()
	p, err := a.client.V1PaymentIntents.Retrieve(ctx, id, nil)
	if err != nil {
		return 0, "", fmt.Errorf("read a payment intent: %w", err)
	}
	return p.AmountReceived, string(p.Currency), nil
}

// refusedAmount reports whether Stripe says that the amount is wrong, which the
// caller can change.
func refusedAmount(err error) bool {
	var refused *stripe.Error
	return errors.As(err, &refused) && (refused.Code == stripe.ErrorCodeAmountTooSmall || refused.Code == stripe.ErrorCodeAmountTooLarge)
}
