package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const (
	// partBytes is the size of one part of an upload. Two are held in memory: one
	// is on its way, and sent again when that failed, while the next is read.
	// S3 takes 10 000 parts, so files of an unknown size end at 80 GiB; a known size
	// makes parts bigger when it has to.
	partBytes = 8 << 20
	maxParts  = 10_000

	// signedFor is how long a signed address works (contract 14 §2.2).
	signedFor = time.Hour

	// tries is how often a request is sent before its failure is told.
	tries = 3

	// abortTime bounds telling the server that an upload is given up.
	abortTime = 10 * time.Second
)

// S3Options say which bucket is used and how. All but Region are required.
type S3Options struct {
	Endpoint  string // "https://host:port"; without a scheme https is meant
	AccessKey string
	SecretKey string
	Bucket    string
	Region    string // "us-east-1"
	// Signed makes addresses carry a signature that lets anybody who has them
	// read for an hour. Without it the bucket has to be readable by everybody.
	Signed bool
	// Stall is how long the server may keep silent in the middle of something
	// (30 s).
	Stall time.Duration
}

// S3 keeps files in a bucket, which it addresses by path. It sets no access
// lists: who may read is the bucket's policy, or a signature.
type S3 struct {
	core     minio.Core
	bucket   string
	endpoint *url.URL
	signed   bool
	buffers  sync.Pool // of parts: *[]byte of partBytes
}

var _ Store = (*S3)(nil)

// ParseEndpoint reads the address of an S3 server.
func ParseEndpoint(raw string) (*url.URL, error) {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, errors.New("storage: an S3 endpoint is an address without a path, such as https://host:9000")
	}
	u.Path = ""
	return u, nil
}

// NewS3 prepares a client. It does not connect: see [S3.Check].
func NewS3(o S3Options) (*S3, error) {
	endpoint, err := ParseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if err := s3utils.CheckValidBucketName(o.Bucket); err != nil {
		return nil, fmt.Errorf("storage: S3_BUCKET cannot be %q: %w", o.Bucket, err)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""),
		Secure: endpoint.Scheme == "https", Region: o.Region, BucketLookup: minio.BucketLookupPath,
		Transport: newTransport(o.Stall), MaxRetries: tries,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the S3 client: %w", err)
	}
	client.SetAppInfo("selflink", "1")
	return &S3{core: minio.Core{Client: client}, bucket: o.Bucket, endpoint: endpoint, signed: o.Signed}, nil
}

// Backend implements [Store].
func (s *S3) Backend() string { return BackendS3 }

// Place implements [Store].
func (s *S3) Place() string { return s.endpoint.String() + "/" + s.bucket }

// Put implements [Store]. A small file goes in one request, others in parts
// that become visible together. Every part travels with its checksum.
func (s *S3) Put(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	// The names that are made here cannot meet; this is for those that are not.
	if _, err := s.Stat(ctx, key); err == nil {
		return Info{}, fmt.Errorf("%w: %s", ErrExists, key)
	} else if !errors.Is(err, ErrNotFound) {
		return Info{}, err
	}
	part, err := partSize(o.Size)
	if err != nil {
		return Info{}, err
	}
	u := &upload{s: s, key: key, source: &sized{r: r, size: o.Size}, sum: sha256.New()}
	// The checksums made here are signed; signing piece by piece on top of it is
	// what DisableContentSha256 turns off.
	u.options = minio.PutObjectOptions{ContentType: o.Type, DisableContentSha256: true}
	if o.Size >= 0 && o.Size < part {
		part = o.Size + 1 // shows that nothing follows
	}
	if err := u.run(ctx, s.buffer(part)); err != nil {
		return Info{}, err // the buffers may still be on their way to the server
	}
	for _, buf := range u.used {
		s.buffers.Put(&buf)
	}
	return Info{Key: key, Size: u.source.n, Modified: time.Now().UTC(), SHA256: hex.EncodeToString(u.sum.Sum(nil))}, nil
}

// buffer gives the memory of a part. Those of the usual size are used again and
// again: most files are far smaller than one.
func (s *S3) buffer(size int64) []byte {
	if size == partBytes {
		if buf, ok := s.buffers.Get().(*[]byte); ok {
			return *buf
		}
	}
	return make([]byte, size)
}

// partSize is the size of the parts of a file.
func partSize(size int64) (int64, error) {
	part := int64(partBytes)
	if size > part*maxParts {
		part = (size/maxParts/partBytes + 1) * partBytes
	}
	const most = 512 << 20 // of memory; such a file has 5 TB
	if part > most {
		return 0, fmt.Errorf("%w: a file of %d bytes is more than S3 takes", ErrFull, size)
	}
	return part, nil
}

