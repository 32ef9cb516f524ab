package storage_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"selflink/appliance/loopback"
	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
)

// TestLocalLinks shows that nothing outside of the directory is reached.
func TestLocalLinks(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret.txt"), []byte("s"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(dir, "file.txt")))
	s := storage.NewLocal(dir)
	for _, key := range []string{"out/secret.txt", "file.txt"} {
		_, _, err := s.Open(t.Context(), key, 0, storage.ToEnd)
		require.Error(t, err, key)
		_, err = s.Put(t.Context(), key, strings.NewReader("x"), storage.PutOptions{Size: -1})
		require.Error(t, err, key)
	}
	_, err := s.Put(t.Context(), "out/new.txt", strings.NewReader("x"), storage.PutOptions{Size: -1})
	require.Error(t, err)
	require.NoError(t, s.Delete(t.Context(), "file.txt"), "the link, not what it leads to")
	require.FileExists(t, filepath.Join(outside, "secret.txt"))
	require.Empty(t, keys(t, s, "", "", 10))
}

func TestLocalSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := storage.NewLocal(dir)
	left := filepath.Join(dir, ".incoming", "left.part")
	require.NoError(t, os.Mkdir(filepath.Dir(left), 0o700))
	require.NoError(t, os.WriteFile(left, []byte("half"), 0o600))

	// One put is under way all the time.
	read, write := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := s.Put(context.Background(), "slow.txt", read, storage.PutOptions{Size: -1})
		done <- err
	}()
	_, err := write.Write([]byte("first"))
	require.NoError(t, err)
	n, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Zero(t, n, "it is too new")
	n, err = s.Sweep(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoFileExists(t, left)
	require.NoError(t, write.Close())
	require.NoError(t, <-done)
	require.Equal(t, "first", string(readAll(t, s, "slow.txt")))
}

func readAll(t *testing.T, s storage.Store, key string) []byte {
	return read(t, s, key, 0, storage.ToEnd)
}

func TestLocalRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	s := storage.NewLocal(filepath.Join(file, "media"))
	_, err := s.Put(t.Context(), "x.txt", strings.NewReader("x"), storage.PutOptions{Size: -1})
	require.ErrorIs(t, err, storage.ErrUnavailable)
	require.ErrorContains(t, s.Check(t.Context()), "let the user of this process write to")
}

func TestS3Sweep(t *testing.T) {
	t.Parallel()
	server := storagetest.Start(t)
	bucket := server.Bucket(t)
	s, err := storage.NewS3(server.Options(bucket))
	require.NoError(t, err)
	endpoint, err := storage.ParseEndpoint(server.Endpoint)
	require.NoError(t, err)
	core, err := minio.NewCore(endpoint.Host, &minio.Options{Creds: credentials.NewStaticV4(server.AccessKey, server.SecretKey, ""), BucketLookup: minio.BucketLookupPath, Region: "us-east-1"})
	require.NoError(t, err)
	for _, key := range []string{storage.NewKey(storage.PostVideos, "mp4", time.Now()), storage.NewKey(storage.Avatars, "jpg", time.Now()), "others/file.bin"} {
		_, err := core.NewMultipartUpload(t.Context(), bucket, key, minio.PutObjectOptions{})
		require.NoError(t, err)
	}
	n, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = s.Sweep(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 2, n, "what others upload into the bucket is not ours")
}

// TestS3Trouble has a server that is gone, refuses, lacks the bucket, or stops
// talking.
func TestS3Trouble(t *testing.T) {
	t.Parallel()
	server := storagetest.Start(t)
	good := server.Options(server.Bucket(t))
	try := func(t *testing.T, change func(o *storage.S3Options), text string) {
		t.Helper()
		o := good
		o.Stall = 300 * time.Millisecond
		change(&o)
		s, err := storage.NewS3(o)
		require.NoError(t, err)
		_, putErr := s.Put(t.Context(), "x.txt", strings.NewReader("x"), storage.PutOptions{Size: 1})
		_, listErr := s.List(t.Context(), "", "", 1)
		for _, err := range []error{s.Check(t.Context()), listErr, putErr} {
			require.ErrorIs(t, err, storage.ErrUnavailable)
			require.NotContains(t, err.Error(), o.SecretKey)
			require.NotContains(t, err.Error(), "Signature=")
		}
		require.ErrorContains(t, s.Check(t.Context()), text)
	}
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		try(t, func(o *storage.S3Options) { o.Endpoint = "http://" + loopback.Address(t) }, "check S3_ENDPOINT")
	})
	t.Run("no bucket", func(t *testing.T) {
		t.Parallel()
		o := good
		o.Bucket = "nowhere-at-all"
		s, err := storage.NewS3(o)
		require.NoError(t, err)
		require.ErrorContains(t, s.Check(t.Context()), `has no bucket "nowhere-at-all"; make it`)
		_, err = s.Put(t.Context(), "x.txt", strings.NewReader("x"), storage.PutOptions{Size: 1})
		require.ErrorIs(t, err, storage.ErrUnavailable)
		require.ErrorContains(t, err, "no bucket")
		_, err = s.List(t.Context(), "", "", 1)
		require.ErrorContains(t, err, "no bucket")
	})
	t.Run("wrong key", func(t *testing.T) {
		t.Parallel()
		try(t, func(o *storage.S3Options) { o.SecretKey = "wrong-wrong-wrong" }, "check S3_ACCESS_KEY_ID")
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		silent := newProxy(t, server.Endpoint, 0)
		try(t, func(o *storage.S3Options) { o.Endpoint = silent }, "check S3_ENDPOINT")
	})
	t.Run("silent in the middle", func(t *testing.T) {
		t.Parallel()
		s, err := storage.NewS3(good)
		require.NoError(t, err)
		put(t, s, "middle.bin", content(1, 4<<20))
		o := good
		o.Endpoint, o.Stall = newProxy(t, server.Endpoint, 1<<20), 300*time.Millisecond
		slow, err := storage.NewS3(o)
		require.NoError(t, err)
		r, _, err := slow.Open(t.Context(), "middle.bin", 0, storage.ToEnd)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			require.NoError(t, r.Close())
		}
		require.Error(t, err, "a reader must not wait for ever")
	})
	t.Run("nonsense", func(t *testing.T) {
		t.Parallel()
		for _, endpoint := range []string{"", "ftp://x", "http://", "https://host/path", "https://u:p@host"} {
			o := good
			o.Endpoint = endpoint
			_, err := storage.NewS3(o)
			require.Error(t, err, endpoint)
		}
	})
}

// newProxy hands on bytes of the server until limit, and then nothing.
func newProxy(t *testing.T, endpoint string, limit int64) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u, err := storage.ParseEndpoint(endpoint)
	require.NoError(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	keep := func(c net.Conn) {
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
	}
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			keep(client)
			behind, err := net.Dial("tcp", u.Host)
			if err != nil {
				continue
			}
			keep(behind)
			running.Go(func() { _, _ = io.Copy(behind, client) })
			running.Go(func() { _, _ = io.CopyN(client, behind, limit) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "http://" + listener.Addr().String()
}
