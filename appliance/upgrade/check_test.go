package upgrade

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

// verdicts are the findings of a report by what they are about.
func verdicts(r Report) map[string]Verdict {
	out := map[string]Verdict{}
	for _, f := range r.Findings {
		out[f.What] = f.Verdict
	}
	return out
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	with := func(u Upgrade) func(*testing.T, *Keeper) {
		return func(t *testing.T, k *Keeper) {
			u.ID, u.From, u.Began, u.Ended = k.newID(), oldBuild, at, &at
			_, err := k.update(func(s *State) { s.Upgrade = &u })
			require.NoError(t, err)
		}
	}
	free := func(bytes int64) func(*testing.T, *Keeper) {
		return func(_ *testing.T, k *Keeper) { k.opts.free = func(string) (int64, error) { return bytes, nil } }
	}
	// It looks beside the running server of the old version.
	old, err := database.New(p.keeper(oldBuild).opts.Database)
	require.NoError(t, err)
	require.NoError(t, old.Start(t.Context()))
	for _, c := range []struct {
		name  string
		build Build
		make  func(*testing.T, *Keeper)
		ok    bool
		want  map[string]Verdict
		text  string // in some line
	}{
		{name: "an upgrade", build: newBuild, ok: true, want: map[string]Verdict{"postgres": Good, "pgbouncer": Good, "schema": Good, "disk": Good, "program": Good}, text: "9001_one.sql"},
		{name: "no migrations", build: oldBuild, ok: true, want: map[string]Verdict{"postgres": Good, "pgbouncer": Good, "schema": Good, "program": Good}, text: "needs no other"},
		{name: "a full disk", build: newBuild, make: free(headroom), want: map[string]Verdict{"postgres": Good, "pgbouncer": Good, "schema": Good, "disk": Fail, "program": Good}, text: "SELFLINK_UPGRADE_SNAPSHOT=false"},
		{name: "without snapshots", build: newBuild, make: func(_ *testing.T, k *Keeper) { k.opts.NoSnapshot = true }, ok: true,
			want: map[string]Verdict{"postgres": Good, "pgbouncer": Good, "schema": Good, "snapshot": Warn, "program": Good}},
		{name: "no such pooler", build: newBuild, make: func(_ *testing.T, k *Keeper) { k.opts.Database.PgBouncer = "/nowhere/pgbouncer" },
			want: map[string]Verdict{"postgres": Good, "pgbouncer": Fail, "schema": Good, "disk": Good, "program": Good}},
		{name: "no such Postgres", build: newBuild, make: func(_ *testing.T, k *Keeper) { k.opts.Database.BinDir = "/nowhere" },
			want: map[string]Verdict{"postgres": Fail, "pgbouncer": Good, "program": Good}},
		{name: "it failed before", build: newBuild, make: with(Upgrade{To: newBuild, Phase: Failed}), want: map[string]Verdict{"earlier upgrade": Fail, "postgres": Good, "pgbouncer": Good, "schema": Good, "disk": Good, "program": Good}, text: "selflink rollback"},
		{name: "another failed before", build: newBuild, make: with(Upgrade{To: badBuild, Phase: Failed}), ok: true, want: map[string]Verdict{"earlier upgrade": Warn, "postgres": Good, "pgbouncer": Good, "schema": Good, "disk": Good, "program": Good}},
		{name: "gone back from", build: newBuild, make: with(Upgrade{To: newBuild, Phase: RolledBack}), want: map[string]Verdict{"earlier upgrade": Fail, "postgres": Good, "pgbouncer": Good, "schema": Good, "disk": Good, "program": Good}},
		{name: "half gone back", build: newBuild, make: with(Upgrade{To: newBuild, Phase: RollingBack}), want: map[string]Verdict{"earlier upgrade": Fail, "postgres": Good, "pgbouncer": Good, "schema": Good, "disk": Good, "program": Good}},
		{name: "not proven", build: newBuild, make: with(Upgrade{To: newBuild, Phase: Migrated}), ok: true, want: map[string]Verdict{"earlier upgrade": Warn, "postgres": Good, "pgbouncer": Good, "schema": Good, "disk": Good, "program": Good}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := p.keeper(c.build)
			require.NoError(t, os.RemoveAll(k.dir))
			if c.make != nil {
				c.make(t, k)
			}
			r, err := k.Check(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.want, verdicts(r), "%+v", r.Findings)
			require.Equal(t, c.ok, r.OK)
			all := ""
			for _, f := range r.Findings {
				all += f.Text + " " + f.Todo + "\n"
				require.True(t, f.Verdict != Fail || f.Todo != "", "%s says what to do", f.What)
			}
			require.Contains(t, all, c.text)
		})
	}
	require.NoError(t, os.RemoveAll(filepath.Join(p.data, dirName)))
	require.NoError(t, old.Stop(context.Background()))

	// A start that would fail is refused before anything is changed.
	k := p.keeper(newBuild)
	free(headroom)(t, k)
	s, err := database.New(k.opts.Database)
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	_, err = k.Migrate(t.Context(), s, false)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "MiB are free")
	require.Nil(t, p.state().Upgrade)
	require.NoError(t, s.Stop(context.Background()))

	// So is one for which the disk is full in the middle of the copy.
	interrupted, cancel := context.WithCancel(t.Context())
	k = p.keeper(newBuild)
	k.opts.step = func(at string) {
		if at == "file" {
			cancel()
		}
	}
	s, err = database.New(k.opts.Database)
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	_, err = k.Migrate(interrupted, s, false)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, p.snapshots(), "nothing half-made stays")
	require.NoError(t, s.Stop(context.Background()))
	p.requireOld("interrupted", 1)

	// A newer schema names the way back.
	p.serve(newBuild, func(_ *database.Server, _ Outcome, err error) { require.NoError(t, err) })
	r, err := p.keeper(oldBuild).Check(t.Context())
	require.NoError(t, err)
	require.False(t, r.OK)
	require.Equal(t, Fail, verdicts(r)["schema"])
}

// Where nothing is installed there is nothing to fear.
func TestCheckOfNothing(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	k, err := New(optionsOf(data, "", newBuild))
	require.NoError(t, err)
	r, err := k.Check(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK, "%+v", r.Findings)
	require.NoDirExists(t, data)
}
