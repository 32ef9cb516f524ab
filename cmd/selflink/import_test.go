package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/oldstack"
)

const oldAddress = "postgres://old:s3cr3t-old@127.0.0.1:5432/old"

// importing is a database that imports as it is told.
func importing(seen *appliance.ImportRequest, result oldstack.Result, faults []oldstack.Fault, err error) *fakeLedger {
	return &fakeLedger{imports: func(r appliance.ImportRequest) (oldstack.Result, error) {
		*seen = r
		for _, f := range faults {
			if err := r.Fault(f); err != nil {
				return result, err
			}
		}
		r.Progress(oldstack.Progress{Kind: "accounts", Done: 1, Total: 2})
		return result, err
	}}
}

var imported = oldstack.Result{
	Snapshot: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 1.25,
	Kinds: []oldstack.Count{
		{Kind: "accounts", Table: "users_user", Rows: 10, Copied: 7, Changed: 1, Same: 1, Kept: 1, Gone: 2},
		{Kind: "profiles"},
	},
	Absent: []string{"profile_userprofile"}, Missing: []string{"users_user.locale"},
	Notes:  []oldstack.Note{{Kind: "accounts", Text: "they have no password, as before", Rows: 3}},
	Faults: []oldstack.Fault{{Kind: "accounts", ID: 12, Verdict: "kept", Reason: "it was changed here, and in the old database"}},
}

func TestImport(t *testing.T) {
	t.Parallel()
	var seen appliance.ImportRequest
	b := newBench(t, "SELFLINK_IMPORT_FROM="+oldAddress, "MENTOR_RETENTION_DAYS=30").withLedger(importing(&seen, imported, imported.Faults, nil))
	require.Equal(t, exitOK, b.run([]string{"import", "--missing-ok", "--batch", "7", "--media-url", "https://api.example.com/media/"}), b.err.String())
	require.Equal(t, oldAddress, seen.From)
	require.True(t, seen.MissingOK)
	require.False(t, seen.DryRun)
	require.Equal(t, 7, seen.Batch)
	require.Equal(t, 30*24*time.Hour, seen.KeptFor)
	require.Equal(t, `Copied from the old database as it was at 2026-01-02 03:04:05Z, in 1.2 s.

  ROWS  NEW  CHANGED  SAME  KEPT  SKIPPED  REFUSED OF
    10    7        1     1     1        0        0 accounts
     0    0        0     0     0        0        0 profiles
    10    7        1     1     1        0        0 all

The old database has no table profile_userprofile: nothing was copied of it.
The old database lacks these columns, which got defaults: users_user.locale.
3 accounts: they have no password, as before.
2 accounts were copied before and are not in the old database any more: ours stay.

Not copied:
  accounts 12 is kept: it was changed here, and in the old database

All 1 rows that were not copied are listed in `+filepath.Join(b.data, faultsFile)+"\n", b.out.String())
	require.Empty(t, b.err.String())
	list, err := os.ReadFile(filepath.Join(b.data, faultsFile))
	require.NoError(t, err)
	require.Equal(t, `{"kind":"accounts","id":"12","verdict":"kept","reason":"it was changed here, and in the old database"}`+"\n", string(list))
}

func TestImportRefused(t *testing.T) {
	t.Parallel()
	var seen appliance.ImportRequest
	result := oldstack.Result{DryRun: true, Kinds: []oldstack.Count{{Kind: "accounts", Rows: 1, Refused: 1}}}
	fault := oldstack.Fault{Kind: "accounts", ID: 12, Verdict: "refused", Reason: "handle is empty"}
	b := newBench(t).withLedger(importing(&seen, result, []oldstack.Fault{fault}, nil)).withInput("  " + oldAddress + "\n")
	report := filepath.Join(t.TempDir(), "faults")
	require.Equal(t, exitFailed, b.run([]string{"import", "--from-file", "-", "--dry-run", "--json", "--report", report}))
	require.Equal(t, oldAddress, seen.From)
	require.True(t, seen.DryRun)
	var out importReport
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &out))
	require.Equal(t, report, out.FaultsFile)
	require.Equal(t, int64(1), out.Kinds[0].Refused)
	require.Empty(t, b.err.String())
	require.NotContains(t, b.out.String(), "s3cr3t")

	b = newBench(t).withLedger(importing(&seen, result, nil, nil))
	require.Equal(t, exitFailed, b.run([]string{"import", "--from", oldAddress}))
	require.Contains(t, b.out.String(), "nothing was written")
	require.Contains(t, b.err.String(), "everybody on this machine can read the password")
	require.NotContains(t, b.err.String(), "s3cr3t")
}

func TestImportFailures(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"--from", oldAddress, "--from-file", "x"}, {"--from", oldAddress, "--batch", "-1"}, {"--from", oldAddress, "--media-url", "https://x/media"}, {"--from-file", "-"}, {"word"},
	} {
		require.Equal(t, exitUsage, newBench(t).run(append([]string{"import"}, args...)), args)
	}
	require.Equal(t, exitFailed, newBench(t).run([]string{"import", "--from-file", filepath.Join(t.TempDir(), "nothing")}))
	for err, hint := range map[error]string{
		oldstack.ErrAddress: "SELFLINK_IMPORT_FROM", oldstack.ErrUnreachable: "pg_hba.conf", oldstack.ErrSchema: "--missing-ok", appliance.ErrNotMigrated: "selflink migrate",
	} {
		var seen appliance.ImportRequest
		b := newBench(t, "SELFLINK_IMPORT_FROM="+oldAddress).withLedger(importing(&seen, oldstack.Result{}, nil, fmt.Errorf("import: %w", err)))
		require.Equal(t, exitFailed, b.run([]string{"import"}))
		require.Contains(t, b.err.String(), hint)
		require.Empty(t, b.out.String())
	}
	// What was done before a failure is told.
	var seen appliance.ImportRequest
	b := newBench(t, "SELFLINK_IMPORT_FROM="+oldAddress).withLedger(importing(&seen, imported, nil, oldstack.ErrUnreachable))
	require.Equal(t, exitFailed, b.run([]string{"import"}))
	require.Equal(t, 1, strings.Count(b.out.String(), "all"))
}
