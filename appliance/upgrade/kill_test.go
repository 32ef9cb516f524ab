package upgrade

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

// An upgrade is killed at each of its steps; before the first migration the old
// version can start, after it the new one goes on, with the snapshot of before.
func TestUpgradeIsKilled(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, at := range []string{"file", "copied", "taken", "migrating"} {
		requireKilled(t, p.rerun("migrate", at), at)
		p.requireOld("killed at "+at, 1)
	}
	requireKilled(t, p.rerun("migrate", "migrated"), "migrated")
	killed := p.state().Upgrade
	require.Equal(t, Migrating, killed.Phase)
	p.serve(newBuild, func(s *database.Server, out Outcome, err error) {
		require.NoError(t, err)
		require.Nil(t, out.Snapshot)
		p.write(s, 2)
	})
	u := p.state().Upgrade
	require.Equal(t, Migrated, u.Phase)
	require.Equal(t, killed.Snapshot, u.Snapshot)
	require.NoError(t, p.keeper(newBuild).prove())
	require.Equal(t, []string{u.ID}, p.snapshots(), "what was killed leaves nothing")
}

// A rollback is killed at each of its steps. There is a whole database at any
// time, no server starts on half of it, and the next one ends it.
func TestRollbackIsKilled(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	require.NoError(t, p.rerun("migrate", ""))
	for _, at := range []string{"begun", "exchanged", "settled", "unmarked"} {
		u := p.state().Upgrade
		requireKilled(t, p.rerun("rollback", at), at)
		require.True(t, database.HasCluster(p.keeper(oldBuild).opts.Database), at)
		require.ErrorIs(t, p.keeper(newBuild).Guard(), ErrUnfinished, at)
		require.NoError(t, p.rerun("rollback", ""), "after "+at)
		require.Equal(t, RolledBack, p.state().Upgrade.Phase)
		require.NoFileExists(t, filepath.Join(p.data, "postgres", markPrefix+u.ID))
		p.requireOld("killed at "+at, 1)

		// And once more, with a row of the new version.
		_, err := p.keeper(oldBuild).Forget(false)
		require.NoError(t, err)
		p.serve(newBuild, func(s *database.Server, out Outcome, err error) {
			require.NoError(t, err)
			require.NotNil(t, out.Snapshot)
			p.write(s, 2)
		})
	}
}
