package payments

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/payments/paymentsdb"
)

// States of subscriptions that rules speak of.
const (
	stateActive     = "active"
	stateCanceled   = "canceled"
	stateIncomplete = "incomplete"
)

// Subscription is somebody's to a plan. It grants nothing by itself: clients
// read the list.
type Subscription struct {
	ID                 int64              `json:"id"`
	Plan               Plan               `json:"plan"`
	Status             string             `json:"status"`
	CurrentPeriodStart *httpapi.Timestamp `json:"current_period_start"`
	CurrentPeriodEnd   *httpapi.Timestamp `json:"current_period_end"`
	CreatedAt          httpapi.Timestamp  `json:"created_at"`
	UpdatedAt          httpapi.Timestamp  `json:"updated_at"`
}

// Subscribed is the answer to a new subscription. Without a page there is
// nothing to pay at Stripe.
type Subscribed struct {
	Subscription Subscription `json:"subscription"`
	CheckoutURL  *string      `json:"checkout_url"`
	SessionID    *string      `json:"session_id"`
}

// Wallet is a relic: it has never held anything.
type Wallet struct {
	ID           int64             `json:"id"`
	BalanceCents int32             `json:"balance_cents"`
	CreatedAt    httpapi.Timestamp `json:"created_at"`
	UpdatedAt    httpapi.Timestamp `json:"updated_at"`
}

type newSubscription struct {
	PlanID     int64  `json:"plan_id"`
	SuccessURL string `json:"success_url" optional:"true" format:"url"`
	CancelURL  string `json:"cancel_url" optional:"true" format:"url"`
}

func publicSubscription(r paymentsdb.SubscriptionsRow) Subscription {
	return Subscription{
		ID: r.ID, Status: r.Status,
		Plan:               Plan{ID: r.PlanID, Name: r.PlanName, PriceCents: r.PlanPriceCents, Interval: r.PlanInterval, Features: r.PlanFeatures, IsActive: r.PlanIsActive},
		CurrentPeriodStart: httpapi.NullTimestamp(r.CurrentPeriodStart), CurrentPeriodEnd: httpapi.NullTimestamp(r.CurrentPeriodEnd),
		CreatedAt: httpapi.Timestamp(r.CreatedAt), UpdatedAt: httpapi.Timestamp(r.UpdatedAt),
	}
}

func subscriptionColumns() []column[paymentsdb.SubscriptionsRow] {
	type row = paymentsdb.SubscriptionsRow
	return []column[row]{
		{"created_at", func(r row) string { return moment(&r.CreatedAt) }},
		{"id", func(r row) string { return number(r.ID) }},
		{"status", func(r row) string { return r.Status }},
		{"current_period_start", func(r row) string { return moment(r.CurrentPeriodStart) }},
		{"current_period_end", func(r row) string { return moment(r.CurrentPeriodEnd) }},
		{"updated_at", func(r row) string { return moment(&r.UpdatedAt) }},
	}
}

func (s *Service) subscriptions(ctx context.Context, user int64, in httpapi.PageQuery) (httpapi.Page[Subscription], error) {
	rows, err := s.q.Subscriptions(ctx, paymentsdb.SubscriptionsParams{UserID: user})
	if err != nil {
		return httpapi.Page[Subscription]{}, fmt.Errorf("list subscriptions: %w", err)
	}
	return paginate(ctx, in, rows, subscriptionColumns(), func(r paymentsdb.SubscriptionsRow) int64 { return r.ID }, publicSubscription)
}

// row reads a subscription of a user.
func (s *Service) row(ctx context.Context, user, id int64) (paymentsdb.SubscriptionsRow, error) {
	rows, err := s.q.Subscriptions(ctx, paymentsdb.SubscriptionsParams{UserID: user, ID: &id})
	if err != nil {
		return paymentsdb.SubscriptionsRow{}, fmt.Errorf("read subscription: %w", err)
	}
	if len(rows) == 0 {
		return paymentsdb.SubscriptionsRow{}, httpapi.NotFound("Subscription")
	}
	return rows[0], nil
}

