package payments

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"selflink/appliance/database"
	"selflink/services/payments/paymentsdb"
)

const (
	// maxExternalID is the longest id of Stripe's that is kept of a subscription.
	maxExternalID = 96

	// tieRounds is how often Stripe is asked which of several events of one
	// second is the last, when others keep changing the subscription meanwhile.
	tieRounds = 5
)

// news is what Stripe says about a subscription.
type news struct {
	message
	subscription subscription
	ours         int64 // our id of it; 0: it is known by Stripe's
	plan         int64 // the plan that was paid for; 0: as it was
	bound        bool  // by a session of ours, so that a new one replaces an old
	bodyHash     string

	// asked says that subscription is what Stripe answered, not what the event
	// said, after the row had been read as it was left at seen.
	asked bool
	seen  time.Time
}

// tie is that an event is of the same second as what a row knows: neither says
// which is the later one.
type tie struct{ seen time.Time }

// Error implements error.
func (tie) Error() string { return "payments: two events of one second" }

// subscribed takes in that a session of ours ended in a subscription. The
// session does not say how it stands, so Stripe is asked.
func (s *Service) subscribed(ctx context.Context, m message, object session, hash string) error {
	if m.Type != "checkout.session.completed" || object.Subscription == "" {
		return nil
	}
	if s.stripe == nil {
		return notConfigured() // Stripe comes again
	}
	known, err := s.q.Noticed(ctx, paymentsdb.NoticedParams{Provider: providerStripe, ProviderEventID: m.ID})
	if err != nil {
		return fmt.Errorf("look for an event: %w", err)
	}
	if known {
		return nil
	}
	found, err := s.stripe.subscription(ctx, string(object.Subscription))
	if err != nil {
		return s.stripeFailed(ctx, err)
	}
	if found.ID == "" || len(found.ID) > maxExternalID {
		return empty(http.StatusBadRequest)
	}
	if found.Customer == "" {
		found.Customer = object.Customer
	}
	if err := s.endLoser(ctx, m, object.Metadata.id("subscription_id"), found); err != nil {
		return err
	}
	return s.tell(ctx, news{
		message: m, subscription: found, ours: object.Metadata.id("subscription_id"), plan: object.Metadata.id("plan_id"), bound: true, bodyHash: hash,
	})
}

// endLoser cancels one of two subscriptions that were paid for one row, the
// older one, so that nobody pays for both. It is before anything is stored: when
// it fails, Stripe comes again.
func (s *Service) endLoser(ctx context.Context, m message, ours int64, found subscription) error {
	row, err := s.q.LockSubscription(ctx, ours)
	if database.IsNoRows(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read subscription: %w", err)
	}
	if row.ExternalSubscriptionID == nil || *row.ExternalSubscriptionID == found.ID || row.Status == stateCanceled {
		return nil
	}
	loser := *row.ExternalSubscriptionID
	if row.ToldAt != nil && m.at().Before(*row.ToldAt) {
		loser = found.ID
	}
	if err := s.stripe.cancel(ctx, loser); err != nil {
		return s.stripeFailed(ctx, err)
	}
	return nil
}

// tell stores what a subscription has become. News that is older than what is
// known, or about a subscription that is not ours, changes nothing. Stripe
// stamps events with whole seconds; of those of one second the subscription
// itself is the judge, so Stripe is asked how it stands.
func (s *Service) tell(ctx context.Context, n news) error {
	for range tieRounds {
		err := s.tellOnce(ctx, n)
		var even tie
		if !errors.As(err, &even) {
			return err
		}
		if s.stripe == nil {
			return notConfigured() // Stripe comes again
		}
		found, err := s.stripe.subscription(ctx, n.subscription.ID)
		if err != nil {
			return s.stripeFailed(ctx, err)
		}
		if found.ID != n.subscription.ID {
			return s.stripeFailed(ctx, fmt.Errorf("read the subscription %s: the answer is about %q", n.subscription.ID, found.ID))
		}
		n.subscription, n.asked, n.seen = found, true, even.seen
	}
	return fmt.Errorf("store subscription %s: others change it all the time", n.subscription.ID)
}

