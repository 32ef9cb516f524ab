package coin_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/services/coin"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const (
	ann = int64(382706366684336128)
	bob = int64(382706367850352640)
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

// counter makes ids as long as real ones.
type counter struct{ n atomic.Int64 }

func (c *counter) Next() int64 { return 382707271173410816 + c.n.Add(1) }

// rig is a ledger over HTTP with a database of its own, in which Ann and Bob
// have accounts of users.
type rig struct {
	*apitest.Client
	db   *databasetest.DB
	coin *coin.Service
	ids  *counter
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{db: databasetest.New(t), ids: &counter{}}
	for _, id := range []int64{ann, bob} {
		r.exec(t, `INSERT INTO users (id, email, email_fold, handle, password, created_at, updated_at) VALUES ($1, $2, $2, $2, '', now(), now())`,
			id, fmt.Sprintf("u%d", id))
	}
	var err error
	r.coin, err = coin.New(coin.Deps{DB: r.db.Pool, IDs: r.ids})
	require.NoError(t, err)
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler), Auth: names{}})
	require.NoError(t, err)
	r.coin.Register(api)
	r.Client = apitest.Serve(t, api)
	return r
}

func (r *rig) as(id int64) *apitest.Client { return r.As(strconv.FormatInt(id, 10)) }

func (r *rig) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := r.db.Direct.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// pay mints for a payment event that it makes, as payments do.
func (r *rig) pay(ctx context.Context, id string, user, cents int64) (int64, error) {
	var minted int64
	err := r.db.Pool.Tx(ctx, func(tx database.Tx) (err error) {
		if _, err = tx.Exec(ctx, `INSERT INTO payment_events (id, provider, provider_event_id, user_id, amount_cents, currency, raw_body_hash, verified_at, created_at, updated_at)
			VALUES ($1, 'stripe', $2, $3, $4, 'USD', repeat('0', 64), now(), now(), now()) ON CONFLICT DO NOTHING`, r.ids.Next(), id, user, cents); err != nil {
			return err
		}
		if minted, err = r.coin.Mint(ctx, tx, "stripe", id, user, cents, map[string]any{"source": "stripe_webhook", "reference": "ref-" + id}); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE payment_events SET status = 'minted', minted_coin_event_id = $1 WHERE provider_event_id = $2`, minted, id)
		return err
	})
	return minted, err
}

func (r *rig) post(ctx context.Context, kind string, postings ...coin.Posting) error {
	return r.db.Pool.Tx(ctx, func(tx database.Tx) error { return r.coin.Post(ctx, tx, kind, postings...) })
}

// transfer moves cents between two accounts.
func transfer(from, to string, cents int64) []coin.Posting {
	return []coin.Posting{{from, "DEBIT", cents}, {to, "CREDIT", cents}}
}

func account(id int64) string { return "user:" + strconv.FormatInt(id, 10) }

func (r *rig) balance(t testing.TB, id int64) int64 {
	t.Helper()
	b, err := r.coin.Balance(t.Context(), id)
	require.NoError(t, err)
	return b.BalanceCents
}

// rows counts the events and entries of the ledger.
func (r *rig) rows(t testing.TB) (n int) {
	t.Helper()
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM coin_events) + (SELECT count(*) FROM coin_entries)`).Scan(&n))
	return n
}
