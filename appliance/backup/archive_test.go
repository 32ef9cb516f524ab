package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// entry is a member as a test sees it.
type entry struct {
	name    string
	content []byte
	kind    byte // tar's type; 0: a regular file
}

func unpack(t testing.TB, raw []byte) []entry {
	t.Helper()
	zip, err := zstd.NewReader(bytes.NewReader(raw))
	require.NoError(t, err)
	defer zip.Close()
	var out []entry
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		out = append(out, entry{name: h.Name, content: content})
	}
}

func pack(t testing.TB, entries []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	zip, err := zstd.NewWriter(&out)
	require.NoError(t, err)
	w := tar.NewWriter(zip)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.content)), Mode: 0o600}
		if e.kind != 0 {
			h.Typeflag, h.Size, h.Linkname = e.kind, 0, "/etc/passwd"
		}
		require.NoError(t, w.WriteHeader(h))
		_, err = w.Write(e.content[:h.Size])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())
	return out.Bytes()
}

// sealed makes the checksum of the manifest fit again.
func sealed(entries []entry) []entry {
	for i, e := range entries {
		if e.name == manifestName {
			sum := sha256.Sum256(e.content)
			entries[i+1].content = []byte(hex.EncodeToString(sum[:]))
		}
	}
	return entries
}

// edit changes a JSON member.
func edit(t testing.TB, entries []entry, name string, change func(m map[string]any)) []entry {
	t.Helper()
	out := append([]entry{}, entries...)
	for i, e := range out {
		if e.name == name {
			m := map[string]any{}
			require.NoError(t, json.Unmarshal(e.content, &m))
			change(m)
			raw, err := json.Marshal(m)
			require.NoError(t, err)
			out[i].content = raw
		}
	}
	return out
}

// resealed is edit of both the header and the manifest, with all checksums
// right: what somebody would do who means it.
func resealed(t testing.TB, entries []entry, change func(m map[string]any)) []entry {
	t.Helper()
	out := edit(t, entries, headerName, change)
	sum := sha256.Sum256(out[0].content)
	out = edit(t, out, manifestName, func(m map[string]any) {
		change(m)
		first := m["members"].([]any)[0].(map[string]any)
		first["sha256"], first["bytes"] = hex.EncodeToString(sum[:]), len(out[0].content)
	})
	return sealed(out)
}

