package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	fill(t, server, 2000)
	before := contents(t, server.Direct())
	epoch := epochOf(t, server.Direct())
	var stages []Stage
	k := p.keeper(server)
	k.opts.Progress = func(at Progress) { stages = append(stages, at.Stage) }

	made, err := k.Create(t.Context(), Request{})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(p.data, "backups"), filepath.Dir(made.File))
	require.Greater(t, made.Rows, int64(40_000))
	info, err := os.Stat(made.File)
	require.NoError(t, err)
	require.Equal(t, made.Bytes, info.Size())
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	for _, table := range made.Manifest.Tables {
		require.NotEqual(t, "public.realtime_tickets", table.Name, "what a crash may take is not backed up")
	}

	v, err := k.Verify(t.Context(), made.File)
	require.NoError(t, err)
	require.True(t, v.Restored)
	require.Equal(t, made.SHA256, v.SHA256)
	require.Empty(t, p.names(forVerify), "the scratch database is gone")
	require.Contains(t, stages, Dumping)
	require.Contains(t, stages, Restoring)
	list, err := k.List(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "succeeded", list[0].Outcome)
	require.Equal(t, "verified", list[0].VerifyOutcome)
	require.Equal(t, made.SHA256, list[0].SHA256)
	require.False(t, list[0].Missing)

	// The world goes on, and is taken back.
	_, err = server.Direct().Exec(t.Context(), "DELETE FROM mentor_messages; INSERT INTO mentor_purges VALUES ('1999-09-09', 1, 1)")
	require.NoError(t, err)
	later := contents(t, server.Direct())
	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, os.MkdirAll(filepath.Join(p.data, "broker", "jetstream"), 0o700))

	done, err := p.restorer().Restore(t.Context(), RestoreRequest{File: made.File})
	require.NoError(t, err)
	require.Equal(t, made.Rows, done.Rows)
	require.NotEmpty(t, done.Aside)
	require.NoDirExists(t, filepath.Join(p.data, "broker"), "the broker is rebuilt")
	p.look(func(q database.Querier) {
		require.Equal(t, without(before, "realtime_log", "backups"), without(contents(t, q), "realtime_log", "backups"))
		require.NotEqual(t, epoch, epochOf(t, q))
		var known string
		require.NoError(t, q.QueryRow(t.Context(), "SELECT file FROM backups WHERE sha256 = $1 AND verify_outcome = 'verified'", made.SHA256).Scan(&known))
		require.Equal(t, made.File, known, "the restored database knows where it came from")
	})
	require.Equal(t, []string{done.Aside}, p.names(aside))

	// Back to the world that went on, and there again.
	for _, want := range []map[string]string{later, before} {
		_, err = p.restorer().Undo(t.Context())
		require.NoError(t, err)
		p.look(func(q database.Querier) {
			require.Equal(t, without(want, "realtime_log", "backups"), without(contents(t, q), "realtime_log", "backups"))
		})
	}
	dropped, err := p.restorer().DropOld(t.Context())
	require.NoError(t, err)
	require.Len(t, dropped.Dropped, 1)
	require.Empty(t, p.names(aside))
	_, err = p.restorer().Undo(t.Context())
	require.ErrorIs(t, err, ErrNothingAside)
}

func epochOf(t testing.TB, q database.Querier) (epoch int64) {
	t.Helper()
	require.NoError(t, q.QueryRow(t.Context(), "SELECT epoch FROM realtime_log").Scan(&epoch))
	return epoch
}

// TestCountsAreOfTheSnapshot backs up while rows come and go.
func TestCountsAreOfTheSnapshot(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	fill(t, server, 500)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		for i := 10_000; ctx.Err() == nil; i++ {
			_, err := server.Pool().Exec(ctx, "INSERT INTO mentor_messages (id, session_id, user_id, role, content) VALUES ($1, 1, 1, 'user', 'x')", i)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			_, _ = server.Pool().Exec(ctx, "DELETE FROM mentor_purges WHERE day = '2020-01-01'::date + $1::int", i-10_000)
		}
	})
	k := p.keeper(server)
	for range 3 {
		made, err := k.Create(t.Context(), Request{Output: t.TempDir()})
		require.NoError(t, err)
		v, err := k.Verify(t.Context(), made.File)
		require.NoError(t, err)
		require.True(t, v.Restored)
	}
}

