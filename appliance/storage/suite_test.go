package storage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
)

// TestLocal and TestS3 run one suite.
func TestLocal(t *testing.T) {
	t.Parallel()
	suite(t, func(t *testing.T) storage.Store {
		store := storage.NewLocal(t.TempDir() + "/media")
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return store
	})
}

func TestS3(t *testing.T) {
	t.Parallel()
	server := storagetest.Start(t)
	suite(t, func(t *testing.T) storage.Store { return server.Store(t) })
}

// content is what a seed gives, the same each time.
func content(seed uint64, size int) []byte {
	out := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(out)
	return out
}

func sum(p []byte) string {
	s := sha256.Sum256(p)
	return hex.EncodeToString(s[:])
}

func read(t *testing.T, s storage.Store, key string, from, length int64) []byte {
	t.Helper()
	r, _, err := s.Open(t.Context(), key, from, length)
	require.NoError(t, err)
	out, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return out
}

func put(t *testing.T, s storage.Store, key string, p []byte) storage.Info {
	t.Helper()
	info, err := s.Put(t.Context(), key, bytes.NewReader(p), storage.PutOptions{Size: int64(len(p)), Type: "text/plain"})
	require.NoError(t, err)
	return info
}

func keys(t *testing.T, s storage.Store, prefix, after string, limit int) []string {
	t.Helper()
	list, err := s.List(t.Context(), prefix, after, limit)
	require.NoError(t, err)
	out := []string{}
	for _, info := range list {
		out = append(out, info.Key)
	}
	return out
}

func suite(t *testing.T, make func(t *testing.T) storage.Store) {
	run := func(name string, f func(t *testing.T, s storage.Store)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, make(t))
		})
	}
	run("empty", func(t *testing.T, s storage.Store) {
		require.Empty(t, keys(t, s, "", "", 10))
		_, err := s.Stat(t.Context(), "a/b.txt")
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, _, err = s.Open(t.Context(), "a/b.txt", 0, storage.ToEnd)
		require.ErrorIs(t, err, storage.ErrNotFound)
		require.NoError(t, s.Delete(t.Context(), "a/b.txt"))
		n, err := s.Sweep(t.Context(), time.Now())
		require.NoError(t, err)
		require.Zero(t, n)
		require.NoError(t, s.Check(t.Context()))
	})
	run("sizes", sizes)
	run("ranges", ranges)
	run("bad keys", badKeys)
	run("broken content", broken)
	run("list", list)
	run("once", once)
	run("addresses", addresses)
}

// TestMemory is alone, so that no other test's memory counts.
func TestMemory(t *testing.T) {
	t.Run("local", func(t *testing.T) { memory(t, storage.NewLocal(t.TempDir()+"/media")) })
	t.Run("s3", func(t *testing.T) { memory(t, storagetest.Start(t).Store(t)) })
}

func sizes(t *testing.T, s storage.Store) {
	const part = 8 << 20
	for i, size := range []int{0, 1, 1000, part - 1, part, part + 1, 2*part + 12345} {
		for _, announced := range []bool{true, false} {
			key := fmt.Sprintf("sizes/%d-%v.bin", size, announced)
			want := content(uint64(i), size)
			o := storage.PutOptions{Size: -1}
			if announced {
				o.Size = int64(size)
			}
			info, err := s.Put(t.Context(), key, io.MultiReader(bytes.NewReader(want)), o)
			require.NoError(t, err, key)
			require.Equal(t, int64(size), info.Size)
			require.Equal(t, sum(want), info.SHA256)
			require.True(t, bytes.Equal(want, read(t, s, key, 0, storage.ToEnd)), key)
			info, err = s.Stat(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, int64(size), info.Size)
			require.WithinDuration(t, time.Now(), info.Modified, time.Minute)
			require.NoError(t, s.Delete(t.Context(), key))
			_, err = s.Stat(t.Context(), key)
			require.ErrorIs(t, err, storage.ErrNotFound)
		}
	}
}

