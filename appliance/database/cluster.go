package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Errors of a data directory that is not ours to touch.
var (
	// ErrVersion means that the cluster was created by another major version
	// of Postgres than is installed.
	ErrVersion = errors.New("database: another version of PostgreSQL is needed")
	// ErrForeign means that the directory of the cluster holds something that
	// is not a cluster.
	ErrForeign = errors.New("database: the directory holds something else")
)

const (
	minMajor    = 15 // the oldest Postgres that the schema is written for
	pidFile     = "postmaster.pid"
	versionFile = "PG_VERSION"
	// dataFD is the number under which a child finds the cluster's directory.
	// A path through /proc/self/fd needs no permission on the directories
	// above, which may be closed to the children's user.
	dataFD   = 3
	dataPath = "/proc/self/fd/3"
)

// binaries is one installation of Postgres.
type binaries struct {
	dir   string
	major int
}

// findBinaries looks for an installation of Postgres: want is its major
// version, 0 meaning the newest.
func findBinaries(dir string, want int) (binaries, error) {
	var dirs []string
	if dir != "" {
		dirs = []string{dir}
	} else {
		dirs, _ = filepath.Glob("/usr/lib/postgresql/*/bin") //nolint:errcheck // the pattern is well-formed
		if path, err := exec.LookPath("postgres"); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				dirs = append(dirs, filepath.Dir(real))
			}
		}
	}
	var found []binaries
	for _, d := range dirs {
		if major, err := postgresMajor(d); err == nil {
			found = append(found, binaries{dir: d, major: major})
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].major > found[j].major })
	if len(found) == 0 {
		return binaries{}, errors.New("database: PostgreSQL is not installed here; install it (apt-get install postgresql pgbouncer), or set DATABASE_URL to one elsewhere")
	}
	if want == 0 {
		if found[0].major < minMajor {
			return binaries{}, fmt.Errorf("%w: %d or newer, and this machine has %d", ErrVersion, minMajor, found[0].major)
		}
		return found[0], nil
	}
	var have []string
	for _, b := range found {
		if b.major == want {
			return b, nil
		}
		have = append(have, strconv.Itoa(b.major))
	}
	return binaries{}, fmt.Errorf("%w: it was created by PostgreSQL %d, this machine has %s. Nothing was changed. Install PostgreSQL %d; with both installed, selflink upgrade postgres --to moves the data", ErrVersion, want, strings.Join(have, " and "), want)
}

// postgresMajor returns the major version of the installation in dir. Debian
// says it in the path, which saves starting a program.
func postgresMajor(dir string) (int, error) {
	program := filepath.Join(dir, "postgres")
	if _, err := os.Stat(program); err != nil {
		return 0, err //nolint:wrapcheck // the caller only asks whether
	}
	if major, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && filepath.Base(dir) == "bin" {
		return major, nil
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	_, version, _ := strings.Cut(string(out), ") ")
	digits, _, _ := strings.Cut(strings.TrimSpace(version), ".")
	return strconv.Atoi(digits)
}

// inspectCluster says what is in dir: the major version of a cluster, or 0
// when there is none and one may be made. Everything else is refused.
func inspectCluster(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at the cluster: %w", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, versionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s is not empty and no PostgreSQL cluster. Nothing was changed. Move it away, or choose another data directory", ErrForeign, dir)
	}
	if err != nil {
		return 0, fmt.Errorf("look at the cluster: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("%w: %s/%s names no version that is known here. Nothing was changed", ErrForeign, dir, versionFile)
	}
	if _, err := os.Stat(filepath.Join(dir, "global", "pg_control")); err != nil {
		return 0, fmt.Errorf("%w: %s is a PostgreSQL %d cluster without its control file. Nothing was changed. Restore a backup into an empty directory", ErrForeign, dir, major)
	}
	return major, nil
}