func TestNoOverwrite(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	k := p.keeper(server)
	path := filepath.Join(t.TempDir(), "mine.tar.zst")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err := k.Create(t.Context(), Request{Output: path})
	require.ErrorIs(t, err, ErrExists)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(raw))
	require.NoFileExists(t, path+partialSuffix)

	// A file that comes while the archive is written is not replaced either.
	other := filepath.Join(t.TempDir(), "other.tar.zst")
	k.opts.Progress = func(Progress) { _ = os.WriteFile(other, []byte("precious"), 0o600) }
	_, err = k.Create(t.Context(), Request{Output: other})
	require.ErrorIs(t, err, ErrExists)
	raw, err = os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, "precious", string(raw))

	_, err = k.Create(t.Context(), Request{Output: filepath.Join(t.TempDir(), "nowhere") + "/"})
	require.ErrorIs(t, err, os.ErrNotExist)
	list, err := k.List(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, "failed", list[0].Outcome, "what failed is written down")
	require.NotEmpty(t, list[0].Error)
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	k := p.keeper(server)
	require.NoError(t, server.Direct().Tx(t.Context(), func(tx database.Tx) error {
		_, err := takeSnapshot(t.Context(), tx)
		require.NoError(t, err)
		_, err = k.Create(t.Context(), Request{})
		require.ErrorIs(t, err, ErrRunning)
		return nil
	}))
	_, err := k.Create(t.Context(), Request{})
	require.NoError(t, err)
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	k := p.keeper(server)
	ctx, cancel := context.WithCancel(t.Context())
	k.opts.Progress = func(Progress) { cancel() }
	out := t.TempDir()
	_, err := k.Create(ctx, Request{Output: out})
	require.Error(t, err)
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// short is a file on a disk that runs full after some bytes.
type short struct {
	sink
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.left {
		n, _ := s.sink.Write(p[:s.left])
		s.left = 0
		return n, syscall.ENOSPC
	}
	s.left -= len(p)
	return s.sink.Write(p)
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	fill(t, server, 1000)
	_, err := server.Direct().Exec(t.Context(), `UPDATE mentor_messages SET content = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300) WHERE mentor_messages.id > 0)`)
	require.NoError(t, err)
	k := p.keeper(server)
	good, err := k.Create(t.Context(), Request{})
	require.NoError(t, err)
	for _, left := range []int{0, 1, 1000, int(good.Bytes) / 2, int(good.Bytes) * 9 / 10} {
		k.limit = func(s sink) sink { return &short{sink: s, left: left} }
		dir := t.TempDir()
		_, err = k.Create(t.Context(), Request{Output: dir})
		require.ErrorIs(t, err, syscall.ENOSPC, "%d", left)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries, "the partial archive is removed")
	}
	require.FileExists(t, good.File)
	k.limit = func(s sink) sink { return s }

	dir, ok := mountSmall(t, 2)
	if !ok {
		t.Log("mounting is not permitted: the seam alone was tested")
		return
	}
	_, err = k.Create(t.Context(), Request{Output: dir})
	require.ErrorIs(t, err, syscall.ENOSPC)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	list, err := k.List(t.Context(), 1)
	require.NoError(t, err)
	require.Contains(t, list[0].Error, "no space left")
}

// TestWithoutRights has a role that may not make databases.
func TestWithoutRights(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayNot)
	server := p.migrated()
	fill(t, server, 100)
	k := p.keeper(server)
	made, err := k.Create(t.Context(), Request{})
	require.NoError(t, err)
	v, err := k.Verify(t.Context(), made.File)
	require.NoError(t, err)
	require.False(t, v.Restored)
	require.Contains(t, v.Reason, "ALTER ROLE")
	list, err := k.List(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, "checked", list[0].VerifyOutcome)
	require.NoError(t, server.Stop(t.Context()))
	_, err = p.restorer().Restore(t.Context(), RestoreRequest{File: made.File})
	require.ErrorIs(t, err, ErrNotAllowed)
}

