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
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The members of an archive, in their order.
const (
	headerName    = "header.json"
	chunkPrefix   = "database/"
	chunkSuffix   = ".dump"
	secretsPrefix = "secrets/"
	manifestName  = "manifest.json"
	sealName      = "manifest.json.sha256"
)

// Bounds of what is read, so that no archive can take more memory than these.
const (
	maxHeader   = 64 << 10
	maxSecret   = 64 << 10
	maxSecrets  = 64
	maxManifest = 32 << 20
	maxSeal     = 128
	maxChunks   = 65_536   // 512 GiB of dump
	maxTail     = 16 << 20 // zeros after the last member, as tar pads
)

// memberKind is what a member's name says it is.
type memberKind int

const (
	strangeMember memberKind = iota
	headerMember
	chunkMember
	secretMember
	fileMember // streamed, and bounded by its list alone
	listMember
	manifestMember
	sealMember
)

// limit is the most bytes of a member.
func (k memberKind) limit() int64 {
	switch k {
	case headerMember:
		return maxHeader
	case chunkMember:
		return chunkBytes
	case secretMember:
		return maxSecret
	case listMember:
		return maxListBytes
	case manifestMember:
		return maxManifest
	case sealMember:
		return maxSeal
	default:
		return 0
	}
}

func chunkName(n int) string { return fmt.Sprintf("%s%06d%s", chunkPrefix, n, chunkSuffix) }

// kindOf knows the names that an archive may hold. All others, with paths that
// lead elsewhere among them, are strange.
func kindOf(name string) memberKind {
	switch name {
	case headerName:
		return headerMember
	case manifestName:
		return manifestMember
	case sealName:
		return sealMember
	}
	if digits, ok := strings.CutPrefix(name, chunkPrefix); ok {
		digits, ok = strings.CutSuffix(digits, chunkSuffix)
		if n, err := strconv.Atoi(digits); ok && err == nil && n > 0 && chunkName(n) == name {
			return chunkMember
		}
		return strangeMember
	}
	if _, ok := fileKey(name); ok {
		return fileMember
	}
	if digits, ok := strings.CutPrefix(name, listPrefix); ok {
		digits, ok = strings.CutSuffix(digits, listSuffix)
		if n, err := strconv.Atoi(digits); ok && err == nil && n > 0 && listName(n) == name {
			return listMember
		}
		return strangeMember
	}
	if file, ok := strings.CutPrefix(name, secretsPrefix); ok && plainName(file) {
		return secretMember
	}
	return strangeMember
}

// plainName reports whether a name is a file's and nothing else: letters,
// digits, _, - and, not at its start, dots.
func plainName(name string) bool {
	if name == "" || len(name) > 100 || name[0] == '.' {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.' {
			return false
		}
	}
	return true
}

// member is one member as it is read. content is valid during the call only.
type member struct {
	Member
	kind    memberKind
	content []byte

	// Of a file, whose checksum is not known yet: its content is read from file.
	key      string
	file     io.Reader
	modified time.Time
}

// scan reads a whole archive from r, calls visit for each member, and returns
// the manifest when everything fits together. Memory is bounded whatever r
// holds. An error of visit ends the reading and is returned as it is.
func scan(ctx context.Context, r io.Reader, visit func(m member) error) (Manifest, error) {
	source := &faithful{r: r}
	zip, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(2*windowBytes), zstd.WithDecoderMaxMemory(1<<63))
	if err != nil {
		return Manifest{}, fmt.Errorf("decompress: %w", err)
	}
	defer zip.Close()
	return walk(ctx, source, zip, visit)
}

// walk is scan behind the compression: r gives the tar, which came out of
// source.
func walk(ctx context.Context, source *faithful, r io.Reader, visit func(m member) error) (Manifest, error) {
	s := &scanner{ctx: ctx, source: source, tar: tar.NewReader(r), visit: visit}
	for {
		done, err := s.next()
		if err != nil {
			return Manifest{}, err
		}
		if done {
			break
		}
	}
	// Bytes after the end were not written by us.
	if err := onlyZeros(r); err != nil {
		return Manifest{}, s.failure(err)
	}
	return s.manifest, nil
}

// faithful keeps an error of reading the file itself, which says nothing about
// the archive.
type faithful struct {
	r   io.Reader
	n   int64
	err error
}

