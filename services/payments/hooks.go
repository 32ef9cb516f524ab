package payments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/dashboard"
	"selflink/appliance/health"
	"selflink/appliance/health/posture"
)

const (
	// refusedMany webhooks within refusedSpan are no accident any more.
	refusedMany = 5
	refusedSpan = 10 * time.Minute
)

// Codes of the health checks.
const (
	// CheckRefused fails while webhooks come that are not believed.
	CheckRefused = "payments.webhook.refused"
	// CheckUncredited fails while the ledger does not take what was paid.
	CheckUncredited = "payments.uncredited"
)

// hooks remembers the webhooks that came to this node. What they led to is in
// the database; of those that are refused or mean nothing here it knows nothing.
type hooks struct {
	clock   func() time.Time
	refused *dashboard.Tally // by the reason
	failed  *dashboard.Tally // by the type: Stripe comes again
	ignored *dashboard.Tally // by the type
	handled *dashboard.Tally // by the type
	total   *prometheus.CounterVec

	mu     sync.Mutex
	last   time.Time   // of one that was believed
	forged []time.Time // the newest of those that are somebody's mistake, at most refusedMany
	why    string      // of the newest of them
}

func newHooks(clock func() time.Time, metrics prometheus.Registerer) (*hooks, error) {
	h := &hooks{
		clock: clock, refused: dashboard.NewTally(clock), failed: dashboard.NewTally(clock), ignored: dashboard.NewTally(clock),
		handled: dashboard.NewTally(clock), total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selflink_payments_webhooks_total", Help: "Webhooks of Stripe by what became of them.",
		}, []string{"outcome"}),
	}
	if metrics != nil {
		if err := metrics.Register(h.total); err != nil {
			return nil, fmt.Errorf("payments: register metrics: %w", err)
		}
	}
	return h, nil
}

// refuse notes a webhook that is not believed.
func (h *hooks) refuse(why string) {
	h.refused.Note(why)
	h.total.WithLabelValues(why).Inc()
	if why == refusedUnsigned || why == refusedBody { // whoever finds the address can send these
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.forged = append(h.forged, h.clock()); len(h.forged) > refusedMany {
		h.forged = slices.Delete(h.forged, 0, 1)
	}
	h.why = why
}

// believe notes one that is, and how it ended.
func (h *hooks) believe(kind string, known bool, err error) {
	outcome, tally := "handled", h.handled
	switch {
	case err != nil:
		outcome, tally = "failed", h.failed
	case !known:
		outcome, tally = "ignored", h.ignored
	}
	tally.Note(kind)
	h.total.WithLabelValues(outcome).Inc()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = h.clock()
}

// piling reports that so many webhooks were refused lately that something is
// wrong.
func (h *hooks) piling() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.forged) < refusedMany || h.clock().Sub(h.forged[0]) > refusedSpan {
		return nil
	}
	reason := map[string]string{
		refusedSignature: "their signature is of another secret, or they are forged",
		refusedOld:       "they are signed more than five minutes ago by this machine's clock",
		refusedSecret:    "STRIPE_WEBHOOK_SECRET is not set",
	}[h.why]
	return fmt.Errorf("%d or more webhooks were refused within %d minutes: %s", refusedMany, int(refusedSpan.Minutes()), reason)
}

// HealthChecks watch what webhooks come to. They are empty when Stripe is
// switched off.
func (s *Service) HealthChecks() []health.Check {
	if !s.stripeOn() {
		return nil
	}
	return []health.Check{{
		Code: CheckRefused, Title: "Webhooks of Stripe are refused", Private: true,
		Impact:    "If they are Stripe's, what people pay is not credited until it is mended; Stripe repeats them for three days. If they are not, somebody tries to forge payments, in vain.",
		Remedy:    "Compare STRIPE_WEBHOOK_SECRET with the signing secret of the endpoint in Stripe's dashboard, look at this machine's clock, and restart. See who sends them:  selflink logs --component payments",
		DependsOn: []string{posture.CheckWebhookSecret, "clock.offset"},
		Run:       func(context.Context) error { return s.hooks.piling() },
	}, {
		Code: CheckUncredited, Title: "Payments are not credited", Severity: health.High, Private: true,
		Impact:    "Somebody paid and has no coins.",
		Remedy:    "See which on the dashboard's page Payments. Make the ledger take it, most often by activating the account again, and send the event anew from Stripe's dashboard; or refund it there.",
		DependsOn: []string{"database"}, Every: 15 * time.Second,
		Run: func(ctx context.Context) error {
			r, err := s.q.UncreditedEvents(ctx)
			if err != nil {
				return fmt.Errorf("look for payments that are not credited: %w", err)
			}
			if r.Events == 0 {
				return nil
			}
			return errors.New(plural(r.Events, "payment is", "payments are") + " not credited since " + r.Oldest.UTC().Format("2006-01-02 15:04 UTC") + ": " + r.Why)
		},
	}}
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