func (s *Service) subscription(ctx context.Context, user, id int64) (Subscription, error) {
	r, err := s.row(ctx, user, id)
	return publicSubscription(r), err
}

// touch is what remains of changing a subscription: nothing of it can be.
func (s *Service) touch(ctx context.Context, user, id int64) (Subscription, error) {
	n, err := s.q.TouchSubscription(ctx, paymentsdb.TouchSubscriptionParams{ID: id, UserID: user, Now: s.now()})
	if err != nil {
		return Subscription{}, fmt.Errorf("touch subscription: %w", err)
	}
	if n == 0 {
		return Subscription{}, httpapi.NotFound("Subscription")
	}
	return s.subscription(ctx, user, id)
}

// unsubscribe deletes a subscription. One that Stripe charges for is cancelled
// there first: nobody pays for what cannot be seen any more.
func (s *Service) unsubscribe(ctx context.Context, user, id int64) error {
	r, err := s.row(ctx, user, id)
	if err != nil {
		return err
	}
	if r.ExternalSubscriptionID != nil && r.Status != stateCanceled {
		if s.stripe == nil {
			return notConfigured()
		}
		if err := s.stripe.cancel(ctx, *r.ExternalSubscriptionID); err != nil {
			return s.stripeFailed(ctx, err)
		}
	}
	if _, err := s.q.DeleteSubscription(ctx, paymentsdb.DeleteSubscriptionParams{ID: id, UserID: user}); err != nil {
		return fmt.Errorf("delete subscription: %w", err)
	}
	return nil
}

// ensureWallet gives the wallet of a user and makes it when there is none.
func (s *Service) ensureWallet(ctx context.Context, user int64) (paymentsdb.WalletRow, error) {
	w, err := s.q.Wallet(ctx, user)
	if !database.IsNoRows(err) {
		return w, err
	}
	if err := s.q.EnsureWallet(ctx, paymentsdb.EnsureWalletParams{ID: s.IDs.Next(), UserID: user, Now: s.now()}); err != nil {
		return w, fmt.Errorf("make wallet: %w", err)
	}
	return s.q.Wallet(ctx, user)
}

func (s *Service) wallet(ctx context.Context, user int64) (Wallet, error) {
	w, err := s.ensureWallet(ctx, user)
	if err != nil {
		return Wallet{}, fmt.Errorf("read wallet: %w", err)
	}
	return Wallet{ID: w.ID, BalanceCents: w.BalanceCents, CreatedAt: httpapi.Timestamp(w.CreatedAt), UpdatedAt: httpapi.Timestamp(w.UpdatedAt)}, nil
}

// customer gives who a user is to Stripe and makes them known there.
func (s *Service) customer(ctx context.Context, user int64) (string, error) {
	w, err := s.ensureWallet(ctx, user)
	if err != nil {
		return "", fmt.Errorf("read wallet: %w", err)
	}
	if w.ExternalCustomerID != nil {
		return *w.ExternalCustomerID, nil
	}
	if s.stripe == nil {
		return "", notConfigured()
	}
	email, err := s.People.Email(ctx, user)
	if err != nil {
		return "", fmt.Errorf("read the address of a customer: %w", err)
	}
	made, err := s.stripe.customer(ctx, strconv.FormatInt(user, 10), email)
	if err != nil {
		return "", s.stripeFailed(ctx, err)
	}
	if err := s.setCustomer(ctx, s.q, user, made); err != nil {
		return "", err
	}
	// Another request may have been first; the first customer stays.
	if w, err = s.q.Wallet(ctx, user); err != nil {
		return "", fmt.Errorf("read wallet: %w", err)
	}
	if w.ExternalCustomerID == nil {
		return made, nil
	}
	return *w.ExternalCustomerID, nil
}

