// Package media takes in what people upload, keeps count of it, and gives it
// back.
//
// A file goes to the storage first and is durable there before any row names
// it: however the process ends, there is no row without its file. What was
// stored and never got a row is swept a day later, and what nobody needs any
// more two days after it was released.
//
// What a file is, its first bytes say, never its name or what the client
// claims. Nothing of the client's name becomes part of a key.
package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/storage"
	"selflink/services/media/mediadb"
)

const (
	// DefaultMaxUpload bounds one upload in bytes (contract 14 §2).
	DefaultMaxUpload = 64 << 20

	// maxImage bounds an image in bytes. The biggest photos of phones have less.
	maxImage = 24 << 20

	// uploadsAtOnce bounds the uploads under way; more are refused, to come again.
	// With S3 there are fewer: each holds up to two parts of a file (8 MiB each) in
	// memory.
	uploadsAtOnce   = 32
	uploadsAtOnceS3 = 16
)

// IDs makes ids that no other process makes. *snowflake.Generator is one.
type IDs interface{ Next() int64 }

// Deps are what the service needs. DB, IDs and Storage are required.
type Deps struct {
	DB      database.Pool
	IDs     IDs
	Storage storage.Store
	// Serve lets this process answer /media/ from a local storage.
	Serve bool
	// MaxUpload bounds an upload in bytes ([DefaultMaxUpload]).
	MaxUpload int64
	Log       *slog.Logger     // nil: silent
	Clock     func() time.Time // time.Now
	Metrics   prometheus.Registerer
}

// Service keeps files. It is safe for concurrent use.
type Service struct {
	Deps
	q       *mediadb.Queries
	slots   chan struct{} // uploads under way
	decoder chan struct{} // one image at a time is decoded: that bounds the memory
	told    *told
	counts  counts

	examining sync.Mutex // held while files are looked at
}

// New makes the service.
func New(d Deps) (*Service, error) {
	if d.DB == nil || d.IDs == nil || d.Storage == nil {
		return nil, errors.New("media: a database, ids and a storage are needed")
	}
	if d.MaxUpload <= 0 {
		d.MaxUpload = DefaultMaxUpload
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	d.Log = d.Log.With("component", "media")
	told, err := newTold(d.Clock, d.Metrics)
	if err != nil {
		return nil, err
	}
	most := uploadsAtOnce
	if d.Storage.Backend() == storage.BackendS3 {
		most = uploadsAtOnceS3
	}
	return &Service{
		Deps: d, q: mediadb.New(d.DB), slots: make(chan struct{}, most), decoder: make(chan struct{}, 1), told: told,
	}, nil
}

// now is the time as Postgres can store it.
func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

// Kind is what a file is for: it says what is taken and where it is kept.
type Kind struct {
	Folder string
	Images bool
	Videos bool
	Max    int64 // bytes; 0: the bound of all uploads
	Thumb  bool  // a small picture is made of an image
}

// The kinds of files (contract 14 §2).
var (
	Avatar    = Kind{Folder: storage.Avatars, Images: true, Max: maxImage}
	AssetKind = Kind{Folder: storage.Assets, Images: true, Videos: true, Thumb: true}
)

// File is a file in the storage.
type File struct {
	Key           string
	Mime          string
	Size          int64
	SHA256        string
	Width, Height *int32 // of images
	Thumbnail     *File
}

// Refusal is what is wrong with an upload, in words for who uploads.
type Refusal string

// Error implements error.
func (r Refusal) Error() string { return string(r) }

// What may be wrong with an upload.
const (
	ErrType   Refusal = "This type of file is not taken."
	ErrImage  Refusal = "Upload a valid image. The file you uploaded was either not an image or a corrupted image."
	ErrPixels Refusal = "The image has too many pixels."
	ErrTooBig Refusal = "The file is too big."
	ErrEmpty  Refusal = "The submitted file is empty."
)

// answer makes of an error what a client is told.
func answer(field string, err error) error {
	var refused Refusal
	if errors.As(err, &refused) {
		return httpapi.Invalid(field, string(refused))
	}
	if errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrFull) {
		return fmt.Errorf("%w: %w", err, httpapi.Unavailable())
	}
	return err
}

