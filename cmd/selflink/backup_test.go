package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/backup"
	"selflink/appliance/config"
)

// fakeBackups notes what is asked of it, as keeper and as restorer.
type fakeBackups struct {
	err     error
	asked   []string
	request backup.Request
	restore backup.RestoreRequest
	list    []backup.Entry
	closed  bool
}

func (f *fakeBackups) Create(_ context.Context, r backup.Request) (backup.Result, error) {
	f.asked, f.request = append(f.asked, "create"), r
	return backup.Result{File: "/b/x.tar.zst", Bytes: 3 << 20, SHA256: "abc", Rows: 7, Tables: 2, Took: time.Second, Secrets: []string{}, Unrecorded: "no table"}, f.err
}

func (f *fakeBackups) Verify(_ context.Context, path string) (backup.Verification, error) {
	f.asked = append(f.asked, "verify "+path)
	return backup.Verification{File: path, Restored: true, Manifest: manifest()}, f.err
}

func (f *fakeBackups) List(context.Context, int) ([]backup.Entry, error) { return f.list, f.err }
func (f *fakeBackups) Close() error                                      { f.closed = true; return nil }
func (f *fakeBackups) Target() string                                    { return "the private database" }

func (f *fakeBackups) Plan(_ context.Context, r backup.RestoreRequest) (backup.Plan, error) {
	f.asked, f.restore = append(f.asked, "plan"), r
	return backup.Plan{File: r.File, Manifest: manifest(), Target: f.Target(), Secrets: []string{}}, f.err
}

func (f *fakeBackups) Restore(_ context.Context, r backup.RestoreRequest) (backup.Restored, error) {
	f.asked, f.restore = append(f.asked, "restore"), r
	return backup.Restored{File: r.File, Rows: 7, Tables: 2, Schema: 6, Aside: "selflink_before"}, f.err
}

func (f *fakeBackups) Undo(context.Context) (backup.Restored, error) {
	f.asked = append(f.asked, "undo")
	return backup.Restored{Aside: "selflink_before"}, f.err
}

func (f *fakeBackups) DropOld(context.Context) (backup.Restored, error) {
	f.asked = append(f.asked, "drop")
	return backup.Restored{Dropped: []string{"selflink_before"}}, f.err
}

func manifest() backup.Manifest {
	return backup.Manifest{Header: backup.Header{Schema: 6, Appliance: backup.Build{Version: "v9"}}, Tables: []backup.Table{{Name: "a", Rows: 5}, {Name: "b", Rows: 2}}}
}

func (b *bench) withBackups(f *fakeBackups) *bench {
	b.parts.openBackups = func(context.Context, *config.Config, *slog.Logger, string, string, func(backup.Progress)) (backupKeeper, error) {
		return f, nil
	}
	b.parts.newRestorer = func(*config.Config, *slog.Logger, func(backup.Progress)) restorer { return f }
	return b
}

func TestBackup(t *testing.T) {
	t.Parallel()
	f := &fakeBackups{}
	b := newBench(t).withBackups(f)
	require.Equal(t, exitOK, b.run([]string{"backup", "--output", "/b", "--with-secrets"}), b.err.String())
	require.Equal(t, backup.Request{Output: "/b", WithSecrets: true}, f.request)
	require.Contains(t, b.out.String(), "3.0 MiB")
	require.Contains(t, b.out.String(), "no table")
	require.Contains(t, b.out.String(), "selflink verify /b/x.tar.zst")
	require.True(t, f.closed)
	require.NoDirExists(t, b.data, "no secrets are made for it")

	b = newBench(t).withBackups(&fakeBackups{})
	require.Equal(t, exitOK, b.run([]string{"backup", "--json"}))
	var out map[string]any
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &out))
	require.Equal(t, "/b/x.tar.zst", out["file"])
	require.Equal(t, "abc", out["sha256"])

	f = &fakeBackups{err: backup.ErrRunning}
	b = newBench(t).withBackups(f)
	require.Equal(t, exitFailed, b.run([]string{"backup"}))
	require.Contains(t, b.err.String(), "no backup was made")
	require.True(t, f.closed)

	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f = &fakeBackups{list: []backup.Entry{
		{File: "/b/2", StartedAt: at, Outcome: "succeeded", Bytes: 2048, VerifiedAt: &at, VerifyOutcome: "verified", Missing: true},
		{File: "/b/1", StartedAt: at, Outcome: "failed", Error: "no\nspace"},
	}}
	b = newBench(t).withBackups(f)
	require.Equal(t, exitOK, b.run([]string{"backup", "list"}))
	require.Regexp(t, `succeeded +verified 2026-01-02 03:04:05Z +2.0 KiB +/b/2 \(gone\)`, b.out.String())
	require.Contains(t, b.out.String(), "/b/1: no space")
	b = newBench(t).withBackups(&fakeBackups{})
	require.Equal(t, exitOK, b.run([]string{"backup", "list", "--json"}))
	require.Equal(t, "[]\n", b.out.String())
}

func TestVerify(t *testing.T) {
	t.Parallel()
	f := &fakeBackups{}
	b := newBench(t).withBackups(f)
	require.Equal(t, exitOK, b.run([]string{"verify", "/b/x"}))
	require.Equal(t, []string{"verify /b/x"}, f.asked)
	require.Contains(t, b.out.String(), "7 rows of 2 tables")
	b = newBench(t).withBackups(&fakeBackups{err: backup.ErrDamaged})
	require.Equal(t, exitFailed, b.run([]string{"verify", "/b/x", "--json"}))
	require.Contains(t, b.err.String(), "selflink backup list")
}

func TestRestore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args  []string
		code  int
		asked []string
		text  string
	}{
		{[]string{"/b/x"}, exitFailed, []string{"plan"}, "Nothing was changed. Do it with --yes"},
		{[]string{"/b/x", "--json"}, exitFailed, []string{"plan"}, `"target"`},
		{[]string{"--undo"}, exitFailed, nil, "Do it with --yes"},
		{[]string{"--drop-old"}, exitFailed, nil, "drop every database"},
		{[]string{"--yes", "/b/x"}, exitOK, []string{"restore"}, "selflink restore --undo --yes"},
		{[]string{"--yes", "/b/x", "--json"}, exitOK, []string{"restore"}, `"aside": "selflink_before"`},
		{[]string{"--undo", "--yes"}, exitOK, []string{"undo"}, "is the current one again"},
		{[]string{"--drop-old", "--yes"}, exitOK, []string{"drop"}, "Dropped the database selflink_before"},
	} {
		f := &fakeBackups{}
		b := newBench(t).withBackups(f)
		require.Equal(t, c.code, b.run(append([]string{"restore"}, c.args...)), b.err.String())
		require.Equal(t, c.asked, f.asked)
		require.Contains(t, b.out.String(), c.text)
		require.NoDirExists(t, b.data)
	}
	f := &fakeBackups{}
	b := newBench(t).withBackups(f)
	require.Equal(t, exitOK, b.run([]string{"restore", "--yes", "--drop-old", "--with-secrets", "/b/x"}))
	require.Equal(t, backup.RestoreRequest{File: "/b/x", DropOld: true, WithSecrets: true}, f.restore)

	b = newBench(t).withBackups(&fakeBackups{err: backup.ErrServing})
	require.Equal(t, exitFailed, b.run([]string{"restore", "--yes", "/b/x"}))
	require.Contains(t, b.err.String(), "systemctl stop selflink")
}
