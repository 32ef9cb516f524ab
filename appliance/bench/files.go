package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fileMiB is the size of the file that the section files moves.
var fileMiB = flag.Int64("mib", 1024, "size of the file of the section files in MiB")

const (
	// fileRuns is how often a file is moved each way; the best counts, because
	// others only ever slow it down.
	fileRuns = 3
)

// files moves one big file up and down: through the appliance with the
// directory beside nginx on the same disk, and with a bucket beside the S3
// server alone, all by the same client.
func (b *bench) files(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "selflink-bench-files-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	nginx, stop, err := startNginx(ctx, dir)
	if err != nil {
		row("nginx", "none", 0, 0, err.Error())
	} else {
		defer stop()
	}
	if err := b.filesLocal(ctx, nginx); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	bucket, stopBucket, err := startBucket(ctx, dir)
	if err != nil {
		row("S3 server", "none", 0, 0, err.Error())
		return nil
	}
	defer stopBucket()
	if err := b.filesS3(ctx, bucket); err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	return nil
}

// mover sends and fetches the file once, and says under which address it is.
type mover struct {
	put  func(ctx context.Context, body io.Reader, size int64) (address string, err error)
	gone func(address string) error // makes room for the next; nil: nothing to do
}

// moved is the best of some runs, in MiB a second.
type moved struct{ up, down float64 }

// move measures a mover. Every byte that comes back is compared.
func move(ctx context.Context, m mover, each func(ctx context.Context, what string, run func() error) error) (out moved, err error) {
	size := *fileMiB << 20
	for range fileRuns {
		var address, sum string
		var took time.Duration
		err = each(ctx, "up", func() (err error) {
			content := newContent(size)
			begin := time.Now()
			address, err = m.put(ctx, content, size)
			took = time.Since(begin)
			sum = content.sum()
			return err
		})
		if err != nil {
			return out, fmt.Errorf("upload: %w", err)
		}
		out.up = max(out.up, float64(*fileMiB)/took.Seconds())
		err = each(ctx, "down", func() (err error) {
			took, err = fetch(ctx, address, size, sum)
			return err
		})
		if err != nil {
			return out, fmt.Errorf("download: %w", err)
		}
		out.down = max(out.down, float64(*fileMiB)/took.Seconds())
		if m.gone != nil {
			if err := m.gone(address); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// content is a film of noise: one block again and again, each numbered, which
// costs next to nothing to make.
type content struct {
	block []byte
	left  int64
	n     uint64
	check hash.Hash32
	buf   []byte
}

func newContent(size int64) *content {
	c := &content{block: make([]byte, 1<<20), left: size, check: newCheck()}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(c.block)
	copy(c.block, "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2")
	return c
}

func (c *content) sum() string { return fmt.Sprintf("%08x", c.check.Sum32()) }

// Read implements [io.Reader].
func (c *content) Read(p []byte) (int, error) {
	if len(c.buf) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		c.n++
		copy(c.block[32:], fmt.Sprintf("block %12d", c.n))
		c.buf = c.block[:min(int64(len(c.block)), c.left)]
		c.left -= int64(len(c.buf))
	}
	n := copy(p, c.buf)
	c.check.Write(p[:n])
	c.buf = c.buf[n:]
	return n, nil
}

// fetch reads a file and compares it.
func fetch(ctx context.Context, address string, size int64, sum string) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	response, err := fileClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("answered %s", response.Status)
	}
	check := newCheck()
	n, err := io.CopyBuffer(struct{ io.Writer }{check}, response.Body, make([]byte, 256<<10))
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	if got := fmt.Sprintf("%08x", check.Sum32()); n != size || got != sum {
		return 0, fmt.Errorf("%d bytes with checksum %s came back of %d with %s", n, got, size, sum)
	}
	return took, nil
}

// fileClient opens a connection for each request, as our uploads need it.
var fileClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10}}

// plainPut sends the file as the whole body.
func plainPut(ctx context.Context, address string, body io.Reader, size int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, address, body)
	if err != nil {
		return err
	}
	request.ContentLength = size
	response, err := fileClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("answered %s", response.Status)
	}
	return nil
}

// oursPut uploads through the appliance, and gives the address of the file.
func oursPut(s *server, token string) func(context.Context, io.Reader, int64) (string, error) {
	return func(ctx context.Context, body io.Reader, size int64) (string, error) {
		const edge = "bench-boundary"
		head := "--" + edge + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"film.mp4\"\r\nContent-Type: video/mp4\r\n\r\n"
		tail := "\r\n--" + edge + "--\r\n"
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/api/v1/media/upload/",
			io.MultiReader(strings.NewReader(head), body, strings.NewReader(tail)))
		if err != nil {
			return "", err
		}
		request.ContentLength = int64(len(head)+len(tail)) + size
		request.Header.Set("Content-Type", "multipart/form-data; boundary="+edge)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := fileClient.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		if err != nil {
			return "", err
		}
		if response.StatusCode != http.StatusCreated {
			return "", fmt.Errorf("answered %s %s", response.Status, raw)
		}
		var asset struct{ Meta struct{ URL string } }
		if err := json.Unmarshal(raw, &asset); err != nil {
			return "", err
		}
		return asset.Meta.URL, nil
	}
}

// weighing runs a transfer and notes by how much the process grew meanwhile.
type weighing struct {
	s      *server
	raised map[string]float64 // MiB
}