func ranges(t *testing.T, s storage.Store) {
	want := content(1, 100_000)
	put(t, s, "r.bin", want)
	put(t, s, "zero.bin", nil)
	for _, c := range []struct{ from, length, end int64 }{
		{0, storage.ToEnd, 100_000}, {0, 1, 1}, {0, 0, 0}, {1, 1, 2}, {5000, 70_000, 75_000}, {99_999, storage.ToEnd, 100_000},
		{99_999, 1, 100_000}, {99_000, 5000, 100_000}, {100_000, storage.ToEnd, 100_000}, {200_000, 5, 200_000},
	} {
		r, info, err := s.Open(t.Context(), "r.bin", c.from, c.length)
		require.NoError(t, err)
		require.Equal(t, int64(100_000), info.Size, "%+v", c)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.True(t, bytes.Equal(want[min(c.from, 100_000):min(c.end, 100_000)], got), "%+v: %d bytes", c, len(got))
	}
	require.Empty(t, read(t, s, "zero.bin", 0, storage.ToEnd))
	require.Empty(t, read(t, s, "zero.bin", 0, 10))
}

func badKeys(t *testing.T, s storage.Store) {
	put(t, s, "ok/x.txt", []byte("x"))
	for _, key := range []string{
		"", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/./b", "a//b", "a/", ".hidden", "a/.hidden", ".incoming/x", `a\b`, "a\x00b", "a\nb",
		"\xff", strings.Repeat("a", 256), strings.Repeat("a/", 300) + "x",
	} {
		_, err := s.Put(t.Context(), key, strings.NewReader("x"), storage.PutOptions{Size: -1})
		require.ErrorIs(t, err, storage.ErrBadKey, "%q", key)
		_, _, err = s.Open(t.Context(), key, 0, storage.ToEnd)
		require.ErrorIs(t, err, storage.ErrBadKey, "%q", key)
		_, err = s.Stat(t.Context(), key)
		require.ErrorIs(t, err, storage.ErrBadKey, "%q", key)
		require.ErrorIs(t, s.Delete(t.Context(), key), storage.ErrBadKey, "%q", key)
		_, err = s.URL(t.Context(), key)
		require.ErrorIs(t, err, storage.ErrBadKey, "%q", key)
	}
	require.Equal(t, []string{"ok/x.txt"}, keys(t, s, "", "", 10))
	for _, key := range []string{"ფოტო/ჩემი ფოტო+1.jpg", "фото.jpg", "a b/c%d?e#f.txt", "x~y/(1)'.png"} {
		put(t, s, key, []byte(key))
		require.Equal(t, key, string(read(t, s, key, 0, storage.ToEnd)))
		require.Equal(t, []string{key}, keys(t, s, key, "", 10))
	}
	// A directory is no file.
	_, err := s.Stat(t.Context(), "ok")
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, _, err = s.Open(t.Context(), "ok/x.txt/y", 0, storage.ToEnd)
	require.ErrorIs(t, err, storage.ErrNotFound)
}

// breaking gives some bytes and then an error.
type breaking struct {
	r   io.Reader
	err error
}

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