// createCluster makes the cluster in a directory beside its place and renames
// it when it is complete and on disk: a kill on the way leaves nothing that
// could be taken for a cluster.
func createCluster(ctx context.Context, l layout, bin binaries, fork *forker, superPassword string, extra []string, durable bool, log *slog.Logger) error {
	temp := filepath.Join(l.data, initName)
	if err := evict(ctx, log, inDirectory(temp)); err != nil {
		return err
	}
	if err := os.RemoveAll(temp); err != nil {
		return fmt.Errorf("remove a half-made cluster: %w", err)
	}
	if err := os.Mkdir(temp, 0o700); err != nil {
		return fmt.Errorf("create the cluster's directory: %w", err)
	}
	if l.account.switched {
		if err := os.Chown(temp, l.account.uid, l.account.gid); err != nil {
			return fmt.Errorf("hand the cluster's directory to %s: %w", l.account.name, err)
		}
	}
	dir, err := os.Open(temp)
	if err != nil {
		return fmt.Errorf("open the cluster's directory: %w", err)
	}
	defer dir.Close()

	pwfile := filepath.Join(l.runtime, "initdb.pw")
	if err := l.writeOwned(pwfile, []byte(superPassword+"\n")); err != nil {
		return err
	}
	defer os.Remove(pwfile) //nolint:errcheck // the runtime directory is cleared at stop as well

	args := []string{
		"-D", dataPath, "--no-sync", "--data-checksums", "--no-instructions",
		"--username=" + superuser, "--pwfile=" + pwfile,
		"--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--encoding=UTF8",
	}
	args = append(args, localeArgs(bin.major)...)
	cmd := exec.Command(filepath.Join(bin.dir, "initdb"), append(args, extra...)...)
	cmd.Dir, cmd.Env = "/", childEnv()
	cmd.ExtraFiles = []*os.File{dir}
	cmd.SysProcAttr = l.attributes(syscall.SIGKILL)
	if err := runOnce(ctx, fork, cmd); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}

	if durable {
		if err := syncTree(temp); err != nil {
			return err
		}
	}
	if err := os.Rename(temp, l.cluster); err != nil {
		return fmt.Errorf("put the new cluster in its place: %w", err)
	}
	return syncPath(l.data)
}

// localeArgs choose a byte order for collation, which no upgrade of the C
// library can change under an index, and Unicode letters for case.
func localeArgs(major int) []string {
	if major >= 17 {
		return []string{"--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--text-search-config=simple"}
	}
	for _, path := range []string{"/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"} {
		if _, err := os.Stat(path); err == nil {
			return []string{"--locale=C", "--lc-ctype=C.UTF-8", "--text-search-config=simple"}
		}
	}
	return []string{"--locale=C", "--text-search-config=simple"}
}

// runOnce runs a short-lived child on the forker's thread; its error quotes the
// end of its output. When ctx is done the child and its children are killed.
func runOnce(ctx context.Context, fork *forker, cmd *exec.Cmd) error {
	out := &tail{}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	err = fork.start(cmd)
	write.Close()
	if err != nil {
		read.Close()
		return err
	}
	drained := make(chan struct{})
	go func() {
		relay(read, slog.New(slog.DiscardHandler), func(s string) (slog.Level, string) { return slog.LevelDebug, s }, out)
		close(drained)
	}()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // it may have ended just now
		<-done
		return ctx.Err()
	}
	<-drained
	if err != nil {
		return fmt.Errorf("%w%s", err, out.quote())
	}
	return nil
}

// clearPidFiles removes the cluster's pid file and the socket's lock file.
// Postgres would trust a stale one whose number belongs to some other process
// by now (after a restart of a container all numbers are small and reused).
// The caller has made sure that no process of the cluster is left.
func clearPidFiles(l layout) error {
	for _, path := range []string{
		filepath.Join(l.cluster, pidFile),
		postgresSocket(l.runtime), postgresSocket(l.runtime) + ".lock",
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a stale file: %w", err)
		}
	}
	return nil
}

// pidInFile returns the pid in the first line of a postmaster.pid, 0 if none.
func pidInFile(path string) int {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	return pid
}

// postmasterReady reports whether the postmaster with this pid has written
// that it accepts connections.
func postmasterReady(cluster string, pid int) bool {
	raw, err := os.ReadFile(filepath.Join(cluster, pidFile))
	if err != nil {
		return false
	}
	const statusLine = 8 // 1-based, of postmaster.pid
	lines := strings.Split(string(raw), "\n")
	return len(lines) >= statusLine && strings.TrimSpace(lines[0]) == strconv.Itoa(pid) &&
		strings.TrimSpace(lines[statusLine-1]) == "ready"
}
