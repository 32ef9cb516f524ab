package backup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"selflink/appliance/database"
)

// Settle goes on with a restore that was killed between the swap of the
// databases and that of the files in mediaDir. It is called before files are
// served, and reports whether there was something to do. Without such a restore
// it costs a look for one file.
func Settle(ctx context.Context, q database.Querier, mediaDir string) (bool, error) {
	f := sideFiles{dir: mediaDir, step: func(string) {}}
	return f.settle(func(name string) (there bool, err error) {
		if err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil {
			return false, fmt.Errorf("look whether a restore was completed: %w", err)
		}
		return there, nil
	})
}

// settle does the same while nobody else may use the database, and removes what
// killed restores left.
func (h *held) settle(ctx context.Context) error {
	h.files = sideFiles{dir: h.MediaDir, step: h.step}
	if h.MediaDir == "" {
		return nil
	}
	if _, err := Settle(ctx, h.site.conn, h.MediaDir); err != nil {
		return err
	}
	return h.files.clean()
}

// roomForFiles refuses a restore for which the disk of the files is too small.
func (h *held) roomForFiles(m Manifest) error {
	if m.Files == nil || !m.Files.Included || h.MediaDir == "" {
		return nil
	}
	dir := h.MediaDir // or the nearest directory above that is there
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil //nolint:nilerr // a file system that does not tell
	}
	need, free := m.Files.Bytes+headroom, int64(st.Bavail)*st.Bsize //nolint:gosec // a disk's size
	if h.site.disk != "" && sameDisk(dir, h.site.disk) {
		need += m.DatabaseBytes
	}
	if free < need {
		return fmt.Errorf("backup: restoring beside what is there takes about %d MiB of the disk of %s, and %d MiB are free: %w", need>>20, dir, free>>20, syscall.ENOSPC)
	}
	return nil
}

func sameDisk(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev
}

// fillFiles writes the archive's files beside the current ones and says how
// they are to be swapped. Without files it returns nothing.
func (h *held) fillFiles(ctx context.Context, a *archive) (*journal, error) {
	if f := a.manifest.Files; f == nil || !f.Included || h.MediaDir == "" {
		return nil, nil //nolint:nilnil // no files is no error
	}
	folder, err := h.files.make(time.Now().UTC().Format(asideTime))
	if err != nil {
		return nil, err
	}
	if err := h.files.fill(ctx, a, folder, func(p Progress) {
		h.step("file")
		h.Progress(p)
	}); err != nil {
		return nil, err
	}
	h.step("files filled")
	if err := h.files.movable(); err != nil {
		return nil, err
	}
	return &journal{From: folder}, nil
}

// swapFiles ends what the journal of j began. The databases are swapped.
func (h *held) swapFiles(j *journal, out *Restored) error {
	if j == nil {
		return nil
	}
	if err := h.files.swap(*j); err != nil {
		return fmt.Errorf("the database is restored, its files are not; the next start, or running this again, goes on with it: %w", err)
	}
	h.step("files swapped")
	out.FilesAside = filepath.Join(h.MediaDir, j.To)
	return nil
}
