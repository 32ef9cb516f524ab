// Package storage keeps files: in a directory of this machine, or in a bucket
// of an S3 server. Both behave alike, and one suite of tests runs on both.
//
// A file is known by its key, a relative path such as
// "avatars/2026/11/mfrggzdfmztwq2lk.jpg". Keys are what is stored elsewhere;
// addresses are made when somebody reads, because they may carry a signature
// that runs out. A file never changes under its key: it is put there once, as a
// whole and durably, or not at all.
//
// Content is streamed. However big a file is, a transfer takes at most two
// parts of it (8 MiB each) of memory.
package storage

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that callers branch on.
var (
	// ErrNotFound means that there is no file under a key.
	ErrNotFound = errors.New("storage: there is no such file")
	// ErrExists means that there is a file under a key already.
	ErrExists = errors.New("storage: there is a file under that key")
	// ErrBadKey means that a text is no key, see [CheckKey].
	ErrBadKey = errors.New("storage: this is not the key of a file")
	// ErrIncomplete means that the content ended before, or went on after, the
	// size that was announced. Nothing was stored.
	ErrIncomplete = errors.New("storage: the content has not the announced size")
	// ErrFull means that there is no room. Nothing was stored.
	ErrFull = errors.New("storage: no room is left")
	// ErrUnavailable means that the storage does not answer, or refuses to work;
	// the text says what to do. It may work later.
	ErrUnavailable = errors.New("storage: out of reach")
)

// Names of the backends, as STORAGE_BACKEND has them.
const (
	BackendLocal = "local"
	BackendS3    = "s3"
)

// ToEnd is the length of a range that goes to the end of a file.
const ToEnd int64 = -1

// Info is what is known of a file.
type Info struct {
	Key      string    `json:"key"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	// SHA256 in hexadecimal; only [Store.Put] knows it.
	SHA256 string `json:"sha256,omitempty"`
}

// PutOptions say more about a file than its content does.
type PutOptions struct {
	// Size is the announced size in bytes; a content of another size is refused
	// with [ErrIncomplete]. Negative: not known.
	Size int64
	// Type is the media type that S3 serves it with. The local directory keeps
	// none: who serves from it goes by the key's extension.
	Type string
}

// Store keeps files. It is safe for concurrent use. Methods return an error
// that wraps [ErrBadKey] for what is no key, and honour their context.
type Store interface {
	// Put stores r's content under key and returns what it stored, with its
	// checksum. When it returns nil the file is durable; on an error there is
	// nothing under key that was not there before. An error of r is wrapped.
	Put(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error)
	// Open reads length bytes (ToEnd: all) of a file, beginning at from. The
	// Info is that of the whole file. A range beyond the end is cut short; one
	// that begins there is empty.
	Open(ctx context.Context, key string, from, length int64) (io.ReadCloser, Info, error)
	// Stat looks at a file without reading it.
	Stat(ctx context.Context, key string) (Info, error)
	// List returns at most limit files whose keys begin with prefix and come
	// after the key named after, in the order of the keys' bytes. Fewer than
	// limit means that there are no more.
	List(ctx context.Context, prefix, after string, limit int) ([]Info, error)
	// Delete removes a file; that it is not there is no error.
	Delete(ctx context.Context, key string) error
	// URL is where a client reads the file: a path on this server, or an
	// absolute address. It does not look whether the file is there.
	URL(ctx context.Context, key string) (string, error)
	// Sweep removes what puts that were cut off before a moment have left
	// behind, and returns how much that was. Puts under way are not touched.
	Sweep(ctx context.Context, before time.Time) (int, error)
	// Check tells whether files can be stored and read. Its error says what to
	// do.
	Check(ctx context.Context) error
	// Backend is [BackendLocal] or [BackendS3].
	Backend() string
	// Place says in words where the files are, without secrets.
	Place() string
}

// page is how many files Walk asks for at once.
const page = 500

// Walk calls visit for every file of s whose key begins with prefix and comes
// after the key named after, in the order of the keys. An error of visit ends
// it and is returned as it is.
func Walk(ctx context.Context, s Store, prefix, after string, visit func(Info) error) error {
	for {
		list, err := s.List(ctx, prefix, after, page)
		if err != nil {
			return err
		}
		for _, info := range list {
			if err := visit(info); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1].Key
	}
}
