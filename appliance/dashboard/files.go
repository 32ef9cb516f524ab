package dashboard

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/httpapi"
)

// contentPolicy lets the pages load and reach their own server alone.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are those of the files that the build makes.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".ico":  "image/x-icon",
	".txt":  "text/plain; charset=utf-8",
}

// noPages is shown when the binary was built without the pages.
const noPages = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>SelfLink</title></head>
<body><p>This build has no dashboard: it was made without the front-end files. Build it with make.</p></body>
</html>
`

func (d *Desk) registerFiles() {
	file := func(p, id, summary string, h func(c *fiber.Ctx) error) {
		httpapi.Stream(d.api, httpapi.Operation{
			Method: http.MethodGet, Path: p, ID: id, Tag: tag, Summary: summary, Access: httpapi.AccessPublic, OwnLimits: true, Hidden: true,
		}, h)
	}
	file("/dashboard/", "dashboard_page", "The dashboard.", func(c *fiber.Ctx) error { return d.send(c, "index.html", "no-cache") })
	file("/dashboard/{file}", "dashboard_file", "A file of the dashboard.", func(c *fiber.Ctx) error {
		return d.send(c, httpapi.Param(c, "file"), "no-cache")
	})
	// The names of these change with what is in them.
	file("/dashboard/assets/{file}", "dashboard_asset", "A file of the dashboard.", func(c *fiber.Ctx) error {
		return d.send(c, path.Join("assets", httpapi.Param(c, "file")), "public, max-age=31536000, immutable")
	})
}

func (d *Desk) send(c *fiber.Ctx, name, caching string) error {
	c.Set("Content-Security-Policy", contentPolicy)
	if d.opts.Files == nil {
		c.Set(fiber.HeaderContentType, types[".html"])
		return c.Status(http.StatusOK).SendString(noPages)
	}
	contentType, ok := types[path.Ext(name)]
	if !ok || !fs.ValidPath(name) || strings.Contains(name, "\\") {
		return httpapi.NoSuchPath()
	}
	file, err := d.files.get(d.opts.Files, name)
	if err != nil {
		return httpapi.NoSuchPath()
	}
	c.Set(fiber.HeaderContentType, contentType)
	c.Set(fiber.HeaderCacheControl, caching)
	c.Set(fiber.HeaderVary, "Accept-Encoding")
	if c.Context().Request.Header.HasAcceptEncoding("gzip") && len(file.packed) < len(file.plain) {
		c.Set(fiber.HeaderContentEncoding, "gzip")
		return c.Status(http.StatusOK).Send(file.packed)
	}
	return c.Status(http.StatusOK).Send(file.plain)
}

// pageFiles are the files that were asked for, packed once. They are as many as
// the build made.
type pageFiles struct {
	mu    sync.Mutex
	known map[string]pageFile
}

type pageFile struct{ plain, packed []byte }

func (f *pageFiles) get(from fs.FS, name string) (pageFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file, ok := f.known[name]; ok {
		return file, nil
	}
	plain, err := fs.ReadFile(from, name)
	if err != nil {
		return pageFile{}, err
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return pageFile{}, err
	}
	if _, err := w.Write(plain); err != nil {
		return pageFile{}, err
	}
	if err := w.Close(); err != nil {
		return pageFile{}, err
	}
	if f.known == nil {
		f.known = map[string]pageFile{}
	}
	file := pageFile{plain, b.Bytes()}
	f.known[name] = file
	return file, nil
}
