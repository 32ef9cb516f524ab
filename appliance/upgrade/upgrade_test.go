package upgrade

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

// A new version has a step that fails after one that works. One command brings
// back what was there.
func TestFailingMigration(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	require.NoError(t, p.keeper(oldBuild).prove(), "the old version was healthy")
	p.serve(badBuild, func(s *database.Server, out Outcome, err error) {
		require.ErrorIs(t, err, ErrFailed)
		require.ErrorContains(t, err, "from v1 to v2-bad")
		require.ErrorContains(t, err, "nonsense")
		require.Equal(t, Cluster, out.Snapshot.Kind)
		schema, err := s.Schema(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 9001, schema.Current, "the step before it stays applied")
	})
	first := p.state().Upgrade
	require.Equal(t, Failed, first.Phase)

	// Started again and again it changes nothing, and a person's try neither
	// takes another snapshot.
	for range 2 {
		p.serve(badBuild, func(s *database.Server, _ Outcome, err error) {
			require.Nil(t, s, "no database is started")
			require.ErrorIs(t, err, ErrFailed)
		})
	}
	s, err := database.New(p.keeper(badBuild).opts.Database)
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	_, err = p.keeper(badBuild).Rollback(t.Context())
	require.ErrorIs(t, err, ErrServing, "while it runs, nothing is put back")
	require.Equal(t, Failed, p.state().Upgrade.Phase)
	again, err := p.keeper(badBuild).Migrate(t.Context(), s, true)
	require.ErrorIs(t, err, ErrFailed)
	require.Nil(t, again.Snapshot)
	p.write(s, 2)
	require.NoError(t, s.Stop(context.Background()))
	require.Equal(t, first.Snapshot, p.state().Upgrade.Snapshot)
	require.Len(t, p.snapshots(), 1)

	// The old version does not understand what is there, and says so.
	p.serve(oldBuild, func(_ *database.Server, _ Outcome, err error) {
		require.ErrorIs(t, err, database.ErrNewerSchema)
		require.ErrorContains(t, err, "selflink rollback")
	})

	plan, err := p.keeper(badBuild).Plan(t.Context())
	require.NoError(t, err)
	require.Equal(t, oldBuild, plan.To)
	require.Greater(t, plan.Lost, 0.0)
	require.False(t, plan.Program.Replace)
	done, err := p.keeper(badBuild).Rollback(t.Context())
	require.NoError(t, err)
	require.DirExists(t, done.Aside)
	require.Equal(t, RolledBack, p.state().Upgrade.Phase)
	p.requireOld("went back", 1)

	p.serve(badBuild, func(s *database.Server, _ Outcome, err error) {
		require.Nil(t, s)
		require.ErrorIs(t, err, ErrWentBack)
	})
	_, err = p.keeper(badBuild).Rollback(t.Context())
	require.ErrorIs(t, err, ErrNothing)

	// The mended version upgrades, with a snapshot of its own.
	p.serve(fixedBuild, func(s *database.Server, out Outcome, err error) {
		require.NoError(t, err)
		require.Equal(t, 2, out.Applied)
		require.NotEqual(t, first.Snapshot.Path, out.Snapshot.Path)
		require.Equal(t, []int{1}, p.rows(s))
	})
	require.Len(t, p.snapshots(), 2)
	require.NoError(t, p.keeper(fixedBuild).prove())
	require.Len(t, p.snapshots(), 1, "the last one stays")
	require.Equal(t, Done, p.state().Upgrade.Phase)
	require.Equal(t, fixedBuild, *p.state().Good)

	gone, err := p.keeper(fixedBuild).Forget(true)
	require.NoError(t, err)
	require.Greater(t, gone.Bytes, int64(1<<20))
	require.Len(t, p.snapshots(), 1, "it was only asked")
	_, err = p.keeper(fixedBuild).Forget(false)
	require.NoError(t, err)
	require.Empty(t, p.snapshots())
	_, err = p.keeper(fixedBuild).Plan(t.Context())
	require.ErrorIs(t, err, ErrNothing)
}

