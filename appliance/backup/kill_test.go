package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/storage"
)

// The test binary, started again with these, does one piece of work and may
// kill itself on the way.
const (
	childWork = "SELFLINK_BACKUP_TEST_WORK" // backup, verify, restore or undo
	childURL  = "SELFLINK_BACKUP_TEST_URL"  // empty: managed
	childData = "SELFLINK_BACKUP_TEST_DATA"
	childFile = "SELFLINK_BACKUP_TEST_FILE"
	childKill = "SELFLINK_BACKUP_TEST_KILL" // step, and which time of it
)

// runChild is the child's main.
func runChild() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name, times, _ := strings.Cut(os.Getenv(childKill), "/")
	left, _ := strconv.Atoi(times)
	step := func(at string) {
		if at == name {
			if left--; left <= 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
	options := database.Options{DataDir: os.Getenv(childData), DatabaseURL: os.Getenv(childURL), Postgres: quick()}
	r := &Restorer{Database: options, DataDir: os.Getenv(childData), MediaDir: filepath.Join(os.Getenv(childData), "media"), step: step}
	var err error
	switch os.Getenv(childWork) {
	case "restore":
		_, err = r.Restore(ctx, RestoreRequest{File: os.Getenv(childFile)})
	case "undo":
		_, err = r.Undo(ctx)
	case "backup", "verify":
		err = childKeeper(ctx, options, step)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func childKeeper(ctx context.Context, options database.Options, step func(string)) error {
	server, err := database.Attach(ctx, options)
	if err != nil {
		return err
	}
	k, err := New(Options{Database: server, DataDir: os.Getenv(childData), Files: storage.NewLocal(filepath.Join(os.Getenv(childData), "media")), Progress: func(p Progress) { step(string(p.Stage)) }})
	if err != nil {
		return err
	}
	if os.Getenv(childWork) == "verify" {
		_, err = k.Verify(ctx, os.Getenv(childFile))
	} else {
		_, err = k.Create(ctx, Request{})
	}
	return errors.Join(err, server.Stop(ctx))
}

// rerun prepares one run of the binary.
func rerun(t *testing.T, work, address, data, file, kill string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childWork+"="+work, childURL+"="+address, childData+"="+data, childFile+"="+file, childKill+"="+kill)
	cmd.Stderr = os.Stderr
	return cmd
}

// requireKilled says that the child died of SIGKILL.
func requireKilled(t *testing.T, err error, at string) {
	t.Helper()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "it was to be killed at %s", at)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled(), "at %s: %v", at, err)
}

