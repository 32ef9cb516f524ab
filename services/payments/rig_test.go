package payments_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const (
	ann = int64(382706366684336128)
	bob = int64(382706367850352640)

	secret    = "whsec_the_one_in_force"
	oldSecret = "whsec_the_one_before"
)

// names takes a token for the id of its user.
type names struct{}

func (names) Authenticate(_ context.Context, header string) (auth.Principal, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(header, "Bearer "), 10, 64)
	if err != nil {
		return auth.Principal{}, httpapi.InvalidToken("Token is invalid or expired")
	}
	return auth.Principal{UserID: id}, nil
}

type counter struct{ n atomic.Int64 }

func (c *counter) Next() int64 { return 382707271173410816 + c.n.Add(1) }

// clock is a time that moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond) // no two rows of one moment
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type people struct{}

func (people) Email(_ context.Context, user int64) (string, error) {
	return fmt.Sprintf("u%d@example.com", user), nil
}

// ledger writes into the tables of the real one, whose triggers judge it.
type ledger struct {
	ids     *counter
	refuses atomic.Bool
}

type refusal struct{ error }

func (r refusal) Reason() string { return r.Error() }

// Mint implements payments.Coins.
func (l *ledger) Mint(ctx context.Context, tx database.Tx, provider, id string, user, cents int64, _ map[string]any) (int64, error) {
	if l.refuses.Load() {
		return 0, refusal{errors.New("Coin account is not active.")} //nolint:staticcheck // as clients know it
	}
	event := l.ids.Next()
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO coin_accounts (account_key, user_id) VALUES ('user:' || $1::bigint, $1::bigint) ON CONFLICT DO NOTHING`, []any{user}},
		{`INSERT INTO coin_events (id, event_type, entry_count, idempotency_key) VALUES ($1, 'mint', 2, $2)`, []any{event, provider + ":" + id}},
		{`INSERT INTO coin_entries (id, event_id, account_key, amount_cents, direction, created_at) VALUES
			($1, $2, 'system:mint', $3, 'DEBIT', now()), ($4, $2, 'user:' || $5::bigint, $3, 'CREDIT', now())`, []any{l.ids.Next(), event, cents, l.ids.Next(), user}},
	} {
		if _, err := tx.Exec(ctx, s.sql, s.args...); err != nil {
			return 0, err
		}
	}
	return event, nil
}

// rig is payments over HTTP, with a database and a Stripe of its own.
type rig struct {
	*apitest.Client
	db     *databasetest.DB
	svc    *payments.Service
	stripe *paymentstest.Stripe
	ledger *ledger
	clock  *clock
	ids    *counter
}

func newRig(t testing.TB, change ...func(*payments.Deps)) *rig {
	t.Helper()
	ids := &counter{}
	r := &rig{db: databasetest.New(t), stripe: paymentstest.New(t), ledger: &ledger{ids: ids}, ids: ids,
		clock: &clock{now: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)}}
	for _, id := range []int64{ann, bob} {
		r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, created_at, updated_at) VALUES ($1, $2, $2, $2, '', now(), now())`,
			id, fmt.Sprintf("u%d", id))
	}
	deps := payments.Deps{
		DB: r.db.Pool, IDs: r.ids, Coins: r.ledger, People: people{}, Clock: r.clock.Now, Enabled: true,
		Stripe: payments.Stripe{
			Enabled: true, APIKey: paymentstest.Key, WebhookSecrets: []string{secret, oldSecret}, BaseURL: r.stripe.URL,
			Currencies: []string{"USD", "EUR", "GEL"}, MinCents: 50,
		},
	}
	for _, f := range change {
		f(&deps)
	}
	var err error
	r.svc, err = payments.New(deps)
	require.NoError(t, err)
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler), Auth: names{}})
	require.NoError(t, err)
	r.svc.Register(api)
	r.Client = apitest.Serve(t, api)
	return r
}

func (r *rig) as(id int64) *apitest.Client { return r.As(strconv.FormatInt(id, 10)) }

func (r *rig) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := r.db.Direct.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// one reads one value.
func one[T any](t testing.TB, r *rig, sql string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// buy makes a checkout and gives its reference.
func (r *rig) buy(t testing.TB, user int64, cents int) string {
	t.Helper()
	res := r.as(user).Do(t, "POST", "/api/v1/payments/stripe/checkout/", fmt.Sprintf(`{"amount_cents":%d,"currency":"USD"}`, cents))
	require.Equal(t, 201, res.Status, res.Body)
	var c struct{ Reference string }
	res.JSON(t, &c)
	return c.Reference
}

const hook = "/api/v1/payments/stripe/webhook/"

// deliver sends a webhook with a good signature.
func (r *rig) deliver(t testing.TB, body string) apitest.Response {
	t.Helper()
	return r.Do(t, "POST", hook, body, "Stripe-Signature", paymentstest.Sign(body, secret, r.clock.Now()))
}

func (r *rig) received(t testing.TB, body string) {
	t.Helper()
	res := r.deliver(t, body)
	require.Equal(t, 200, res.Status, res.Body)
	require.JSONEq(t, `{"received":true}`, res.Body)
}

// state is what the tables say of a checkout and its payer.
type state struct {
	checkout string
	events   string // kinds of state, oldest first
	balance  int64
}

func (r *rig) state(t testing.TB, reference string) state {
	t.Helper()
	return state{
		one[string](t, r, `SELECT status FROM payment_checkouts WHERE reference = $1`, reference),
		one[string](t, r, `SELECT coalesce(string_agg(e.status, ' ' ORDER BY e.id), '') FROM payment_events e JOIN payment_checkouts c ON c.id = e.checkout_id WHERE c.reference = $1`, reference),
		one[int64](t, r, `SELECT coalesce((SELECT balance_cents FROM coin_accounts a JOIN payment_checkouts c USING (user_id) WHERE c.reference = $1), 0)`, reference),
	}
}

// rows counts everything that a webhook could have left.
func (r *rig) rows(t testing.TB) int {
	t.Helper()
	return one[int](t, r, `SELECT (SELECT count(*) FROM payment_events) + (SELECT count(*) FROM payment_notices) + (SELECT count(*) FROM coin_events) + (SELECT count(*) FROM coin_entries)`)
}