// Read implements [io.Reader].
func (f *faithful) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

type scanner struct {
	ctx      context.Context
	source   *faithful
	tar      *tar.Reader
	visit    func(member) error
	buf      bytes.Buffer
	members  []Member // before the manifest
	last     memberKind
	lastName string
	chunks   int
	secrets  int
	files    fileList
	lastFile string // name of its member
	header   Header
	rawSum   string // of the manifest
	manifest Manifest
}

// failure names what is wrong when the bytes make no sense.
func (s *scanner) failure(err error) error {
	after := "at its beginning"
	if s.lastName != "" {
		after = "after " + s.lastName
	}
	switch {
	case s.source.err != nil:
		return fmt.Errorf("read the archive: %w", s.source.err)
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case errors.Is(err, zstd.ErrMagicMismatch) && s.lastName == "":
		return fmt.Errorf("%w: it is not compressed with zstd", ErrNotArchive)
	case errors.Is(err, tar.ErrHeader) && s.lastName == "":
		return fmt.Errorf("%w: it holds no tar", ErrNotArchive)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it is truncated %s", ErrDamaged, after)
	default:
		return fmt.Errorf("%w: %s: %w", ErrDamaged, after, err)
	}
}

// next reads a member; done is after the last one.
func (s *scanner) next() (done bool, err error) {
	if err := s.ctx.Err(); err != nil {
		return false, err
	}
	h, err := s.tar.Next()
	if errors.Is(err, io.EOF) && s.last == sealMember {
		return true, nil
	}
	if err != nil {
		return false, s.failure(err)
	}
	kind := kindOf(h.Name)
	if kind == strangeMember || h.Typeflag != tar.TypeReg || isSparse(h) {
		return false, s.strange(fmt.Sprintf("it holds %.100q, which does not belong into an archive", h.Name))
	}
	if err := s.order(kind, h.Name); err != nil {
		return false, err
	}
	if kind == fileMember {
		if err := s.file(h); err != nil {
			return false, err
		}
		s.last, s.lastName = kind, h.Name
		return false, nil
	}
	if h.Size > kind.limit() {
		return false, fmt.Errorf("%w: %s has %d bytes, more than the %d that it may have", ErrDamaged, h.Name, h.Size, kind.limit())
	}
	s.buf.Reset()
	// The declared size is not trusted: memory grows with what comes.
	if n, err := io.Copy(&s.buf, io.LimitReader(s.tar, kind.limit())); err != nil {
		return false, s.failure(err)
	} else if n != h.Size {
		return false, s.failure(io.ErrUnexpectedEOF)
	}
	sum := sha256.Sum256(s.buf.Bytes())
	m := member{Member: Member{Name: h.Name, Bytes: h.Size, SHA256: hex.EncodeToString(sum[:])}, kind: kind, content: s.buf.Bytes()}
	if err := s.take(m); err != nil {
		return false, err
	}
	s.last, s.lastName = kind, h.Name
	return false, s.visit(m)
}

// isSparse finds the headers that make a tar claim more than it holds.
func isSparse(h *tar.Header) bool {
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse") {
			return true
		}
	}
	return false
}

// strange says that a file is not ours, or not any more.
func (s *scanner) strange(why string) error {
	if s.last == strangeMember {
		return fmt.Errorf("%w: %s", ErrNotArchive, why)
	}
	return fmt.Errorf("%w: %s", ErrDamaged, why)
}

// order refuses members that are not where they belong.
func (s *scanner) order(kind memberKind, name string) error {
	right := false
	switch kind {
	case headerMember:
		right = s.last == strangeMember
	case chunkMember:
		s.chunks++
		right = (s.last == headerMember || s.last == chunkMember) && name == chunkName(s.chunks) && s.chunks <= maxChunks
	case secretMember:
		s.secrets++
		right = (s.last == chunkMember || s.last == secretMember && s.lastName < name) && s.secrets <= maxSecrets
	case fileMember:
		right = (s.last == chunkMember || s.last == secretMember || s.last == fileMember || s.last == listMember) && s.lastFile < name
	case listMember:
		s.files.lists++
		right = s.last == fileMember && name == listName(s.files.lists) && s.files.lists <= maxLists
	case manifestMember:
		right = s.last == chunkMember || s.last == secretMember || s.last == listMember
	case sealMember:
		right = s.last == manifestMember
	}
	if !right {
		return s.strange(name + " is not at its place")
	}
	return nil
}

