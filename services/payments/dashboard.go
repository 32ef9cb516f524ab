package payments

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"selflink/appliance/dashboard"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/payments/paymentsdb"
)

const (
	// dashboardPeriod is how often the page of payments is looked at while
	// somebody watches it.
	dashboardPeriod = 5 * time.Second

	day = 24 * time.Hour
)

// counts are what takes long to count.
type counts struct {
	day           dashboard.Counted[Day]
	subscriptions dashboard.Counted[[]SubscriptionCount]
}

// Provider is one way to pay, as it is set up. Of keys and secrets it says
// whether they are there.
type Provider struct {
	Name       string   `json:"name"`
	Enabled    bool     `json:"enabled"`
	Mode       string   `json:"mode" enum:"live,test,unknown,none" doc:"By the beginning of the key; none: there is no key, so nothing can be bought."`
	Secrets    int      `json:"webhook_secrets" doc:"How many a webhook may be signed with; 0: none is believed."`
	Currencies []string `json:"currencies" doc:"Empty: any."`
	MinCents   int      `json:"min_cents"`
	Webhook    string   `json:"webhook_path"`
}

// Hooks are the webhooks that came to this node.
type Hooks struct {
	Since   time.Time           `json:"since" doc:"Since when it counts: the start of this process. Older than a day is left out."`
	Last    *time.Time          `json:"last_at" doc:"When the last one came that was believed."`
	Handled []dashboard.Tallied `json:"handled" doc:"By type."`
	Ignored []dashboard.Tallied `json:"ignored" doc:"By type: they mean nothing here."`
	Failed  []dashboard.Tallied `json:"failed" doc:"By type: Stripe comes again."`
	Refused []dashboard.Tallied `json:"refused" doc:"By reason: unsigned, no_secret, signature, too_old, unreadable."`
}

// Day is what happened in the last 24 hours, on all nodes.
type Day struct {
	Checkouts []CheckoutCount `json:"checkouts"`
	Events    []EventCount    `json:"events"`
}

// CheckoutCount counts checkouts of a state and a currency.
type CheckoutCount struct {
	Status    string `json:"status"`
	Currency  string `json:"currency"`
	Checkouts int64  `json:"checkouts"`
	Cents     int64  `json:"amount_cents"`
}

// EventCount counts stored events.
type EventCount struct {
	Type    string `json:"type"`
	Outcome string `json:"outcome" enum:"received,minted,failed,refused,noted" doc:"received: nothing was to be credited, or not yet; refused: the ledger did not take it; noted: a refund, a dispute, or news of a subscription."`
	Events  int64  `json:"events"`
}

// SubscriptionCount counts subscriptions of a state.
type SubscriptionCount struct {
	Status        string `json:"status"`
	Subscriptions int64  `json:"subscriptions"`
}

// Uncredited are payments that the ledger refused.
type Uncredited struct {
	Events int64      `json:"events" doc:"At most 1000 are counted."`
	Oldest *time.Time `json:"oldest_at"`
}

// Insight is what people see of payments. It marshals to what the dashboard
// answers. What is nil is not known.
type Insight struct {
	Enabled       bool                      `json:"enabled" doc:"The master switch."`
	Providers     []Provider                `json:"providers"`
	Checks        []dashboard.OverviewCheck `json:"checks"`
	Hooks         Hooks                     `json:"webhooks"`
	LastEvent     *time.Time                `json:"last_event_at" doc:"When the newest event came that was stored, on any node."`
	Day           *Day                      `json:"day" doc:"Null when there is too much to count in time."`
	CountedAt     *time.Time                `json:"counted_at"`
	Uncredited    Uncredited                `json:"uncredited"`
	Subscriptions []SubscriptionCount       `json:"subscriptions" doc:"Null when there are too many to count in time."`
}

// Page is an Insight beside the ledger, which another service keeps.
type Page[L any] struct {
	Insight
	Ledger L `json:"ledger"`
}

// mode tells by its beginning what a key is for.
func mode(key string) string {
	switch {
	case key == "":
		return "none"
	case strings.HasPrefix(key, "sk_live_"), strings.HasPrefix(key, "rk_live_"):
		return "live"
	case strings.HasPrefix(key, "sk_test_"), strings.HasPrefix(key, "rk_test_"):
		return "test"
	}
	return "unknown"
}