// Receive takes a file in. When it returns the file is durable and has no row
// yet: [Service.Keep] gives it one. An error means that nothing stays.
func (s *Service) Receive(ctx context.Context, kind Kind, r io.Reader) (File, error) {
	f, err := s.receive(ctx, kind, r)
	s.told.upload(ctx, err)
	return f, err
}

func (s *Service) receive(ctx context.Context, kind Kind, r io.Reader) (File, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return File{}, fmt.Errorf("%w: %w", errBusy, httpapi.Unavailable())
	}
	head := make([]byte, sniffBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return File{}, fmt.Errorf("read an upload: %w", err)
	}
	if n == 0 && errors.Is(err, io.EOF) {
		return File{}, ErrEmpty
	}
	what, ok := sniff(head[:n])
	if !ok || what.video() && !kind.Videos || !what.video() && !kind.Images {
		if !kind.Videos {
			return File{}, ErrImage
		}
		return File{}, ErrType
	}
	most := kind.Max
	if most == 0 {
		most = s.MaxUpload
	}
	if !what.video() {
		most = min(most, maxImage)
	}
	key := storage.NewKey(kind.Folder, what.ext, s.Clock())
	content := io.MultiReader(strings.NewReader(string(head[:n])), r)
	info, err := s.Storage.Put(ctx, key, &bounded{r: content, left: most}, storage.PutOptions{Size: -1, Type: what.mime})
	if err != nil {
		return File{}, fmt.Errorf("store an upload: %w", err)
	}
	f := File{Key: key, Mime: what.mime, Size: info.Size, SHA256: info.SHA256}
	if !what.video() {
		if err := s.look(ctx, &f, kind); err != nil {
			s.discard(ctx, f)
			return File{}, err
		}
	}
	return f, nil
}

// bounded fails where a file is too big.
type bounded struct {
	r    io.Reader
	left int64
}

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrTooBig
	}
	return n, err
}

// discardTime bounds the removal of a file that was refused.
const discardTime = 10 * time.Second

// discard removes a file that has no row; what stays is swept later.
func (s *Service) discard(ctx context.Context, f File) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer cancel()
	for at := &f; at != nil; at = at.Thumbnail {
		if err := s.Storage.Delete(ctx, at.Key); err != nil {
			s.Log.Warn("a refused upload stays until it is swept", "key", at.Key, "error", err)
		}
	}
}

// Keep gives a file its row, in the transaction that makes use of it.
func (s *Service) Keep(ctx context.Context, tx database.Querier, owner int64, f File) error {
	q := mediadb.New(tx)
	var thumbnail *string
	if f.Thumbnail != nil {
		if err := s.Keep(ctx, tx, owner, *f.Thumbnail); err != nil {
			return err
		}
		thumbnail = &f.Thumbnail.Key
	}
	if err := q.KeepFile(ctx, mediadb.KeepFileParams{
		Key: f.Key, OwnerID: &owner, Mime: f.Mime, Size: f.Size, Sha256: f.SHA256, Width: f.Width, Height: f.Height, Thumbnail: thumbnail,
	}); err != nil {
		return fmt.Errorf("keep the file %s: %w", f.Key, err)
	}
	return nil
}

// Release says, in the transaction that makes no use of it any more, that a
// file is not needed. A key without a row is nobody's: nothing happens.
func (s *Service) Release(ctx context.Context, tx database.Querier, key string) error {
	if err := mediadb.New(tx).ReleaseFile(ctx, key); err != nil {
		return fmt.Errorf("release the file %s: %w", key, err)
	}
	return nil
}

// URL is where clients read a file: a path on this server, or an absolute
// address.
func (s *Service) URL(ctx context.Context, key string) string {
	address, err := s.Storage.URL(ctx, key)
	if err != nil {
		s.Log.Error("a file has no address", "key", key, "error", err)
	}
	return address
}

// absolute is URL with this server's own address before a path.
func (s *Service) absolute(ctx context.Context, key string) string {
	address := s.URL(ctx, key)
	if strings.HasPrefix(address, "/") {
		return httpapi.RequestInfo(ctx).BaseURL + address
	}
	return address
}