// tellOnce is tell but for a [tie], which is an error.
func (s *Service) tellOnce(ctx context.Context, n news) error {
	return s.DB.Tx(ctx, func(tx database.Tx) error {
		q := paymentsdb.New(tx)
		row, err := findSubscription(ctx, q, n)
		if database.IsNoRows(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("lock subscription: %w", err)
		}
		fresh, err := q.InsertNotice(ctx, paymentsdb.InsertNoticeParams{
			Provider: providerStripe, ProviderEventID: n.ID, EventType: n.Type, SubscriptionID: &row.ID,
			RawBodyHash: n.bodyHash, HappenedAt: n.at(), Now: s.now(),
		})
		if err != nil {
			return fmt.Errorf("store the event of a subscription: %w", err)
		}
		if fresh == 0 || !n.newer(row) {
			return nil
		}
		if n.even(row) {
			return tie{row.UpdatedAt}
		}
		start, end := n.subscription.bounds()
		told := n.at()
		customer := n.subscription.Customer.optional()
		if customer != nil && len(*customer) > maxExternalID {
			customer = nil
		}
		err = q.TellSubscription(ctx, paymentsdb.TellSubscriptionParams{
			ID: row.ID, Status: n.subscription.state(), ExternalID: n.subscription.ID, Customer: customer,
			PeriodStart: start, PeriodEnd: end, ToldAt: told, Now: s.now(),
		})
		if err != nil {
			return fmt.Errorf("store subscription: %w", err)
		}
		if n.plan != 0 {
			if err := q.MovePlan(ctx, paymentsdb.MovePlanParams{ID: row.ID, PlanID: n.plan}); err != nil {
				return fmt.Errorf("move the subscription to its plan: %w", err)
			}
		}
		if customer == nil {
			return nil
		}
		return s.setCustomer(ctx, q, row.UserID, *customer)
	})
}

func findSubscription(ctx context.Context, q *paymentsdb.Queries, n news) (paymentsdb.LockSubscriptionRow, error) {
	if n.ours != 0 {
		row, err := q.LockSubscription(ctx, n.ours)
		if err == nil || !database.IsNoRows(err) || n.bound {
			return row, err
		}
	}
	row, err := q.LockExternalSubscription(ctx, n.subscription.ID)
	return paymentsdb.LockSubscriptionRow(row), err
}

// newer reports whether n says more than what row knows. Stripe promises no
// order.
func (n news) newer(row paymentsdb.LockSubscriptionRow) bool {
	same := row.ExternalSubscriptionID != nil && *row.ExternalSubscriptionID == n.subscription.ID
	late := row.ToldAt != nil && n.at().Before(*row.ToldAt)
	switch {
	case !same: // another one: of a session of ours it replaces what was
		return n.bound && !late || row.ExternalSubscriptionID == nil
	case row.Status == stateCanceled: // the end is the end
		return false
	case n.Type == "customer.subscription.deleted":
		return true
	case n.Type == "customer.subscription.created": // always the first
		return false
	}
	return !late
}

// even reports whether n may be older or later than what row knows. What Stripe
// answered is later than all that was stored before it was asked.
func (n news) even(row paymentsdb.LockSubscriptionRow) bool {
	return n.Type == "customer.subscription.updated" && row.ToldAt != nil && n.at().Equal(*row.ToldAt) && !(n.asked && n.seen.Equal(row.UpdatedAt))
}

// reversed records that money went back, or may have to. Coins that were bought
// with it stay where they are: taking them is for people to decide.
func (s *Service) reversed(ctx context.Context, m message, object reversal, hash string) error {
	cents, currency := object.Amount, object.Currency
	if m.Type == "charge.refunded" {
		cents = object.AmountRefunded
	}
	if len(currency) > 8 || !storable(currency) {
		return empty(http.StatusBadRequest)
	}
	return s.DB.Tx(ctx, func(tx database.Tx) error {
		q := paymentsdb.New(tx)
		var checkout *int64
		if object.PaymentIntent != "" {
			id, err := q.CheckoutOfIntent(ctx, paymentsdb.CheckoutOfIntentParams{Provider: providerStripe, PaymentIntent: string(object.PaymentIntent)})
			switch {
			case err == nil:
				checkout = &id
			case !database.IsNoRows(err):
				return fmt.Errorf("find the checkout of a refund: %w", err)
			}
		}
		fresh, err := q.InsertNotice(ctx, paymentsdb.InsertNoticeParams{
			Provider: providerStripe, ProviderEventID: m.ID, EventType: m.Type, CheckoutID: checkout, PaymentIntent: object.PaymentIntent.optional(),
			AmountCents: &cents, Currency: &currency, RawBodyHash: hash, HappenedAt: m.at(), Now: s.now(),
		})
		if err != nil {
			return fmt.Errorf("store refund: %w", err)
		}
		if fresh > 0 {
			s.Log.LogAttrs(ctx, slog.LevelWarn, "a payment was refunded or disputed", slog.String("event", m.ID), slog.String("event_type", m.Type),
				slog.Int64("amount_cents", cents), slog.Bool("known", checkout != nil))
		}
		return nil
	})
}
