package media

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/media/mediadb"
)

// Asset is what may be attached to posts (contract 14 §1).
type Asset struct {
	ID        int64             `json:"id"`
	S3Key     string            `json:"s3_key"`
	Mime      string            `json:"mime"`
	Width     *int32            `json:"width"`
	Height    *int32            `json:"height"`
	Duration  *float64          `json:"duration"`
	Status    string            `json:"status"`
	Checksum  string            `json:"checksum"`
	Meta      json.RawMessage   `json:"meta"`
	CreatedAt httpapi.Timestamp `json:"created_at"`
}

// statusReady is the status of what was uploaded here.
const (
	statusPending = "pending"
	statusReady   = "ready"
)

type assetDocument struct {
	S3Key    string                       `json:"s3_key" max:"255"`
	Mime     string                       `json:"mime" max:"64"`
	Width    httpapi.Opt[int32]           `json:"width" null:"true" min:"0" max:"2147483647"`
	Height   httpapi.Opt[int32]           `json:"height" null:"true" min:"0" max:"2147483647"`
	Duration httpapi.Opt[float64]         `json:"duration" null:"true"`
	Meta     httpapi.Opt[json.RawMessage] `json:"meta"`
}

type assetChanges struct {
	S3Key    httpapi.Opt[string]          `json:"s3_key" max:"255"`
	Mime     httpapi.Opt[string]          `json:"mime" max:"64"`
	Width    httpapi.Opt[int32]           `json:"width" null:"true" min:"0" max:"2147483647"`
	Height   httpapi.Opt[int32]           `json:"height" null:"true" min:"0" max:"2147483647"`
	Duration httpapi.Opt[float64]         `json:"duration" null:"true"`
	Meta     httpapi.Opt[json.RawMessage] `json:"meta"`
}

func (d assetDocument) changes() assetChanges {
	return assetChanges{
		S3Key: httpapi.Opt[string]{Set: true, Value: d.S3Key}, Mime: httpapi.Opt[string]{Set: true, Value: d.Mime},
		Width: d.Width, Height: d.Height, Duration: d.Duration, Meta: d.Meta,
	}
}

// check refuses keys that lead elsewhere.
func (c assetChanges) check() error {
	if c.S3Key.Set && (strings.Contains(c.S3Key.Value, "..") || strings.Contains(c.S3Key.Value, "://") || strings.HasPrefix(c.S3Key.Value, "/")) {
		return httpapi.Invalid("s3_key", "Enter a key, not an address or a path with two dots.")
	}
	if c.Duration.Set && !c.Duration.Null && (math.IsNaN(c.Duration.Value) || math.IsInf(c.Duration.Value, 0)) {
		return httpapi.Invalid("duration", "A valid number is required.")
	}
	return nil
}

// public shows an asset. The addresses of a file that is kept here are made
// now: they may run out.
func (s *Service) public(ctx context.Context) func(mediadb.AssetRow) Asset {
	return func(r mediadb.AssetRow) Asset {
		a := Asset{
			ID: r.ID, S3Key: r.S3Key, Mime: r.Mime, Width: r.Width, Height: r.Height, Duration: r.Duration,
			Status: r.Status, Checksum: r.Checksum, Meta: r.Meta, CreatedAt: httpapi.Timestamp(r.CreatedAt),
		}
		if r.FileKey == nil {
			return a
		}
		meta := map[string]any{}
		if json.Unmarshal(r.Meta, &meta) != nil || meta == nil { // any JSON is allowed
			meta = map[string]any{}
		}
		meta["url"] = s.absolute(ctx, *r.FileKey)
		if r.Thumbnail != nil {
			meta["thumbnail_url"] = s.absolute(ctx, *r.Thumbnail)
		}
		if raw, err := json.Marshal(meta); err == nil {
			a.Meta = raw
		}
		return a
	}
}

// assets gives a page of a person's assets.
func (s *Service) assets(ctx context.Context, owner int64, in httpapi.PageQuery) (httpapi.Page[Asset], error) {
	k, err := in.Keyset(httpapi.Newest)
	if err != nil {
		return httpapi.Page[Asset]{}, err
	}
	at, err := k.Time()
	if err != nil {
		return httpapi.Page[Asset]{}, err
	}
	var rows []mediadb.AssetRow
	if k.Desc() {
		var found []mediadb.AssetsDescRow
		found, err = s.q.AssetsDesc(ctx, mediadb.AssetsDescParams{OwnerID: owner, Bounded: k.Set, At: at, AfterID: k.ID, Most: int32(k.Limit)}) //nolint:gosec // at most 101
		for _, r := range found {
			rows = append(rows, mediadb.AssetRow(r))
		}
	} else {
		var found []mediadb.AssetsAscRow
		found, err = s.q.AssetsAsc(ctx, mediadb.AssetsAscParams{OwnerID: owner, Bounded: k.Set, At: at, AfterID: k.ID, Most: int32(k.Limit)}) //nolint:gosec // at most 101
		for _, r := range found {
			rows = append(rows, mediadb.AssetRow(r))
		}
	}
	if err != nil {
		return httpapi.Page[Asset]{}, fmt.Errorf("list assets: %w", err)
	}
	position := func(r mediadb.AssetRow) (string, int64) { return httpapi.TimeKey(r.CreatedAt), r.ID }
	return httpapi.BuildPage(ctx, k, rows, position, s.public(ctx)), nil
}

// read gives an asset of its owner; those of others do not exist.
func (s *Service) read(ctx context.Context, db database.Querier, owner, id int64) (mediadb.AssetRow, error) {
	r, err := mediadb.New(db).Asset(ctx, mediadb.AssetParams{ID: id, OwnerID: owner})
	if database.IsNoRows(err) {
		return r, httpapi.NotFound("MediaAsset")
	}
	if err != nil {
		return r, fmt.Errorf("read asset: %w", err)
	}
	return r, nil
}

