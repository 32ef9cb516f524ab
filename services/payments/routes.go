package payments

import (
	"context"
	"net/http"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

type nothing struct{}

type byID struct {
	ID int64 `path:"id"`
}

type body[T any] struct{ Body T }

type webhookIn struct {
	Signature string `header:"Stripe-Signature" raw:"true"`
	Body      []byte
}

// stripeRequest bounds requests that wait for Stripe: two calls, and some more.
const stripeRequest = 2*stripeWait + 10*time.Second

// caller is who asks; every route but the plans and the webhook has somebody.
func caller(ctx context.Context) int64 {
	p, _ := auth.From(ctx)
	return p.UserID
}

func operation(method, path, id, summary string) httpapi.Operation {
	return httpapi.Operation{Method: method, Path: "payments/" + path, ID: "payments_" + id, Tag: "payments", Summary: summary}
}

// webhookPath is where Stripe sends its webhooks.
const webhookPath = "/api/v1/payments/stripe/webhook/"

// Register adds all routes of payments to api.
func (s *Service) Register(api *httpapi.API) {
	s.registerPlans(api)
	s.registerSubscriptions(api)
	s.registerStripe(api)
}

func (s *Service) registerPlans(api *httpapi.API) {
	op := operation(http.MethodGet, "plans/", "plans", "What can be subscribed to, newest first.")
	op.Access = httpapi.AccessPublic
	httpapi.Handle(api, op, func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Plan], error) { return s.plans(ctx, *in) })
	op = operation(http.MethodGet, "plans/{id}/", "plan", "One plan.")
	op.Access = httpapi.AccessPublic
	httpapi.Handle(api, op, func(ctx context.Context, in *byID) (Plan, error) { return s.plan(ctx, in.ID) })
}

func (s *Service) registerSubscriptions(api *httpapi.API) {
	httpapi.Handle(api, operation(http.MethodGet, "subscriptions/", "subscriptions", "The caller's subscriptions, newest first."),
		func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Subscription], error) {
			return s.subscriptions(ctx, caller(ctx), *in)
		})
	op := operation(http.MethodPost, "subscriptions/", "subscribe", "Subscribe to a plan.")
	op.Status, op.Timeout, op.Errors = http.StatusCreated, stripeRequest, []int{http.StatusForbidden, http.StatusBadGateway, http.StatusServiceUnavailable}
	handleIf(api, s.Enabled, op, "Payments disabled", func(ctx context.Context, in *body[newSubscription]) (Subscribed, error) {
		return s.subscribe(ctx, caller(ctx), in.Body)
	})
	httpapi.Handle(api, operation(http.MethodGet, "subscriptions/wallet/", "wallet", "A balance that is always zero; coins are in the ledger."),
		func(ctx context.Context, _ *nothing) (Wallet, error) { return s.wallet(ctx, caller(ctx)) })
	httpapi.Handle(api, operation(http.MethodGet, "subscriptions/{id}/", "subscription", "One of the caller's subscriptions."),
		func(ctx context.Context, in *byID) (Subscription, error) {
			return s.subscription(ctx, caller(ctx), in.ID)
		})
	for i, method := range []string{http.MethodPut, http.MethodPatch} {
		httpapi.Handle(api, operation(method, "subscriptions/{id}/", []string{"subscription_replace", "subscription_change"}[i], "Nothing of a subscription can be changed; the answer is as it was."),
			func(ctx context.Context, in *byID) (Subscription, error) {
				return s.touch(ctx, caller(ctx), in.ID)
			})
	}
	op = operation(http.MethodDelete, "subscriptions/{id}/", "unsubscribe", "End a subscription, at Stripe too.")
	op.Timeout, op.Errors = stripeRequest, []int{http.StatusBadGateway, http.StatusServiceUnavailable}
	httpapi.Handle(api, op, func(ctx context.Context, in *byID) (httpapi.NoContent, error) {
		return httpapi.NoContent{}, s.unsubscribe(ctx, caller(ctx), in.ID)
	})
}

func (s *Service) registerStripe(api *httpapi.API) {
	op := operation(http.MethodPost, "stripe/checkout/", "stripe_checkout", "Buy coins.")
	op.Status, op.Timeout, op.Errors = http.StatusCreated, stripeRequest, []int{http.StatusForbidden, http.StatusBadGateway, http.StatusServiceUnavailable}
	handleIf(api, s.stripeOn(), op, "Stripe disabled", func(ctx context.Context, in *body[newCheckout]) (Checkout, error) {
		return s.buyCoins(ctx, caller(ctx), in.Body)
	})

	op = operation(http.MethodPost, "stripe/webhook/", "stripe_webhook", "What Stripe has to say; signed by it.")
	// Whoever cannot sign gets no further than a hash of a bounded body, and
	// Stripe must not be told to slow down.
	op.Access, op.OwnLimits, op.BodyLimit = httpapi.AccessPublic, true, maxWebhook
	op.Timeout, op.Errors = stripeRequest, []int{http.StatusForbidden, http.StatusBadGateway, http.StatusServiceUnavailable}
	httpapi.Handle(api, op, func(ctx context.Context, in *webhookIn) (Received, error) {
		if !s.stripeOn() {
			return Received{}, empty(http.StatusForbidden)
		}
		return s.stripeWebhook(ctx, in.Signature, in.Body)
	})
}

// handleIf adds an operation that may be switched off. Then it refuses everybody
// who is signed in, before it looks at what they send.
func handleIf[In, Out any](api *httpapi.API, on bool, op httpapi.Operation, refusal string, handler func(context.Context, *In) (Out, error)) {
	if on {
		httpapi.Handle(api, op, handler)
		return
	}
	httpapi.Handle(api, op, func(context.Context, *nothing) (Out, error) {
		return *new(Out), httpapi.Detail(http.StatusForbidden, refusal)
	})
}