func TestRefusedArchives(t *testing.T) {
	t.Parallel()
	p := newPlace(t, mayCreate)
	server := p.migrated()
	fill(t, server, 300)
	k := p.keeper(server)
	made, err := k.Create(t.Context(), Request{})
	require.NoError(t, err)
	raw, err := os.ReadFile(made.File)
	require.NoError(t, err)
	whole := unpack(t, raw)
	require.Equal(t, []string{headerName, "database/000001.dump", manifestName, sealName}, names(whole))

	with := func(i int, e entry) []entry {
		out := append([]entry{}, whole[:i]...)
		return append(append(out, e), whole[i:]...)
	}
	flipped := append([]entry{}, whole...)
	flipped[1].content = bytes.Clone(flipped[1].content)
	flipped[1].content[len(flipped[1].content)/2] ^= 1
	rows := func(m map[string]any) { m["tables"].([]any)[0].(map[string]any)["rows"] = 123456 }
	cases := []struct {
		name string
		raw  []byte
		is   error
		text string
	}{
		{"empty", nil, ErrDamaged, "empty"},
		{"text", []byte("this is no archive at all, but a text of some length"), ErrNotArchive, "zstd"},
		{"another tar", pack(t, []entry{{name: "photos/cat.jpg", content: []byte("x")}}), ErrNotArchive, "photos/cat.jpg"},
		{"no tar", compress(t, []byte(strings.Repeat("x", 2000))), ErrNotArchive, "no tar"},
		{"a path out of it", pack(t, with(2, entry{name: "../../etc/cron.d/x", content: []byte("x")})), ErrDamaged, "../../etc/cron.d/x"},
		{"a secret with a path", pack(t, with(2, entry{name: "secrets/../../x", content: []byte("x")})), ErrDamaged, "secrets/../../x"},
		{"an absolute path", pack(t, with(0, entry{name: "/header.json", content: []byte("{}")})), ErrNotArchive, "/header.json"},
		{"a link", pack(t, with(2, entry{name: "secrets/secret_key", kind: tar.TypeSymlink})), ErrDamaged, "secrets/secret_key"},
		{"a member more", pack(t, with(2, entry{name: "secrets/extra", content: []byte("x")})), ErrDamaged, "secrets/extra"},
		{"a piece more", pack(t, with(2, entry{name: "database/000002.dump", content: []byte("x")})), ErrDamaged, "database/000002.dump"},
		{"a piece twice", pack(t, with(2, whole[1])), ErrDamaged, "database/000001.dump"},
		{"a piece missing", pack(t, append([]entry{whole[0]}, whole[2:]...)), ErrDamaged, manifestName},
		{"without a manifest", pack(t, whole[:2]), ErrDamaged, "truncated after database/000001.dump"},
		{"without a seal", pack(t, whole[:3]), ErrDamaged, "truncated after manifest.json"},
		{"a changed piece", pack(t, flipped), ErrDamaged, "checksum of database/000001.dump"},
		{"a changed manifest", pack(t, edit(t, whole, manifestName, rows)), ErrDamaged, "checksum of manifest.json"},
		{"a changed and sealed manifest", pack(t, sealed(edit(t, whole, manifestName, rows))), ErrMismatch, "123456"},
		{"a changed header", pack(t, edit(t, whole, headerName, func(m map[string]any) { m["schema"] = 1 })), ErrDamaged, "contradict"},
		{"a newer format", pack(t, edit(t, whole, headerName, func(m map[string]any) { m["format"] = Format + 1; m["schema"] = "seven" })), ErrNewer, "format 3"},
		{"an unknown format", pack(t, edit(t, whole, headerName, func(m map[string]any) { m["format"] = 0 })), ErrNotArchive, "format 0"},
		{"a newer schema", pack(t, resealed(t, whole, func(m map[string]any) { m["schema"] = 9999 })), ErrNewer, "step 9999"},
		{"a newer Postgres", pack(t, resealed(t, whole, func(m map[string]any) { m["postgres"].(map[string]any)["major"] = 99 })), ErrNewer, "PostgreSQL 99"},
		{"something after it", append(bytes.Clone(raw), "more"...), ErrDamaged, ""},
		{"another frame after it", append(bytes.Clone(raw), compress(t, []byte("more"))...), ErrDamaged, "follows the end"},
	}
	for _, share := range []int{1, 3, 5, 7, 9} {
		cases = append(cases, struct {
			name string
			raw  []byte
			is   error
			text string
		}{"cut", raw[:len(raw)*share/10], ErrDamaged, "truncated"})
	}
	cases = append(cases, cases[0])
	cases[len(cases)-1] = struct {
		name string
		raw  []byte
		is   error
		text string
	}{"one byte short", raw[:len(raw)-1], ErrDamaged, ""}
	before := contents(t, server.Direct())
	for _, c := range cases {
		path := filepath.Join(t.TempDir(), "x.tar.zst")
		require.NoError(t, os.WriteFile(path, c.raw, 0o600))
		_, err := k.Verify(t.Context(), path)
		require.ErrorIs(t, err, c.is, c.name)
		require.ErrorContains(t, err, c.text, c.name)
		_, err = p.restorer().Plan(t.Context(), RestoreRequest{File: path})
		if c.is != ErrMismatch && c.name != "a newer schema" && c.name != "a newer Postgres" {
			require.ErrorIs(t, err, c.is, c.name)
		}
	}
	require.Equal(t, before, contents(t, server.Direct()))
	require.Empty(t, p.names(forVerify))

	// What was made here and is damaged now is written down as such.
	_, err = k.Verify(t.Context(), made.File)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(made.File, raw[:len(raw)/2], 0o600))
	_, err = k.Verify(t.Context(), made.File)
	require.ErrorIs(t, err, ErrDamaged)
	list, err := k.List(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, "failed", list[0].VerifyOutcome)
	require.Contains(t, list[0].VerifyError, "truncated")

	// A restore of any of these changes nothing.
	require.NoError(t, server.Stop(t.Context()))
	lying := filepath.Join(t.TempDir(), "lying.tar.zst")
	require.NoError(t, os.WriteFile(lying, pack(t, sealed(edit(t, whole, manifestName, rows))), 0o600))
	_, err = p.restorer().Restore(t.Context(), RestoreRequest{File: lying})
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "Nothing was changed")
	require.Empty(t, p.names(forRestore))
	require.Empty(t, p.names(aside))
}

func names(entries []entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.name)
	}
	return out
}

func compress(t testing.TB, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	defer w.Close()
	return w.EncodeAll(content, nil)
}

// olderMigrations are all but those since the list of backups came.
func olderMigrations(t testing.TB) fstest.MapFS {
	t.Helper()
	const folder = "../../migrations"
	files, err := filepath.Glob(folder + "/*.sql")
	require.NoError(t, err)
	out := fstest.MapFS{}
	for _, path := range files {
		if strings.HasSuffix(path, "_backups.sql") {
			return out
		}
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		out[filepath.Base(path)] = &fstest.MapFile{Data: raw}
	}
	require.FailNow(t, "the list of backups has no migration")
	return nil
}

