package coin_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/services/coin"
)

// TestMint credits a payment once, however often and from wherever it is asked.
func TestMint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, err := r.pay(t.Context(), "evt_1", ann, 1500)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			again, err := r.pay(t.Context(), "evt_1", ann, 1500)
			if err != nil || again != first {
				t.Errorf("again: event %d instead of %d, %v", again, first, err)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 1500, r.balance(t, ann))
	require.Equal(t, 3, r.rows(t))

	for name, c := range map[string]struct{ user, cents int64 }{"user": {bob, 1500}, "amount": {ann, 1501}} {
		err := r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
			_, err := r.coin.Mint(t.Context(), tx, "stripe", "evt_1", c.user, c.cents, nil)
			return err
		})
		require.ErrorAs(t, err, new(*coin.Rejection), "another %s", name)
	}
	for name, cents := range map[string]int64{"nothing": 0, "negative": -1, "huge": coin.MaxCents + 1} {
		_, err := r.pay(t.Context(), "evt_"+name, bob, cents)
		require.Error(t, err, name)
	}
	require.Equal(t, 3, r.rows(t))
	report, err := r.coin.Check(t.Context())
	require.NoError(t, err)
	require.True(t, report.OK, "%+v", report)
}

// TestMintNeedsPayment shows that the database refuses coins that nobody paid,
// or paid otherwise.
func TestMintNeedsPayment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	err := r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		_, err := r.coin.Mint(t.Context(), tx, "stripe", "evt_1", ann, 100, nil)
		return err
	})
	require.ErrorContains(t, err, "has no payment")
	err = r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		_, err := r.coin.Mint(t.Context(), tx, "", "evt_1", ann, 100, nil)
		return err
	})
	require.ErrorContains(t, err, "provider:event_id")
	require.Zero(t, r.rows(t))
}

// TestPosting tries what the rules forbid; nothing of it is written.
func TestPosting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.pay(t.Context(), "evt_1", ann, 2000)
	require.NoError(t, err)
	require.NoError(t, r.post(t.Context(), "transfer", transfer(account(ann), "system:revenue", 1)...))
	before := r.rows(t)
	a := account(ann)
	for _, c := range []struct {
		name     string
		postings []coin.Posting
		text     string
		code     string
	}{
		{"nothing", nil, "At least one entry is required.", "coin_error"},
		{"no key", transfer("", a, 5), "account_key is required.", "coin_error"},
		{"no direction", []coin.Posting{{a, "", 5}}, "Direction must be DEBIT or CREDIT.", "coin_error"},
		{"zero", transfer(a, "system:fees", 0), "Amounts must be positive integers.", "invalid_amount"},
		{"negative", transfer(a, "system:fees", -5), "Amounts must be positive integers.", "invalid_amount"},
		{"huge", transfer(a, "system:fees", coin.MaxCents+1), "The amount is too large.", "invalid_amount"},
		{"one side", []coin.Posting{{a, "CREDIT", 5}}, "Unbalanced ledger entries for currency: SLC", "coin_error"},
		{"lopsided", []coin.Posting{{a, "DEBIT", 5}, {"system:fees", "CREDIT", 4}}, "Unbalanced ledger entries for currency: SLC", "coin_error"},
		{"bogus system account", transfer(a, "system:bogus", 5), "System account is not allowed.", "account_invalid"},
		{"unknown account", transfer(a, "user:999999", 5), "Unknown account_key(s): user:999999", "account_invalid"},
		{"overdraft", transfer(a, "system:fees", 2000), "insufficient_funds", "insufficient_funds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := r.post(t.Context(), "spend", c.postings...)
			var refused *coin.Rejection
			require.ErrorAs(t, err, &refused)
			require.Equal(t, coin.Rejection{Text: c.text, Code: c.code}, *refused)
		})
	}
	for _, key := range []string{a, "system:fees"} {
		r.exec(t, `UPDATE coin_accounts SET status = 'suspended', suspended_at = clock_timestamp() WHERE account_key = $1`, key)
		require.ErrorContains(t, r.post(t.Context(), "spend", transfer(a, "system:fees", 1)...), "Coin account is not active.", key)
		r.exec(t, `UPDATE coin_accounts SET status = 'active', suspended_at = NULL`)
	}
	require.Equal(t, before, r.rows(t))
	require.EqualValues(t, 1999, r.balance(t, ann))
}

