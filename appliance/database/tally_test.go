package database_test

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
)

func TestTally(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t).Pool
	var tally database.Tally
	require.Zero(t, tally.Sum())
	ctx := database.WithTally(t.Context(), &tally)

	var n int
	require.NoError(t, db.QueryRow(ctx, "-- name: Slow_One2 :one\nSELECT 1 FROM (SELECT pg_sleep(0.1)) s WHERE $1 = 'secret'", "secret").Scan(&n))
	for range 3 {
		require.NoError(t, db.QueryRow(ctx, "SELECT 1").Scan(&n))
	}
	require.NoError(t, db.Tx(ctx, func(tx database.Tx) error {
		var b pgx.Batch
		b.Queue("-- name: InBatch :exec\nSELECT 1")
		b.Queue("-- name: InBatch :exec\nSELECT 1")
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "CREATE TABLE tallied (n int)"); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"tallied"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))
		return err
	}))
	_, err := db.Exec(ctx, "no such statement")
	require.Error(t, err)
	require.NoError(t, db.QueryRow(t.Context(), "SELECT 1").Scan(&n), "without a tally")
	_, err = db.Exec(context.WithoutCancel(t.Context()), "SELECT 1")
	require.NoError(t, err)

	sum := tally.Sum()
	require.Equal(t, 1+3+1+2+1+1+1+1, sum.Count)
	require.Len(t, sum.Slowest, 4)
	slow := slices.IndexFunc(sum.Slowest, func(s database.Statement) bool { return s.Name == "Slow_One2" })
	require.GreaterOrEqual(t, slow, 0) // among the slowest, whatever a busy machine adds to the others
	require.Equal(t, 1, sum.Slowest[slow].Count)
	require.False(t, sum.Slowest[slow].First.IsZero())
	for i, s := range sum.Slowest {
		require.LessOrEqual(t, s.Took, sum.Took)
		require.True(t, i == 0 || s.Took <= sum.Slowest[i-1].Took)
	}
}
