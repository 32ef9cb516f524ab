package database_test

import (
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/migrations"
)

// extended returns the product's migrations and those of a later version.
func extended(t *testing.T, more map[string]string) fs.FS {
	t.Helper()
	out := fstest.MapFS{}
	names, err := fs.Glob(migrations.Files(), "*.sql")
	require.NoError(t, err)
	for _, name := range names {
		raw, err := fs.ReadFile(migrations.Files(), name)
		require.NoError(t, err)
		out[name] = &fstest.MapFile{Data: raw}
	}
	for name, sql := range more {
		out[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql + "\n")}
	}
	return out
}

func TestMigrateOnceAmongMany(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	files := extended(t, map[string]string{
		"9001_one.sql": "SELECT pg_sleep(0.1); CREATE TABLE one (id int);", // all are at it at once
		"9002_two.sql": "ALTER TABLE one ADD COLUMN name text;",
	})
	var applied atomic.Int64
	var servers []*database.Server
	for range 4 {
		servers = append(servers, open(t, db, database.Options{Migrations: files}))
	}
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			n, err := s.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			applied.Add(int64(n))
		})
	}
	wg.Wait()
	require.EqualValues(t, 2, applied.Load())
	s := open(t, db, database.Options{Migrations: files})
	schema, err := s.Schema(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 9002, schema.Current)
	require.Zero(t, schema.Pending())
	require.Equal(t, "9002_two.sql", schema.Steps[len(schema.Steps)-1].Name)
}

func TestMigrationThatFails(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	s := open(t, db, database.Options{Migrations: extended(t, map[string]string{
		"9001_one.sql": "CREATE TABLE one (id int);",
		"9002_bad.sql": "CREATE TABLE two (id int); SELECT nonsense;",
	})})
	_, err := s.Migrate(t.Context())
	require.ErrorContains(t, err, "nonsense")
	schema, err := s.Schema(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 9001, schema.Current)
	require.Equal(t, 1, schema.Pending())
	var n int
	require.NoError(t, s.Pool().QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relname = 'two'").Scan(&n))
	require.Zero(t, n, "a step is applied as a whole or not at all")
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	later := open(t, db, database.Options{Migrations: extended(t, map[string]string{"9001_later.sql": "CREATE TABLE later (id int);"})})
	_, err := later.Migrate(t.Context())
	require.NoError(t, err)

	n, err := db.Server.Migrate(t.Context())
	require.ErrorIs(t, err, database.ErrNewerSchema)
	require.ErrorContains(t, err, "step 9001")
	require.Zero(t, n)
}

func TestConnectionsAreRecycledAfterMigrating(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	_, err := db.Pool.Exec(t.Context(), "CREATE TABLE box (id int)")
	require.NoError(t, err)
	s := open(t, db, database.Options{Migrations: extended(t, map[string]string{"9001_box.sql": "ALTER TABLE box ALTER COLUMN id TYPE bigint;"})})
	read := func(q database.Querier) {
		rows, err := q.Query(t.Context(), "SELECT id FROM box")
		require.NoError(t, err)
		rows.Close()
		require.NoError(t, rows.Err())
	}
	for range 3 {
		read(s.Pool())
		read(s.Direct())
	}
	_, err = s.Migrate(t.Context())
	require.NoError(t, err)
	for range 3 {
		read(s.Pool())
		read(s.Direct())
	}
}

func TestMigrationsBeginAtZero(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	_, err := db.Direct.Exec(t.Context(), "DROP TABLE goose_db_version")
	require.NoError(t, err)
	schema, err := db.Server.Schema(t.Context())
	require.NoError(t, err)
	require.Zero(t, schema.Current)
	require.Len(t, schema.Steps, schema.Pending())
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	db := databasetest.New(t)
	open(t, db, database.Options{Metrics: registry, DatabaseURL: db.DirectURL, ManagedPooler: true, DataDir: t.TempDir()})
	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				if l.GetName() != "database" {
					labels += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
				}
			}
			got[f.GetName()+labels] = true
		}
	}
	for _, want := range []string{
		"selflink_db_pool_connections pool=pooled state=idle",
		"selflink_db_pool_max_connections pool=direct",
		"selflink_db_pool_rejected_total pool=pooled reason=busy",
		"selflink_db_pooler_clients state=waiting",
		"selflink_db_pooler_servers state=idle",
		"selflink_db_pooler_max_wait_seconds",
		"selflink_db_pooler_handled_total what=queries",
		"selflink_db_child_up child=pgbouncer",
		"selflink_db_child_restarts_total child=pgbouncer",
	} {
		require.Contains(t, got, want)
	}
}
