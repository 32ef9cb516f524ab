package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"selflink/appliance/storage"
)

// Uploaded files follow the dump in an archive, each as a member of its own in
// the order of the keys. After every listFiles of them, and after the last,
// stands a list of their checksums, sizes and keys; the manifest holds the
// checksums of the lists. So neither the manifest nor the memory grows with the
// number of files.
//
// An archive holds every file that its database knows, although files are
// copied after the snapshot was taken: a row that names a file is committed
// after the file is on disk, a file never changes, and one that nobody needs
// any more is deleted days after the row that named it ([KeepReleased]).

// KeepReleased is how long files have to outlive the rows that name them, so
// that a backup under way still finds them. It is longer than any backup takes.
const KeepReleased = 48 * time.Hour

const (
	filesPrefix = "files/"
	listPrefix  = "files.list/"
	listSuffix  = ".txt"

	// listFiles and listBytes end a list, whichever comes first.
	listFiles = 10_000
	listBytes = 4 << 20
	// maxListBytes holds any list of listBytes and one more line.
	maxListBytes = listBytes + 4<<10
	maxLists     = 200_000
)

// Files says which uploaded files an archive holds.
type Files struct {
	Backend  string `json:"backend"`  // where the appliance kept them: local or s3
	Place    string `json:"place"`    // in words
	Included bool   `json:"included"` // with local
	Count    int64  `json:"count"`
	Bytes    int64  `json:"bytes"`
}

func listName(n int) string { return fmt.Sprintf("%s%06d%s", listPrefix, n, listSuffix) }

// fileKey gives the key in the name of a file's member.
func fileKey(name string) (string, bool) {
	key, ok := strings.CutPrefix(name, filesPrefix)
	return key, ok && storage.CheckKey(key) == nil
}

// fileLine is a file in a list.
func fileLine(sum []byte, size int64, key string) string {
	return fmt.Sprintf("%s %d %s\n", hex.EncodeToString(sum), size, key)
}

// fileList gathers the lines of the files since the last list, on both sides.
type fileList struct {
	text  bytes.Buffer
	lines int
	lists int
	count int64 // of all files
	bytes int64
}

func (l *fileList) add(sum []byte, size int64, key string) (full bool) {
	l.text.WriteString(fileLine(sum, size, key))
	l.lines++
	l.count++
	l.bytes += size
	return l.lines >= listFiles || l.text.Len() >= listBytes
}

// flush begins the next list.
func (l *fileList) flush() {
	l.text.Reset()
	l.lines = 0
}

// addFiles writes all files of store.
func (w *writer) addFiles(ctx context.Context, store storage.Store, after func(bytes int64)) (Files, error) {
	f := Files{Backend: store.Backend(), Place: store.Place(), Included: true}
	var list fileList
	flush := func() error {
		if list.lines == 0 {
			return nil
		}
		list.lists++
		err := w.add(listName(list.lists), list.text.Bytes())
		list.flush()
		return err
	}
	err := storage.Walk(ctx, store, "", "", func(info storage.Info) error {
		content, info, err := store.Open(ctx, info.Key, 0, storage.ToEnd)
		if errors.Is(err, storage.ErrNotFound) {
			return nil // deleted just now, so nobody needs it
		}
		if err != nil {
			return err
		}
		defer content.Close()
		sum, err := w.addFile(content, info)
		if err != nil {
			return err
		}
		full := list.add(sum, info.Size, info.Key)
		after(list.bytes)
		if full {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return f, fmt.Errorf("back up the files: %w", err)
	}
	f.Count, f.Bytes = list.count, list.bytes
	return f, nil
}

// addFile writes one file and returns its checksum.
func (w *writer) addFile(content io.Reader, info storage.Info) ([]byte, error) {
	if err := w.spare(); err != nil {
		return nil, err
	}
	if err := w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: filesPrefix + info.Key, Mode: 0o600, Size: info.Size, ModTime: info.Modified.Truncate(time.Second),
	}); err != nil {
		return nil, fmt.Errorf("write %s: %w", info.Key, err)
	}
	sum := sha256.New()
	for left := info.Size; left > 0; {
		n, err := io.CopyN(io.MultiWriter(w.tar, sum), content, min(left, chunkBytes))
		left -= n
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s became shorter while it was read: files are replaced by new ones and never changed", info.Key)
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", info.Key, err)
		}
		if err := w.spare(); err != nil {
			return nil, err
		}
	}
	return sum.Sum(nil), nil
}

// file reads a file's member past visit, which may read its content or not.
func (s *scanner) file(h *tar.Header) error {
	key, ok := fileKey(h.Name)
	if !ok {
		return s.strange(fmt.Sprintf("it holds %.100q, which does not belong into an archive", h.Name))
	}
	sum := sha256.New()
	passing := &passing{r: s.tar, sum: sum}
	m := member{Member: Member{Name: h.Name, Bytes: h.Size}, kind: fileMember, key: key, file: passing, modified: h.ModTime}
	err := s.visit(m)
	if passing.err != nil { // also when visit made something else of it
		return s.failure(passing.err)
	}
	if err != nil {
		return err
	}
	// In pieces, so that an interruption is noticed.
	for {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(io.Discard, passing, chunkBytes)
		if errors.Is(err, io.EOF) && passing.err == nil {
			break
		}
		if err != nil {
			return s.failure(err)
		}
	}
	if passing.n != h.Size {
		return s.failure(io.ErrUnexpectedEOF)
	}
	if s.files.text.Len() > maxListBytes {
		return fmt.Errorf("%w: the list of %s is missing", ErrDamaged, h.Name)
	}
	s.files.add(sum.Sum(nil), h.Size, key)
	s.lastFile = h.Name
	return nil
}

// passing is the content of a file on its way.
type passing struct {
	r   io.Reader
	sum io.Writer
	n   int64
	err error // of the archive, other than its end
}

// Read implements [io.Reader].
func (p *passing) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	_, _ = p.sum.Write(b[:n]) //nolint:errcheck // a hash never fails
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}

// list compares a list with the files before it.
func (s *scanner) list(m member) error {
	if !bytes.Equal(m.content, s.files.text.Bytes()) {
		return fmt.Errorf("%w: %s", ErrDamaged, firstDifference(m.content, s.files.text.Bytes()))
	}
	s.files.flush()
	return nil
}

// firstDifference names the file whose line is not the one in the list.
func firstDifference(listed, found []byte) string {
	want, have := bytes.Split(listed, []byte{'\n'}), bytes.Split(found, []byte{'\n'})
	for i := range have {
		if i >= len(want) || !bytes.Equal(want[i], have[i]) {
			parts := strings.SplitN(string(have[i]), " ", 3)
			return fmt.Sprintf("the checksum or size of the file %.200s is not the one in the list", parts[len(parts)-1])
		}
	}
	return "files of its list are missing"
}

// filesFit compares what a manifest says about files with what was found.
func (m Manifest) filesFit(found fileList) error {
	var f Files
	if m.Files != nil {
		f = *m.Files
	}
	if f.Count != found.count || f.Bytes != found.bytes || (!f.Included && found.count > 0) {
		return fmt.Errorf("%w: it holds %d files of %d bytes, the manifest says %d of %d", ErrDamaged, found.count, found.bytes, f.Count, f.Bytes)
	}
	return nil
}