// TestRestoreIsKilled kills a restore at each of its steps, and at some others.
func TestRestoreIsKilled(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	archivedFiles := p.putFiles("archived", 30)
	file := p.archive(300)
	p.dropFiles(archivedFiles, 10)
	p.putFiles("current", 20)
	currentFiles := p.filesNow()
	var archived, current map[string]string
	p.look(func(q database.Querier) {
		archived = without(contents(t, q), "realtime_log", "backups")
		_, err := q.Exec(t.Context(), "INSERT INTO mentor_purges VALUES ('1999-09-09', 1, 1)")
		require.NoError(t, err)
		current = without(contents(t, q), "realtime_log", "backups")
	})
	require.NotEqual(t, archived, current)
	state := func(at string) (old bool) {
		p.look(func(q database.Querier) {
			got := without(contents(t, q), "realtime_log", "backups")
			_, err := Settle(t.Context(), q, p.media()) // as the server's start does
			require.NoError(t, err)
			if old = got["public.mentor_purges"] == current["public.mentor_purges"]; old {
				require.Equal(t, current, got, at)
				require.Equal(t, currentFiles, p.filesNow(), at)
			} else {
				require.Equal(t, archived, got, at)
				require.Equal(t, archivedFiles, p.filesNow(), at)
			}
		})
		return old
	}
	for _, at := range []string{"checked", "held", "made", "piece", "filled", "completed", "file", "files filled", "broker", "journal", "renaming"} {
		requireKilled(t, rerun(t, "restore", p.url, p.data, file, at+"/1").Run(), at)
		require.True(t, state(at), "killed at %s: the old state", at)
	}
	for range 3 {
		cmd := rerun(t, "restore", p.url, p.data, file, "")
		require.NoError(t, cmd.Start())
		timer := time.AfterFunc(time.Duration(rand.Int64N(int64(1500*time.Millisecond))), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // killed, or faster
		timer.Stop()
		state("some moment")
	}
	for _, at := range []string{"swapped/1", "file moved/1", "files aside/1", "file moved/2", "files swapped/1"} {
		requireKilled(t, rerun(t, "restore", p.url, p.data, file, at).Run(), at)
		require.False(t, state(at), "the new state")
		require.NoError(t, rerun(t, "undo", p.url, p.data, "", "").Run(), "after "+at)
		require.True(t, state("undone after "+at), "the old state, with its files")
	}
	// The next restore goes on with one that was killed, too.
	requireKilled(t, rerun(t, "restore", p.url, p.data, file, "swapped/1").Run(), "swapped")
	requireKilled(t, rerun(t, "undo", p.url, p.data, "", "renaming/1").Run(), "renaming")
	require.False(t, state("swapped, and an undo killed"), "the new state")

	require.NoError(t, rerun(t, "restore", p.url, p.data, file, "").Run(), "a rerun completes")
	require.False(t, state("end"))
	require.Empty(t, p.names(forRestore), "what the killed ones left is gone")
	require.NotEmpty(t, p.names(aside))
	requireKilled(t, rerun(t, "undo", p.url, p.data, "", "renaming/1").Run(), "renaming")
	require.False(t, state("undo"))
	requireKilled(t, rerun(t, "undo", p.url, p.data, "", "file moved/1").Run(), "file moved")
	require.False(t, state("undo killed later"), "the last restore was of the same archive")
	require.NotEmpty(t, p.hiddenFiles(asidePrefix))
	dropped, err := p.restorer().DropOld(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, dropped.FilesDropped)
	require.Empty(t, p.hiddenFiles("."+aside))
	require.Empty(t, p.hiddenFiles(sidePrefix))
	require.False(t, state("dropped"))
}

// TestManagedIsKilled does it with a private cluster, whose Postgres dies too.
func TestManagedIsKilled(t *testing.T) {
	t.Parallel()
	data := privateDir(t)
	look := func(f func(s *database.Server)) {
		s, err := database.Attach(t.Context(), database.Options{DataDir: data, Postgres: quick()})
		require.NoError(t, err)
		f(s)
		require.NoError(t, s.Stop(context.Background()))
	}
	var file string
	marked := func() (found bool) {
		look(func(s *database.Server) {
			require.NoError(t, s.Direct().QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM mentor_purges WHERE day = '1999-09-09')").Scan(&found))
		})
		return found
	}
	look(func(s *database.Server) {
		_, err := s.Migrate(t.Context())
		require.NoError(t, err)
		fill(t, s, 200)
		k, err := New(Options{Database: s, DataDir: data})
		require.NoError(t, err)
		made, err := k.Create(t.Context(), Request{})
		require.NoError(t, err)
		file = made.File
		_, err = s.Direct().Exec(t.Context(), "INSERT INTO mentor_purges VALUES ('1999-09-09', 1, 1)")
		require.NoError(t, err)

		// While a server runs, nothing is restored.
		_, err = (&Restorer{Database: database.Options{DataDir: data}, DataDir: data}).Restore(t.Context(), RestoreRequest{File: file})
		require.ErrorIs(t, err, ErrServing)
		require.ErrorIs(t, err, database.ErrLocked)
		v, err := k.Verify(t.Context(), file)
		require.NoError(t, err)
		require.True(t, v.Restored)
	})
	for _, at := range []string{"piece", "renaming"} {
		requireKilled(t, rerun(t, "restore", "", data, file, at+"/1").Run(), at)
		require.True(t, marked(), at)
	}
	requireKilled(t, rerun(t, "verify", "", data, file, string(Restoring)+"/1").Run(), "verify")
	require.NoError(t, rerun(t, "restore", "", data, file, "").Run())
	require.False(t, marked())
	look(func(s *database.Server) {
		_, direct := s.URLs()
		site, err := openSite(t.Context(), direct, s.SuperURL())
		require.NoError(t, err)
		defer site.close()
		for _, purpose := range []string{forVerify, forRestore} {
			left, err := site.named(t.Context(), purpose)
			require.NoError(t, err)
			require.Empty(t, left)
		}
	})
	require.NoError(t, rerun(t, "undo", "", data, "", "").Run())
	require.True(t, marked())

	// Into an empty data directory, on a new machine.
	fresh := privateDir(t)
	done, err := (&Restorer{Database: database.Options{DataDir: fresh, Postgres: quick()}, DataDir: fresh}).Restore(t.Context(), RestoreRequest{File: file})
	require.NoError(t, err)
	require.Empty(t, done.Aside, "there was nothing to keep")
	data = fresh
	require.False(t, marked())
}

func TestBackupIsKilled(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	p.putFiles("x", 200)
	p.archive(300)
	dir := DefaultDir(p.data)
	first := archivesIn(t, dir)
	for i, at := range []string{string(Dumping) + "/1", string(Copying) + "/50", "", "", ""} {
		cmd := rerun(t, "backup", p.url, p.data, "", at)
		require.NoError(t, cmd.Start())
		timer := time.AfterFunc(time.Duration(rand.Int64N(int64(600*time.Millisecond))), func() { _ = cmd.Process.Kill() })
		if i < 2 {
			timer.Stop()
		}
		_ = cmd.Wait()
		timer.Stop()
		for _, name := range archivesIn(t, dir) { // under their final names all are whole
			a, err := openArchive(t.Context(), filepath.Join(dir, name), func(Progress) {})
			require.NoError(t, err)
			require.NoError(t, a.close())
		}
	}
	require.NoError(t, rerun(t, "backup", p.url, p.data, "", "").Run())
	require.Greater(t, len(archivesIn(t, dir)), len(first))
	left, err := filepath.Glob(filepath.Join(dir, "*"+partialSuffix))
	require.NoError(t, err)
	require.Empty(t, left)
	server := p.open(database.Options{})
	list, err := p.keeper(server).List(t.Context(), 20)
	require.NoError(t, err)
	for _, e := range list {
		require.NotEqual(t, "running", e.Outcome, "the next one knows that they ended")
	}

	// The scratch database of a killed verification goes with the next one.
	file := filepath.Join(dir, archivesIn(t, dir)[0])
	requireKilled(t, rerun(t, "verify", p.url, p.data, file, string(Restoring)+"/1").Run(), "verify")
	require.Len(t, p.names(forVerify), 1)
	_, err = p.keeper(server).Verify(t.Context(), file)
	require.NoError(t, err)
	require.Empty(t, p.names(forVerify))
}
