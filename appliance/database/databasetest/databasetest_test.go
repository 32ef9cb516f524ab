package databasetest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	a, b := databasetest.New(t), databasetest.New(t)
	_, err := a.Pool.Exec(t.Context(), "CREATE TABLE only_here (id int)")
	require.NoError(t, err)
	var n int
	for _, q := range []struct {
		db   *databasetest.DB
		want int
	}{{a, 1}, {b, 0}} {
		require.NoError(t, q.db.Direct.QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relname = 'only_here'").Scan(&n))
		require.Equal(t, q.want, n)
	}
}

func TestDatabaseIsMigrated(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	schema, err := db.Server.Schema(t.Context())
	require.NoError(t, err)
	require.Zero(t, schema.Pending())
	require.Equal(t, schema.Target, schema.Current)
}

func BenchmarkNew(b *testing.B) {
	databasetest.New(b)
	for b.Loop() {
		databasetest.New(b)
	}
}
