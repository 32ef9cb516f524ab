package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	// Suffix is how names of archives end.
	Suffix = ".tar.zst"

	partialSuffix = ".partial"

	// chunkBytes is the size of one piece of the dump, and so the most that is
	// held of it in memory. A tar member's size comes before its content, and
	// the size of a dump is known at its end.
	chunkBytes = 8 << 20

	// spareBytes and sparePercent of a disk, whichever is less, are never
	// filled by an archive: Postgres stops when it cannot write, and it may live
	// on the same disk.
	spareBytes   = 256 << 20
	sparePercent = 5

	// windowBytes is how far compression looks back; reading needs as much.
	windowBytes = 4 << 20
)

// sink is the file of an archive while it is written.
type sink interface {
	io.Writer
	Sync() error
}

// writer writes an archive.
type writer struct {
	file    *os.File
	final   string
	out     sink
	sum     hash.Hash // of the file
	written int64     // to the file
	zip     *zstd.Encoder
	tar     *tar.Writer
	header  Header
	members []Member
	chunks  int
}

// createArchive opens final's partial file. Nobody else writes to it: it is
// locked for as long as it is open.
func createArchive(final string, wrap func(sink) sink) (*writer, error) {
	if _, err := os.Lstat(final); err == nil {
		return nil, fmt.Errorf("%w: %s. Nothing was written; move it away, or choose another name", ErrExists, final)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look at %s: %w", final, err)
	}
	file, err := os.OpenFile(final+partialSuffix, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the archive: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("%w: another process writes %s", ErrRunning, file.Name())
	}
	w := &writer{file: file, final: final, sum: sha256.New(), out: wrap(file)}
	// What a killed process left under this name goes.
	if err := errors.Join(file.Truncate(0), file.Chmod(0o600)); err != nil {
		w.abort()
		return nil, fmt.Errorf("create the archive: %w", err)
	}
	// One goroutine compresses: the dump takes the other core.
	w.zip, err = zstd.NewWriter(countingWriter{w}, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowBytes), zstd.WithLowerEncoderMem(true))
	if err != nil {
		w.abort()
		return nil, fmt.Errorf("compress: %w", err)
	}
	w.tar = tar.NewWriter(w.zip)
	return w, nil
}

// countingWriter puts compressed bytes into the file.
type countingWriter struct{ w *writer }

// Write implements [io.Writer].
func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.out.Write(p)
	c.w.written += int64(n)
	c.w.sum.Write(p[:n])
	if err != nil {
		return n, fmt.Errorf("write the archive: %w", err)
	}
	return n, nil
}

// add writes one member.
func (w *writer) add(name string, content []byte) error {
	if err := w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: w.header.StartedAt, Format: tar.FormatUSTAR,
	}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := w.tar.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	sum := sha256.Sum256(content)
	w.members = append(w.members, Member{Name: name, Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
	return nil
}

// begin writes the header.
func (w *writer) begin(h Header) error {
	w.header = h
	raw, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", headerName, err)
	}
	return w.add(headerName, raw)
}

// dump writes the whole of r in pieces and returns its size. after is called
// when a piece is written.
func (w *writer) dump(r io.Reader, after func(bytes int64)) (total int64, err error) {
	buf := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if w.chunks++; w.chunks > maxChunks {
				return total, fmt.Errorf("backup: the dump is larger than %d GiB, the most that an archive holds", int64(maxChunks)*chunkBytes>>30)
			}
			if err := w.spare(); err != nil {
				return total, err
			}
			if err := w.add(chunkName(w.chunks), buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
			after(total)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return total, nil
		case err != nil:
			return total, fmt.Errorf("read the dump: %w", err)
		}
	}
}

// spare refuses to fill the disk to its brim.
func (w *writer) spare() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(w.file.Fd()), &st); err != nil || st.Blocks == 0 {
		return nil //nolint:nilerr // a file system that does not tell
	}
	block := uint64(st.Bsize) //nolint:gosec // never negative
	least := min(uint64(spareBytes), st.Blocks*block/100*sparePercent)
	if free := st.Bavail * block; free < least {
		return fmt.Errorf("backup: only %d MiB are left on the disk of %s, and an archive leaves at least %d for the database: %w", free>>20, filepath.Dir(w.final), least>>20, syscall.ENOSPC)
	}
	return nil
}

// finish writes the manifest, makes the archive durable and gives it its name.
func (w *writer) finish(m Manifest) (bytes int64, sum string, err error) {
	m.Header, m.Members = w.header, w.members
	raw, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return 0, "", fmt.Errorf("encode %s: %w", manifestName, err)
	}
	if len(raw) > maxManifest {
		return 0, "", fmt.Errorf("backup: %s would have %d bytes, more than can be read again", manifestName, len(raw))
	}
	digest := sha256.Sum256(raw)
	err = errors.Join(w.add(manifestName, raw), w.add(sealName, []byte(hex.EncodeToString(digest[:])+"\n")))
	if err == nil {
		err = errors.Join(w.tar.Close(), w.zip.Close())
	}
	if err == nil {
		err = w.out.Sync()
	}
	if err != nil {
		return 0, "", fmt.Errorf("complete the archive: %w", err)
	}
	if err := rename(w.file.Name(), w.final); err != nil {
		return 0, "", err
	}
	err = errors.Join(w.file.Close(), syncDir(filepath.Dir(w.final)))
	if err != nil {
		return 0, "", fmt.Errorf("complete the archive: %w", err)
	}
	return w.written, hex.EncodeToString(w.sum.Sum(nil)), nil
}

// abort removes the partial file.
func (w *writer) abort() {
	if w.zip != nil {
		w.zip.Reset(io.Discard) // what is pending goes nowhere
		w.zip.Close()
	}
	_ = os.Remove(w.file.Name()) //nolint:errcheck // it may have its final name already
	w.file.Close()
}

// rename never replaces: of two that want a name, the first has it.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // some network file systems
		if err = os.Link(from, to); err == nil {
			return os.Remove(from)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s", ErrExists, to)
	default:
		return fmt.Errorf("give the archive its name: %w", err)
	}
}

// syncDir makes a new name survive a power failure.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep removes the partial archives in dir that nobody writes any more: their
// makers were killed. Only names of our own making are looked at.
func sweep(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, ownPrefix+"*"+Suffix+partialSuffix))
	if err != nil {
		return fmt.Errorf("look for unfinished archives: %w", err)
	}
	for _, path := range names {
		if _, ok := ownName(strings.TrimSuffix(filepath.Base(path), partialSuffix)); !ok {
			continue
		}
		file, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = os.Remove(path)
		}
		file.Close()
		if err != nil {
			return fmt.Errorf("remove an unfinished archive: %w", err)
		}
	}
	return nil
}