// What a failed upgrade left is taken over by the version that mends it, with
// the snapshot from before both; unless the old version has worked meanwhile.
func TestMendedVersionKeepsTheSnapshot(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.serve(badBuild, func(_ *database.Server, _ Outcome, err error) { require.ErrorIs(t, err, ErrFailed) })
	before := p.state().Upgrade.Snapshot
	p.serve(fixedBuild, func(s *database.Server, out Outcome, err error) {
		require.NoError(t, err)
		require.Equal(t, 1, out.Applied)
		require.Nil(t, out.Snapshot)
		p.write(s, 2)
	})
	u := p.state().Upgrade
	require.Equal(t, before, u.Snapshot)
	require.Equal(t, fixedBuild, u.To)
	require.Equal(t, Migrated, u.Phase)
	require.EqualValues(t, 9002, u.SchemaTo)
	_, err := p.keeper(fixedBuild).Rollback(t.Context())
	require.NoError(t, err)
	p.requireOld("went back", 1)

	// A failed try that applied nothing, and an old version that served since.
	k := p.keeper(fixedBuild)
	_, err = k.update(func(s *State) { s.Upgrade.Phase = Failed })
	require.NoError(t, err)
	for _, served := range []bool{false, true} {
		s, err := database.New(p.keeper(oldBuild).opts.Database)
		require.NoError(t, err)
		require.NoError(t, s.Start(t.Context()))
		if served {
			_, err = s.Pool().Exec(t.Context(), "INSERT INTO snowflake_node_lease VALUES (1, gen_random_uuid(), 'h', 1, now(), now())")
			require.NoError(t, err)
		}
		fresh, err := k.fresh(t.Context(), s, p.state().Upgrade, database.Schema{Current: newest(t)})
		require.NoError(t, err)
		require.Equal(t, served, fresh)
		require.NoError(t, s.Stop(context.Background()))
	}
}

func TestExternalDatabase(t *testing.T) {
	t.Parallel()
	// A Postgres that is somebody else's.
	host := newPlace(t)
	s, err := database.New(host.keeper(oldBuild).opts.Database)
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	super, err := pgx.Connect(t.Context(), s.SuperURL())
	require.NoError(t, err)
	defer super.Close(context.Background()) //nolint:errcheck // at the test's end
	_, err = super.Exec(t.Context(), "ALTER ROLE selflink CREATEDB")
	require.NoError(t, err)
	_, err = super.Exec(t.Context(), "CREATE DATABASE theirs OWNER selflink")
	require.NoError(t, err)
	cfg, err := pgx.ParseConfig(s.SuperURL())
	require.NoError(t, err)
	_, direct := s.URLs()
	app, err := pgx.ParseConfig(direct)
	require.NoError(t, err)
	p := &place{t: t, data: t.TempDir(), url: "postgres://selflink:" + app.Password + "@/theirs?host=" + cfg.Host + "&port=5432"}
	p.begin()

	report, err := p.keeper(badBuild).Check(t.Context())
	require.NoError(t, err)
	require.True(t, report.OK, "%+v", report.Findings)
	p.serve(badBuild, func(_ *database.Server, out Outcome, err error) {
		require.ErrorIs(t, err, ErrFailed)
		require.Equal(t, Archive, out.Snapshot.Kind)
		require.FileExists(t, out.Snapshot.Path)
	})
	requireKilled(t, p.rerun("rollback", "exchanged"), "exchanged")
	p.serve(oldBuild, func(s *database.Server, _ Outcome, err error) {
		require.Nil(t, s)
		require.ErrorIs(t, err, ErrUnfinished, "half a rollback is not served")
	})
	done, err := p.keeper(badBuild).Rollback(t.Context())
	require.NoError(t, err)
	require.Contains(t, done.Aside, "before_restore")
	p.requireOld("went back", 1)

	// In use by others it is left alone, and can be served again.
	_, err = p.keeper(oldBuild).Forget(false)
	require.NoError(t, err)
	p.serve(newBuild, func(_ *database.Server, _ Outcome, err error) {
		require.NoError(t, err)
		_, err = p.keeper(newBuild).Rollback(t.Context())
		require.Error(t, err)
		require.Equal(t, Migrated, p.state().Upgrade.Phase)
	})
	p.serve(newBuild, func(s *database.Server, _ Outcome, err error) {
		require.NoError(t, err)
		require.Equal(t, []int{1}, p.rows(s))
	})
}