func (s *Service) setCustomer(ctx context.Context, q *paymentsdb.Queries, user int64, customer string) error {
	if err := q.SetCustomer(ctx, paymentsdb.SetCustomerParams{UserID: user, Customer: customer, Now: s.now()}); err != nil {
		return fmt.Errorf("store customer: %w", err)
	}
	return nil
}

// subscribe aims the user's subscription at a plan and asks Stripe for the page
// where it is paid. An active one stays as it is until Stripe says that the new
// one is paid.
func (s *Service) subscribe(ctx context.Context, user int64, in newSubscription) (Subscribed, error) {
	plan, err := s.q.Plan(ctx, in.PlanID)
	if database.IsNoRows(err) {
		return Subscribed{}, httpapi.Invalid("plan_id", "Plan not available")
	}
	if err != nil {
		return Subscribed{}, fmt.Errorf("read plan: %w", err)
	}
	customer, err := s.customer(ctx, user)
	if err != nil {
		return Subscribed{}, err
	}
	id, err := s.aim(ctx, user, plan.ID)
	if err != nil {
		return Subscribed{}, err
	}
	out := Subscribed{}
	if out.Subscription, err = s.subscription(ctx, user, id); err != nil || plan.ExternalPriceID == nil {
		return out, err
	}
	if s.stripe == nil {
		return Subscribed{}, notConfigured()
	}
	text := func(n int64) string { return strconv.FormatInt(n, 10) }
	session, url, err := s.stripe.planSession(ctx, customer, *plan.ExternalPriceID,
		orElse(in.SuccessURL, s.Stripe.PlanSuccessURL), orElse(in.CancelURL, s.Stripe.PlanCancelURL),
		"selflink-subscription-"+rand.Text(),
		map[string]string{"user_id": text(user), "plan_id": text(plan.ID), "subscription_id": text(id)})
	if err != nil {
		return Subscribed{}, s.stripeFailed(ctx, err)
	}
	out.CheckoutURL, out.SessionID = &url, &session
	return out, nil
}

// aim finds the row that will hold a subscription to a plan: the one of that
// plan, else the active one, which stays as it is until the new one is paid,
// else the newest, which moves to the plan, else a new one.
func (s *Service) aim(ctx context.Context, user, plan int64) (id int64, err error) {
	err = s.DB.Tx(ctx, func(tx database.Tx) error {
		q := paymentsdb.New(tx)
		if err := q.LockWallet(ctx, user); err != nil {
			return fmt.Errorf("lock wallet: %w", err)
		}
		rows, err := q.UserSubscriptions(ctx, user)
		if err != nil {
			return fmt.Errorf("read subscriptions: %w", err)
		}
		find := func(f func(paymentsdb.UserSubscriptionsRow) bool) int { return slices.IndexFunc(rows, f) }
		at := find(func(r paymentsdb.UserSubscriptionsRow) bool { return r.PlanID == plan })
		if at < 0 {
			at = find(func(r paymentsdb.UserSubscriptionsRow) bool { return r.Status == stateActive })
		}
		if at < 0 && len(rows) > 0 {
			at = 0
		}
		if at < 0 {
			id = s.IDs.Next()
			err := q.InsertSubscription(ctx, paymentsdb.InsertSubscriptionParams{ID: id, UserID: user, PlanID: plan, Now: s.now()})
			if err != nil {
				return fmt.Errorf("store subscription: %w", err)
			}
			return nil
		}
		id = rows[at].ID
		if rows[at].Status == stateActive {
			return nil
		}
		if err := q.AimSubscription(ctx, paymentsdb.AimSubscriptionParams{ID: id, PlanID: plan, Now: s.now()}); err != nil {
			return fmt.Errorf("aim subscription: %w", err)
		}
		return nil
	})
	return id, err
}

func orElse(text, byDefault string) string {
	if text == "" {
		return byDefault
	}
	return text
}