func TestRestoreNeedsQuiet(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	file := p.archive(10)
	conn, err := pgx.Connect(t.Context(), p.url+"&application_name=node-2")
	require.NoError(t, err)
	_, err = p.restorer().Restore(t.Context(), RestoreRequest{File: file})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, "node-2")
	require.ErrorContains(t, err, "Stop every node")
	require.NoError(t, conn.Close(t.Context()))

	// Somebody who comes during the restore stays connected to what he came to.
	r := p.restorer()
	r.step = func(name string) {
		if name == "completed" {
			conn, err = pgx.Connect(t.Context(), p.url+"&application_name=node-3")
			require.NoError(t, err)
		}
	}
	_, err = r.Restore(t.Context(), RestoreRequest{File: file})
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, conn.Ping(t.Context()))
	require.NoError(t, conn.Close(t.Context()))
	require.Empty(t, p.names(forRestore))
	require.Empty(t, p.names(aside))
	_, err = p.restorer().Restore(t.Context(), RestoreRequest{File: file, DropOld: true})
	require.NoError(t, err)
	require.Empty(t, p.names(aside))
}

func TestPlanTouchesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	file := p.archive(10)
	r := &Restorer{Database: database.Options{DatabaseURL: "postgres://u:secret@127.0.0.1:1/x"}, DataDir: p.data}
	plan, err := r.Plan(t.Context(), RestoreRequest{File: file})
	require.NoError(t, err)
	require.Equal(t, "the database x at 127.0.0.1:1", plan.Target)
	require.NotZero(t, plan.Manifest.Rows())
	_, err = r.Plan(t.Context(), RestoreRequest{File: file, WithSecrets: true})
	require.ErrorIs(t, err, errNoSecrets)
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	dir := filepath.Join(p.data, secretsDir)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	path := filepath.Join(dir, "secret_key")
	require.NoError(t, os.WriteFile(path, []byte("first\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".secret_key-123"), []byte("half"), 0o600))
	server := p.migrated()
	plain, err := p.keeper(server).Create(t.Context(), Request{Output: filepath.Join(p.data, "plain.tar.zst")})
	require.NoError(t, err)
	require.Empty(t, plain.Secrets)
	made, err := p.keeper(server).Create(t.Context(), Request{Output: filepath.Join(p.data, "with.tar.zst"), WithSecrets: true})
	require.NoError(t, err)
	require.Equal(t, []string{"secret_key"}, made.Secrets)
	require.NoError(t, server.Stop(t.Context()))

	require.NoError(t, os.WriteFile(path, []byte("second\n"), 0o600))
	_, err = p.restorer().Restore(t.Context(), RestoreRequest{File: made.File})
	require.NoError(t, err)
	requireFile(t, path, "second\n")
	_, err = p.restorer().Restore(t.Context(), RestoreRequest{File: plain.File, WithSecrets: true})
	require.ErrorIs(t, err, errNoSecrets)
	done, err := p.restorer().Restore(t.Context(), RestoreRequest{File: made.File, WithSecrets: true})
	require.NoError(t, err)
	requireFile(t, path, "first\n")
	require.Len(t, done.Kept, 1)
	requireFile(t, done.Kept[0], "second\n")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func requireFile(t *testing.T, path, want string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(raw))
}

func TestNightly(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	fill(t, server, 10)
	k := p.keeper(server)
	k.opts.Keep = 2
	now := time.Now()
	k.now = func() time.Time { return now }
	require.NoError(t, k.check(t.Context()), "a new installation is given its time")
	now = now.Add(37 * time.Hour)
	require.ErrorContains(t, k.check(t.Context()), "no verified backup")
	now = now.Add(-37 * time.Hour)

	stale := filepath.Join(k.opts.Dir, "selflink-20200101T000000Z.tar.zst.partial")
	require.NoError(t, os.MkdirAll(k.opts.Dir, 0o700))
	for _, name := range []string{"notes.txt", "selflink-mine.tar.zst", "selflink-mine.tar.zst.partial", filepath.Base(stale)} {
		require.NoError(t, os.WriteFile(filepath.Join(k.opts.Dir, name), []byte("x"), 0o600))
	}
	for range 4 {
		require.NoError(t, k.Nightly(t.Context()))
		now = now.Add(24 * time.Hour)
	}
	require.NoFileExists(t, stale, "nobody writes it any more")
	require.Len(t, archivesIn(t, k.opts.Dir), 2)
	for _, name := range []string{"notes.txt", "selflink-mine.tar.zst", "selflink-mine.tar.zst.partial"} {
		require.FileExists(t, filepath.Join(k.opts.Dir, name), "only names of our own making count")
	}
	ahead := now // of the database's clock, which says when a backup was made
	now = time.Now()
	require.NoError(t, k.check(t.Context()))
	now = ahead
	list, err := k.List(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, list, 4)
	require.True(t, list[3].Missing)
	require.False(t, list[0].Missing)

	// The newest that was found good stays however many follow that were not.
	good := list[0].File
	_, err = server.Direct().Exec(t.Context(), "UPDATE backups SET verify_outcome = 'failed' WHERE file <> $1", good)
	require.NoError(t, err)
	for range 3 {
		made, err := k.Create(t.Context(), Request{})
		require.NoError(t, err)
		require.NoError(t, k.Retain(t.Context()))
		require.FileExists(t, made.File)
		now = now.Add(24 * time.Hour)
	}
	require.FileExists(t, good)
	require.Len(t, archivesIn(t, k.opts.Dir), 3)

	// When no archive can be made, the old ones stay.
	k.limit = func(s sink) sink { return &short{sink: s, left: 10} }
	require.ErrorIs(t, k.Nightly(t.Context()), syscall.ENOSPC)
	require.Len(t, archivesIn(t, k.opts.Dir), 3)

	// The newest good one is of the test's beginning, by the database's clock.
	now = time.Now().Add(37 * time.Hour)
	require.ErrorContains(t, k.check(t.Context()), "is 37 hours old")
}

func archivesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		if _, ok := ownName(e.Name()); ok {
			out = append(out, e.Name())
		}
	}
	return out
}

