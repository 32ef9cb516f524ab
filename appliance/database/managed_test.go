package database

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"selflink/appliance/health"
)

// quick makes a cluster that need not survive a power cut.
func quick(o Options) Options {
	if o.Postgres == nil {
		o.Postgres = map[string]string{}
	}
	o.Postgres["fsync"] = "off"
	o.InitdbArgs = []string{"--wal-segsize=1"}
	o.Postgres["min_wal_size"] = "8MB"
	return o
}

// managed starts a managed database that is stopped when the test ends.
func managed(t *testing.T, o Options) *Server {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	s, err := New(quick(o))
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

func one(t *testing.T, q Querier) {
	t.Helper()
	var n int
	require.NoError(t, q.QueryRow(t.Context(), "SELECT 1").Scan(&n))
}

// alive reports whether pid is a process that is not a zombie.
func alive(pid int) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestManagedLifecycle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var registry health.Registry
	s, err := New(quick(Options{DataDir: dir, Health: &registry}))
	require.NoError(t, err)
	_, err = s.Pool().Exec(t.Context(), "SELECT 1")
	require.ErrorIs(t, err, ErrUnavailable, "before the start")
	_, ready := registry.Run(t.Context())
	require.False(t, ready)

	require.NoError(t, s.Start(t.Context()))
	require.NoError(t, s.Start(t.Context()), "safe to call twice")
	_, err = s.Pool().Exec(t.Context(), "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, err)
	results, ready := registry.Run(t.Context())
	require.True(t, ready, "%v", results)

	settings := map[string]string{}
	for _, name := range []string{"data_checksums", "server_encoding", "lc_collate", "listen_addresses", "password_encryption", "synchronous_commit"} {
		var v string
		require.NoError(t, s.Direct().QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&v))
		settings[name] = v
	}
	require.Equal(t, map[string]string{
		"data_checksums": "on", "server_encoding": "UTF8", "lc_collate": "C", "listen_addresses": "",
		"password_encryption": "scram-sha-256", "synchronous_commit": "on",
	}, settings)
	var lower string
	require.NoError(t, s.Pool().QueryRow(t.Context(), "SELECT lower('ДЖ')").Scan(&lower))
	require.Equal(t, "дж", lower, "case is Unicode's though the order is by bytes")

	pids := []int{s.now.postgres.pid(), s.now.pooler.pid()}
	runtimeDir := s.runtime
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, s.Stop(t.Context()), "safe to call twice")
	for _, pid := range pids {
		require.False(t, alive(pid))
	}
	require.NoDirExists(t, runtimeDir)
	_, err = s.Pool().Exec(t.Context(), "SELECT 1")
	require.ErrorIs(t, err, ErrUnavailable, "after the stop")
	for _, name := range []string{secretsName, lockName} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), name)
	}

	again := managed(t, Options{DataDir: dir})
	one(t, again.Pool())
	var n int
	require.NoError(t, again.Pool().QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n))
}

func TestChildrenAreRestarted(t *testing.T) {
	t.Parallel()
	s := managed(t, Options{})
	for _, child := range []*supervisor{s.now.postgres, s.now.pooler} {
		t.Run(child.spec.name, func(t *testing.T) {
			before := child.pid()
			require.NoError(t, unix.Kill(before, unix.SIGKILL))
			// No query may hang, and all fail for the right reason until one
			// succeeds.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for _, way := range []Pool{s.Pool(), s.Direct()} {
				for child.restartCount() == 0 || way.(*pool).check(ctx) != nil {
					_, err := way.Exec(ctx, "SELECT 1")
					if err != nil && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrBusy) {
						t.Fatalf("a query failed with %v", err)
					}
				}
			}
			require.NotEqual(t, before, child.pid())
			require.True(t, alive(child.pid()))
		})
	}
}

// killed runs a helper in dir and kills it, and its children too when asked;
// it returns the children's pids.
func killed(t *testing.T, dir string, children bool) []int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), HelperDir+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	fields := strings.Fields(line)
	require.Equal(t, "pids", fields[0], line)
	var pids []int
	for _, f := range fields[1:] {
		pid, err := strconv.Atoi(f)
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	if children {
		for _, pid := range pids {
			require.NoError(t, unix.Kill(pid, unix.SIGKILL))
		}
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() //nolint:errcheck // it was killed
	return pids
}

func TestStartAfterKill(t *testing.T) {
	t.Parallel()
	for _, children := range []bool{false, true} {
		t.Run(fmt.Sprintf("children killed too %v", children), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pids := killed(t, dir, children)
			s := managed(t, Options{DataDir: dir})
			for _, pid := range pids {
				require.False(t, alive(pid), "a child outlived its parent")
			}
			var n int
			require.NoError(t, s.Pool().QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n))
			require.Equal(t, 1, n)
		})
	}
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, pid := range killed(t, dir, false) {
		require.Eventually(t, func() bool { return !alive(pid) }, 60*time.Second, 5*time.Millisecond)
	}
	one(t, managed(t, Options{DataDir: dir}).Pool()) // whose stop removes the sockets' directory
}