func (w *weighing) run(ctx context.Context, what string, run func() error) error {
	base, _, _, err := w.s.pss()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	peak := make(chan float64)
	go func() {
		most := base
		for ctx.Err() == nil {
			if now, _, _, err := w.s.pss(); err == nil {
				most = max(most, now)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		peak <- most
	}()
	err = run()
	cancel()
	w.raised[what] = max(w.raised[what], <-peak-base)
	return err
}

// oursOf measures the appliance with some settings.
func (b *bench) oursOf(ctx context.Context, root func(s *server) string, env ...string) (moved, map[string]float64, error) {
	s, err := newServer(b.bin, append(env, fmt.Sprintf("MEDIA_MAX_UPLOAD_MB=%d", *fileMiB+1))...)
	if err != nil {
		return moved{}, nil, err
	}
	defer func() { _ = s.remove() }()
	if _, err := s.start(ctx); err != nil {
		return moved{}, nil, err
	}
	defer func() { _ = s.stop() }()
	token, err := s.register("sender")
	if err != nil {
		return moved{}, nil, err
	}
	// A small file first: what it needs once is no matter of size.
	small, err := oursPut(s, token)(ctx, newContent(1<<20), 1<<20)
	if err != nil {
		return moved{}, nil, err
	}
	if response, err := fileClient.Get(small); err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	// Idle means idle, so that what the start has taken is no room to grow into.
	time.Sleep(3 * time.Second)
	w := &weighing{s: s, raised: map[string]float64{}}
	out, err := move(ctx, mover{put: oursPut(s, token), gone: func(string) error { return emptyDir(root(s)) }}, w.run)
	return out, w.raised, err
}

// emptyDir makes room: the files of a transfer that is over.
func emptyDir(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			return os.Remove(path)
		}
		return err
	})
}

func unweighed(_ context.Context, _ string, run func() error) error { return run() }

func (b *bench) filesLocal(ctx context.Context, nginx string) error {
	ours, raised, err := b.oursOf(ctx, func(s *server) string { return filepath.Join(s.dir, "data", "media") })
	if err != nil {
		return err
	}
	beside := moved{}
	if nginx != "" {
		n := 0
		beside, err = move(ctx, mover{put: func(ctx context.Context, body io.Reader, size int64) (string, error) {
			n++
			address := fmt.Sprintf("%s/film%d.mp4", nginx, n)
			return address, plainPut(ctx, address, body, size)
		}, gone: func(address string) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodDelete, address, nil)
			if err != nil {
				return err
			}
			response, err := fileClient.Do(request)
			if err != nil {
				return err
			}
			return response.Body.Close()
		}}, unweighed)
		if err != nil {
			return fmt.Errorf("nginx: %w", err)
		}
	}
	fileRows("directory", "nginx", ours, beside, raised)
	return nil
}

func (b *bench) filesS3(ctx context.Context, bucket *bucket) error {
	ours, raised, err := b.oursOf(ctx, func(*server) string { return bucket.dir }, "STORAGE_BACKEND=s3", "S3_ENDPOINT=http://"+bucket.addr,
		"S3_ACCESS_KEY_ID="+bucketKey, "S3_SECRET_ACCESS_KEY="+bucketSecret, "S3_BUCKET="+bucketName)
	if err != nil {
		return err
	}
	n := 0
	beside, err := move(ctx, mover{put: func(ctx context.Context, body io.Reader, size int64) (string, error) {
		n++
		key := fmt.Sprintf("film%d.mp4", n)
		u, err := bucket.client.PresignedPutObject(ctx, bucketName, key, time.Hour)
		if err != nil {
			return "", err
		}
		if err := plainPut(ctx, u.String(), body, size); err != nil {
			return "", err
		}
		read, err := bucket.client.PresignedGetObject(ctx, bucketName, key, time.Hour, nil)
		if err != nil {
			return "", err
		}
		return read.String(), nil
	}, gone: func(string) error { return emptyDir(bucket.dir) }}, unweighed)
	if err != nil {
		return fmt.Errorf("alone: %w", err)
	}
	// A server may take a file in parts more slowly than as a whole; the upload
	// that we do cannot be faster than its own client in parts.
	parts, err := move(ctx, mover{put: func(ctx context.Context, body io.Reader, size int64) (string, error) {
		return bucket.inParts(ctx, "parts.mp4", body, size)
	}, gone: func(string) error { return emptyDir(bucket.dir) }}, unweighed)
	if err != nil {
		return fmt.Errorf("alone, in parts: %w", err)
	}
	fileRows("bucket", "versitygw", ours, beside, raised)
	row("  the same upload by S3's client, in parts of 8 MiB", fmt.Sprintf("%.0f MiB/s", parts.up), 0, 0, fmt.Sprintf("through us ×%.2f of it", ours.up/parts.up))
	return nil
}

// fileRows prints both ways of one place.
func fileRows(place, other string, ours, beside moved, raised map[string]float64) {
	text := func(a, b float64) string {
		if b == 0 {
			return "no " + other + " to compare with"
		}
		return fmt.Sprintf("%s %.0f (×%.2f)", other, b, a/b)
	}
	row(fmt.Sprintf("%s: upload of %d MiB, PSS +%.1f MiB", place, *fileMiB, raised["up"]), fmt.Sprintf("%.0f MiB/s", ours.up), 0, 0, text(ours.up, beside.up))
	row(fmt.Sprintf("%s: download, PSS +%.1f MiB", place, raised["down"]), fmt.Sprintf("%.0f MiB/s", ours.down), 0, 0, text(ours.down, beside.down))
}

// newCheck is a checksum that costs nothing beside the transfer.
func newCheck() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }
