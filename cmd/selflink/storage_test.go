package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
)

func TestStorageStatus(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	media := filepath.Join(b.data, "media")
	require.NoError(t, os.MkdirAll(media, 0o750))
	require.Equal(t, exitOK, b.run([]string{"storage", "status"}), b.err)
	require.Equal(t, "STORAGE_BACKEND=local\nDEFAULT_FILE_STORAGE=local\nDEFAULT_STORAGE_BACKEND=local\nMEDIA_ROOT="+media+
		"\nMEDIA_URL=/media/\nSAMPLE_PATH=storage-status/sample.txt\nSAMPLE_URL=/media/storage-status/sample.txt\n", b.out.String())
	require.Empty(t, b.err.String())

	// Where no file can be made.
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	b = newBench(t, "MEDIA_ROOT="+file+"/media")
	require.Equal(t, exitFailed, b.run([]string{"storage", "status", "--json"}))
	var s storageState
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &s))
	require.False(t, s.Working)
	require.Contains(t, s.Problem, "let the user of this process write to "+file)

	// Settings that make no sense are told before anything is tried.
	for setting, text := range map[string]string{
		"STORAGE_BACKEND=ftp": "must be one of ['local','s3']", "STORAGE_BACKEND=s3": "STORAGE_BACKEND=s3 requires: S3_ENDPOINT,S3_ACCESS_KEY_ID,S3_SECRET_ACCESS_KEY,S3_BUCKET",
	} {
		b = newBench(t, setting)
		require.Equal(t, exitFailed, b.run([]string{"storage", "status"}))
		require.Contains(t, strings.ReplaceAll(b.err.String(), ", ", ","), text)
	}
}

// withBucket are settings of a bucket.
func withBucket(o storage.S3Options) []string {
	return []string{"S3_ENDPOINT=" + o.Endpoint, "S3_ACCESS_KEY_ID=" + o.AccessKey, "S3_SECRET_ACCESS_KEY=" + o.SecretKey, "S3_BUCKET=" + o.Bucket}
}

func TestStorageStatusOfABucket(t *testing.T) {
	t.Parallel()
	server := storagetest.Start(t)
	o := server.Options(server.Bucket(t))
	b := newBench(t, append(withBucket(o), "STORAGE_BACKEND=s3")...)
	require.Equal(t, exitOK, b.run([]string{"storage", "status"}), b.err)
	require.Contains(t, b.out.String(), "STORAGE_BACKEND=s3\n")
	require.Contains(t, b.out.String(), "S3_ENDPOINT="+o.Endpoint+"\nS3_BUCKET="+o.Bucket+"\n")
	require.Contains(t, b.out.String(), "SAMPLE_URL="+o.Endpoint+"/"+o.Bucket+"/storage-status/sample.txt?X-Amz-")
	require.NotContains(t, b.out.String(), o.SecretKey)

	b = newBench(t, append(withBucket(o), "STORAGE_BACKEND=s3", "S3_QUERYSTRING_AUTH=false")...)
	require.Equal(t, exitOK, b.run([]string{"storage", "status"}), b.err)
	require.Contains(t, b.out.String(), "SAMPLE_URL="+o.Endpoint+"/"+o.Bucket+"/storage-status/sample.txt\n")

	wrong := o
	wrong.SecretKey = "guess-of-the-key"
	missing := o
	missing.Bucket = "nobody-made-it"
	for text, o := range map[string]storage.S3Options{"check S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY": wrong, `has no bucket "nobody-made-it"`: missing} {
		b = newBench(t, append(withBucket(o), "STORAGE_BACKEND=s3")...)
		require.Equal(t, exitFailed, b.run([]string{"storage", "status"}))
		require.Contains(t, b.err.String(), text)
		require.NotContains(t, b.err.String(), o.SecretKey)
	}
}

