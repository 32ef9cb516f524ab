package coin_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/services/coin"
)

func TestInsight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	check := r.coin.HealthChecks()[0]
	require.NoError(t, check.Run(t.Context()), "it was not checked yet")
	for _, event := range []string{"evt_1", "evt_2"} {
		_, err := r.pay(t.Context(), event, ann, 250)
		require.NoError(t, err)
	}
	seen, err := r.coin.Insight(t.Context())
	require.NoError(t, err)
	require.Nil(t, seen.Last, "nothing is said of what was not checked")
	require.EqualValues(t, 500, seen.Counts.Minted)
	require.EqualValues(t, 500, seen.Counts.Held)
	require.EqualValues(t, 1, seen.Counts.Accounts)
	require.Equal(t, []coin.EventCount{{Type: "mint", Events: 2}}, seen.Counts.Events)

	done, err := r.coin.Audit(t.Context())
	require.NoError(t, err)
	require.True(t, done.OK)
	require.NoError(t, check.Run(t.Context()))

	r.exec(t, `ALTER TABLE coin_accounts DISABLE TRIGGER USER`)
	r.exec(t, `UPDATE coin_accounts SET balance_cents = 7 WHERE NOT is_system`)
	require.NoError(t, check.Run(t.Context()), "health tells what the last check found")
	done, err = r.coin.Audit(t.Context())
	require.NoError(t, err)
	require.False(t, done.OK)
	require.ErrorContains(t, check.Run(t.Context()), "stored_balance_mismatches=1")
	again, err := coin.New(coin.Deps{DB: r.db.Pool, IDs: r.ids}) // after a restart
	require.NoError(t, err)
	seen, err = again.Insight(t.Context())
	require.NoError(t, err)
	require.False(t, seen.Last.OK)
	require.Len(t, seen.Last.Counts, 8)
	require.ErrorContains(t, again.HealthChecks()[0].Run(t.Context()), "stored_balance_mismatches=1")
}
