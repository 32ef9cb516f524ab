package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/storage"
	"selflink/services/media/mediadb"
)

// presigner is a storage into which clients may put files by themselves.
type presigner interface {
	Presign(ctx context.Context, key, mediaType string) (string, http.Header, error)
}

type presignRequest struct {
	Mime string `json:"mime" enum:"image/jpeg,image/png,image/gif,image/webp,video/mp4,video/quicktime"`
}

// Presigned says where a client may put its file, and how.
type Presigned struct {
	Key       string            `json:"key"`
	URL       string            `json:"url"`
	Method    string            `json:"method"`
	Headers   map[string]string `json:"headers"`
	ExpiresAt httpapi.Timestamp `json:"expires_at"`
}

// types are what clients may put, by media type.
func types() map[string]string {
	return map[string]string{"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "video/mp4": "mp4", "video/quicktime": "mov"}
}

// presign lets a client put one file into the bucket itself.
func (s *Service) presign(ctx context.Context, owner int64, in presignRequest) (Presigned, error) {
	bucket, ok := s.Storage.(presigner)
	if !ok {
		return Presigned{}, noDirect()
	}
	key := storage.NewKey(storage.Assets, types()[in.Mime], s.Clock())
	address, header, err := bucket.Presign(ctx, key, in.Mime)
	if err != nil {
		return Presigned{}, answer("mime", err)
	}
	until := s.now().Add(grantLife)
	if err := s.q.Grant(ctx, mediadb.GrantParams{Key: key, OwnerID: owner, Mime: in.Mime, ExpiresAt: until}); err != nil {
		return Presigned{}, fmt.Errorf("store a permission: %w", err)
	}
	out := Presigned{Key: key, URL: address, Method: http.MethodPut, Headers: map[string]string{}, ExpiresAt: httpapi.Timestamp(until)}
	for name := range header {
		out.Headers[name] = header.Get(name)
	}
	return out, nil
}

type presignedKey struct {
	Key string `json:"key" max:"255"`
}

// finish looks at what a client has put, and makes its asset. What it put does
// not have to be what it said. The permission is used up by the transaction
// that makes the asset, so that whatever comes between, the client may tell
// again.
func (s *Service) finish(ctx context.Context, owner int64, in presignedKey) (Asset, error) {
	mime, err := s.q.Granted(ctx, mediadb.GrantedParams{Key: in.Key, OwnerID: owner})
	if database.IsNoRows(err) {
		return Asset{}, httpapi.NotFound("MediaAsset")
	}
	if err != nil {
		return Asset{}, fmt.Errorf("read a permission: %w", err)
	}
	take := func(tx database.Querier) error {
		n, err := mediadb.New(tx).TakeGrant(ctx, mediadb.TakeGrantParams{Key: in.Key, OwnerID: owner})
		if err == nil && n == 0 {
			return httpapi.NotFound("MediaAsset") // told twice at once
		}
		return err
	}
	f, err := s.inspect(ctx, in.Key, mime)
	s.told.upload(ctx, err)
	var refused Refusal
	if errors.As(err, &refused) {
		if err := take(s.DB); err != nil {
			return Asset{}, fmt.Errorf("use a permission up: %w", err)
		}
		s.discard(ctx, File{Key: in.Key})
	}
	if err != nil {
		return Asset{}, answer("key", err)
	}
	return s.make(ctx, owner, f, take)
}

// inspect is what Receive does, for a file that is stored already.
func (s *Service) inspect(ctx context.Context, key, mime string) (File, error) {
	content, info, err := s.Storage.Open(ctx, key, 0, sniffBytes)
	if errors.Is(err, storage.ErrNotFound) {
		return File{}, httpapi.Invalid("key", "The file has not been uploaded.")
	}
	if err != nil {
		return File{}, err
	}
	head, err := io.ReadAll(io.LimitReader(content, sniffBytes))
	if err := errors.Join(err, content.Close()); err != nil {
		return File{}, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	what, ok := sniff(head)
	switch {
	case info.Size == 0:
		return File{}, ErrEmpty
	case !ok || what.mime != mime:
		return File{}, ErrType
	case info.Size > s.MaxUpload || !what.video() && info.Size > maxImage:
		return File{}, ErrTooBig
	}
	f := File{Key: key, Mime: what.mime, Size: info.Size}
	if !what.video() {
		if err := s.look(ctx, &f, AssetKind); err != nil {
			return File{}, err
		}
	}
	return f, nil
}

// lookTime bounds the look at a file that a client has put.
const lookTime = 2 * time.Minute