// Insight tells how payments are.
func (s *Service) Insight(ctx context.Context) (out Insight, err error) {
	secrets := 0
	for _, secret := range s.Stripe.WebhookSecrets {
		if secret != "" {
			secrets++
		}
	}
	out = Insight{
		Enabled: s.Enabled, Checks: []dashboard.OverviewCheck{}, Hooks: s.hooks.insight(),
		Providers: []Provider{{
			Name: providerStripe, Enabled: s.stripeOn(), Mode: mode(s.Stripe.APIKey), Secrets: secrets,
			Currencies: append([]string{}, s.Stripe.Currencies...), MinCents: s.Stripe.MinCents, Webhook: webhookPath,
		}},
	}
	if out.Day, out.CountedAt, err = s.counts.day.Get(ctx, s.countDay); err != nil {
		return out, err
	}
	subscriptions, _, err := s.counts.subscriptions.Get(ctx, s.countSubscriptions)
	if err != nil {
		return out, err
	}
	if subscriptions != nil {
		out.Subscriptions = *subscriptions
	}
	last, err := s.q.LastEvent(ctx)
	switch {
	case err == nil:
		last = last.UTC()
		out.LastEvent = &last
	case !database.IsNoRows(err):
		return out, fmt.Errorf("look for the last event: %w", err)
	}
	stuck, err := s.q.UncreditedEvents(ctx)
	if err != nil {
		return out, fmt.Errorf("look for payments that are not credited: %w", err)
	}
	if out.Uncredited.Events = stuck.Events; stuck.Events > 0 {
		oldest := stuck.Oldest.UTC()
		out.Uncredited.Oldest = &oldest
	}
	return out, nil
}

