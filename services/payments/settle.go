package payments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/payments/paymentsdb"
)

// outcome is what a provider says became of a checkout.
type outcome int

const (
	pending outcome = iota // it will say more
	paid
	failed
)

// statement is one verified message of a provider about a checkout.
type statement struct {
	event     string // the provider's id of it
	kind      string
	reference string
	intent    string // the provider's id of the payment; may be empty
	cents     int64
	currency  string
	outcome   outcome
	bodyHash  string
}

func refuse(text string) error { return httpapi.Detail(http.StatusBadRequest, text) }

// settle does what a statement asks for, once. All of it is one transaction
// under the lock of the checkout, so that statements about one checkout come
// one after the other however they arrive:
//
//   - a statement is stored under its id, and a repetition changes nothing;
//   - the first that says "paid" credits the payer, also after one that said
//     "failed"; a later one is stored and credits nobody;
//   - nothing makes a paid checkout unpaid.
func (s *Service) settle(ctx context.Context, st statement) error {
	err := s.settleIn(ctx, st, "")
	var refused interface{ Reason() string }
	if !errors.As(err, &refused) {
		return err
	}
	// The ledger does not take it. That somebody paid must not be forgotten:
	// the event stays, unminted, and the provider's next try mints it if the
	// ledger takes it then.
	s.Log.LogAttrs(ctx, slog.LevelError, "a payment cannot be credited",
		slog.String("event", st.event), slog.String("reference", st.reference), slog.String("error", err.Error()))
	if err := s.settleIn(ctx, st, cut(refused.Reason(), maxRefused)); err != nil {
		return err
	}
	return refuse(refused.Reason())
}

// maxRefused is how much of the ledger's reason is kept, in bytes.
const maxRefused = 255

// cut keeps at most so many bytes of a text, as whole characters; it is never
// empty.
func cut(text string, most int) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "")
	for len(text) > most {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return cmp.Or(text, "refused")
}

// settleIn is one try to settle; with a reason why the ledger refuses, that is
// noted instead of asking it.
func (s *Service) settleIn(ctx context.Context, st statement, refused string) error {
	return s.DB.Tx(ctx, func(tx database.Tx) error {
		q := paymentsdb.New(tx)
		c, err := q.LockCheckout(ctx, paymentsdb.LockCheckoutParams{Provider: providerStripe, Reference: st.reference})
		if database.IsNoRows(err) {
			return refuse("Unknown payment reference.")
		}
		if err != nil {
			return fmt.Errorf("lock checkout: %w", err)
		}
		if int64(c.AmountCents) != st.cents || c.Currency != st.currency {
			return refuse("Payment amount mismatch.")
		}
		ev, err := s.record(ctx, q, c, st)
		if err != nil {
			return err
		}
		if st.intent != "" {
			if err := s.noteIntent(ctx, q, c.ID, st.intent); err != nil {
				return err
			}
		}
		switch {
		case ev.Status == "minted", st.outcome == pending:
			return nil
		case st.outcome == failed:
			return s.fail(ctx, q, c.ID, ev.ID)
		case c.Status == "paid":
			s.Log.LogAttrs(ctx, slog.LevelWarn, "a checkout was paid twice; the second payment credits nobody",
				slog.Int64("checkout", c.ID), slog.String("event", st.event), slog.Int64("user_id", c.UserID))
			return nil
		case refused != "":
			if err := q.RefuseEvent(ctx, paymentsdb.RefuseEventParams{ID: ev.ID, Why: refused, Now: s.now()}); err != nil {
				return fmt.Errorf("note why the payment is not credited: %w", err)
			}
			return nil
		}
		coins, err := s.Coins.Mint(ctx, tx, providerStripe, st.event, c.UserID, st.cents,
			map[string]any{"source": "stripe_webhook", "reference": st.reference})
		if err != nil {
			return fmt.Errorf("mint: %w", err)
		}
		now := s.now()
		if err := q.MintEvent(ctx, paymentsdb.MintEventParams{ID: ev.ID, CoinEvent: coins, Now: now}); err != nil {
			return fmt.Errorf("mark the payment as minted: %w", err)
		}
		if err := q.PayCheckout(ctx, paymentsdb.PayCheckoutParams{ID: c.ID, Now: now}); err != nil {
			return fmt.Errorf("mark the checkout as paid: %w", err)
		}
		tx.AfterCommit(func() {
			s.Log.LogAttrs(ctx, slog.LevelInfo, "coins were bought", slog.Int64("user_id", c.UserID), slog.Int64("amount_cents", st.cents),
				slog.String("reference", st.reference), slog.Int64("coin_event_id", coins))
		})
		return nil
	})
}

// record stores a statement, or finds it and checks that it is the same.
func (s *Service) record(ctx context.Context, q *paymentsdb.Queries, c paymentsdb.LockCheckoutRow, st statement) (paymentsdb.LockEventRow, error) {
	_, err := q.InsertEvent(ctx, paymentsdb.InsertEventParams{
		ID: s.IDs.Next(), Provider: providerStripe, ProviderEventID: st.event, EventType: st.kind, UserID: c.UserID, CheckoutID: &c.ID,
		AmountCents: c.AmountCents, Currency: c.Currency, Status: "received", RawBodyHash: st.bodyHash, Now: s.now(),
	})
	if err != nil {
		return paymentsdb.LockEventRow{}, fmt.Errorf("store payment event: %w", err)
	}
	ev, err := q.LockEvent(ctx, paymentsdb.LockEventParams{Provider: providerStripe, ProviderEventID: st.event})
	if err != nil {
		return paymentsdb.LockEventRow{}, fmt.Errorf("lock payment event: %w", err)
	}
	if ev.UserID != c.UserID || ev.AmountCents != c.AmountCents || ev.Currency != c.Currency || ev.CheckoutID == nil || *ev.CheckoutID != c.ID {
		return paymentsdb.LockEventRow{}, refuse("Payment event mismatch.")
	}
	return ev, nil
}

// fail marks the event, and the checkout if nobody paid it.
func (s *Service) fail(ctx context.Context, q *paymentsdb.Queries, checkout, event int64) error {
	now := s.now()
	if err := q.FailEvent(ctx, paymentsdb.FailEventParams{ID: event, Now: now}); err != nil {
		return fmt.Errorf("mark the payment as failed: %w", err)
	}
	if err := q.FailCheckout(ctx, paymentsdb.FailCheckoutParams{ID: checkout, Now: now}); err != nil {
		return fmt.Errorf("mark the checkout as failed: %w", err)
	}
	return nil
}

// noteIntent keeps by which name refunds will speak of the payment, and takes
// in those that came before it.
func (s *Service) noteIntent(ctx context.Context, q *paymentsdb.Queries, checkout int64, intent string) error {
	if err := q.NoteIntent(ctx, paymentsdb.NoteIntentParams{ID: checkout, PaymentIntent: intent}); err != nil {
		return fmt.Errorf("note the payment of a checkout: %w", err)
	}
	if err := q.AdoptNotices(ctx, paymentsdb.AdoptNoticesParams{Provider: providerStripe, PaymentIntent: intent, CheckoutID: checkout}); err != nil {
		return fmt.Errorf("find earlier refunds: %w", err)
	}
	return nil
}
