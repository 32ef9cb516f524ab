package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The bucket of the section files, and the key to it.
const bucketKey, bucketSecret, bucketName = "selflink", "bench-secret", "bench"

// startNginx serves a directory, and takes files into it.
func startNginx(ctx context.Context, dir string) (base string, stop func(), err error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return "", nil, errors.New("install nginx to compare with it")
		}
	}
	home := filepath.Join(dir, "nginx")
	for _, d := range []string{"files", "temp"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o755); err != nil {
			return "", nil, err
		}
	}
	addr, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	config := fmt.Sprintf(`%s daemon off; master_process on; worker_processes 1; pid %[2]s/pid; error_log %[2]s/log;
events { worker_connections 64; }
http { access_log off; sendfile on; tcp_nopush on; client_max_body_size 0; client_body_temp_path %[2]s/temp; proxy_temp_path %[2]s/temp; fastcgi_temp_path %[2]s/temp; uwsgi_temp_path %[2]s/temp; scgi_temp_path %[2]s/temp;
  server { listen %[3]s; root %[2]s/files; location / { dav_methods PUT DELETE; client_body_in_file_only off; } } }
`, user, home, addr)
	file := filepath.Join(home, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return "", nil, err
	}
	return startPlain(ctx, addr, exec.CommandContext(ctx, program, "-c", file, "-e", filepath.Join(home, "log")))
}

// startPlain starts a server to compare with and waits until it listens.
func startPlain(ctx context.Context, addr string, cmd *exec.Cmd) (base string, stop func(), err error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end := func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return "http://" + addr, end, nil
		}
	}
	end()
	return "", nil, fmt.Errorf("it does not start: %s", said.String())
}

func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// bucket is an S3 server with one bucket.
type bucket struct {
	addr, dir string
	client    *minio.Client
}

// startBucket starts the S3 server that the tests use.
func startBucket(ctx context.Context, dir string) (*bucket, func(), error) {
	program := os.Getenv("VERSITYGW")
	if program == "" {
		program = "../../.tools/versitygw"
	}
	if _, err := os.Stat(program); err != nil {
		return nil, nil, errors.New("make test builds versitygw, to compare with it")
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, nil, err
	}
	home := filepath.Join(dir, "bucket")
	meta := filepath.Join(dir, "meta")
	for _, d := range []string{home, meta} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, nil, err
		}
	}
	cmd := exec.CommandContext(ctx, program, "--quiet", "--keep-alive", "--port", addr, "posix", "--sidecar", meta, home)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+bucketKey, "ROOT_SECRET_ACCESS_KEY="+bucketSecret)
	_, stop, err := startPlain(ctx, addr, cmd)
	if err != nil {
		return nil, nil, err
	}
	client, err := minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(bucketKey, bucketSecret, ""), BucketLookup: minio.BucketLookupPath, Region: "us-east-1"})
	if err == nil {
		err = client.MakeBucket(ctx, bucketName, minio.MakeBucketOptions{})
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return &bucket{addr: addr, dir: filepath.Join(home, bucketName), client: client}, stop, nil
}

// inParts puts a file by the client itself, one part after the other.
func (b *bucket) inParts(ctx context.Context, key string, body io.Reader, size int64) (string, error) {
	_, err := b.client.PutObject(ctx, bucketName, key, io.MultiReader(body), size, minio.PutObjectOptions{PartSize: 8 << 20, NumThreads: 1})
	if err != nil {
		return "", err
	}
	u, err := b.client.PresignedGetObject(ctx, bucketName, key, time.Hour, nil)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}
