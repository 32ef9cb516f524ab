package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// Storage backends.
const (
	StorageLocal = "local"
	StorageS3    = "s3"
)

// mediaDirName is the directory of files in the data directory.
const mediaDirName = "media"

// StorageConfig says where files are kept.
type StorageConfig struct {
	Backend string // [StorageLocal] or [StorageS3]
	Dir     string // of the local backend; absolute
	Serve   bool   // this process serves /media/; never with S3
	Max     int64  // bytes of one upload

	Endpoint  string // the four and Region: of the S3 backend
	AccessKey Secret
	SecretKey Secret
	Bucket    string
	Region    string
	Signed    bool // addresses carry a signature
}

// storageTable is about uploaded files.
func storageTable() []Setting {
	storage := func(c *Config) *StorageConfig { return &c.Storage }
	return []Setting{
		{Key: storageBackend, Group: Files, Default: StorageLocal,
			Doc: "Where uploaded files are kept: local, a directory of this machine, or s3, a bucket.",
			set: into(func(c *Config) *string { return &storage(c).Backend }, parseBackend)},
		{Key: "MEDIA_ROOT", Group: Files, Auto: "<data>/media",
			Doc: "Directory of the files of STORAGE_BACKEND=local.",
			set: into(func(c *Config) *string { return &storage(c).Dir }, parsePath)},
		{Key: serveMedia, Group: Files, Auto: "true with STORAGE_BACKEND=local",
			Doc: "Whether this process serves the files of STORAGE_BACKEND=local under /media/. With false a web server in front has to, from MEDIA_ROOT.",
			set: into(func(c *Config) *bool { return &storage(c).Serve }, func(raw string) (bool, error) {
				if raw == "" {
					return true, nil
				}
				return parseBool(raw)
			})},
		{Key: "MEDIA_MAX_UPLOAD_MB", Group: Files, Default: "64", Unit: "MiB",
			Doc: "Largest upload.",
			set: into(func(c *Config) *int64 { return &storage(c).Max }, func(raw string) (int64, error) {
				n, err := parseInt(1, 1<<20)(raw)
				return int64(n) << 20, err
			})},
		{Key: s3Endpoint, Group: Files, Auto: "none",
			Doc: "Address of the S3 server as clients reach it too, such as https://s3.example.com:9000.",
			set: into(func(c *Config) *string { return &storage(c).Endpoint }, parseText), show: showURL},
		{Key: "S3_ACCESS_KEY_ID", Group: Files, Secret: true, Auto: "none",
			Doc: "Name of the key to the bucket.",
			set: into(func(c *Config) *Secret { return &storage(c).AccessKey }, parseSecret)},
		{Key: "S3_SECRET_ACCESS_KEY", Group: Files, Secret: true, Auto: "none",
			Doc: "The key to the bucket.",
			set: into(func(c *Config) *Secret { return &storage(c).SecretKey }, parseSecret)},
		{Key: "S3_BUCKET", Group: Files, Auto: "none",
			Doc: "The bucket. It has to exist.",
			set: into(func(c *Config) *string { return &storage(c).Bucket }, parseText)},
		{Key: "S3_REGION", Group: Files, Default: "us-east-1",
			Doc: "Region of the bucket, which signatures name.",
			set: into(func(c *Config) *string { return &storage(c).Region }, parseText)},
		{Key: "S3_QUERYSTRING_AUTH", Group: Files, Default: "true",
			Doc: "Whether addresses of files are signed and work for an hour. With false everybody has to be allowed to read the bucket.",
			set: into(func(c *Config) *bool { return &storage(c).Signed }, parseBool)},
	}
}

// Names that the guardrails look at.
const (
	s3Endpoint = "S3_ENDPOINT"
	serveMedia = "SERVE_MEDIA"
)

// parseBackend takes anything: guardStorage says what is wrong, in the words
// of the contract.
func parseBackend(raw string) (string, error) {
	if backend := strings.ToLower(strings.TrimSpace(raw)); backend == StorageS3 {
		return backend, nil
	}
	return StorageLocal, nil
}

// guardStorage holds the guardrails of contract 04 §5 about files.
func (l *loader) guardStorage() {
	given, ok := l.given[storageBackend]
	backend := strings.ToLower(given.text)
	if !ok {
		backend = StorageLocal
	}
	var present, missing []string
	for _, name := range s3Names() {
		if l.given[name].text == "" {
			missing = append(missing, name)
		} else {
			present = append(present, name)
		}
	}
	switch backend {
	case StorageS3:
		l.cfg.Storage.Serve = false
		if len(missing) > 0 {
			l.problem(storageBackend, "STORAGE_BACKEND=s3 requires: "+strings.Join(missing, ", "), "Give them, or set STORAGE_BACKEND=local.")
		} else if !isEndpoint(l.cfg.Storage.Endpoint) {
			l.problem(s3Endpoint, "is not an address such as https://s3.example.com:9000", "Leave out path, user and password.")
		}
	case StorageLocal:
		if len(present) > 0 {
			l.note(slog.LevelWarn, storageBackend, "STORAGE_BACKEND=local ignores S3 settings: "+strings.Join(present, ", "))
		}
		if !l.cfg.Storage.Serve {
			l.note(slog.LevelInfo, serveMedia, "SERVE_MEDIA is false: a web server in front has to serve /media/ from "+l.cfg.Storage.Dir)
		}
	default:
		l.problem(storageBackend, fmt.Sprintf("STORAGE_BACKEND must be one of ['local','s3'], not '%s'", given.text), "Set STORAGE_BACKEND=local, or leave it out.")
	}
}

// isEndpoint knows addresses of S3 servers; without a scheme https is meant.
func isEndpoint(raw string) bool {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && (u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.User == nil
}