// Open implements [Store].
func (s *S3) Open(ctx context.Context, key string, from, length int64) (io.ReadCloser, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, err
	}
	if length == 0 {
		return s.nothing(ctx, key)
	}
	var o minio.GetObjectOptions
	var err error
	switch {
	case length > 0:
		err = o.SetRange(from, from+length-1)
	case from > 0:
		err = o.SetRange(from, 0)
	}
	if err != nil {
		return nil, Info{}, fmt.Errorf("read %s: %w", key, err)
	}
	body, object, header, err := s.core.GetObject(ctx, s.bucket, key, o)
	if minio.ToErrorResponse(err).Code == minio.InvalidRange {
		return s.nothing(ctx, key)
	}
	if err != nil {
		return nil, Info{}, s.failure(ctx, "read "+key, key, err)
	}
	info := Info{Key: key, Size: object.Size, Modified: object.LastModified.UTC()}
	if _, total, ok := strings.Cut(header.Get("Content-Range"), "/"); ok {
		if info.Size, err = strconv.ParseInt(total, 10, 64); err != nil {
			body.Close()
			return nil, Info{}, fmt.Errorf("read %s: %w: the answer makes no sense", key, ErrUnavailable)
		}
	}
	return body, info, nil
}

// nothing is an empty range of a file that is there.
func (s *S3) nothing(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	info, err := s.Stat(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	return io.NopCloser(bytes.NewReader(nil)), info, nil
}

// Stat implements [Store].
func (s *S3) Stat(ctx context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	object, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, s.failure(ctx, "look at "+key, key, err)
	}
	return Info{Key: key, Size: object.Size, Modified: object.LastModified.UTC()}, nil
}

// List implements [Store]. What has no key's name is left out.
func (s *S3) List(ctx context.Context, prefix, after string, limit int) ([]Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also ends the goroutine behind the channel
	var out []Info
	if limit < 1 {
		return nil, nil
	}
	for object := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{
		Prefix: prefix, StartAfter: after, Recursive: true, MaxKeys: min(limit+1, page),
	}) {
		if object.Err != nil {
			return nil, s.failure(ctx, "list the files", "", object.Err)
		}
		if CheckKey(object.Key) != nil || object.Key <= after {
			continue
		}
		if out = append(out, Info{Key: object.Key, Size: object.Size, Modified: object.LastModified.UTC()}); len(out) == limit {
			return out, nil
		}
	}
	return out, ctx.Err()
}

// Delete implements [Store].
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	if err = s.failure(ctx, "delete "+key, key, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// URL implements [Store].
func (s *S3) URL(ctx context.Context, key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if !s.signed {
		u := *s.endpoint
		u.Path = "/" + s.bucket + "/" + key
		return u.String(), nil
	}
	u, err := s.core.PresignedGetObject(ctx, s.bucket, key, signedFor, nil)
	if err != nil {
		return "", fmt.Errorf("sign the address of %s: %w", key, err)
	}
	return u.String(), nil
}

// Presign gives an address to which a client may put one file of a type under
// key, for a quarter of an hour. What it puts has to be looked at afterwards.
func (s *S3) Presign(ctx context.Context, key, mediaType string) (string, http.Header, error) {
	if err := CheckKey(key); err != nil {
		return "", nil, err
	}
	header := http.Header{"Content-Type": {mediaType}, "If-None-Match": {"*"}}
	u, err := s.core.PresignHeader(ctx, http.MethodPut, s.bucket, key, putFor, nil, header)
	if err != nil {
		return "", nil, fmt.Errorf("sign the address of %s: %w", key, err)
	}
	return u.String(), header, nil
}

// putFor is how long an address of [S3.Presign] works.
const putFor = 15 * time.Minute

// Sweep implements [Store]: parts of uploads of files of our own that nobody
// completed. The bucket may hold those of others.
func (s *S3) Sweep(ctx context.Context, before time.Time) (swept int, err error) {
	key, id := "", ""
	for {
		list, err := s.core.ListMultipartUploads(ctx, s.bucket, "", key, id, "", page)
		if err != nil {
			return swept, s.failure(ctx, "look for unfinished files", "", err)
		}
		for _, u := range list.Uploads {
			if !Own(u.Key) || !u.Initiated.Before(before) {
				continue
			}
			if err := s.core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID); err != nil {
				if minio.ToErrorResponse(err).Code == minio.NoSuchUpload {
					continue // completed, or given up, by now
				}
				return swept, s.failure(ctx, "remove an unfinished file", "", err)
			}
			swept++
		}
		if !list.IsTruncated || list.NextKeyMarker == key && list.NextUploadIDMarker == id {
			return swept, nil
		}
		key, id = list.NextKeyMarker, list.NextUploadIDMarker
	}
}

// Check implements [Store]: the server answers, knows the keys, and has the
// bucket.
func (s *S3) Check(ctx context.Context) error {
	there, err := s.core.BucketExists(ctx, s.bucket)
	if err != nil {
		return s.failure(ctx, "look at the bucket", "", err)
	}
	if !there {
		return s.noBucket()
	}
	return nil
}

func (s *S3) noBucket() error {
	return fmt.Errorf("%w: %s has no bucket %q; make it (with MinIO's client: mc mb NAME/%s), or correct S3_BUCKET", ErrUnavailable, s.endpoint, s.bucket, s.bucket)
}
