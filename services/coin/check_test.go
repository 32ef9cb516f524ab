package coin_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// splitStatements takes statements apart; none of the tests' has a semicolon
// inside.
func splitStatements(sql string) []string {
	var out []string
	for s := range strings.SplitSeq(sql, ";") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// TestCheck makes by force what the database refuses, and finds it counted.
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, failed string }{
		"as it should be": {"", ""},
		"mint by hand": {`INSERT INTO coin_events (id, event_type, entry_count, idempotency_key) VALUES (1, 'mint', 2, 'stripe:x')`,
			"mint_events_without_payment_event=1"},
		"payment not minted": {`UPDATE payment_events SET status = 'received'`, "mint_events_with_non_minted_payment_event=1"},
		"payment of no mint": {`UPDATE coin_events SET event_type = 'spend'`, "payment_events_linked_to_non_mint_event=1"},
		"lone credit": {`INSERT INTO coin_events (id, event_type, entry_count) VALUES (1, 'refund', 2);
			INSERT INTO coin_entries (id, event_id, account_key, amount_cents, direction, created_at) VALUES (1, 1, 'user:382706366684336128', 5, 'CREDIT', now())`,
			"unbalanced_event_groups=1; stored_balance_mismatches=1"},
		"unknown account": {`INSERT INTO coin_events (id, event_type, entry_count) VALUES (1, 'refund', 2);
			INSERT INTO coin_entries (id, event_id, account_key, amount_cents, direction, created_at) VALUES (1, 1, 'user:999999', 5, 'CREDIT', now());
			INSERT INTO coin_entries (id, event_id, account_key, amount_cents, direction, created_at) VALUES (2, 1, 'system:mint', 5, 'DEBIT', now())`,
			"unknown_account_entries=1"},
		"suspended before": {`UPDATE coin_accounts SET status = 'suspended', suspended_at = '2020-01-01' WHERE NOT is_system`, "suspended_account_entries=1"},
		"suspended since":  {`UPDATE coin_accounts SET status = 'suspended', suspended_at = clock_timestamp() WHERE NOT is_system`, ""},
		"suspended mint":   {`UPDATE coin_accounts SET status = 'suspended', suspended_at = '2020-01-01' WHERE account_key = 'system:mint'`, ""},
		"balance by hand":  {`UPDATE coin_accounts SET balance_cents = 7 WHERE NOT is_system`, "stored_balance_mismatches=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			_, err := r.pay(t.Context(), "evt_1", ann, 100)
			require.NoError(t, err)
			for _, table := range []string{"coin_events", "coin_entries", "coin_accounts", "payment_events"} {
				r.exec(t, `ALTER TABLE `+table+` DISABLE TRIGGER USER`)
			}
			r.exec(t, `ALTER TABLE coin_entries DROP CONSTRAINT coin_entries_account`)
			r.exec(t, `ALTER TABLE payment_events DROP CONSTRAINT payment_events_minted`)
			for _, s := range splitStatements(c.sql) {
				r.exec(t, s)
			}
			report, err := r.coin.Check(t.Context())
			require.NoError(t, err)
			require.Len(t, report.Counts, 8)
			require.Equal(t, "mint_events", report.Counts[0].Name)
			if c.failed == "" {
				require.NoError(t, report.Err())
				require.True(t, report.OK)
				return
			}
			require.EqualError(t, report.Err(), "coin_invariant_check failed: "+c.failed)
			require.False(t, report.OK)
		})
	}
}
