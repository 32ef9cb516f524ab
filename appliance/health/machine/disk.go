package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"selflink/appliance/health"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// Below these shares of the disk, within the bounds, it counts as full and
	// as low. Postgres stops when it cannot write its log, which comes in
	// files of 16 MiB, so full has to come well before the last byte.
	fullShare, fullLeast, fullMost = 3, 256 * mib, 5 * gib // percent, bytes
	lowShare, lowLeast, lowMost    = 10, 1 * gib, 20 * gib //

	// inodesShare is the least share of free inodes in percent.
	inodesShare = 2
)

// space is what a file system has, as far as this process may use it.
type space struct {
	total, free        uint64 // bytes
	inodes, freeInodes uint64 // 0 inodes: it does not count them
}

// measure looks at the file system of dir, or of the nearest directory above
// it that exists.
func measure(dir string) (space, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			block := uint64(st.Bsize) //nolint:gosec // a positive size
			return space{total: st.Blocks * block, free: st.Bavail * block, inodes: st.Files, freeInodes: st.Ffree}, nil
		}
		above := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || above == dir {
			return space{}, fmt.Errorf("measure the file system of %s: %w", dir, err)
		}
		dir = above
	}
}

// below reports whether the free bytes are under a share of the disk.
func (s space) below(share, least, most uint64) bool {
	return s.free < max(least, min(s.total/100*share, most))
}

func (s space) full() error {
	if s.inodes > 0 && s.freeInodes*100 < s.inodes*inodesShare {
		return fmt.Errorf("%d of %d inodes are free", s.freeInodes, s.inodes)
	}
	if s.below(fullShare, fullLeast, fullMost) {
		return s.shortage()
	}
	return nil
}

func (s space) low() error {
	if s.below(lowShare, lowLeast, lowMost) {
		return s.shortage()
	}
	return nil
}

func (s space) shortage() error {
	return fmt.Errorf("%s of %s are free", size(s.free), size(s.total))
}

// Disk are the checks of the file system of dataDir.
func Disk(dataDir string) []health.Check {
	look := func(judge func(space) error) func(context.Context) error {
		return func(context.Context) error {
			s, err := measure(dataDir)
			if err != nil {
				return err
			}
			return judge(s)
		}
	}
	free := "Free space or enlarge the disk: df -h " + dataDir + ", then du -xh " + dataDir + " | sort -h | tail"
	return []health.Check{{
		Code: CheckSpace, Title: "The disk is full", Severity: health.High, Every: 15 * time.Second,
		Impact: "Postgres stops when it cannot write; nothing can be stored then.",
		Remedy: free, Run: look(space.full),
	}, {
		Code: "disk.low", Title: "The disk has little space left", Every: time.Minute,
		Impact: "When it is full nothing can be stored any more.",
		Remedy: free, DependsOn: []string{CheckSpace}, Run: look(space.low),
	}}
}

// size writes bytes for people.
func size(n uint64) string {
	if n < gib {
		return fmt.Sprintf("%d MiB", n/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/gib)
}
