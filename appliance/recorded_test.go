package appliance_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/audit"
	"selflink/appliance/config"
	"selflink/appliance/jobs"
)

// TestCommandsAreRecorded shows that acts from the command line are in the
// audit trail, also those that failed.
func TestCommandsAreRecorded(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "selflink-recorded-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) // Postgres runs as a user of its own
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"SELFLINK_DATA_DIR=" + filepath.Join(dir, "data"), "SELFLINK_ENV_FILE=", "PATH=" + os.Getenv("PATH"),
	}})
	require.NoError(t, err)
	ledger, err := appliance.OpenLedger(t.Context(), cfg, slog.New(slog.DiscardHandler), appliance.Build{Version: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ledger.Close()) })
	_, _, err = ledger.Migrate(t.Context())
	require.NoError(t, err)

	require.NoError(t, ledger.Jobs().PauseQueue(t.Context(), "default", "a test"))
	require.NoError(t, ledger.Jobs().ResumeQueue(t.Context(), "default"))
	nobody := uuid.New()
	require.ErrorIs(t, ledger.Jobs().Retry(t.Context(), nobody), jobs.ErrNotFound)
	require.ErrorIs(t, ledger.Jobs().Cancel(t.Context(), nobody), jobs.ErrNotFound)
	require.ErrorIs(t, ledger.Jobs().Delete(t.Context(), nobody), jobs.ErrNotFound)
	_, err = ledger.Accounts().CreateAdmin(t.Context(), "olga@example.com", "correct-horse", "Olga")
	require.NoError(t, err)

	trail, err := ledger.Audit().Page(t.Context(), audit.Query{})
	require.NoError(t, err)
	var actions []string
	for _, e := range trail.Items {
		require.Nil(t, e.ActorUser)
		require.Contains(t, string(e.Metadata), `"by":"command"`, e.Action)
		actions = append(actions, e.Action)
	}
	require.Equal(t, []string{
		"accounts.admin_created", "jobs.delete.failed", "jobs.delete", "jobs.cancel.failed", "jobs.cancel", "jobs.retry.failed", "jobs.retry",
		"queues.resume", "queues.pause",
	}, actions)
}
