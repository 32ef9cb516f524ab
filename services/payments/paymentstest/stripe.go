// Package paymentstest has a Stripe for tests: a server that speaks as much of
// its HTTP API as is used, and that signs webhooks as Stripe documents it.
package paymentstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Key is the one that opens the API.
const Key = "sk_test_of_the_fake"

// Request is one call that reached the server, with its form.
type Request struct {
	Method, Path   string
	Form           url.Values
	IdempotencyKey string
}

// Stripe is the server. It is safe for concurrent use.
type Stripe struct {
	URL string

	mu            sync.Mutex
	requests      []Request
	answers       map[string]answer // by idempotency key
	failures      []failure
	subscriptions map[string]string // id → object
	intents       map[string]string
	cancelled     []string
	made          int
}

type answer struct {
	form string
	body string
}

type failure struct {
	status int
	body   string
}

// New starts a server that ends with the test.
func New(t testing.TB) *Stripe {
	s := &Stripe{answers: map[string]answer{}, subscriptions: map[string]string{}, intents: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Fail lets the next n calls fail. The body is Stripe's error object, or
// something that is none.
func (s *Stripe) Fail(n, status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.failures = append(s.failures, failure{status, body})
	}
}

// SetSubscription makes a subscription as JSON.
func (s *Stripe) SetSubscription(id, object string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriptions[id] = object
}

// SetIntent makes a payment intent as JSON.
func (s *Stripe) SetIntent(id, object string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intents[id] = object
}

// Requests are all calls so far.
func (s *Stripe) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Cancelled are the subscriptions that were cancelled.
func (s *Stripe) Cancelled() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.cancelled...)
}

func (s *Stripe) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request_error", "")
		return
	}
	key := r.Header.Get("Idempotency-Key")
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.Form, key})
	if len(s.failures) > 0 {
		next := s.failures[0]
		s.failures = s.failures[1:]
		w.WriteHeader(next.status)
		fmt.Fprint(w, next.body)
		return
	}
	user, _, _ := r.BasicAuth()
	if user != Key && r.Header.Get("Authorization") != "Bearer "+Key {
		refuse(w, http.StatusUnauthorized, "invalid_request_error", "api_key_invalid")
		return
	}
	if r.Method == http.MethodPost && key != "" {
		if old, ok := s.answers[key]; ok {
			if old.form != r.Form.Encode() {
				refuse(w, http.StatusBadRequest, "idempotency_error", "")
				return
			}
			fmt.Fprint(w, old.body)
			return
		}
	}
	body, ok := s.act(r)
	if !ok {
		refuse(w, http.StatusNotFound, "invalid_request_error", "resource_missing")
		return
	}
	if key != "" {
		s.answers[key] = answer{r.Form.Encode(), body}
	}
	fmt.Fprint(w, body)
}

func (s *Stripe) act(r *http.Request) (body string, ok bool) {
	s.made++
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/v1/checkout/sessions":
		id := fmt.Sprintf("cs_test_%d", s.made)
		return fmt.Sprintf(`{"id":%q,"object":"checkout.session","mode":%q,"url":"https://checkout.stripe.example/pay/%s"}`, id, r.Form.Get("mode"), id), true
	case r.Method == http.MethodPost && r.URL.Path == "/v1/customers":
		return fmt.Sprintf(`{"id":"cus_%d","object":"customer"}`, s.made), true
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/subscriptions/"):
		body, ok = s.subscriptions[strings.TrimPrefix(r.URL.Path, "/v1/subscriptions/")]
	case r.Method == http.MethodDelete && strings.HasPrefix(r.URL.Path, "/v1/subscriptions/"):
		id := strings.TrimPrefix(r.URL.Path, "/v1/subscriptions/")
		if body, ok = s.subscriptions[id]; ok {
			s.cancelled = append(s.cancelled, id)
		}
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/payment_intents/"):
		body, ok = s.intents[strings.TrimPrefix(r.URL.Path, "/v1/payment_intents/")]
	}
	return body, ok
}

func refuse(w http.ResponseWriter, status int, kind, code string) {
	w.WriteHeader(status)
	b, _ := json.Marshal(map[string]any{"error": map[string]string{"type": kind, "code": code, "message": "refused by the fake"}}) //nolint:errcheck // texts
	_, _ = w.Write(b)
}

// Sign makes the header of a webhook: HMAC-SHA256 of "<unix>.<body>" in hex.
func Sign(body, secret string, at time.Time) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "." + body))
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil)) + ",v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
}

// Event writes a webhook around an object as JSON.
func Event(id, kind string, at time.Time, object string) string {
	return fmt.Sprintf(`{"id":%q,"object":"event","api_version":"2026-01-28","created":%d,"livemode":false,"pending_webhooks":1,"type":%q,"data":{"object":%s}}`,
		id, at.Unix(), kind, object)
}

// Session writes a checkout session of coins as a webhook has it.
func Session(reference string, cents int, currency, paymentStatus, intent string) string {
	return fmt.Sprintf(`{"id":"cs_of_%s","object":"checkout.session","mode":"payment","client_reference_id":%q,"metadata":{"reference":%q},
"amount_total":%d,"currency":%q,"payment_status":%q,"payment_intent":%q}`, reference, reference, reference, cents, strings.ToLower(currency), paymentStatus, intent)
}
