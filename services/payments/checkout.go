package payments

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"selflink/appliance/httpapi"
	"selflink/services/payments/paymentsdb"
)

// afterwards bounds what is written when the caller may have gone.
const afterwards = 5 * time.Second

type newCheckout struct {
	AmountCents int    `json:"amount_cents" min:"1" max:"2147483647"`
	Currency    string `json:"currency" max:"8"`
}

// Checkout is one wish to buy coins.
type Checkout struct {
	ID          int64  `json:"checkout_id"`
	Reference   string `json:"reference"`
	AmountCents int    `json:"amount_cents"`
	Currency    string `json:"currency"`
	Status      string `json:"status"`
	PaymentURL  string `json:"payment_url"`
}

// checkout is what Stripe has to know of it.
type checkout struct {
	id        int64
	reference string
	cents     int
	currency  string
}

// notConfigured refuses what needs a key that is not set.
func notConfigured() error {
	return httpapi.Detail(http.StatusServiceUnavailable, "Stripe is not configured.")
}

// stripeFailed refuses what Stripe did not do. The cause is logged, not told.
func (s *Service) stripeFailed(ctx context.Context, err error) error {
	s.Log.LogAttrs(ctx, slog.LevelWarn, "Stripe does not do what it is asked for", slog.String("error", err.Error()))
	return httpapi.Detail(http.StatusBadGateway, "Stripe is unavailable.")
}

// buyCoins stores a checkout and asks Stripe for the page where it is paid.
// When Stripe fails the checkout is marked so; were it paid all the same, it is
// credited all the same.
func (s *Service) buyCoins(ctx context.Context, user int64, in newCheckout) (Checkout, error) {
	code := strings.ToUpper(in.Currency)
	var bad httpapi.FieldErrors
	if in.AmountCents < s.Stripe.MinCents {
		bad.Add("amount_cents", fmt.Sprintf("Amount must be at least %d cents.", s.Stripe.MinCents))
	}
	if len(s.Stripe.Currencies) > 0 && !slices.Contains(s.Stripe.Currencies, code) || !isCurrency(code) {
		bad.Add("currency", "Currency not supported for Stripe.")
	}
	if err := bad.Err(); err != nil {
		return Checkout{}, err
	}
	if s.stripe == nil {
		return Checkout{}, notConfigured()
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Checkout{}, fmt.Errorf("make a payment reference: %w", err)
	}
	c := checkout{id: s.IDs.Next(), reference: hex.EncodeToString(random[:]), cents: in.AmountCents, currency: code}
	err := s.q.InsertCheckout(ctx, paymentsdb.InsertCheckoutParams{
		ID: c.id, Provider: providerStripe, Reference: c.reference, UserID: user, AmountCents: int32(c.cents), Currency: c.currency, Now: s.now(),
	})
	if err != nil {
		return Checkout{}, fmt.Errorf("store checkout: %w", err)
	}
	session, url, err := s.stripe.coinSession(ctx, c, s.Stripe.SuccessURL, s.Stripe.CancelURL)
	if err != nil {
		undo, done := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
		defer done()
		if err := s.q.FailCheckout(undo, paymentsdb.FailCheckoutParams{ID: c.id, Now: s.now()}); err != nil {
			s.Log.LogAttrs(ctx, slog.LevelWarn, "a checkout without a page stays open", slog.Int64("checkout", c.id), slog.String("error", err.Error()))
		}
		if refusedAmount(err) {
			return Checkout{}, httpapi.Invalid("amount_cents", "Amount is not accepted by Stripe.")
		}
		return Checkout{}, s.stripeFailed(ctx, err)
	}
	err = s.q.BindCheckout(ctx, paymentsdb.BindCheckoutParams{ID: c.id, ProviderReference: &session, Now: s.now()})
	if err != nil {
		return Checkout{}, fmt.Errorf("store the session of a checkout: %w", err)
	}
	return Checkout{
		ID: c.id, Reference: c.reference, AmountCents: c.cents, Currency: c.currency, Status: "created", PaymentURL: url,
	}, nil
}

// isCurrency reports whether a code has the form of one, so that "any" is not
// anything.
func isCurrency(code string) bool {
	return len(code) == 3 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