// TestBeforeAnUpgrade backs up a database that has no list of backups yet.
func TestBeforeAnUpgrade(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	old := p.open(database.Options{Migrations: olderMigrations(t)})
	_, err := old.Migrate(t.Context())
	require.NoError(t, err)
	_, err = old.Direct().Exec(t.Context(), "INSERT INTO mentor_purges VALUES ('1999-09-09', 1, 1)")
	require.NoError(t, err)
	made, err := p.keeper(old).Create(t.Context(), Request{})
	require.NoError(t, err)
	require.NotEmpty(t, made.Unrecorded)
	require.NoError(t, old.Stop(t.Context()))

	// It is brought up to this version's schema on its way back.
	done, err := p.restorer().Restore(t.Context(), RestoreRequest{File: made.File})
	require.NoError(t, err)
	require.Positive(t, done.Migrated)
	server := p.open(database.Options{})
	state, err := server.Schema(t.Context())
	require.NoError(t, err)
	require.Zero(t, state.Pending())
	require.Equal(t, state.Target, done.Schema)

	// And this version's archive does not go into the older one.
	now, err := p.keeper(server).Create(t.Context(), Request{})
	require.NoError(t, err)
	require.NoError(t, server.Stop(t.Context()))
	r := p.restorer()
	r.Database.Migrations = olderMigrations(t)
	_, err = r.Restore(t.Context(), RestoreRequest{File: now.File})
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, "schema")
	old = p.open(database.Options{Migrations: olderMigrations(t)})
	_, err = p.keeper(old).Verify(t.Context(), now.File)
	require.True(t, errors.Is(err, ErrNewer), "%v", err)
}
