package storage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// incoming holds files until they are complete. No key begins with a dot.
	incoming = ".incoming"

	dirMode  = 0o750
	fileMode = 0o640

	// spareBytes of the disk, or sparePercent of it when that is less, are never
	// filled with files: the database may live on the same disk, and stops when
	// it cannot write.
	spareBytes   = 256 << 20
	sparePercent = 5
	// spareEvery is how many bytes are written between two looks at the disk.
	spareEvery = 8 << 20
)

// Local keeps files in a directory. Nothing outside of it is ever touched,
// whatever links lie inside.
type Local struct {
	dir string

	mu   sync.Mutex
	root *os.Root // nil until it is needed
}

var _ Store = (*Local)(nil)

// NewLocal keeps files in dir, which is made when the first one comes.
func NewLocal(dir string) *Local { return &Local{dir: dir} }

// Backend implements [Store].
func (l *Local) Backend() string { return BackendLocal }

// Place implements [Store].
func (l *Local) Place() string { return l.dir }

// Close lets go of the directory. The store may be used again.
func (l *Local) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root == nil {
		return nil
	}
	err := l.root.Close()
	l.root = nil
	return err
}

// open gives the directory; make makes it if need be.
func (l *Local) open(makeIt bool) (*os.Root, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root != nil {
		return l.root, nil
	}
	if makeIt {
		if err := os.MkdirAll(l.dir, dirMode); err != nil {
			return nil, fmt.Errorf("make the directory of files: %w", err)
		}
		l.adopt(filepath.Dir(l.dir), l.dir)
	}
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return nil, err
	}
	l.root = root
	return root, nil
}

// adopt gives what root made to the owner of the directory above it, so that
// it does not stand in the way of the service's own user.
func (l *Local) adopt(above string, made string) {
	if os.Geteuid() != 0 {
		return
	}
	if info, err := os.Stat(above); err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = os.Lchown(made, int(owner.Uid), int(owner.Gid)) //nolint:errcheck // root still can read it
		}
	}
}

// Put implements [Store]: the content goes to a file of another name, to the
// disk, and then gets its name.
func (l *Local) Put(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	root, err := l.open(true)
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if _, err := root.Lstat(key); err == nil {
		return Info{}, fmt.Errorf("%w: %s", ErrExists, key)
	}
	if err := l.makeDirs(root, incoming); err != nil {
		return Info{}, err
	}
	temp := path.Join(incoming, rand.Text()+".part")
	file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return Info{}, diskError("make a file", err)
	}
	defer root.Remove(temp) //nolint:errcheck // gone, or swept later
	defer file.Close()
	// The lock tells Sweep that somebody still writes.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return Info{}, diskError("lock a file", err)
	}
	w := &localWriter{ctx: ctx, file: file, sum: sha256.New()}
	n, err := copySized(w, r, o.Size)
	if err != nil {
		return Info{}, diskError("write "+key, err)
	}
	if err := file.Sync(); err != nil {
		return Info{}, diskError("write "+key, err)
	}
	if err := l.name(root, temp, key); err != nil {
		return Info{}, err
	}
	info := Info{Key: key, Size: n, SHA256: hex.EncodeToString(w.sum.Sum(nil))}
	if st, err := file.Stat(); err == nil {
		info.Modified = st.ModTime().UTC()
	}
	return info, nil
}

// name gives a finished file its name, durably. A name that is taken stays
// with who has it.
func (l *Local) name(root *os.Root, temp, key string) error {
	dir := path.Dir(key)
	if err := l.makeDirs(root, dir); err != nil {
		return err
	}
	l.adopt(filepath.Join(l.dir, filepath.FromSlash(dir)), filepath.Join(l.dir, filepath.FromSlash(temp)))
	err := root.Link(temp, key)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s", ErrExists, key)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS): // no hard links here
		err = root.Rename(temp, key)
	}
	if err == nil {
		err = syncDir(root, dir)
	}
	if err != nil {
		return diskError("store "+key, err)
	}
	return nil
}

// makeDirs makes a directory and those above it, durably.
func (l *Local) makeDirs(root *os.Root, dir string) error {
	if info, err := root.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := path.Dir(dir)
	if above != dir {
		if err := l.makeDirs(root, above); err != nil {
			return err
		}
	}
	if err := root.Mkdir(dir, dirMode); errors.Is(err, fs.ErrExist) {
		return nil // somebody was faster
	} else if err != nil {
		return diskError("make a directory", err)
	}
	l.adopt(filepath.Join(l.dir, filepath.FromSlash(above)), filepath.Join(l.dir, filepath.FromSlash(dir)))
	if err := syncDir(root, above); err != nil {
		return diskError("make a directory", err)
	}
	return nil
}