func (h *hooks) insight() Hooks {
	out := Hooks{
		Since: h.refused.Began(), Handled: h.handled.Day(), Ignored: h.ignored.Day(), Failed: h.failed.Day(), Refused: h.refused.Day(),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.last.IsZero() {
		at := h.last.UTC()
		out.Last = &at
	}
	return out
}

func (s *Service) countDay(ctx context.Context) (Day, error) {
	out := Day{[]CheckoutCount{}, []EventCount{}}
	since := s.now().Add(-day)
	checkouts, err := s.q.DayCheckouts(ctx, since)
	if err != nil {
		return out, fmt.Errorf("count checkouts: %w", err)
	}
	for _, c := range checkouts {
		out.Checkouts = append(out.Checkouts, CheckoutCount(c))
	}
	events, err := s.q.DayEvents(ctx, since)
	if err != nil {
		return out, fmt.Errorf("count events: %w", err)
	}
	for _, e := range events {
		out.Events = append(out.Events, EventCount{e.EventType, e.Outcome, e.Events})
	}
	return out, nil
}

func (s *Service) countSubscriptions(ctx context.Context) ([]SubscriptionCount, error) {
	rows, err := s.q.CountSubscriptions(ctx)
	if err != nil {
		return nil, fmt.Errorf("count subscriptions: %w", err)
	}
	out := make([]SubscriptionCount, 0, len(rows))
	for _, r := range rows {
		out = append(out, SubscriptionCount(r))
	}
	return out, nil
}

// KnownCheckout is one checkout of the list.
type KnownCheckout struct {
	ID        string    `json:"id"`
	Provider  string    `json:"provider"`
	Reference string    `json:"reference"`
	User      string    `json:"user_id"`
	Cents     int32     `json:"amount_cents"`
	Currency  string    `json:"currency"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

type checkoutsInput struct {
	dashboard.PageInput
	Status string `query:"status" max:"16" doc:"created, paid, failed or canceled."`
}

func (s *Service) newestCheckouts(ctx context.Context, in checkoutsInput) (out dashboard.List[KnownCheckout], err error) {
	after, err := in.ID()
	if err != nil {
		return out, err
	}
	var rows []paymentsdb.NewestCheckoutsRow
	most := int32(in.Size()) + 1 //nolint:gosec // at most 200
	switch {
	case in.Status == "":
		rows, err = s.q.NewestCheckouts(ctx, paymentsdb.NewestCheckoutsParams{After: after, Most: most})
	case !slices.Contains([]string{"created", "paid", "failed", "canceled"}, in.Status):
		return out, httpapi.Invalid("status", "It is created, paid, failed or canceled.")
	default:
		var found []paymentsdb.NewestCheckoutsOfRow
		found, err = s.q.NewestCheckoutsOf(ctx, paymentsdb.NewestCheckoutsOfParams{Status: in.Status, After: after, Most: most})
		for _, r := range found {
			rows = append(rows, paymentsdb.NewestCheckoutsRow(r))
		}
	}
	if err != nil {
		return out, fmt.Errorf("list checkouts: %w", err)
	}
	return dashboard.ListOf(rows, in.Size(), func(r paymentsdb.NewestCheckoutsRow) string { return dashboard.IDCursor(r.ID) },
		func(r paymentsdb.NewestCheckoutsRow) KnownCheckout {
			return KnownCheckout{
				ID: strconv.FormatInt(r.ID, 10), Provider: r.Provider, Reference: r.Reference, User: strconv.FormatInt(r.UserID, 10),
				Cents: r.AmountCents, Currency: r.Currency, Status: r.Status, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
			}
		}), nil
}

// KnownEvent is one stored event of the list.
type KnownEvent struct {
	Provider  string    `json:"provider"`
	ID        string    `json:"id" doc:"The provider's."`
	Type      string    `json:"type"`
	Outcome   string    `json:"outcome" enum:"received,minted,failed,refused,noted"`
	Refused   string    `json:"refused" doc:"Why the ledger did not take it."`
	User      *string   `json:"user_id"`
	Reference string    `json:"reference" doc:"Of the checkout; empty: it is about none that is known."`
	Cents     int64     `json:"amount_cents"`
	Currency  string    `json:"currency" doc:"Empty: it is about no amount."`
	CreatedAt time.Time `json:"created_at"`
}

func (s *Service) newestEvents(ctx context.Context, in dashboard.PageInput) (out dashboard.List[KnownEvent], err error) {
	place, err := in.Place()
	if err != nil {
		return out, err
	}
	rows, err := s.q.NewestEvents(ctx, paymentsdb.NewestEventsParams{At: place.At, After: place.Key, Most: int32(in.Size()) + 1}) //nolint:gosec // at most 200
	if err != nil {
		return out, fmt.Errorf("list events: %w", err)
	}
	return dashboard.ListOf(rows, in.Size(),
		func(r paymentsdb.NewestEventsRow) string {
			return dashboard.Place{At: r.CreatedAt, Key: r.ProviderEventID}.Cursor()
		},
		func(r paymentsdb.NewestEventsRow) KnownEvent {
			e := KnownEvent{
				Provider: r.Provider, ID: r.ProviderEventID, Type: r.EventType, Outcome: r.Outcome, Refused: r.Refused,
				Reference: r.Reference, Cents: r.Cents, Currency: strings.ToUpper(r.Currency), CreatedAt: r.CreatedAt.UTC(),
			}
			if r.UserID != 0 {
				id := strconv.FormatInt(r.UserID, 10)
				e.User = &id
			}
			return e
		}), nil
}

// RegisterDashboard adds the page of payments to the dashboard; ledger tells how
// the ledger is.
func RegisterDashboard[L any](s *Service, d *dashboard.Desk, ledger func(ctx context.Context) (L, error)) {
	look := func(ctx context.Context) (out Page[L], err error) {
		if out.Insight, err = s.Insight(ctx); err != nil {
			return out, err
		}
		out.Checks = d.Checks("payments", "coin")
		out.Ledger, err = ledger(ctx)
		return out, err
	}
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "payments", ID: "payments", Summary: "Providers, webhooks, checkouts, subscriptions and the ledger."},
		func(ctx context.Context, _ *struct{}) (Page[L], error) { return look(ctx) })
	d.Topic("payments", dashboardPeriod, func(ctx context.Context) (any, error) { return look(ctx) })
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "payments/checkouts", ID: "payments_checkouts", Summary: "Checkouts, the newest first."},
		func(ctx context.Context, in *checkoutsInput) (dashboard.List[KnownCheckout], error) {
			return s.newestCheckouts(ctx, *in)
		})
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "payments/events", ID: "payments_events", Summary: "Events of providers that were stored, the newest first."},
		func(ctx context.Context, in *dashboard.PageInput) (dashboard.List[KnownEvent], error) {
			return s.newestEvents(ctx, *in)
		})
}
