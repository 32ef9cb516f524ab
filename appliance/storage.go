package appliance

import (
	"selflink/appliance/config"
	"selflink/appliance/storage"
)

// NewStorage gives the place of files that cfg describes. It does not look
// whether it can be reached.
func NewStorage(cfg *config.Config) (storage.Store, error) {
	if cfg.Storage.Backend == config.StorageS3 {
		return newS3(cfg)
	}
	return storage.NewLocal(cfg.Storage.Dir), nil
}

func newS3(cfg *config.Config) (*storage.S3, error) {
	c := cfg.Storage
	return storage.NewS3(storage.S3Options{
		Endpoint: c.Endpoint, AccessKey: c.AccessKey.Reveal(), SecretKey: c.SecretKey.Reveal(),
		Bucket: c.Bucket, Region: c.Region, Signed: c.Signed,
	})
}
