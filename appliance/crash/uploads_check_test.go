//go:build crash

package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/storage"
)

// row is what the database says of a file.
type row struct {
	size int64
	sum  string
}

// requireFiles compares rows, files and promises, before and after the sweep.
func requireFiles(t *testing.T, s *server, book *shelf, random *rand.Rand) {
	// Uploads whose clients have gone may still be under way. They end here, or
	// they would be made old in the middle.
	s.kill()
	s.start()
	store := book.at.store(t, s)
	rows := rowsOfFiles(t, s)
	for key, r := range rows {
		size, sum := read(t, store, key)
		require.Equal(t, r.size, size, "the row of %s", key)
		if r.sum != "" { // what came past the server has none
			require.Equal(t, r.sum, sum, "the row of %s", key)
		}
	}
	t.Logf("rows with their file: %d of %d", len(rows), len(rows))
	book.requireKept(t)
	orphans := 0
	for _, key := range ownKeys(t, store) {
		if _, ok := rows[key]; !ok {
			orphans++
		}
	}
	unfinished := len(glob(t, book.at.files(s), book.at.unfinished))

	// All of it becomes old, and the sweep is killed too.
	released := age(t, s, book.at)
	await(t, "the sweep is started", patience, func() bool { return selflink(s, "schedule", "run", "media.sweep") == nil })
	<-time.After(time.Duration(random.IntN(40)) * time.Millisecond)
	s.kill()
	s.start()
	forgetFirings(t, s)
	await(t, "the sweep has run", patience, func() bool { return selflink(s, "schedule", "run", "--wait", "media.sweep") == nil })

	rows = rowsOfFiles(t, s)
	keys := ownKeys(t, store)
	for _, key := range keys {
		require.Contains(t, rows, key, "a file without a row stays after the sweep")
	}
	require.Len(t, keys, len(rows))
	require.Empty(t, glob(t, book.at.files(s), book.at.unfinished), "what was cut off stays after the sweep")
	book.requireKept(t)
	t.Logf("without a row: %d, unfinished: %d, released: %d; after the sweep, which was killed once: none; files %d, rows %d",
		orphans, unfinished, released, len(keys), len(rows))
}

// rowsOfFiles reads the rows; assets, avatars and thumbnails must name one.
func rowsOfFiles(t *testing.T, s *server) map[string]row {
	db, err := database.Attach(t.Context(), database.Options{DataDir: s.data})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Stop(context.Background())) }()
	var homeless int
	require.NoError(t, db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM (
		SELECT file_key AS key FROM media_assets WHERE file_key IS NOT NULL
		UNION ALL SELECT thumbnail FROM media_files WHERE thumbnail IS NOT NULL
		UNION ALL SELECT avatar FROM personal_maps WHERE avatar <> ''
	) named WHERE NOT EXISTS (SELECT FROM media_files f WHERE f.key = named.key)`).Scan(&homeless))
	require.Zero(t, homeless, "something names a file that has no row")
	found, err := db.Pool().Query(t.Context(), "SELECT key, size, sha256 FROM media_files")
	require.NoError(t, err)
	defer found.Close()
	out := map[string]row{}
	for found.Next() {
		var key string
		var r row
		require.NoError(t, found.Scan(&key, &r.size, &r.sum))
		out[key] = r
	}
	require.NoError(t, found.Err())
	return out
}

func read(t *testing.T, store storage.Store, key string) (int64, string) {
	content, _, err := store.Open(t.Context(), key, 0, storage.ToEnd)
	require.NoError(t, err, "a row without its file")
	defer content.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, content)
	require.NoError(t, err)
	return n, hex.EncodeToString(sum.Sum(nil))
}

func ownKeys(t *testing.T, store storage.Store) (keys []string) {
	require.NoError(t, storage.Walk(t.Context(), store, "", "", func(i storage.Info) error {
		if storage.Own(i.Key) {
			keys = append(keys, i.Key)
		}
		return nil
	}))
	return keys
}

// requireKept reads every upload that was answered, as its owner does.
func (b *shelf) requireKept(t *testing.T) {
	for _, k := range b.kept {
		var a struct {
			Key    string `json:"s3_key"`
			Status string
			Meta   struct{ URL string }
		}
		status, err := b.client.call(t.Context(), "GET", "/api/v1/media/"+k.id.String()+"/", k.token, nil, &a)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "the asset %s is lost", k.id)
		require.Equal(t, k.key, a.Key)
		response, err := b.client.http.Get(a.Meta.URL)
		require.NoError(t, err)
		sum := sha256.New()
		_, err = io.Copy(sum, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode, "the file %s is lost", k.key)
		require.Equal(t, k.sum, hex.EncodeToString(sum.Sum(nil)), "the file %s is not what was sent", k.key)
	}
	t.Logf("answered uploads that can be read: %d of %d", len(b.kept), len(b.kept))
}

// age makes all files and rows three days older, and tells how many rows are of
// files that were released.
func age(t *testing.T, s *server, at place) (released int64) {
	old := time.Now().Add(-72 * time.Hour)
	require.NoError(t, filepath.WalkDir(at.files(s), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, old, old)
	}))
	db, err := database.Attach(t.Context(), database.Options{DataDir: s.data})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Stop(context.Background())) }()
	done, err := db.Pool().Exec(t.Context(), "UPDATE media_files SET released_at = released_at - interval '3 days' WHERE released_at IS NOT NULL")
	require.NoError(t, err)
	_, err = db.Pool().Exec(t.Context(), "UPDATE media_grants SET expires_at = expires_at - interval '3 days'")
	require.NoError(t, err)
	return done.RowsAffected()
}

// forgetFirings lets the firing that was killed be over now, which otherwise
// keeps others away for as long as it might have taken.
func forgetFirings(t *testing.T, s *server) {
	db, err := database.Attach(t.Context(), database.Options{DataDir: s.data})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Stop(context.Background())) }()
	_, err = db.Pool().Exec(t.Context(), "UPDATE schedule_firings SET started_at = started_at - interval '1 day' WHERE outcome = 'running'")
	require.NoError(t, err)
}

// selflink runs a verb of the command beside the server.
func selflink(s *server, args ...string) error {
	cmd := exec.Command(s.bin, args...)
	cmd.Env = s.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("selflink %v: %w: %s", args, err, out)
	}
	return nil
}