// TestDatabaseRefuses goes around the service: the ledger holds by itself.
func TestDatabaseRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.pay(t.Context(), "evt_1", ann, 300)
	require.NoError(t, err)
	before := r.rows(t)
	const event = `INSERT INTO coin_events (id, event_type, entry_count) VALUES (1, 'transfer', 2); `
	line := func(id, account, direction, cents string) string {
		return `INSERT INTO coin_entries (id, event_id, account_key, direction, amount_cents, created_at) VALUES (` + id + `, 1, '` + account + `', '` + direction + `', ` + cents + `, now()); `
	}
	a := account(ann)
	for name, sql := range map[string]string{
		"event without entries":       event,
		"a lone credit":               event + line("1", a, "CREDIT", "5"),
		"two credits":                 event + line("1", a, "CREDIT", "5") + line("2", "system:fees", "CREDIT", "5"),
		"debits unlike credits":       event + line("1", a, "DEBIT", "5") + line("2", "system:fees", "CREDIT", "4"),
		"a third entry":               event + line("1", a, "DEBIT", "5") + line("2", "system:fees", "CREDIT", "4") + line("3", "system:fees", "CREDIT", "1"),
		"overdraft":                   event + line("1", a, "DEBIT", "301") + line("2", "system:fees", "CREDIT", "301"),
		"unknown account":             event + line("1", "user:999999", "DEBIT", "5") + line("2", "system:fees", "CREDIT", "5"),
		"zero":                        event + line("1", a, "DEBIT", "0") + line("2", "system:fees", "CREDIT", "0"),
		"more than fits":              event + line("1", "system:mint", "DEBIT", "1000000000000001") + line("2", a, "CREDIT", "1000000000000001"),
		"another currency":            `INSERT INTO coin_entries (id, event_id, account_key, direction, amount_cents, currency, created_at) SELECT 9, event_id, account_key, direction, 1, 'USD', now() FROM coin_entries`,
		"entries of yesterday":        `INSERT INTO coin_entries (id, event_id, account_key, direction, amount_cents, created_at) SELECT id + 1000, event_id, account_key, direction, 1, now() FROM coin_entries`,
		"a mint without key":          `INSERT INTO coin_events (id, event_type, entry_count) VALUES (1, 'mint', 2)`,
		"update of events":            `UPDATE coin_events SET note = 'x'`,
		"update of entries":           `UPDATE coin_entries SET amount_cents = 1`,
		"update of nothing":           `UPDATE coin_entries SET amount_cents = 1 WHERE false`,
		"delete of events":            `DELETE FROM coin_events`,
		"delete of entries":           `DELETE FROM coin_entries`,
		"truncate":                    `TRUNCATE coin_events, coin_entries CASCADE`,
		"delete of accounts":          `DELETE FROM coin_accounts`,
		"balance by hand":             `UPDATE coin_accounts SET balance_cents = 1000000 WHERE NOT is_system`,
		"account with a start":        `INSERT INTO coin_accounts (account_key, user_id, balance_cents) VALUES ('user:382706367850352640', 382706367850352640, 5)`,
		"account of another name":     `INSERT INTO coin_accounts (account_key, user_id) VALUES ('user:1', 382706367850352640)`,
		"another system account":      `INSERT INTO coin_accounts (account_key, is_system) VALUES ('system:bogus', true)`,
		"renamed account":             `UPDATE coin_accounts SET is_system = true WHERE user_id IS NOT NULL`,
		"deletion of the user":        `DELETE FROM users WHERE id = 382706366684336128`,
		"payment of another amount":   `UPDATE payment_events SET amount_cents = 1`,
		"payment taken back":          `UPDATE payment_events SET status = 'received', minted_coin_event_id = NULL`,
		"deletion of a payment":       `DELETE FROM payment_events`,
		"payment minted unverified":   `UPDATE payment_events SET verified_at = NULL`,
		"suspension without a moment": `UPDATE coin_accounts SET status = 'suspended'`,
	} {
		t.Run(name, func(t *testing.T) {
			err := r.db.Direct.Tx(t.Context(), func(tx database.Tx) error { return execAll(t.Context(), tx, sql) })
			require.Error(t, err)
		})
	}
	require.Equal(t, before, r.rows(t))
	require.EqualValues(t, 300, r.balance(t, ann))
}

// execAll runs statements that each end in a semicolon.
func execAll(ctx context.Context, tx database.Tx, sql string) error {
	for _, statement := range splitStatements(sql) {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// TestConcurrent spends from one account in parallel, and moves between two in
// both directions at once: nobody overdraws, nothing deadlocks.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for id, user := range map[string]int64{"evt_a": ann, "evt_b": bob} {
		_, err := r.pay(t.Context(), id, user, 1000)
		require.NoError(t, err)
	}
	var spent, refused atomic.Int64
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			err := r.post(t.Context(), "spend", transfer(account(ann), "system:revenue", 100)...)
			var no *coin.Rejection
			switch {
			case err == nil:
				spent.Add(1)
			case errors.As(err, &no) && no.Code == "insufficient_funds":
				refused.Add(1)
			default:
				t.Errorf("spend: %v", err)
			}
		})
		if i%5 == 0 {
			group.Go(func() {
				from, to := account(ann), account(bob)
				if i%2 == 0 {
					from, to = to, from
				}
				var no *coin.Rejection
				if err := r.post(t.Context(), "transfer", transfer(from, to, 1)...); err != nil && !errors.As(err, &no) {
					t.Errorf("transfer: %v", err)
				}
			})
		}
	}
	group.Wait()
	require.EqualValues(t, 50, spent.Load()+refused.Load())
	require.InDelta(t, 10, spent.Load(), 1)
	require.EqualValues(t, 2000-100*spent.Load(), r.balance(t, ann)+r.balance(t, bob))
	report, err := r.coin.Check(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.Err())
}
