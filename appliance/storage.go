package appliance

import (
	"bytes"
	"context"
	"errors"
	"time"

	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/storage"
	"selflink/services/accounts"
	"selflink/services/media"
)

// mediaSweepTime bounds one night's look at all files.
const mediaSweepTime = 2 * time.Hour

// NewStorage gives the place of files that cfg describes. It does not look
// whether it can be reached.
func NewStorage(cfg *config.Config) (storage.Store, error) {
	if cfg.Storage.Backend == config.StorageS3 {
		return newS3(cfg)
	}
	return storage.NewLocal(cfg.Storage.Dir), nil
}

// StorageNamed gives one of the two backends, whichever is in use.
func StorageNamed(cfg *config.Config, backend string) (storage.Store, error) {
	if backend == storage.BackendLocal {
		return storage.NewLocal(cfg.Storage.Dir), nil
	}
	if cfg.Storage.Endpoint == "" || cfg.Storage.Bucket == "" || cfg.Storage.AccessKey.IsZero() || cfg.Storage.SecretKey.IsZero() {
		return nil, errors.New("set S3_ENDPOINT, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY and S3_BUCKET")
	}
	return newS3(cfg)
}

func newS3(cfg *config.Config) (*storage.S3, error) {
	c := cfg.Storage
	return storage.NewS3(storage.S3Options{
		Endpoint: c.Endpoint, AccessKey: c.AccessKey.Reveal(), SecretKey: c.SecretKey.Reveal(),
		Bucket: c.Bucket, Region: c.Region, Signed: c.Signed,
	})
}

// avatars lets accounts keep pictures of people, as media does.
type avatars struct{ media *media.Service }

// Receive implements [accounts.Avatars].
func (a avatars) Receive(ctx context.Context, image []byte) (accounts.Avatar, error) {
	f, err := a.media.Receive(ctx, media.Avatar, bytes.NewReader(image))
	var refused media.Refusal
	if errors.As(err, &refused) {
		return accounts.Avatar{}, accounts.AvatarRefused(refused)
	}
	if err != nil {
		return accounts.Avatar{}, err
	}
	return accounts.Avatar{Key: f.Key, Keep: func(ctx context.Context, tx database.Tx, owner int64) error { return a.media.Keep(ctx, tx, owner, f) }}, nil
}

// Release implements [accounts.Avatars].
func (a avatars) Release(ctx context.Context, tx database.Tx, key string) error {
	return a.media.Release(ctx, tx, key)
}

// URL implements [accounts.Avatars].
func (a avatars) URL(ctx context.Context, key string) string { return a.media.URL(ctx, key) }