// take notes what a member says.
func (s *scanner) take(m member) (err error) {
	switch m.kind {
	case headerMember:
		s.header, err = decodeHeader(m.content)
	case manifestMember:
		s.rawSum = m.SHA256
		s.manifest, err = decodeManifest(m.content, s.header, s.members, s.files)
	case listMember:
		err = s.list(m)
	case sealMember:
		if strings.TrimSpace(string(m.content)) != s.rawSum {
			return fmt.Errorf("%w: the checksum of %s is not the one in %s", ErrDamaged, manifestName, sealName)
		}
	}
	if m.kind != manifestMember && m.kind != sealMember {
		s.members = append(s.members, m.Member)
	}
	return err
}

// onlyZeros reads r to its end, which only padding may precede.
func onlyZeros(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for total := 0; ; {
		n, err := r.Read(buf)
		if total += n; total > maxTail || len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return errors.New("something follows the end of the archive")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// archive is an archive that was found whole.
type archive struct {
	file     *os.File
	path     string
	bytes    int64
	sha256   string // of the file
	manifest Manifest
	secrets  map[string][]byte
}

// openArchive reads the whole archive and proves that it is what its manifest
// says. The file stays open, so that later readings are of the same one.
func openArchive(ctx context.Context, path string, progress func(Progress)) (*archive, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	a := &archive{file: file, path: path, secrets: map[string][]byte{}}
	if err := a.check(ctx, progress); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

func (a *archive) check(ctx context.Context, progress func(Progress)) error {
	info, err := a.file.Stat()
	if err != nil {
		return fmt.Errorf("look at the archive: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is no regular file", ErrNotArchive)
	}
	a.bytes = info.Size()
	if a.bytes == 0 {
		return fmt.Errorf("%w: the file is empty", ErrDamaged)
	}
	sum := sha256.New()
	read := &counter{}
	a.manifest, err = scan(ctx, io.TeeReader(a.file, io.MultiWriter(sum, read)), func(m member) error {
		if m.kind == secretMember {
			a.secrets[strings.TrimPrefix(m.Name, secretsPrefix)] = bytes.Clone(m.content)
		}
		progress(Progress{Stage: Checking, Bytes: read.n, Total: a.bytes})
		return nil
	})
	a.sha256 = hex.EncodeToString(sum.Sum(nil))
	return err
}

// counter counts the bytes that pass.
type counter struct{ n int64 }

// Write implements [io.Writer].
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// dump writes the dump to w. Every piece is compared with the manifest of
// openArchive before it is handed on.
func (a *archive) dump(ctx context.Context, w io.Writer, progress func(Progress)) error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the archive again: %w", err)
	}
	i, written := 0, int64(0)
	_, err := scan(ctx, a.file, func(m member) error {
		if m.kind == manifestMember || m.kind == sealMember {
			return nil
		}
		if m.kind == fileMember {
			return errEnough // nothing of the dump follows
		}
		if i >= len(a.manifest.Members) || a.manifest.Members[i] != m.Member {
			return fmt.Errorf("%w: it changed while it was read", ErrDamaged)
		}
		i++
		if m.kind != chunkMember {
			return nil
		}
		if _, err := w.Write(m.content); err != nil {
			return err
		}
		written += m.Bytes
		progress(Progress{Stage: Restoring, Bytes: written, Total: a.manifest.DumpBytes})
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// errEnough ends a reading.
var errEnough = errors.New("enough")

// files calls visit for every file. That they are those of openArchive is known
// at the end: each list is compared with the files before it, and with the
// manifest.
func (a *archive) files(ctx context.Context, visit func(m member) error) error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the archive again: %w", err)
	}
	i := 0
	_, err := scan(ctx, a.file, func(m member) error {
		switch m.kind {
		case fileMember:
			return visit(m)
		case manifestMember, sealMember:
			return nil
		}
		if i >= len(a.manifest.Members) || a.manifest.Members[i] != m.Member {
			return fmt.Errorf("%w: it changed while it was read", ErrDamaged)
		}
		i++
		return nil
	})
	return err
}

func (a *archive) close() error { return a.file.Close() }