// syncDir makes the names in a directory survive a power failure.
func syncDir(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// localWriter writes, sums, and keeps the disk from filling up.
type localWriter struct {
	ctx    context.Context
	file   *os.File
	sum    hash.Hash
	looked bool
	since  int64 // bytes since the last look at the disk
}

// Write implements [io.Writer].
func (w *localWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	if !w.looked || w.since >= spareEvery {
		w.looked, w.since = true, 0
		if err := spare(w.file); err != nil {
			return 0, err
		}
	}
	n, err := w.file.Write(p)
	w.since += int64(n)
	w.sum.Write(p[:n])
	return n, err
}

// spare refuses to fill the disk to its brim.
func spare(file *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil || st.Blocks == 0 {
		return nil //nolint:nilerr // a file system that does not tell
	}
	block := uint64(st.Bsize) //nolint:gosec // never negative
	least := min(uint64(spareBytes), st.Blocks*block/100*sparePercent)
	if free := st.Bavail * block; free < least {
		return fmt.Errorf("%w: %d MiB are free on its disk, and %d stay so for the database", ErrFull, free>>20, least>>20)
	}
	return nil
}

// Open implements [Store].
func (l *Local) Open(_ context.Context, key string, from, length int64) (io.ReadCloser, Info, error) {
	file, info, err := l.find(key)
	if err != nil {
		return nil, Info{}, err
	}
	if from > 0 {
		if _, err := file.Seek(from, io.SeekStart); err != nil {
			file.Close()
			return nil, Info{}, diskError("read "+key, err)
		}
	}
	if length < 0 {
		return file, info, nil
	}
	return limitedFile{io.LimitReader(file, length), file}, info, nil
}

type limitedFile struct {
	io.Reader
	io.Closer
}

// find opens a regular file.
func (l *Local) find(key string) (*os.File, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, err
	}
	root, err := l.open(false)
	if err != nil {
		return nil, Info{}, localMissing(key, err)
	}
	// Without waiting for whoever writes into a pipe of that name.
	file, err := root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, Info{}, localMissing(key, err)
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		file.Close()
		return nil, Info{}, localMissing(key, err)
	}
	return file, Info{Key: key, Size: st.Size(), Modified: st.ModTime().UTC()}, nil
}

// localMissing tells a missing file from a broken disk.
func localMissing(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return fmt.Errorf("%w: %s", ErrNotFound, key)
	}
	return diskError("open "+key, err)
}

// Stat implements [Store].
func (l *Local) Stat(_ context.Context, key string) (Info, error) {
	file, info, err := l.find(key)
	if err != nil {
		return Info{}, err
	}
	return info, file.Close()
}

// Delete implements [Store].
func (l *Local) Delete(_ context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	root, err := l.open(false)
	if err == nil {
		err = root.Remove(key)
	}
	if err != nil {
		if err = localMissing(key, err); errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	if err := syncDir(root, path.Dir(key)); err != nil {
		return diskError("delete "+key, err)
	}
	return nil
}

// URL implements [Store].
func (l *Local) URL(_ context.Context, key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	return localURL(key), nil
}

// Sweep implements [Store]: unfinished files that nobody has locked any more.
func (l *Local) Sweep(ctx context.Context, before time.Time) (swept int, err error) {
	root, err := l.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, diskError("look for unfinished files", err)
	}
	entries, err := fs.ReadDir(root.FS(), incoming)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, diskError("look for unfinished files", err)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return swept, ctx.Err()
		}
		name := path.Join(incoming, e.Name())
		file, err := root.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // it has got its name by now
		}
		st, err := file.Stat()
		if err == nil && st.ModTime().Before(before) && unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			if err = root.Remove(name); err == nil {
				swept++
			}
		}
		file.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return swept, diskError("remove an unfinished file", err)
		}
	}
	return swept, nil
}

// Check implements [Store]: a file can be made in the directory, and there is
// room.
func (l *Local) Check(context.Context) error {
	root, err := l.open(true)
	if err == nil {
		err = l.makeDirs(root, incoming)
	}
	if err != nil {
		return fmt.Errorf("the directory of files cannot be used: %w; let the user of this process write to %s", err, l.dir)
	}
	name := path.Join(incoming, rand.Text()+".part")
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("no file can be made: %w; let the user of this process write to %s", err, l.dir)
	}
	err = spare(file)
	return errors.Join(err, file.Close(), root.Remove(name))
}

// diskError keeps the errors of this package and gives those of the disk one
// of its own.
func diskError(what string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s: %w: %w", what, ErrFull, err)
	case errors.As(err, new(*fs.PathError)), errors.As(err, new(*os.LinkError)), errors.As(err, new(syscall.Errno)):
		return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// copySized copies r to w and holds it to size unless that is negative.
func copySized(w io.Writer, r io.Reader, size int64) (int64, error) {
	buf := make([]byte, 128<<10)
	var n int64
	for {
		m, err := r.Read(buf)
		if m > 0 {
			n += int64(m)
			if size >= 0 && n > size {
				return n, fmt.Errorf("%w: %d bytes, and more", ErrIncomplete, size)
			}
			if _, err := w.Write(buf[:m]); err != nil {
				return n, err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && size >= 0 && n != size:
			return n, fmt.Errorf("%w: %d of %d bytes", ErrIncomplete, n, size)
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}
