package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/httpapi"
	"selflink/appliance/storage"
)

// Files never change under their keys, so whoever has one may keep it for ever.
const keepForever = "public, max-age=31536000, immutable"

// shown are the types that a browser may show, by extension; everything else is
// something to save. What is not here could be a page with a script in it.
func shown() map[string]string {
	return map[string]string{
		".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp",
		".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm", ".json": "application/json",
	}
}

// registerFiles adds /media/ to api. Segments are parameters, as many as keys
// have; those of uploads have more and begin with known folders.
func (s *Service) registerFiles(api *httpapi.API) {
	paths := []string{"{a}", "{a}/{b}", "{a}/{b}/{c}", "{a}/{b}/{c}/{d}"}
	for _, folder := range []string{storage.PostImages, storage.PostVideos, storage.Thumbnails, storage.Attachments, storage.Assets + "/thumbnails"} {
		paths = append(paths, folder+"/{year}/{month}/{name}")
	}
	types := shown()
	for i, pattern := range paths {
		httpapi.Stream(api, httpapi.Operation{
			Method: "GET", Path: storage.MediaPath + pattern, ID: fmt.Sprintf("media_file_%d", i), Tag: "media", Summary: "A file.",
			Access: httpapi.AccessPublic, OwnLimits: true, Hidden: true, Produces: "*/*",
		}, func(c *fiber.Ctx) error { return s.file(c, types) })
	}
}

// file answers with a file, or a range of it.
func (s *Service) file(c *fiber.Ctx, types map[string]string) error {
	ctx := c.UserContext()
	key, err := keyOf(c.Path())
	if err != nil {
		return httpapi.NoSuchPath()
	}
	info, err := s.Storage.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrBadKey) {
		return httpapi.NoSuchPath()
	}
	if err != nil {
		return answer("", err)
	}
	kind, known := types[strings.ToLower(path.Ext(key))]
	if !known {
		kind = "application/octet-stream"
		c.Set(fiber.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(key)}))
	}
	c.Set(fiber.HeaderContentType, kind)
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; sandbox")
	c.Set(fiber.HeaderCacheControl, keepForever)
	c.Set(fiber.HeaderLastModified, info.Modified.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	c.Set("Cross-Origin-Resource-Policy", "cross-origin")
	etag := fmt.Sprintf(`"%x-%x"`, info.Size, info.Modified.Unix())
	err = httpapi.ServeContent(c, info.Size, etag, func(from, length int64) (io.ReadCloser, error) {
		r, _, err := s.Storage.Open(context.WithoutCancel(ctx), key, from, length)
		return r, err
	})
	if err != nil {
		c.Response().Header.Del(fiber.HeaderCacheControl)
		if errors.Is(err, storage.ErrNotFound) {
			return httpapi.NoSuchPath()
		}
	}
	return err
}

// keyOf reads the key in a path.
func keyOf(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, storage.MediaPath)
	if !ok {
		return "", storage.ErrBadKey
	}
	key, err := unescape(rest)
	if err != nil {
		return "", err
	}
	return key, storage.CheckKey(key)
}
