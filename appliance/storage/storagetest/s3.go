// Package storagetest gives tests a real S3 server: versitygw, which "make test"
// builds, or the one whose address is in S3_TEST_ENDPOINT (MinIO, say, with
// S3_TEST_ACCESS_KEY and S3_TEST_SECRET_KEY).
package storagetest

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"selflink/appliance/loopback"
	"selflink/appliance/storage"
)

// EnvTool names the program of the S3 server. When it is given the tests have
// to run; without it they are skipped where no program is found.
const EnvTool = "VERSITYGW"

const startTime = 20 * time.Second

// Server is an S3 server and a key to it.
type Server struct {
	Endpoint  string // "http://127.0.0.1:1234"
	AccessKey string
	SecretKey string
	Process   *os.Process // nil: not ours
	// Dir is where a server of ours keeps its buckets, each in a directory of
	// its name: its times are those of the files there.
	Dir string
	// Name says in words which server it is.
	Name   string
	client *minio.Client
}

// tool finds the server's program.
func tool(t testing.TB) string {
	if path := os.Getenv(EnvTool); path != "" {
		return path
	}
	_, here, _, ok := runtime.Caller(0)
	require.True(t, ok)
	path := filepath.Join(filepath.Dir(here), "..", "..", "..", ".tools", "versitygw")
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no S3 server to test with: make test builds one")
	}
	return path
}

var given struct {
	once   sync.Once
	client *minio.Client
	err    error
}

// Start gives a server; one that it starts ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	if endpoint := os.Getenv("S3_TEST_ENDPOINT"); endpoint != "" {
		s := &Server{Endpoint: endpoint, AccessKey: os.Getenv("S3_TEST_ACCESS_KEY"), SecretKey: os.Getenv("S3_TEST_SECRET_KEY"), Name: "the given S3 server " + endpoint}
		given.once.Do(func() { given.client, given.err = s.connect() })
		require.NoError(t, given.err)
		s.client = given.client
		t.Logf("runs against %s", s.Name)
		return s
	}
	program := tool(t)
	address := loopback.Address(t)
	s := &Server{Endpoint: "http://" + address, AccessKey: "selflink", SecretKey: rand.Text(), Name: "versitygw of the tests (give S3_TEST_ENDPOINT for another server)"}
	t.Logf("runs against %s", s.Name)
	dir := t.TempDir()
	files, meta := filepath.Join(dir, "files"), filepath.Join(dir, "meta")
	require.NoError(t, os.Mkdir(files, 0o700))
	require.NoError(t, os.Mkdir(meta, 0o700))
	s.Dir = files
	cmd := exec.Command(program, "--quiet", "--keep-alive", "--port", address, "posix", "--sidecar", meta, files)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	s.Process = cmd.Process
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var err error
	s.client, err = s.connect()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := s.client.BucketExists(context.Background(), "ready")
		return err == nil
	}, startTime, 20*time.Millisecond, "the S3 server does not answer")
	return s
}

func (s *Server) connect() (*minio.Client, error) {
	endpoint, err := storage.ParseEndpoint(s.Endpoint)
	if err != nil {
		return nil, err
	}
	return minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Secure: endpoint.Scheme == "https", BucketLookup: minio.BucketLookupPath, Region: "us-east-1",
	})
}

// Bucket makes a bucket that goes with the test.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	name := "test-" + strings.ToLower(rand.Text())
	require.NoError(t, s.client.MakeBucket(context.Background(), name, minio.MakeBucketOptions{}))
	if s.Process == nil {
		t.Cleanup(func() {
			for object := range s.client.ListObjects(context.Background(), name, minio.ListObjectsOptions{Recursive: true}) {
				_ = s.client.RemoveObject(context.Background(), name, object.Key, minio.RemoveObjectOptions{})
			}
			_ = s.client.RemoveBucket(context.Background(), name)
		})
	}
	return name
}

// Options are those of a store over bucket.
func (s *Server) Options(bucket string) storage.S3Options {
	return storage.S3Options{Endpoint: s.Endpoint, AccessKey: s.AccessKey, SecretKey: s.SecretKey, Bucket: bucket, Signed: true}
}

// Store is a store over a bucket of its own.
func (s *Server) Store(t testing.TB) *storage.S3 {
	t.Helper()
	store, err := storage.NewS3(s.Options(s.Bucket(t)))
	require.NoError(t, err)
	return store
}
