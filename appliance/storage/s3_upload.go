package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
)

// upload is one Put under way.
type upload struct {
	s       *S3
	key     string
	options minio.PutObjectOptions
	source  *sized
	sum     hash.Hash // of all
	used    [][]byte  // buffers that may be used again when all went well
}

// run sends the content. buf is as long as one part.
func (u *upload) run(ctx context.Context, buf []byte) error {
	if len(buf) == partBytes {
		u.used = append(u.used, buf)
	}
	n, end, err := u.source.fill(buf)
	if err != nil {
		return fmt.Errorf("read the content of %s: %w", u.key, err)
	}
	u.sum.Write(buf[:n])
	if end {
		_, err := u.s.core.PutObject(ctx, u.s.bucket, u.key, bytes.NewReader(buf[:n]), int64(n), "", checksum(buf[:n]), u.options)
		return u.s.failure(ctx, "store "+u.key, u.key, err)
	}
	id, err := u.s.core.NewMultipartUpload(ctx, u.s.bucket, u.key, u.options)
	if err != nil {
		return u.s.failure(ctx, "store "+u.key, u.key, err)
	}
	if err := u.parts(ctx, id, buf, n); err != nil {
		// The server keeps, and charges for, the parts of what is not given up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		_ = u.s.core.AbortMultipartUpload(ctx, u.s.bucket, u.key, id) //nolint:errcheck // Sweep does it later
		return err
	}
	return nil
}

// parts sends n bytes of buf, then the rest, and completes. While one part is
// on its way the next is read.
func (u *upload) parts(ctx context.Context, id string, buf []byte, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := u.s.buffer(int64(len(buf)))
	if len(next) == partBytes {
		u.used = append(u.used, next)
	}
	var done []minio.CompletePart
	for end := false; n > 0; {
		number := len(done) + 1
		if number > maxParts {
			return fmt.Errorf("%w: %s has more parts than S3 takes", ErrFull, u.key)
		}
		type sent struct {
			part minio.ObjectPart
			err  error
		}
		way := make(chan sent, 1)
		go func() {
			part, err := u.s.core.PutObjectPart(ctx, u.s.bucket, u.key, id, number, bytes.NewReader(buf[:n]), int64(n),
				minio.PutObjectPartOptions{Sha256Hex: checksum(buf[:n]), DisableContentSha256: true})
			way <- sent{part, u.s.failure(ctx, "store "+u.key, u.key, err)}
		}()
		more := 0
		var read error
		if !end {
			if more, end, read = u.source.fill(next); read != nil {
				cancel()
			}
			u.sum.Write(next[:more])
		}
		at := <-way // whatever came of reading: it uses buf
		switch {
		case read != nil:
			return fmt.Errorf("read the content of %s: %w", u.key, read)
		case at.err != nil:
			return at.err
		}
		done = append(done, minio.CompletePart{PartNumber: number, ETag: at.part.ETag})
		buf, next, n = next, buf, more
	}
	_, err := u.s.core.CompleteMultipartUpload(ctx, u.s.bucket, u.key, id, done, minio.PutObjectOptions{})
	return u.s.failure(ctx, "store "+u.key, u.key, err)
}

func checksum(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

// sized is a reader that is held to its size.
type sized struct {
	r    io.Reader
	size int64 // negative: not known
	n    int64
}

// fill reads until buf is full or the content ends. A content that breaks off
// is an error, whatever its reader calls that.
func (s *sized) fill(buf []byte) (n int, end bool, err error) {
	for n < len(buf) {
		m, err := s.r.Read(buf[n:])
		n += m
		s.n += int64(m)
		if s.size >= 0 && s.n > s.size {
			return n, false, fmt.Errorf("%w: %d bytes, and more", ErrIncomplete, s.size)
		}
		if errors.Is(err, io.EOF) {
			if s.size >= 0 && s.n != s.size {
				return n, false, fmt.Errorf("%w: %d of %d bytes", ErrIncomplete, s.n, s.size)
			}
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// failure gives an error of the client its meaning. nil stays nil.
func (s *S3) failure(ctx context.Context, what, key string, err error) error {
	if err == nil {
		return nil
	}
	answer := minio.ToErrorResponse(err)
	switch {
	case ctx.Err() != nil: // the transport's own timeouts look like it
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case answer.Code == minio.NoSuchBucket:
		return s.noBucket()
	case answer.StatusCode == http.StatusNotFound && key != "":
		return fmt.Errorf("%w: %s", ErrNotFound, key)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: %w: %s refuses it (%s): check S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY, the rights of that key in the bucket %q, and both clocks", what, ErrUnavailable, s.endpoint, answer.Code, s.bucket)
	case answer.StatusCode != 0:
		return fmt.Errorf("%s: %w: %s answers %d %s: %s", what, ErrUnavailable, s.endpoint, answer.StatusCode, answer.Code, answer.Message)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // its text repeats a signed address
		err = wrapped.Err
	}
	return fmt.Errorf("%s: %w: no answer from %s: %w: check S3_ENDPOINT and the network", what, ErrUnavailable, s.endpoint, err)
}

const (
	dialTime    = 5 * time.Second
	defaultWait = 30 * time.Second
	idleTime    = 15 * time.Second // below any stall: see stallConn
	idleConns   = 16
)

// newTransport makes a transport that waits for nothing for ever, and takes as
// long as a transfer that goes on needs.
func newTransport(stall time.Duration) *http.Transport {
	if stall <= 0 {
		stall = defaultWait
	}
	dialer := net.Dialer{Timeout: dialTime}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return stallConn{conn, stall}, nil
		},
		TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: stall, IdleConnTimeout: min(idleTime, stall/2),
		MaxIdleConnsPerHost: idleConns, DisableCompression: true,
	}
}

// stallConn fails when nothing moves for a while. Reading and writing both
// push the deadline of both: one side is silent while the other sends.
type stallConn struct {
	net.Conn
	stall time.Duration
}

// Read implements [net.Conn].
func (c stallConn) Read(p []byte) (int, error) {
	if err := c.Conn.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements [net.Conn].
func (c stallConn) Write(p []byte) (int, error) {
	if err := c.Conn.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