func broken(t *testing.T, s storage.Store) {
	cut := errors.New("cut off")
	for _, size := range []int{10, 9 << 20} {
		for _, c := range []struct {
			r     io.Reader
			size  int64
			wrong error
		}{
			{breaking{bytes.NewReader(content(1, size)), cut}, -1, cut},
			{breaking{bytes.NewReader(content(1, size)), cut}, int64(size), cut},
			{breaking{bytes.NewReader(content(1, size)), io.ErrUnexpectedEOF}, -1, io.ErrUnexpectedEOF},
			{bytes.NewReader(content(1, size)), int64(size) + 1, storage.ErrIncomplete},
			{bytes.NewReader(content(1, size)), int64(size) - 1, storage.ErrIncomplete},
			{bytes.NewReader(content(1, size)), 0, storage.ErrIncomplete},
		} {
			_, err := s.Put(t.Context(), "b.bin", c.r, storage.PutOptions{Size: c.size})
			require.ErrorIs(t, err, c.wrong)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Put(ctx, "b.bin", bytes.NewReader(content(1, size)), storage.PutOptions{Size: -1})
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Empty(t, keys(t, s, "", "", 10))
	n, err := s.Sweep(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, n, "what fails leaves nothing to sweep")
}

func list(t *testing.T, s storage.Store) {
	want := []string{"A.txt", "a-b/x.txt", "a.txt", "a/1.txt", "a/2/3.txt", "a/2/4.txt", "a/20.txt", "a0.txt", "b/c/d/e.txt", "z.txt"}
	for _, i := range rand.Perm(len(want)) {
		put(t, s, want[i], []byte(want[i]))
	}
	require.Equal(t, want, keys(t, s, "", "", 100))
	for limit := 1; limit < 5; limit++ {
		var got []string
		for after := ""; ; {
			page := keys(t, s, "", after, limit)
			if got = append(got, page...); len(page) < limit {
				break
			}
			after = page[len(page)-1]
		}
		require.Equal(t, want, got, "pages of %d", limit)
	}
	require.Equal(t, []string{"a/1.txt", "a/2/3.txt", "a/2/4.txt", "a/20.txt"}, keys(t, s, "a/", "", 100))
	require.Equal(t, []string{"a/2/3.txt", "a/2/4.txt", "a/20.txt"}, keys(t, s, "a/2", "", 100))
	require.Equal(t, []string{"a/20.txt"}, keys(t, s, "a/", "a/2/4.txt", 100))
	require.Equal(t, []string{"a/20.txt", "a0.txt"}, keys(t, s, "a", "a/2/9.txt", 100))
	require.Empty(t, keys(t, s, "nothing/", "", 100))
	var walked []string
	require.NoError(t, storage.Walk(t.Context(), s, "", "a/1.txt", func(i storage.Info) error {
		require.Equal(t, int64(len(i.Key)), i.Size)
		walked = append(walked, i.Key)
		return nil
	}))
	require.Equal(t, want[4:], walked)
}

func once(t *testing.T, s storage.Store) {
	put(t, s, "x/once.txt", []byte("first"))
	_, err := s.Put(t.Context(), "x/once.txt", strings.NewReader("second"), storage.PutOptions{Size: -1})
	require.ErrorIs(t, err, storage.ErrExists)
	require.Equal(t, "first", string(read(t, s, "x/once.txt", 0, storage.ToEnd)))
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			key := fmt.Sprintf("x/y%d/%d.txt", i%3, i)
			if _, err := s.Put(t.Context(), key, strings.NewReader(key), storage.PutOptions{Size: -1}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Len(t, keys(t, s, "x/y", "", 100), 16)
}

func addresses(t *testing.T, s storage.Store) {
	key := "avatars/ჩემი ფოტო+1.jpg"
	put(t, s, key, []byte("seen"))
	address, err := s.URL(t.Context(), key)
	require.NoError(t, err)
	if s.Backend() == storage.BackendLocal {
		require.True(t, strings.HasPrefix(address, "/media/avatars/"), address)
		require.NotContains(t, address, " ")
		return
	}
	require.True(t, strings.HasPrefix(address, "http"))
	require.Contains(t, address, s.Place())
	for path, status := range map[string]int{address: http.StatusOK, strings.SplitN(address, "?", 2)[0]: http.StatusForbidden} {
		res, err := http.Get(path) //nolint:noctx // a test server
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, status, res.StatusCode)
		require.Equal(t, status == http.StatusOK, string(body) == "seen")
	}
}

// memory moves a big file without holding it.
func memory(t *testing.T, s storage.Store) {
	const size = 256 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	info, err := s.Put(t.Context(), "big.bin", io.LimitReader(rand.NewChaCha8([32]byte{7}), size), storage.PutOptions{Size: -1})
	require.NoError(t, err)
	r, _, err := s.Open(t.Context(), "big.bin", 0, storage.ToEnd)
	require.NoError(t, err)
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	runtime.ReadMemStats(&after)
	require.Equal(t, int64(size), n)
	require.Equal(t, info.SHA256, hex.EncodeToString(hash.Sum(nil)))
	// All that was ever taken from the system: some parts, until they are collected.
	require.Less(t, after.Sys-before.Sys, uint64(size/2))
	require.NoError(t, s.Delete(t.Context(), "big.bin"))
}