// snapshot lists the files below dir with their contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		out[path] = string(raw)
		return err
	}))
	return out
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  error
		says  string
	}{
		"something else": {
			files: map[string]string{"holiday.jpg": "beach"},
			want:  ErrForeign, says: "Nothing was changed",
		},
		"another version": {
			files: map[string]string{versionFile: "14\n", "global/pg_control": "x"},
			want:  ErrVersion, says: "created by PostgreSQL 14, this machine has",
		},
		"no control file": {
			files: map[string]string{versionFile: "15\n", "base/1/1": "x"},
			want:  ErrForeign, says: "without its control file",
		},
		"unreadable version": {
			files: map[string]string{versionFile: "?\n"},
			want:  ErrForeign, says: "names no version",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cluster := filepath.Join(dir, clusterName)
			for file, content := range c.files {
				path := filepath.Join(cluster, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
				require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			}
			before := snapshot(t, cluster)
			s, err := New(Options{DataDir: dir})
			require.NoError(t, err)
			err = s.Start(t.Context())
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, before, snapshot(t, cluster))
			require.NoError(t, s.Stop(t.Context()))
		})
	}
}

func TestHalfMadeClusterIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	half := filepath.Join(dir, initName)
	require.NoError(t, os.MkdirAll(filepath.Join(half, "base"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(half, versionFile), []byte("15\n"), 0o600))
	s := managed(t, Options{DataDir: dir})
	one(t, s.Pool())
	require.NoDirExists(t, half)
}

func TestDataDirectoryIsLocked(t *testing.T) {
	t.Parallel()
	s := managed(t, Options{})
	other, err := New(Options{DataDir: s.opts.DataDir, BootWait: time.Millisecond})
	require.NoError(t, err)
	err = other.Start(t.Context())
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, "process "+strconv.Itoa(os.Getpid()))
	require.NoError(t, other.Stop(t.Context()))
	one(t, s.Pool())
}

func TestStalePidFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := managed(t, Options{DataDir: dir})
	runtimeDir := first.runtime
	account, err := findAccount("", filepath.Join(dir, clusterName))
	require.NoError(t, err)
	require.NoError(t, first.Stop(t.Context()))

	// The number belongs to an innocent process of the same user by now.
	innocent := exec.Command("sleep", "600")
	innocent.Dir = "/"
	innocent.SysProcAttr = layout{account: account}.attributes(syscall.SIGKILL)
	fork := newForker()
	require.NoError(t, fork.start(innocent))
	t.Cleanup(func() {
		_ = innocent.Process.Kill() //nolint:errcheck // it is waited for
		_ = innocent.Wait()         //nolint:errcheck // it was killed
		fork.close()
	})
	stale := strconv.Itoa(innocent.Process.Pid) + "\n/elsewhere\n1\n5432\n" + runtimeDir + "\n\n0 0\nready\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, clusterName, pidFile), []byte(stale), 0o600))
	require.NoError(t, os.MkdirAll(runtimeDir, 0o700))
	require.NoError(t, os.WriteFile(postgresSocket(runtimeDir)+".lock", []byte(stale), 0o600))

	one(t, managed(t, Options{DataDir: dir}).Pool())
	require.True(t, alive(innocent.Process.Pid))
}

func TestDirectoriesThatChildrenCannotReach(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	deep := filepath.Join(closed, strings.Repeat("d", 120), strings.Repeat("e", 120), "data")
	require.NoError(t, os.MkdirAll(deep, 0o700))
	require.NoError(t, os.Chmod(closed, 0o700)) // root's alone, when root runs this
	one(t, managed(t, Options{DataDir: deep}).Pool())
}

func TestLostPasswordsAreReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := managed(t, Options{DataDir: dir})
	require.NoError(t, first.Stop(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(dir, secretsName)))
	one(t, managed(t, Options{DataDir: dir}).Pool())
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	s, err := New(quick(Options{DataDir: dir}))
	require.NoError(t, err)
	require.Error(t, s.Start(ctx))
	require.NoError(t, s.Stop(t.Context()))
	require.NoDirExists(t, filepath.Join(dir, clusterName))
	one(t, managed(t, Options{DataDir: dir}).Pool())
}

func TestBrokenSettingsAreQuoted(t *testing.T) {
	t.Parallel()
	s, err := New(Options{DataDir: t.TempDir(), Postgres: map[string]string{"shared_buffers": "lots"}})
	require.NoError(t, err)
	err = s.Start(t.Context())
	require.ErrorContains(t, err, "shared_buffers")
	require.NoError(t, s.Stop(t.Context()))
}

func TestAttach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := managed(t, Options{DataDir: dir})
	_, err := server.Pool().Exec(t.Context(), "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, err)

	beside, err := Attach(t.Context(), Options{DataDir: dir})
	require.NoError(t, err)
	var n int
	require.NoError(t, beside.Pool().QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n))
	one(t, beside.Direct())
	require.NoError(t, beside.Stop(t.Context()))
	joined, err := Join(t.Context(), Options{DataDir: dir})
	require.NoError(t, err)
	one(t, joined.Pool())
	require.NoError(t, joined.Stop(t.Context()))
	one(t, server.Pool())
	require.NoError(t, server.Stop(t.Context()))

	_, err = Join(t.Context(), Options{DataDir: dir})
	require.ErrorIs(t, err, ErrNotRunning)
	_, err = Join(t.Context(), Options{DataDir: filepath.Join(dir, "nothing")})
	require.ErrorIs(t, err, ErrNotRunning)

	alone, err := Attach(t.Context(), Options{DataDir: dir})
	require.NoError(t, err)
	require.NoError(t, alone.Pool().QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n))
	pid := alone.now.postgres.pid()
	require.NoError(t, alone.Stop(t.Context()))
	require.False(t, alive(pid))
}
