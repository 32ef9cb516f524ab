package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/storage"
)

// putFiles stores n files with a word in their keys, and returns all there are.
func (p *place) putFiles(word string, n int) map[string]string {
	p.t.Helper()
	s := storage.NewLocal(p.media())
	for i := range n {
		key := fmt.Sprintf("%s/%s/%03d ფოტო.jpg", []string{"avatars", "posts/images"}[i%2], word, i)
		_, err := s.Put(p.t.Context(), key, strings.NewReader(strings.Repeat(key, i*i*10)), storage.PutOptions{Size: -1})
		require.NoError(p.t, err)
	}
	return p.filesNow()
}

// dropFiles deletes some files of a list.
func (p *place) dropFiles(files map[string]string, n int) {
	p.t.Helper()
	s := storage.NewLocal(p.media())
	for key := range files {
		if n--; n < 0 {
			return
		}
		require.NoError(p.t, s.Delete(p.t.Context(), key))
	}
}

// filesNow are the checksums of the files by key.
func (p *place) filesNow() map[string]string {
	p.t.Helper()
	out := map[string]string{}
	require.NoError(p.t, storage.Walk(p.t.Context(), storage.NewLocal(p.media()), "", "", func(i storage.Info) error {
		raw, err := os.ReadFile(filepath.Join(p.media(), i.Key))
		sum := sha256.Sum256(raw)
		out[i.Key] = fmt.Sprint(i.Modified.Unix(), hex.EncodeToString(sum[:]))
		return err
	}))
	return out
}

// hiddenFiles lists what a restore keeps beside the files.
func (p *place) hiddenFiles(prefix string) []string {
	return sideFiles{dir: p.media()}.hidden(prefix)
}

func TestFiles(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	before := p.putFiles("first", 40)
	require.Len(t, before, 40)
	server := p.migrated()
	fill(t, server, 10)
	k := p.keeper(server)
	made, err := k.Create(t.Context(), Request{})
	require.NoError(t, err)
	require.Equal(t, int64(40), made.Files.Count)
	require.True(t, made.Files.Included)
	v, err := k.Verify(t.Context(), made.File)
	require.NoError(t, err)
	require.Equal(t, made.Files, v.Manifest.Files)
	damagedFiles(t, k, made.File)

	// The world goes on.
	p.dropFiles(before, 30)
	later := p.putFiles("second", 5)
	require.NoError(t, server.Stop(t.Context()))
	done, err := p.restorer().Restore(t.Context(), RestoreRequest{File: made.File})
	require.NoError(t, err)
	require.Equal(t, before, p.filesNow())
	require.Equal(t, made.Files, done.Files)
	require.DirExists(t, done.FilesAside)
	for _, want := range []map[string]string{later, before, later} {
		_, err = p.restorer().Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, p.filesNow())
	}

	// Without a database and without files before it, as on a new machine.
	fresh := newPlace(t, mayCreate)
	done, err = fresh.restorer().Restore(t.Context(), RestoreRequest{File: made.File})
	require.NoError(t, err)
	require.Equal(t, before, fresh.filesNow())
	require.Empty(t, done.FilesAside)
	require.Empty(t, fresh.hiddenFiles("."))

	// And with --drop-old nothing stays.
	done, err = p.restorer().Restore(t.Context(), RestoreRequest{File: made.File, DropOld: true})
	require.NoError(t, err)
	require.Len(t, done.FilesDropped, 2)
	require.Empty(t, p.hiddenFiles(asidePrefix))
	require.Equal(t, before, p.filesNow())
}