func TestStorageCheck(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "media")
	media := storage.NewLocal(root)
	_, err := media.Put(t.Context(), "avatars/2026/11/x.png", strings.NewReader("12345"), storage.PutOptions{Size: -1})
	require.NoError(t, err)
	require.NoError(t, media.Close())
	again := func() *bench { return newBench(t, "MEDIA_ROOT="+root) }
	b := again()
	require.Equal(t, exitOK, b.run([]string{"storage", "check", "avatars/2026/11/x.png"}), b.err)
	require.Contains(t, b.out.String(), " PATH=avatars/2026/11/x.png EXISTS=true\n")
	b = again()
	require.Equal(t, exitOK, b.run([]string{"storage", "check", "--json", "avatars/2026/11/x.png"}), b.err)
	require.Contains(t, b.out.String(), `"size": 5`)
	b = again()
	require.Equal(t, exitFailed, b.run([]string{"storage", "check", "avatars/2026/11/y.png"}))
	require.Contains(t, b.out.String(), "EXISTS=false\n")
	require.Empty(t, b.err.String())
	for _, key := range []string{"../secrets/key", "/etc/passwd", "avatars/../../x", ".incoming/x"} {
		b = again()
		require.Equal(t, exitFailed, b.run([]string{"storage", "check", key}))
		require.Contains(t, b.err.String(), "not the key of a file")
	}
	require.Equal(t, exitUsage, again().run([]string{"storage", "check"}))
	require.Equal(t, exitUsage, again().run([]string{"storage", "check", "a", "b"}))
}

// TestStorageCopy moves files to a bucket and back, is broken off, and goes on.
func TestStorageCopy(t *testing.T) {
	t.Parallel()
	server := storagetest.Start(t)
	o := server.Options(server.Bucket(t))
	root := filepath.Join(t.TempDir(), "media")
	local := storage.NewLocal(root)
	const many = 40
	content := func(i int) string { return strings.Repeat(fmt.Sprintf("file %d ", i), i*5000) }
	key := func(i int) string { return fmt.Sprintf("posts/images/2026/11/%02d.jpg", i) }
	for i := range many {
		_, err := local.Put(t.Context(), key(i), strings.NewReader(content(i)), storage.PutOptions{Size: -1})
		require.NoError(t, err)
	}
	copied := func(root, from, to string, more ...string) (*bench, int) {
		b := newBench(t, append(withBucket(o), "MEDIA_ROOT="+root)...)
		return b, b.run(append([]string{"storage", "copy", "--from", from, "--to", to}, more...))
	}
	// It goes on where another ended.
	bucket, err := storage.NewS3(o)
	require.NoError(t, err)
	for i := range 7 {
		_, err := storage.Copy(t.Context(), only{local, key(i)}, bucket, false, func(storage.Copied) {})
		require.NoError(t, err)
	}
	b, code := copied(root, "local", "s3")
	require.Equal(t, exitOK, code, b.err)
	require.Contains(t, b.out.String(), "; 7 were there already.\n")
	b, code = copied(root, "local", "s3", "--verify", "--json")
	require.Equal(t, exitOK, code, b.err)
	var done storage.Copied
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &done))
	require.Equal(t, storage.Copied{Present: many}, done)

	other := filepath.Join(t.TempDir(), "media")
	b, code = copied(other, "s3", "local")
	require.Equal(t, exitOK, code, b.err)
	require.Contains(t, b.out.String(), fmt.Sprintf("Copied %d files", many))
	for i := range many {
		raw, err := os.ReadFile(filepath.Join(other, key(i)))
		require.NoError(t, err)
		require.Equal(t, content(i), string(raw))
	}

	// What differs is named and left alone.
	require.NoError(t, os.WriteFile(filepath.Join(other, key(9)), []byte(strings.Repeat("x", len(content(9)))), 0o600))
	b, code = copied(other, "s3", "local", "--verify")
	require.Equal(t, exitFailed, code)
	require.Contains(t, b.err.String(), "copy "+key(9)+": storage: the copy differs from the original")
	require.Contains(t, b.err.String(), "run it again to go on")
	raw, err := os.ReadFile(filepath.Join(other, key(9)))
	require.NoError(t, err)
	require.NotEqual(t, content(9), string(raw))

	for _, args := range [][]string{{}, {"--from", "local"}, {"--from", "s3", "--to", "s3"}, {"--from", "local", "--to", "ftp"}} {
		require.Equal(t, exitUsage, newBench(t, withBucket(o)...).run(append([]string{"storage", "copy"}, args...)), args)
	}
	b = newBench(t, "MEDIA_ROOT="+root)
	require.Equal(t, exitFailed, b.run([]string{"storage", "copy", "--from", "local", "--to", "s3"}))
	require.Contains(t, b.err.String(), "S3_ENDPOINT")
}

// only is a store of which one file is seen.
type only struct {
	storage.Store
	key string
}

func (o only) List(ctx context.Context, _, after string, limit int) ([]storage.Info, error) {
	if after >= o.key || limit < 1 {
		return nil, nil
	}
	info, err := o.Stat(ctx, o.key)
	return []storage.Info{info}, err
}
