package upgrade

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

// A move works like one to another version, to a new cluster of the one version
// that every machine of the tests has: what differs then is what PostgreSQL
// itself reads and writes.
func TestMovePostgres(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	k := p.keeper(oldBuild)
	major, err := database.ClusterMajor(database.ClusterDir(p.data))
	require.NoError(t, err)

	plan, err := k.PlanMove(Move{To: major})
	require.NoError(t, err)
	require.False(t, plan.OK, "it is there already")
	plan, err = k.PlanMove(Move{To: 99})
	require.NoError(t, err)
	require.False(t, plan.OK, "nobody has it")
	_, err = k.MovePostgres(t.Context(), Move{To: 99})
	require.ErrorIs(t, err, ErrRefused)

	k.opts.sameMajor = true
	own := filepath.Join(database.ClusterDir(p.data), database.LocalConf)
	require.NoError(t, os.WriteFile(own, []byte("work_mem = '5MB'\n"), 0o644))
	p.serve(oldBuild, func(s *database.Server, _ Outcome, err error) {
		require.NoError(t, err)
		_, err = k.MovePostgres(t.Context(), Move{To: major})
		require.ErrorIs(t, err, ErrServing)
	})
	done, err := k.MovePostgres(t.Context(), Move{To: major})
	require.NoError(t, err)
	require.Positive(t, done.Rows)
	require.DirExists(t, done.Aside)
	require.Equal(t, Done, p.state().Upgrade.Phase)
	p.serve(oldBuild, func(s *database.Server, _ Outcome, err error) {
		require.NoError(t, err)
		require.Equal(t, []int{1}, p.rows(s))
		var mem string
		require.NoError(t, s.Direct().QueryRow(t.Context(), "SHOW work_mem").Scan(&mem))
		require.Equal(t, "5MB", mem, "an operator's own settings are taken along")
		p.write(s, 2)
	})

	back, err := k.Rollback(t.Context())
	require.NoError(t, err)
	require.Equal(t, major, back.PostgresTo)
	p.requireOld("went back, and the same build serves", 1)

	// Killed before the exchange, the old one is in its place.
	_, err = k.Forget(false)
	require.NoError(t, err)
	interrupted, cancel := context.WithCancel(t.Context())
	k.opts.step = func(at string) {
		if at == "archived" {
			cancel()
		}
	}
	_, err = k.MovePostgres(interrupted, Move{To: major})
	require.Error(t, err)
	require.Empty(t, p.snapshots())
	p.requireOld("interrupted", 1)
}
