package database

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestStatementName(t *testing.T) {
	t.Parallel()
	for sql, name := range map[string]string{
		"-- name: UserByID :one\nSELECT 1":         "UserByID",
		"-- name: Top10 :many\nSELECT 1":           "Top10",
		"SELECT secret FROM t WHERE x = 'y'":       "select",
		"  (WITH a AS (SELECT 1) SELECT * FROM a)": "with",
		"begin":   "begin",
		"":        "statement",
		"'x'":     "statement",
		"-- note": "statement",
	} {
		require.Equal(t, name, statementName(sql), sql)
	}
}

// BenchmarkTally is what each statement costs with and without somebody who
// counts.
func BenchmarkTally(b *testing.B) {
	type key struct{}
	run := func(ctx context.Context) func(*testing.B) {
		ctx = context.WithValue(ctx, key{}, 1) // as auth does
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var tracer tallier
				tracer.TraceQueryEnd(tracer.TraceQueryStart(ctx, nil, pgx.TraceQueryStartData{SQL: "select 1"}), nil, pgx.TraceQueryEndData{})
			}
		}
	}
	b.Run("nobody", run(context.Background()))
	b.Run("tally", run(WithTally(context.Background(), new(Tally))))
}
