package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// FindPostgres returns the installation that a managed database would run on,
// without starting or changing anything. Its errors are those of a start:
// [ErrVersion] and [ErrForeign] among them.
func FindPostgres(o Options) (dir string, major int, err error) {
	want, err := inspectCluster(filepath.Join(o.DataDir, clusterName))
	if err != nil {
		return "", 0, err
	}
	bin, err := findBinaries(o.BinDir, want)
	return bin.dir, bin.major, err
}

// FindPooler returns the PgBouncer that would be run, and its version.
func FindPooler(ctx context.Context, o Options) (program, version string, err error) {
	if program, err = findPooler(o.PgBouncer); err != nil {
		return "", "", err
	}
	major, minor, err := poolerVersion(ctx, program)
	if err != nil {
		return program, "", err
	}
	return program, strconv.Itoa(major) + "." + strconv.Itoa(minor), nil
}

// FindAccount returns the user that the supervised children would run as, or
// why there is none.
func FindAccount(o Options) (name string, err error) {
	who, err := findAccount(o.RunAs, filepath.Join(o.DataDir, clusterName))
	return who.name, err
}

// HasCluster reports whether a managed database was ever made here.
func HasCluster(o Options) bool {
	_, err := os.Stat(filepath.Join(o.DataDir, clusterName, versionFile))
	return err == nil
}

// Leftovers lists the pid and socket files that a killed appliance has left on
// its data directory. There are none while a process holds it. They do no
// harm: a start removes them.
func Leftovers(o Options) ([]string, error) {
	held, err := isHeld(o.DataDir)
	if err != nil || held {
		return nil, err
	}
	return leftovers(o)
}

// leftovers is Leftovers for who knows that nobody holds the directory.
func leftovers(o Options) ([]string, error) {
	cluster := filepath.Join(o.DataDir, clusterName)
	if len(inDirectory(cluster)()) > 0 { // a postmaster that is ending
		return nil, nil
	}
	paths := []string{filepath.Join(cluster, pidFile)}
	acc, ok, err := loadAccess(o.DataDir)
	if err != nil {
		return nil, err
	}
	if ok && acc.Runtime != "" {
		socket := postgresSocket(acc.Runtime)
		paths = append(paths, socket, socket+".lock", poolerSocket(acc.Runtime))
	}
	var found []string
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			found = append(found, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for stale files: %w", err)
		}
	}
	return found, nil
}

// RemoveLeftovers removes what [Leftovers] lists, while it holds the data
// directory itself, and returns what is gone. It returns [ErrLocked] when
// another process holds it.
func RemoveLeftovers(ctx context.Context, o Options) (removed []string, err error) {
	lock, err := lockDir(ctx, o.DataDir, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	found, err := leftovers(o)
	if err != nil {
		return nil, err
	}
	for _, path := range found {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("remove a stale file: %w", err)
		}
		removed = append(removed, path)
	}
	return removed, nil
}

// isHeld reports whether a process has the lock of a data directory.
func isHeld(dataDir string) (bool, error) {
	file, err := os.Open(filepath.Join(dataDir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the lock of the data directory: %w", err)
	}
	defer file.Close() // and with it the lock
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	return errors.Is(err, unix.EWOULDBLOCK), nil
}

// ClockOffset is how far this machine's clock is ahead of the database's;
// doubt is by how much that may be wrong.
func (s *Server) ClockOffset(ctx context.Context) (offset, doubt time.Duration, err error) {
	var theirs time.Time
	asked := time.Now()
	if err := s.direct.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&theirs); err != nil {
		return 0, 0, fmt.Errorf("ask the database for the time: %w", err)
	}
	doubt = time.Since(asked) / 2 // the answer was read in between
	return asked.Add(doubt).Sub(theirs), doubt, nil
}

// CheckClock returns an error when the clocks of this machine and of the
// database differ by more than seconds.
func (s *Server) CheckClock(ctx context.Context) error {
	offset, doubt, err := s.ClockOffset(ctx)
	if err != nil || offset.Abs()-doubt <= clockMost {
		return err
	}
	word := "ahead of"
	if offset < 0 {
		word = "behind"
	}
	return fmt.Errorf("this machine's clock is %s %s the database's", offset.Abs().Round(100*time.Millisecond), word)
}

// FindMajor returns the directory of the installed programs of a major version
// of PostgreSQL; it returns [ErrVersion] when there are none.
func FindMajor(o Options, major int) (dir string, err error) {
	bin, err := findBinaries(o.BinDir, major)
	return bin.dir, err
}

// ClusterMajor returns the major version of PostgreSQL of a cluster's directory.
func ClusterMajor(cluster string) (int, error) { return inspectCluster(cluster) }

// LocalConf is the file of an operator's own settings in a cluster.
const LocalConf = localConf

// CopyAccess gives the passwords of one data directory to another one, whose
// cluster is going to take the place of the first one's.
func CopyAccess(from, to string) error {
	acc, ok, err := loadAccess(from)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("database: there are no passwords in %s", from)
	}
	return acc.store(to)
}
