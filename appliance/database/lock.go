package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another process holds the data directory. The error's
// text names its pid.
var ErrLocked = errors.New("database: data directory is in use")

// lockName is the lock file in the data directory. It is never removed: a
// removed file could be locked by two processes at once.
const lockName = "selflink.lock"

// dirLock is the exclusive hold on a data directory. The kernel lets go of it
// when the process dies, however it dies.
type dirLock struct{ file *os.File }

// lockDir takes the lock of dir, waiting up to wait for its holder to let go.
func lockDir(ctx context.Context, dir string, wait time.Duration) (*dirLock, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of the data directory: %w", err)
	}
	deadline := time.Now().Add(wait)
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
		}
		if !time.Now().Before(deadline) {
			holder := readHolder(file)
			file.Close()
			return nil, fmt.Errorf("%w: %s is locked by process %s; stop that one first, or give this one another data directory", ErrLocked, dir, holder)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			file.Close()
			return nil, fmt.Errorf("wait for the lock of %s: %w", dir, err)
		}
	}
	if err := giveTo(file, dir); err != nil {
		file.Close()
		return nil, err
	}
	text := strconv.Itoa(os.Getpid()) + "\n"
	if err := file.Truncate(0); err != nil {
		file.Close()
		return nil, fmt.Errorf("write lock of the data directory: %w", err)
	}
	if _, err := file.WriteAt([]byte(text), 0); err != nil {
		file.Close()
		return nil, fmt.Errorf("write lock of the data directory: %w", err)
	}
	return &dirLock{file: file}, nil
}

// release lets go of the lock.
func (l *dirLock) release() error {
	if l == nil || l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// readHolder returns the pid written in the lock file, for people.
func readHolder(file *os.File) string {
	buf := make([]byte, 32)
	n, _ := file.ReadAt(buf, 0) //nolint:errcheck // an unreadable pid is reported as unknown
	if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
		return pid
	}
	return "(unknown)"
}

// giveTo makes file belong to the owner of dir, so that what root created here
// does not stand in the way of the service's own user later.
func giveTo(file *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	if err := file.Chown(int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("hand %s to its owner: %w", file.Name(), err)
	}
	return nil
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
