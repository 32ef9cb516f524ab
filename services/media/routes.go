package media

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

// uploadTime bounds an upload however slowly its bytes come.
const uploadTime = time.Hour

func unescape(text string) (string, error) { return url.PathUnescape(text) }

type byID struct {
	ID int64 `path:"id"`
}

type nothing struct{}

type body[T any] struct{ Body T }

type withID[T any] struct {
	byID
	Body T
}

func caller(ctx context.Context) int64 {
	p, _ := auth.From(ctx)
	return p.UserID
}

// Register adds all routes of media to api.
func (s *Service) Register(api *httpapi.API) {
	op := func(method, path, id, summary string) httpapi.Operation {
		return httpapi.Operation{Method: method, Path: "media/" + path, ID: "media_" + id, Tag: "media", Summary: summary}
	}
	made := func(o httpapi.Operation) httpapi.Operation {
		o.Status = http.StatusCreated
		return o
	}
	httpapi.Handle(api, op("GET", "", "list", "The caller's assets, newest first."), func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Asset], error) {
		return s.assets(ctx, caller(ctx), *in)
	})
	httpapi.Handle(api, made(op("POST", "", "create", "Describe a file that is somewhere else.")), func(ctx context.Context, in *body[assetDocument]) (Asset, error) {
		return s.describe(ctx, caller(ctx), in.Body.changes())
	})
	httpapi.Handle(api, op("GET", "{id}/", "detail", "One asset."), func(ctx context.Context, in *byID) (Asset, error) {
		return s.asset(ctx, caller(ctx), in.ID)
	})
	httpapi.Handle(api, op("PUT", "{id}/", "replace", "Change all of an asset."), func(ctx context.Context, in *withID[assetDocument]) (Asset, error) {
		return s.change(ctx, caller(ctx), in.ID, in.Body.changes())
	})
	httpapi.Handle(api, op("PATCH", "{id}/", "change", "Change parts of an asset."), func(ctx context.Context, in *withID[assetChanges]) (Asset, error) {
		return s.change(ctx, caller(ctx), in.ID, in.Body)
	})
	httpapi.Handle(api, op("DELETE", "{id}/", "delete", "Delete an asset; its file goes later."), func(ctx context.Context, in *byID) (httpapi.NoContent, error) {
		return httpapi.NoContent{}, s.remove(ctx, caller(ctx), in.ID)
	})

	upload := made(op("POST", "upload/", "upload", "Upload a file, and make its asset."))
	upload.Description = "multipart/form-data with one part \"file\": an image (JPEG, PNG, GIF, WebP) or a video (MP4, QuickTime), known by its content. The body is taken as it comes; the connection ends with the answer."
	upload.BodyLimit, upload.Timeout = int(s.MaxUpload)+formRoom, uploadTime
	upload.UserLimit = "60/min"
	httpapi.HandleUpload(api, upload, func(ctx context.Context, _ *nothing, in *httpapi.Upload) (Asset, error) {
		return s.upload(ctx, caller(ctx), in)
	})
	presign := op("POST", "presign/", "presign", "Get an address to put a file to, when files are kept in a bucket.")
	presign.UserLimit = "60/min"
	httpapi.Handle(api, presign, func(ctx context.Context, in *body[presignRequest]) (Presigned, error) {
		return s.presign(ctx, caller(ctx), in.Body)
	})
	finish := made(op("POST", "presign/complete/", "presign_complete", "Make an asset of the file that was put to a presigned address."))
	finish.Timeout = lookTime
	httpapi.Handle(api, finish, func(ctx context.Context, in *body[presignedKey]) (Asset, error) {
		return s.finish(ctx, caller(ctx), in.Body)
	})
	if s.Serve {
		s.registerFiles(api)
	}
}

// formRoom is what a form may have around its file, in bytes.
const formRoom = 64 << 10
