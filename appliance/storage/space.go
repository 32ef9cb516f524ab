package storage

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Space is the room of the disk that a directory lies on, in bytes.
type Space struct {
	Total int64 `json:"total_bytes"`
	Free  int64 `json:"free_bytes"`
	// Reserve stays free: uploads are refused before it is touched.
	Reserve int64 `json:"reserve_bytes"`
}

// Space tells how much room there is. It is nil for a file system that does not
// tell, and before the first file made the directory.
func (l *Local) Space() (*Space, error) {
	root, err := l.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, diskError("look at the directory", err)
	}
	dir, err := root.Open(".")
	if err != nil {
		return nil, diskError("look at the directory", err)
	}
	defer dir.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil || st.Blocks == 0 {
		return nil, nil //nolint:nilerr // a file system that does not tell
	}
	block := uint64(st.Bsize) //nolint:gosec // never negative
	return &Space{
		Total: int64(st.Blocks * block), Free: int64(st.Bavail * block), //nolint:gosec // far below 2^63
		Reserve: int64(min(uint64(spareBytes), st.Blocks*block/100*sparePercent)), //nolint:gosec // as above
	}, nil
}

// Unfinished are files that are not complete: under way, or left by an upload
// that was cut off.
type Unfinished struct {
	Files  int        `json:"files"`
	More   bool       `json:"more"`      // there are more than were counted
	Oldest *time.Time `json:"oldest_at"` // when the oldest was last written to, or begun; nil: none
}

// unfinishedMost is how many are counted.
const unfinishedMost = 1000

func (u *Unfinished) add(at time.Time) {
	u.Files++
	if at = at.UTC(); u.Oldest == nil || at.Before(*u.Oldest) {
		u.Oldest = &at
	}
}

// Unfinished counts the files that are not complete.
func (l *Local) Unfinished(context.Context) (out Unfinished, err error) {
	root, err := l.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, diskError("look for unfinished files", err)
	}
	entries, err := fs.ReadDir(root.FS(), incoming)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, diskError("look for unfinished files", err)
	}
	for _, e := range entries {
		if out.Files == unfinishedMost {
			out.More = true
			break
		}
		if info, err := e.Info(); err == nil { // else it has got its name by now
			out.add(info.ModTime())
		}
	}
	return out, nil
}

// Unfinished counts the uploads in parts that nobody completed.
func (s *S3) Unfinished(ctx context.Context) (out Unfinished, err error) {
	list, err := s.core.ListMultipartUploads(ctx, s.bucket, "", "", "", "", unfinishedMost)
	if err != nil {
		return out, s.failure(ctx, "look for unfinished files", "", err)
	}
	for _, u := range list.Uploads {
		if Own(u.Key) {
			out.add(u.Initiated)
		}
	}
	out.More = list.IsTruncated
	return out, nil
}