// damagedFiles shows that every byte of every file is under a checksum.
func damagedFiles(t *testing.T, k *Keeper, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	whole := unpack(t, raw)
	at := func(prefix string) int {
		for i, e := range whole {
			if strings.HasPrefix(e.name, prefix) && len(e.content) > 0 {
				return i
			}
		}
		require.FailNow(t, "not found", prefix)
		return 0
	}
	one, list := at(filesPrefix), at(listPrefix)
	changed := func(i int, e entry) []entry {
		out := append([]entry{}, whole...)
		out[i] = e
		return out
	}
	flip := bytes.Clone(whole[one].content)
	flip[len(flip)/2] ^= 1
	shorter := bytes.Clone(whole[list].content)
	shorter = shorter[bytes.IndexByte(shorter, '\n')+1:]
	without := append(append([]entry{}, whole[:one]...), whole[one+1:]...)
	twice := append(append([]entry{}, whole[:one+1]...), whole[one:]...)
	for _, c := range []struct {
		name string
		raw  []byte
		text string
	}{
		{"a changed file", pack(t, changed(one, entry{name: whole[one].name, content: flip})), "checksum or size of the file avatars/"},
		{"a shorter file", pack(t, changed(one, entry{name: whole[one].name, content: flip[:1]})), "checksum or size of the file avatars/"},
		{"a renamed file", pack(t, changed(one, entry{name: whole[one].name + "x", content: whole[one].content})), "checksum or size of the file avatars/"},
		{"a path out of it", pack(t, changed(one, entry{name: "files/../../etc/passwd", content: flip})), "does not belong"},
		{"a hidden file", pack(t, changed(one, entry{name: "files/.restore.json", content: flip})), "does not belong"},
		{"a link", pack(t, changed(one, entry{name: whole[one].name, kind: tar.TypeSymlink})), "does not belong"},
		{"a file missing", pack(t, without), "checksum or size of the file"},
		{"a file twice", pack(t, twice), "not at its place"},
		{"a changed list", pack(t, changed(list, entry{name: whole[list].name, content: shorter})), "checksum or size of the file"},
		{"no list", pack(t, append(append([]entry{}, whole[:list]...), whole[list+1:]...)), "not at its place"},
		{"other counts", pack(t, sealed(edit(t, whole, manifestName, func(m map[string]any) { m["files"].(map[string]any)["count"] = 3 }))), "holds 40 files"},
		{"no files said", pack(t, sealed(edit(t, whole, manifestName, func(m map[string]any) { m["files"] = nil }))), "holds 40 files"},
	} {
		path := filepath.Join(t.TempDir(), "x.tar.zst")
		require.NoError(t, os.WriteFile(path, c.raw, 0o600))
		_, err := k.Verify(t.Context(), path)
		require.ErrorIs(t, err, ErrDamaged, c.name)
		require.ErrorContains(t, err, c.text, c.name)
	}
}

// TestFilesElsewhere backs up what keeps its files in a bucket, and restores an
// archive of before there were files.
func TestFilesElsewhere(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	bucket, err := storage.NewS3(storage.S3Options{Endpoint: "https://s3.example.com", Bucket: "files", AccessKey: "a", SecretKey: "s"})
	require.NoError(t, err)
	k := p.keeper(server)
	k.opts.Files = bucket
	made, err := k.Create(t.Context(), Request{})
	require.NoError(t, err)
	require.Equal(t, &Files{Backend: "s3", Place: "https://s3.example.com/files"}, made.Files)
	_, err = k.Verify(t.Context(), made.File)
	require.NoError(t, err)

	raw, err := os.ReadFile(made.File)
	require.NoError(t, err)
	old := filepath.Join(t.TempDir(), "old.tar.zst")
	require.NoError(t, os.WriteFile(old, pack(t, resealed(t, unpack(t, raw), func(m map[string]any) {
		m["format"] = 1
		delete(m, "files")
	})), 0o600))
	require.NoError(t, server.Stop(t.Context()))
	here := p.putFiles("here", 3)
	for _, file := range []string{made.File, old} {
		done, err := p.restorer().Restore(t.Context(), RestoreRequest{File: file})
		require.NoError(t, err)
		require.Equal(t, here, p.filesNow(), "they stay")
		require.Empty(t, done.FilesAside)
		require.Equal(t, file == old, done.Files == nil)
	}
	_, err = p.restorer().Undo(t.Context())
	require.NoError(t, err)
	require.Equal(t, here, p.filesNow())
}

// TestManyFiles needs more than one list.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const many = listFiles + 50
	for i := range many {
		path := filepath.Join(dir, "files", fmt.Sprintf("%02d", i%100), fmt.Sprintf("%d.txt", i))
		if i < 100 {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		}
		require.NoError(t, os.WriteFile(path, fmt.Append(nil, i), 0o600))
	}
	w, err := createArchive(filepath.Join(dir, "x"+Suffix), func(s sink) sink { return s })
	require.NoError(t, err)
	require.NoError(t, w.begin(Header{Format: Format}))
	_, err = w.dump(strings.NewReader("PGDMP"), func(int64) {})
	require.NoError(t, err)
	files, err := w.addFiles(t.Context(), storage.NewLocal(filepath.Join(dir, "files")), func(int64) {})
	require.NoError(t, err)
	_, _, err = w.finish(Manifest{Files: &files})
	require.NoError(t, err)
	a, err := openArchive(t.Context(), w.final, func(Progress) {})
	require.NoError(t, err)
	defer a.close()
	require.Len(t, a.manifest.Members, 4, "two lists")
	require.Equal(t, int64(many), a.manifest.Files.Count)
	var seen int
	require.NoError(t, a.files(t.Context(), func(member) error { seen++; return nil }))
	require.Equal(t, many, seen)
}
