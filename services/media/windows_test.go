package media_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
	"selflink/services/media"
)

// stepped calls a test at every step that a storage takes.
type stepped struct {
	storage.Store

	mu   sync.Mutex
	hook func(step, key string) error
}

// at sets what is called; an error of it is that of the step.
func (s *stepped) at(hook func(step, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

func (s *stepped) step(name, key string) error {
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(name, key)
}

func (s *stepped) Put(ctx context.Context, key string, r io.Reader, o storage.PutOptions) (storage.Info, error) {
	info, err := s.Store.Put(ctx, key, r, o)
	if err == nil {
		err = s.step("put", key)
	}
	return info, err
}

func (s *stepped) Open(ctx context.Context, key string, from, length int64) (io.ReadCloser, storage.Info, error) {
	if err := s.step("open", key); err != nil {
		return nil, storage.Info{}, err
	}
	return s.Store.Open(ctx, key, from, length)
}

func (s *stepped) Delete(ctx context.Context, key string) error {
	if err := s.step("delete", key); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key)
}

// Presign implements what media asks of a bucket.
func (s *stepped) Presign(ctx context.Context, key, mime string) (string, http.Header, error) {
	return s.Store.(*storage.S3).Presign(ctx, key, mime) //nolint:forcetypeassert // asked of buckets alone
}

// withoutRows has no row stored until the function that it returns is called.
func (r *rig) withoutRows(t *testing.T) (back func()) {
	rename := func(from, to string) {
		_, err := r.db.Direct.Exec(context.Background(), "ALTER TABLE "+from+" RENAME TO "+to)
		require.NoError(t, err)
	}
	rename("media_files", "media_files_away")
	return func() { rename("media_files_away", "media_files") }
}

// TestWindows ends uploads between every two of their steps: no row is left
// without its file, and the sweep takes every file without a row.
func TestWindows(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		steps := &stepped{Store: r.store}
		r.svc.Storage = steps
		picture := pngOf(t, 900, 300)
		cut := errors.New("ended here")
		for _, c := range []struct {
			name        string
			ends        func(step, key string) bool
			left, after int
		}{
			{"after the file", func(step, key string) bool { return step == "put" && !strings.Contains(key, "thumbnails") }, 1, 0},
			{"before the file is looked at", func(step, _ string) bool { return step == "open" }, 1, 0},
			{"after the thumbnail", func(step, key string) bool { return step == "put" && strings.Contains(key, "thumbnails") }, 2, 0},
		} {
			ended := false
			steps.at(func(step, key string) error {
				// Nothing is tidied up by who does not live any more.
				if ended = ended || c.ends(step, key); ended {
					return cut
				}
				return nil
			})
			res := r.upload(t, 1, "a.png", picture)
			require.GreaterOrEqual(t, res.Status, 500, "%s: %s", c.name, res.Body)
			require.True(t, ended, c.name)
			require.Len(t, r.files(t), c.left, c.name)
			require.Zero(t, r.count(t, "media_files")+r.count(t, "media_assets"), c.name)
			steps.at(nil)
			r.sweptTo(t, c.after)
		}

		// Before the row is committed.
		back := func() {}
		steps.at(func(step, key string) error {
			if step == "put" && strings.Contains(key, "thumbnails") {
				back = r.withoutRows(t)
			}
			return nil
		})
		res := r.upload(t, 1, "a.png", picture)
		back()
		steps.at(nil)
		require.Equal(t, 500, res.Status, res.Body)
		require.Len(t, r.files(t), 2)
		require.Zero(t, r.count(t, "media_files")+r.count(t, "media_assets"))
		r.sweptTo(t, 0)

		// The sweep ends between a row and its file: the next one takes the file.
		res = r.upload(t, 1, "a.png", picture)
		require.Equal(t, 201, res.Status, res.Body)
		var a asset
		res.JSON(t, &a)
		require.Equal(t, 204, r.As("1").Do(t, "DELETE", fmt.Sprintf("/api/v1/media/%d/", a.ID), "").Status)
		r.clock.Advance(49 * time.Hour)
		steps.at(func(step, _ string) error {
			if step == "delete" {
				return cut
			}
			return nil
		})
		_, err := r.svc.Sweep(t.Context())
		require.ErrorIs(t, err, cut)
		require.Len(t, r.files(t), 2)
		require.Equal(t, 1, r.count(t, "media_files"), "one row is gone, its file is not")
		steps.at(nil)
		r.sweptTo(t, 0)
		require.Zero(t, r.count(t, "media_files"))
	})
}

// sweptTo sweeps a day later.
func (r *rig) sweptTo(t *testing.T, files int) {
	t.Helper()
	r.clock.Advance(25 * time.Hour)
	_, err := r.svc.Sweep(t.Context())
	require.NoError(t, err)
	require.Len(t, r.files(t), files)
}

// TestPresignIsToldAgain has the report of a file fail in the middle: its client
// may repeat it, and it counts once.
func TestPresignIsToldAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, storagetest.Start(t).Store(t))
	steps := &stepped{Store: r.store}
	r.svc.Storage = steps
	ann := r.As("1")
	var p media.Presigned
	ann.Do(t, "POST", "/api/v1/media/presign/", `{"mime":"image/png"}`).JSON(t, &p)
	req, err := http.NewRequestWithContext(t.Context(), p.Method, p.URL, bytes.NewReader(pngOf(t, 30, 20)))
	require.NoError(t, err)
	for name, value := range p.Headers {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 200, res.StatusCode)
	tell := func() int {
		return ann.Do(t, "POST", "/api/v1/media/presign/complete/", `{"key":"`+p.Key+`"}`).Status
	}
	steps.at(func(string, string) error { return storage.ErrUnavailable })
	require.Equal(t, 503, tell(), "the bucket is out of reach")
	steps.at(nil)
	back := r.withoutRows(t)
	require.Equal(t, 500, tell(), "no row is stored")
	back()
	var all sync.WaitGroup
	var mu sync.Mutex
	times := map[int]int{}
	for range 4 {
		all.Go(func() {
			status := tell()
			mu.Lock()
			defer mu.Unlock()
			times[status]++
		})
	}
	all.Wait()
	require.Equal(t, map[int]int{201: 1, 404: 3}, times)
	require.Equal(t, 1, r.count(t, "media_assets"))
}
