package databasetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is the lock that a running cluster holds in its data directory.
const lockName = "selflink.lock"

// sweepAge is how old the directory of a killed test binary must be to be
// removed: a younger one may belong to a cluster that is about to lock it.
const sweepAge = time.Minute

// claimTemp makes a directory for a cluster and removes those of test binaries
// that were killed.
func claimTemp() (string, error) {
	base := filepath.Join(os.TempDir(), "selflink-test-"+strconv.Itoa(os.Geteuid()))
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", fmt.Errorf("make a directory for test databases: %w", err)
	}
	sweep(base)
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		return "", fmt.Errorf("make a directory for a test database: %w", err)
	}
	return dir, nil
}

// sweep removes the data directories below base whose lock nobody holds. One
// without a lock file may be just being made and stays.
func sweep(base string) {
	locks, err := filepath.Glob(filepath.Join(base, "*", lockName))
	if err != nil {
		return
	}
	for _, path := range locks {
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			removeRuntime(filepath.Dir(path))
			_ = os.RemoveAll(filepath.Dir(path)) //nolint:errcheck // the next run tries again
		}
		file.Close()
	}
}

// removeRuntime removes the directory of sockets of a killed cluster.
func removeRuntime(dataDir string) {
	raw, err := os.ReadFile(filepath.Join(dataDir, "postgres.json"))
	if err != nil {
		return
	}
	var access struct{ Runtime string }
	if json.Unmarshal(raw, &access) == nil && strings.HasPrefix(filepath.Base(access.Runtime), "selflink-") {
		_ = os.RemoveAll(access.Runtime) //nolint:errcheck // nothing depends on it
	}
}
