package media_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/dashboard"
	"selflink/appliance/storage"
)

func TestInsight(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/media"
	r := newRig(t, storage.NewLocal(dir))
	seen, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.Equal(t, storage.BackendLocal, seen.Backend)
	require.Equal(t, dir, seen.Place)
	require.Nil(t, seen.Disk, "there is no directory yet, so nothing is said of its disk")
	require.Nil(t, seen.Sweep)
	require.Nil(t, seen.Check)
	require.Zero(t, seen.Counts.Files)
	list, err := r.svc.Newest(t.Context(), dashboard.PageInput{})
	require.NoError(t, err)
	require.Empty(t, list.Items)
	require.Nil(t, list.Next)

	for range 3 {
		require.Equal(t, 201, r.upload(t, 1, "a.png", pngOf(t, 600, 600)).Status)
	}
	for name, body := range map[string]string{"type": "#!/bin/sh", "too_big": string(pngOf(t, 10, 10)) + strings.Repeat("x", 4<<20)} {
		require.Equal(t, 400, r.upload(t, 1, name, []byte(body)).Status, name)
	}
	first, err := r.svc.Newest(t.Context(), dashboard.PageInput{Limit: "2"})
	require.NoError(t, err)
	require.Len(t, first.Items, 2, "thumbnails are no files of their own")
	require.Equal(t, "1", *first.Items[0].Owner)
	require.Equal(t, "image/png", first.Items[0].Mime)
	require.EqualValues(t, 600, *first.Items[0].Width)
	rest, err := r.svc.Newest(t.Context(), dashboard.PageInput{Limit: "2", Cursor: *first.Next})
	require.NoError(t, err)
	require.Len(t, rest.Items, 1)
	require.Nil(t, rest.Next)
	require.NotContains(t, []string{first.Items[0].Key, first.Items[1].Key}, rest.Items[0].Key)
	_, err = r.svc.Newest(t.Context(), dashboard.PageInput{Cursor: "x"})
	require.Error(t, err)

	left := filepath.Join(dir, ".incoming", "left.part")
	require.NoError(t, os.WriteFile(left, nil, 0o600))
	orphan := filepath.Join(dir, storage.NewKey(storage.Assets, "png", time.Now()))
	require.NoError(t, os.MkdirAll(filepath.Dir(orphan), 0o755))
	require.NoError(t, os.WriteFile(orphan, []byte("x"), 0o600))
	r.clock.Advance(25 * time.Hour)
	_, err = r.svc.Sweep(t.Context())
	require.NoError(t, err)
	other := newRigOn(t, r) // another process, or the same after a restart
	seen, err = other.Insight(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, seen.Sweep.Orphans)
	require.Equal(t, 1, seen.Sweep.Unfinished)
	require.Empty(t, seen.Sweep.Error)
	require.Positive(t, seen.Disk.Total)
	require.EqualValues(t, 6, seen.Counts.Files, "three and their thumbnails")
	require.Len(t, seen.Counts.Kinds, 2)
	require.EqualValues(t, 3, seen.Counts.Assets[0].Assets)
	require.Empty(t, seen.Uploads.Day, "it saw none")
	mine, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	told := map[string]int64{}
	for _, c := range mine.Uploads.Day {
		told[c.Name] = c.Count
	}
	require.Equal(t, map[string]int64{}, told, "a day ago")
	require.Equal(t, 201, r.upload(t, 1, "a.png", pngOf(t, 10, 10)).Status)
	require.Equal(t, 400, r.upload(t, 1, "a.sh", []byte("#!/bin/sh")).Status)
	mine, err = r.svc.Insight(t.Context())
	require.NoError(t, err)
	for _, c := range mine.Uploads.Day {
		told[c.Name] = c.Count
	}
	require.Equal(t, map[string]int64{"taken": 1, "type": 1}, told)
}

func TestExamine(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		check := r.svc.HealthChecks()[0]
		require.NoError(t, check.Run(t.Context()), "nobody has looked yet")
		for range 4 {
			require.Equal(t, 201, r.upload(t, 1, "a.png", pngOf(t, 600, 600)).Status)
		}
		found, err := r.svc.Examine(t.Context())
		require.NoError(t, err)
		require.Equal(t, 8, found.Looked)
		require.Empty(t, found.Faults)
		require.NoError(t, check.Run(t.Context()))

		list, err := r.svc.Newest(t.Context(), dashboard.PageInput{})
		require.NoError(t, err)
		lost, shrunk, released := list.Items[0].Key, list.Items[1].Key, list.Items[2].Key
		require.NoError(t, r.store.Delete(t.Context(), lost))
		_, err = r.db.Pool.Exec(t.Context(), `UPDATE media_files SET size = size + 1 WHERE key = $1`, shrunk)
		require.NoError(t, err)
		require.NoError(t, r.store.Delete(t.Context(), released))
		require.NoError(t, r.svc.Release(t.Context(), r.db.Pool, released))
		found, err = r.svc.Examine(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, found.Missing, "one that was released may be gone")
		require.Equal(t, 1, found.WrongSize)
		require.Len(t, found.Faults, 2)
		require.ErrorContains(t, check.Run(t.Context()), "1 are missing and 1 have a wrong size")
		seen, err := newRigOn(t, r).Insight(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, seen.Check.Missing)
	})
}