// small makes an archive without a database.
func small(t testing.TB) []entry {
	t.Helper()
	header := Header{Format: Format, Appliance: Build{Version: "v1"}, Schema: 7, Postgres: Postgres{Version: "15.1", Major: 15}, StartedAt: time.Unix(1_800_000_000, 0).UTC()}
	w, err := createArchive(filepath.Join(t.TempDir(), "x"+Suffix), func(s sink) sink { return s })
	require.NoError(t, err)
	require.NoError(t, w.begin(header))
	_, err = w.dump(strings.NewReader("PGDMP and so on"), func(int64) {})
	require.NoError(t, err)
	require.NoError(t, w.addSecrets(map[string][]byte{"secret_key": []byte("k")}))
	_, _, err = w.finish(Manifest{Tables: []Table{{"public.users", 3}}})
	require.NoError(t, err)
	raw, err := os.ReadFile(w.final)
	require.NoError(t, err)
	return unpack(t, raw)
}

func TestArchiveWithoutDatabase(t *testing.T) {
	t.Parallel()
	var seen []string
	m, err := scan(t.Context(), bytes.NewReader(pack(t, small(t))), func(m member) error {
		seen = append(seen, m.Name)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{headerName, "database/000001.dump", "secrets/secret_key", manifestName, sealName}, seen)
	require.Equal(t, int64(3), m.Rows())
	require.Equal(t, []string{"secret_key"}, m.Secrets())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = scan(ctx, bytes.NewReader(pack(t, small(t))), func(member) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
}

func TestLargeDumpIsSplit(t *testing.T) {
	t.Parallel()
	w, err := createArchive(filepath.Join(t.TempDir(), "x"+Suffix), func(s sink) sink { return s })
	require.NoError(t, err)
	require.NoError(t, w.begin(Header{Format: Format, StartedAt: time.Unix(1, 0).UTC()}))
	const size = 2*chunkBytes + 5
	n, err := w.dump(io.LimitReader(ones{}, size), func(int64) {})
	require.NoError(t, err)
	require.Equal(t, int64(size), n)
	_, _, err = w.finish(Manifest{DumpBytes: n})
	require.NoError(t, err)
	a, err := openArchive(t.Context(), w.final, func(Progress) {})
	require.NoError(t, err)
	defer a.close()
	var out counter
	require.NoError(t, a.dump(t.Context(), &out, func(Progress) {}))
	require.Equal(t, int64(size), out.n)
	require.Len(t, a.manifest.Members, 4)

	// The file changes between two readings.
	require.NoError(t, os.WriteFile(w.final, pack(t, small(t)), 0o600))
	require.ErrorIs(t, a.dump(t.Context(), &out, func(Progress) {}), ErrDamaged)
}

type ones struct{}

func (ones) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}

// FuzzScan feeds the reader with archives and with tars: it must not panic, take memory beyond
// its bounds, or call good what is not whole.
func FuzzScan(f *testing.F) {
	whole := small(f)
	plain := func(entries []entry) []byte {
		zip, err := zstd.NewReader(bytes.NewReader(pack(f, entries)))
		require.NoError(f, err)
		defer zip.Close()
		raw, err := io.ReadAll(zip)
		require.NoError(f, err)
		return raw
	}
	f.Add(plain(whole))
	f.Add(plain(whole[:2]))
	f.Add(plain(append([]entry{{name: "../x", content: []byte("x")}}, whole...)))
	f.Add(plain([]entry{{name: headerName, content: []byte(`{"format":1}`)}, {name: "database/000001.dump"}, {name: manifestName, content: []byte(`{"format":1,"members":[]}`)}, {name: sealName}}))
	f.Add([]byte{})
	f.Add(pack(f, whole))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func(visit func(member) error) (Manifest, error){
			func(visit func(member) error) (Manifest, error) {
				return scan(t.Context(), bytes.NewReader(data), visit)
			},
			func(visit func(member) error) (Manifest, error) {
				return walk(t.Context(), &faithful{}, bytes.NewReader(data), visit)
			},
		} {
			var seen []Member
			m, err := read(func(m member) error {
				require.NotEqual(t, strangeMember, m.kind)
				require.LessOrEqual(t, int64(len(m.content)), m.kind.limit())
				require.True(t, filepath.IsLocal(m.Name))
				if m.kind != manifestMember && m.kind != sealMember {
					seen = append(seen, m.Member)
				}
				return nil
			})
			if err == nil {
				require.Equal(t, m.Members, seen)
			}
		}
	})
}