func (s *Service) asset(ctx context.Context, owner, id int64) (Asset, error) {
	r, err := s.read(ctx, s.DB, owner, id)
	if err != nil {
		return Asset{}, err
	}
	return s.public(ctx)(r), nil
}

// describe stores an asset that describes a file somewhere else.
func (s *Service) describe(ctx context.Context, owner int64, in assetChanges) (Asset, error) {
	if err := in.check(); err != nil {
		return Asset{}, err
	}
	r := mediadb.AssetRow{ID: s.IDs.Next(), Status: statusPending, Meta: json.RawMessage("{}"), CreatedAt: s.now()}
	in.apply(&r)
	if err := insert(ctx, s.DB, owner, r); err != nil {
		return Asset{}, err
	}
	return s.public(ctx)(r), nil
}

func insert(ctx context.Context, db database.Querier, owner int64, r mediadb.AssetRow) error {
	if err := mediadb.New(db).InsertAsset(ctx, mediadb.InsertAssetParams{
		ID: r.ID, OwnerID: owner, S3Key: r.S3Key, Mime: r.Mime, Width: r.Width, Height: r.Height, Duration: r.Duration,
		Status: r.Status, Checksum: r.Checksum, Meta: r.Meta, FileKey: r.FileKey, Now: r.CreatedAt,
	}); err != nil {
		return fmt.Errorf("store asset: %w", err)
	}
	return nil
}

// apply puts changes onto a row.
func (c assetChanges) apply(r *mediadb.AssetRow) {
	r.S3Key, r.Mime = c.S3Key.Or(r.S3Key), c.Mime.Or(r.Mime)
	if c.Width.Set {
		r.Width = c.Width.Ptr()
	}
	if c.Height.Set {
		r.Height = c.Height.Ptr()
	}
	if c.Duration.Set {
		r.Duration = c.Duration.Ptr()
	}
	if c.Meta.Set {
		r.Meta = c.Meta.Value
	}
}

// change stores parts of an asset.
func (s *Service) change(ctx context.Context, owner, id int64, in assetChanges) (Asset, error) {
	if err := in.check(); err != nil {
		return Asset{}, err
	}
	var r mediadb.AssetRow
	err := s.DB.Tx(ctx, func(tx database.Tx) (err error) {
		if r, err = s.read(ctx, tx, owner, id); err != nil {
			return err
		}
		in.apply(&r)
		n, err := mediadb.New(tx).UpdateAsset(ctx, mediadb.UpdateAssetParams{
			ID: id, OwnerID: owner, S3Key: r.S3Key, Mime: r.Mime, Width: r.Width, Height: r.Height, Duration: r.Duration, Meta: r.Meta, Now: s.now(),
		})
		if err == nil && n == 0 {
			return httpapi.NotFound("MediaAsset")
		}
		return err
	})
	if err != nil {
		return Asset{}, fmt.Errorf("change asset: %w", err)
	}
	return s.public(ctx)(r), nil
}

// remove deletes an asset; its file is released by the database.
func (s *Service) remove(ctx context.Context, owner, id int64) error {
	n, err := s.q.DeleteAsset(ctx, mediadb.DeleteAssetParams{ID: id, OwnerID: owner})
	if err != nil {
		return fmt.Errorf("delete asset: %w", err)
	}
	if n == 0 {
		return httpapi.NotFound("MediaAsset")
	}
	return nil
}

// upload takes a file in and makes its asset.
func (s *Service) upload(ctx context.Context, owner int64, body *httpapi.Upload) (Asset, error) {
	parts, err := body.Parts()
	if err != nil {
		return Asset{}, err
	}
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if err != nil || n > maxFields {
			if failed := body.Failed(err); failed != nil {
				return Asset{}, failed
			}
			return Asset{}, httpapi.Invalid("file", "No file was submitted.")
		}
		if part.FormName() != "file" || part.FileName() == "" {
			continue
		}
		f, err := s.Receive(ctx, AssetKind, part)
		if err != nil {
			return Asset{}, answer("file", err)
		}
		return s.make(ctx, owner, f, func(database.Querier) error { return nil })
	}
}

// maxFields bounds what may stand before the file in a form.
const maxFields = 100

// make gives a stored file its row and its asset, both or none, in one
// transaction with what goes before it.
func (s *Service) make(ctx context.Context, owner int64, f File, before func(tx database.Querier) error) (Asset, error) {
	r := mediadb.AssetRow{
		ID: s.IDs.Next(), S3Key: f.Key, Mime: f.Mime, Width: f.Width, Height: f.Height, Status: statusReady, Checksum: f.SHA256,
		Meta: json.RawMessage("{}"), FileKey: &f.Key, CreatedAt: s.now(),
	}
	err := s.DB.Tx(ctx, func(tx database.Tx) error {
		if err := before(tx); err != nil {
			return err
		}
		if err := s.Keep(ctx, tx, owner, f); err != nil {
			return err
		}
		return insert(ctx, tx, owner, r)
	})
	if err != nil {
		// It may have been committed all the same: the file stays, and is swept
		// when it was not.
		return Asset{}, fmt.Errorf("store an upload: %w", err)
	}
	if f.Thumbnail != nil {
		r.Thumbnail = &f.Thumbnail.Key
	}
	return s.public(ctx)(r), nil
}

// noDirect says that files come through this server.
func noDirect() error {
	return httpapi.Detail(http.StatusConflict, "Files are uploaded to media/upload/ here.")
}

// grantLife is how long after its permission an upload may be reported.
const grantLife = 30 * time.Minute
