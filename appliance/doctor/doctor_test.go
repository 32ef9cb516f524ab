package doctor_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/doctor"
	"selflink/appliance/health"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// examine looks at an installation in dir and returns the faults but those of
// this machine.
func examine(t *testing.T, dir string, o doctor.Options, environ ...string) map[string]health.Problem {
	t.Helper()
	cfg, _, err := config.Load(config.Sources{Environ: append([]string{
		"SELFLINK_ENV_FILE=", "SELFLINK_DATA_DIR=" + dir, "RUNNING_IN_DOCKER=false", "SELFLINK_LISTEN=127.0.0.1:0",
	}, environ...)})
	require.NoError(t, err)
	o.Config = cfg
	o.Database.DataDir, o.Database.DatabaseURL, o.Database.DirectURL = dir, cfg.DatabaseURL.Reveal(), cfg.DatabaseDirectURL.Reveal()
	o.Database.BootWait = time.Second
	d := doctor.New(o)
	defer func() { require.NoError(t, d.Close()) }()
	faults := map[string]health.Problem{}
	for _, f := range d.Examine(t.Context()).Faults {
		if !strings.HasPrefix(f.Code, "disk.") && f.Code != "descriptors.low" {
			faults[f.Code] = f
		}
	}
	return faults
}

func TestExternalDatabase(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	at := []string{"DATABASE_URL=" + db.URL, "DATABASE_DIRECT_URL=" + db.DirectURL}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o750))

	faults := examine(t, dir, doctor.Options{}, at...)
	require.Len(t, faults, 1, "%v", faults)
	require.Equal(t, health.Low, faults["admin.missing"].Severity)

	_, err := db.Direct.Exec(t.Context(), `INSERT INTO users (id, email, email_fold, handle, password, name, is_staff, is_superuser, created_at, updated_at)
		VALUES (1, 'a@example.com', 'a@example.com', 'ann', 'x', 'Ann', true, true, now(), now())`)
	require.NoError(t, err)
	require.Empty(t, examine(t, dir, doctor.Options{}, at...))

	_, err = db.Direct.Exec(t.Context(), "UPDATE goose_db_version SET tstamp = now() - interval '3 days'")
	require.NoError(t, err)
	faults = examine(t, dir, doctor.Options{}, at...)
	require.Len(t, faults, 1, "%v", faults)
	require.Equal(t, health.Medium, faults["backup"].Severity)
	require.Empty(t, examine(t, dir, doctor.Options{}, append(at, "BACKUP_SCHEDULE=off")...))
	_, err = db.Direct.Exec(t.Context(), "UPDATE goose_db_version SET tstamp = now()")
	require.NoError(t, err)

	_, err = db.Direct.Exec(t.Context(), "DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)")
	require.NoError(t, err)
	faults = examine(t, dir, doctor.Options{}, at...)
	require.Len(t, faults, 1, "%v", faults)
	require.Equal(t, health.Low, faults["schema.pending"].Severity, "the next start does it")
	require.Contains(t, faults["schema.pending"].Text, "1 steps are not applied: 0")
	faults = examine(t, dir, doctor.Options{Held: true}, at...)
	require.Equal(t, health.High, faults["schema.pending"].Severity, "a running server should have done it")

	_, err = db.Direct.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
	require.NoError(t, err)
	faults = examine(t, dir, doctor.Options{}, at...)
	require.Contains(t, faults["schema.newer"].Text, "9999")
}

func TestRefusedLoginIsOneFault(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	u, err := url.Parse(db.DirectURL)
	require.NoError(t, err)
	u.User = url.UserPassword(u.User.Username(), "wrong-password-1")
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o750))
	faults := examine(t, dir, doctor.Options{}, "DATABASE_URL="+u.String())
	require.Len(t, faults, 1, "%v", faults)
	require.Contains(t, faults["database"].Text, "password authentication failed")
	require.NotContains(t, faults["database"].Text, "wrong-password-1")
	require.NotContains(t, faults["database"].Text, "\n")
}

// The private database is asked while its server runs.
func TestPrivateDatabase(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s, err := database.New(database.Options{
		DataDir: dir, InitdbArgs: []string{"--wal-segsize=1"}, Postgres: map[string]string{"fsync": "off", "min_wal_size": "8MB"},
	})
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			require.NoError(t, s.Stop(context.Background()))
		}
	}
	t.Cleanup(stop)
	faults := examine(t, dir, doctor.Options{Held: true})
	require.Contains(t, faults, "schema.pending")
	_, err = s.Migrate(t.Context())
	require.NoError(t, err)
	faults = examine(t, dir, doctor.Options{Held: true})
	require.Len(t, faults, 1, "%v", faults)
	require.Contains(t, faults, "admin.missing")
	conn, err := pgx.Connect(t.Context(), s.SuperURL())
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()), "it still runs: the doctor only visited")

	stop()
	require.Empty(t, examine(t, dir, doctor.Options{}), "and is not started for it")
	require.NoFileExists(t, filepath.Join(dir, "postgres", "postmaster.pid"))
}