// Beside a running server nothing can be stopped, so the snapshot is an archive.
func TestMigrateBesideTheServer(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.serve(oldBuild, func(_ *database.Server, _ Outcome, err error) {
		require.NoError(t, err)
		k := p.keeper(newBuild)
		beside, err := database.Attach(t.Context(), k.opts.Database)
		require.NoError(t, err)
		out, err := k.Migrate(t.Context(), beside, true)
		require.NoError(t, err)
		require.Equal(t, Archive, out.Snapshot.Kind)
		require.NoError(t, beside.Stop(t.Context()))
	})
	_, err := p.keeper(newBuild).Rollback(t.Context())
	require.NoError(t, err)
	p.requireOld("went back", 1)
}

func TestWithoutSnapshot(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	k := p.keeper(badBuild)
	k.opts.NoSnapshot = true
	s, err := database.New(k.opts.Database)
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	_, err = k.Migrate(t.Context(), s, false)
	require.ErrorIs(t, err, ErrFailed)
	require.NoError(t, s.Stop(context.Background()))
	_, err = k.Rollback(t.Context())
	require.ErrorIs(t, err, ErrNothing)
	require.ErrorContains(t, err, "SELFLINK_UPGRADE_SNAPSHOT")
}

// The program of before comes back with the database.
func TestProgramComesBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	k := p.keeper(newBuild)
	script := func(path, version string, mode os.FileMode) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho '{\"version\":\""+version+"\",\"commit\":\"aaaaaaa\"}'\n"), mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	script(k.opts.Executable, "v2", 0o755)
	script(k.kept(programName), "v1", 0o755)
	require.NoError(t, os.WriteFile(k.kept("version"), []byte("v1\n"), 0o644))
	p.serve(newBuild, func(_ *database.Server, _ Outcome, err error) { require.NoError(t, err) })
	require.Equal(t, "v1", p.state().Upgrade.From.Version)

	for name, spoil := range map[string]func(){
		"anybody may write it": func() { require.NoError(t, os.Chmod(k.kept(programName), 0o777)) },
		"it is a link": func() {
			require.NoError(t, os.Remove(k.kept(programName)))
			require.NoError(t, os.Symlink(k.opts.Executable, k.kept(programName)))
		},
		"it cannot be run": func() {
			require.NoError(t, os.Remove(k.kept(programName)))
			script(k.kept(programName), "v1", 0o644)
		},
	} {
		spoil()
		plan, err := k.Plan(t.Context())
		require.NoError(t, err)
		require.False(t, plan.Program.Replace, name)
		require.NotEmpty(t, plan.Program.Why)
		require.NoError(t, os.Remove(k.kept(programName)))
		script(k.kept(programName), "v1", 0o755)
	}
	_, err := k.update(func(s *State) { s.Upgrade.From = Build{"v0", "eeeeeee"} })
	require.NoError(t, err)
	plan, err := k.Plan(t.Context())
	require.NoError(t, err)
	require.False(t, plan.Program.Replace, "the kept one is of another version")
	_, err = k.update(func(s *State) { s.Upgrade.From = oldBuild })
	require.NoError(t, err)

	done, err := k.Rollback(t.Context())
	require.NoError(t, err)
	require.True(t, done.Program.Replace)
	installed, err := os.ReadFile(k.opts.Executable)
	require.NoError(t, err)
	require.Contains(t, string(installed), "v1")
	kept, err := os.ReadFile(done.Program.Kept)
	require.NoError(t, err)
	require.Contains(t, string(kept), "v2")
	p.requireOld("went back", 1)
}

// A start that fails after the migrations names the way back too.
func TestExplain(t *testing.T) {
	t.Parallel()
	k, err := New(Options{DataDir: t.TempDir(), Build: newBuild})
	require.NoError(t, err)
	broken := errors.New("no port")
	require.Equal(t, broken, k.Explain(broken))
	_, err = k.update(func(s *State) { s.Upgrade = &Upgrade{ID: k.newID(), From: oldBuild, To: newBuild, Phase: Migrated} })
	require.NoError(t, err)
	require.ErrorIs(t, k.Explain(broken), ErrFailed)
	require.ErrorIs(t, k.Explain(broken), broken)
	require.Equal(t, context.Canceled, k.Explain(context.Canceled))
	require.NoError(t, k.phase(Ready, nil))
	require.Equal(t, broken, k.Explain(broken))
}
