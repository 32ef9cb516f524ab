package media_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
	"selflink/services/media"
)

type asset struct {
	ID       int64
	S3Key    string `json:"s3_key"`
	Mime     string
	Width    *int
	Height   *int
	Status   string
	Checksum string
	Meta     struct {
		URL       string `json:"url"`
		Thumbnail string `json:"thumbnail_url"`
	}
}

func movie(brand string, size int) []byte {
	return append([]byte("\x00\x00\x00\x18ftyp"+brand+"\x00\x00\x02\x00isomiso2"), bytes.Repeat([]byte{7}, size)...)
}

func TestUpload(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		res := r.upload(t, 1, "../../etc/Cat.PHP", pngOf(t, 900, 300))
		require.Equal(t, 201, res.Status, res.Body)
		var a asset
		res.JSON(t, &a)
		require.Regexp(t, `^assets/\d{4}/\d\d/[a-z2-7]{26}\.png$`, a.S3Key)
		require.Equal(t, []any{"image/png", "ready", 900, 300, 64}, []any{a.Mime, a.Status, *a.Width, *a.Height, len(a.Checksum)})
		get := func(address string) *http.Response {
			got, err := http.Get(address) //nolint:noctx // a test server
			require.NoError(t, err)
			t.Cleanup(func() { got.Body.Close() })
			return got
		}
		got := get(a.Meta.URL)
		raw, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.Equal(t, pngOf(t, 900, 300), raw)
		require.Equal(t, "image/png", got.Header.Get("Content-Type"))
		small, format, err := image.Decode(get(a.Meta.Thumbnail).Body)
		require.NoError(t, err)
		require.Equal(t, "jpeg", format)
		require.Equal(t, image.Pt(480, 160), small.Bounds().Size())

		// Owners alone see it.
		path := fmt.Sprintf("/api/v1/media/%d/", a.ID)
		require.Equal(t, 404, r.As("2").Do(t, "GET", path, "").Status)
		require.Equal(t, 404, r.As("2").Do(t, "DELETE", path, "").Status)
		res = r.As("1").Do(t, "PATCH", path, `{"meta":{"alt":"cat"},"width":5}`)
		require.Equal(t, 200, res.Status, res.Body)
		require.Contains(t, res.Body, `"alt":"cat"`)
		require.Contains(t, res.Body, `"url":"http`)

		for _, m := range []struct{ brand, mime string }{{"isom", "video/mp4"}, {"mp42", "video/mp4"}, {"qt  ", "video/quicktime"}} {
			res := r.upload(t, 1, "x", movie(m.brand, 100_000))
			require.Equal(t, 201, res.Status, res.Body)
			require.Contains(t, res.Body, m.mime)
		}
		var list struct{ Results []asset }
		r.As("1").Do(t, "GET", "/api/v1/media/", "").JSON(t, &list)
		require.Len(t, list.Results, 4)
		require.Equal(t, a.ID, list.Results[3].ID)
		require.Len(t, r.files(t), 5)
		require.Equal(t, 5, r.count(t, "media_files"))

		// Deleted, a file stays for the backups under way, and goes.
		require.Equal(t, 204, r.As("1").Do(t, "DELETE", path, "").Status)
		swept, err := r.svc.Sweep(t.Context())
		require.NoError(t, err)
		require.Equal(t, media.Swept{}, swept)
		r.clock.Advance(49 * time.Hour)
		swept, err = r.svc.Sweep(t.Context())
		require.NoError(t, err)
		require.Equal(t, media.Swept{Released: 2}, swept)
		require.Len(t, r.files(t), 3)
		require.Equal(t, 3, r.count(t, "media_files"))
	})
}

// flood is a PNG of some bytes that claims to be huge.
func flood(w, h uint32) []byte {
	head := make([]byte, 13)
	binary.BigEndian.PutUint32(head, w)
	binary.BigEndian.PutUint32(head[4:], h)
	head[8], head[9] = 8, 6
	chunk := append([]byte("IHDR"), head...)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), chunk...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(chunk))
}

func TestRefusedUploads(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		good := pngOf(t, 20, 20)
		const notImage = "Upload a valid image. The file you uploaded was either not an image or a corrupted image."
		for _, c := range []struct {
			name, file string
			content    []byte
			text       string
		}{
			{"empty", "a.png", nil, "The submitted file is empty."},
			{"text", "a.png", []byte("hello"), "This type of file is not taken."},
			{"a page", "a.png", []byte("<html><script>alert(1)</script>"), "This type of file is not taken."},
			{"SVG", "a.svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`), "This type of file is not taken."},
			{"a zip", "a.png", append([]byte("PK\x03\x04"), make([]byte, 1000)...), "This type of file is not taken."},
			{"gzip", "a.png", append([]byte("\x1f\x8b\x08"), make([]byte, 1000)...), "This type of file is not taken."},
			{"HEIC", "a.heic", movie("heic", 10), "This type of file is not taken."},
			{"a head alone", "a.png", good[:40], notImage},
			{"half an image", "a.png", good[:len(good)-30], notImage},
			{"a page behind a head", "a.png", append([]byte("\x89PNG\r\n\x1a\n"), "<script>"...), notImage},
			{"a pixel flood", "a.png", flood(60_000, 60_000), "The image has too many pixels."},
			{"a long pixel flood", "a.png", flood(1, 100_000), "The image has too many pixels."},
			{"no pixels", "a.png", flood(0, 10), notImage},
			{"as many as allowed, and none there", "a.png", flood(5000, 4000), notImage},
			{"too big", "a.mp4", movie("isom", 4<<20), "The file is too big."},
		} {
			res := r.upload(t, 1, c.file, c.content)
			require.Equal(t, 400, res.Status, "%s: %s", c.name, res.Body)
			require.JSONEq(t, fmt.Sprintf(`{"file":[%q]}`, c.text), res.Body, c.name)
		}
		body, kind := form("other", "a.png", good)
		ann := r.As("1")
		for _, c := range []struct {
			name, body, kind string
			status           int
		}{
			{"another field", body, kind, 400},
			{"no form", "{}", "application/json", 415},
			{"no boundary", body, "multipart/form-data", 400},
			{"another boundary", body, "multipart/form-data; boundary=zzz", 400},
			{"cut off", body[:len(body)/2], kind, 400},
			{"far too big", strings.Repeat("x", 6<<20), kind, 413},
		} {
			res := ann.Do(t, "POST", "/api/v1/media/upload/", c.body, "Content-Type", c.kind)
			require.Equal(t, c.status, res.Status, "%s: %s", c.name, res.Body)
		}
		require.Equal(t, 401, r.Client.Do(t, "POST", "/api/v1/media/upload/", body, "Content-Type", kind).Status)

		// A client that goes away in the middle.
		file, kind := form("file", "a.png", pngOf(t, 400, 400))
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.Base, "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "POST /api/v1/media/upload/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 1\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(file), file[:len(file)-1000])
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Contains(t, string(answer), "400 Bad Request")
		require.NoError(t, conn.Close())

		require.Empty(t, r.files(t), "nothing stays of what was refused")
		require.Zero(t, r.count(t, "media_files"))
		require.Zero(t, r.count(t, "media_assets"))
	})
}

// TestPolyglot keeps what is an image and something else too, and serves it as
// nothing but an image.
func TestPolyglot(t *testing.T) {
	t.Parallel()
	r := newRig(t, storage.NewLocal(t.TempDir()))
	both := append(pngOf(t, 20, 20), "<script>alert(1)</script>PK\x05\x06"...)
	var a asset
	res := r.upload(t, 1, "a.html", both)
	require.Equal(t, 201, res.Status, res.Body)
	res.JSON(t, &a)
	got := r.Do(t, "GET", "/media/"+a.S3Key, "")
	require.Equal(t, "image/png", got.Header.Get("Content-Type"))
	require.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "default-src 'none'; sandbox", got.Header.Get("Content-Security-Policy"))
}

func TestOrientation(t *testing.T) {
	t.Parallel()
	r := newRig(t, storage.NewLocal(t.TempDir()))
	img := picture(200, 100)
	for y := range 100 { // the left half is red
		for x := range 100 {
			img.Set(x, y, color.RGBA{255, 0, 0, 255})
		}
	}
	raw := jpegOf(t, img)
	exif := "Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
	segment := append([]byte{0xff, 0xe1, 0, byte(len(exif) + 2)}, exif...)
	raw = append(append(raw[:2:2], segment...), raw[2:]...)
	var a asset
	res := r.upload(t, 1, "a.jpg", raw)
	require.Equal(t, 201, res.Status, res.Body)
	res.JSON(t, &a)
	require.Equal(t, []int{100, 200}, []int{*a.Width, *a.Height}, "as it is seen")
	small, _, err := image.Decode(strings.NewReader(r.Do(t, "GET", strings.TrimPrefix(a.Meta.Thumbnail, r.Base), "").Body))
	require.NoError(t, err)
	require.Equal(t, image.Pt(100, 200), small.Bounds().Size())
	red, _, blue, _ := small.At(50, 20).RGBA()
	require.Greater(t, red>>8, uint32(200), "red is above")
	require.Less(t, blue>>8, uint32(60))
}

func TestAssets(t *testing.T) {
	t.Parallel()
	r := newRig(t, storage.NewLocal(t.TempDir()))
	ann := r.As("1")
	const path = "/api/v1/media/"
	res := ann.Do(t, "POST", path, `{"s3_key":"k/1","mime":"image/png","width":640,"height":480,"meta":{"url":"https://cdn.example.com/k/1"}}`)
	require.Equal(t, 201, res.Status, res.Body)
	var whole map[string]any
	res.JSON(t, &whole)
	id := res.Body[len(`{"id":`):strings.Index(res.Body, ",")]
	require.Regexp(t, `^\{"id":\d+,"s3_key":"k/1","mime":"image/png","width":640,"height":480,"duration":null,"status":"pending","checksum":"","meta":\{"url":"https://cdn\.example\.com/k/1"\},"created_at":"[^"]+Z"\}$`, res.Body)
	one := path + id + "/"
	ann.Scenarios(t, []apitest.Scenario{
		{Name: "missing", Post: path, Body: `{}`, Status: 400, JSON: `{"s3_key":["This field is required."],"mime":["This field is required."]}`},
		{Name: "out of it", Post: path, Body: `{"s3_key":"a/../b","mime":"x"}`, Status: 400, JSON: `{"s3_key":["Enter a key, not an address or a path with two dots."]}`},
		{Name: "an address", Post: path, Body: `{"s3_key":"https://x/y","mime":"x"}`, Status: 400},
		{Name: "null meta", Post: path, Body: `{"s3_key":"a","mime":"x","meta":null}`, Status: 400, JSON: `{"meta":["This field may not be null."]}`},
		{Name: "negative", Post: path, Body: `{"s3_key":"a","mime":"x","width":-1}`, Status: 400},
		{Name: "anybody", As: r.Client, Post: path, Body: `{"s3_key":"a","mime":"x"}`, Status: 401},
		{Name: "part", Patch: one, Body: `{"width":null,"duration":1.5,"meta":[1]}`, Status: 200},
		{Name: "all but", Put: one, Body: `{"s3_key":"k/2"}`, Status: 400, JSON: `{"mime":["This field is required."]}`},
		{Name: "read-only", Patch: one, Body: `{"status":"ready","checksum":"x"}`, Status: 200},
		{Name: "of others", As: r.As("2"), Get: one, Status: 404},
		{Name: "presign without a bucket", Post: path + "presign/", Body: `{"mime":"image/png"}`, Status: 409},
	})
	res = ann.Do(t, "PUT", one, `{"s3_key":"k/2","mime":"video/mp4"}`)
	require.Equal(t, 200, res.Status, res.Body)
	require.Contains(t, res.Body, `"width":null,"height":480,"duration":1.5,"status":"pending","checksum":"","meta":[1]`)
	require.Equal(t, 204, ann.Do(t, "DELETE", one, "").Status)
	require.Equal(t, 404, ann.Do(t, "GET", one, "").Status)
	var ids []float64
	for i := range 25 {
		var made map[string]any
		ann.Do(t, "POST", path, fmt.Sprintf(`{"s3_key":"n/%d","mime":"x"}`, i)).JSON(t, &made)
		ids = append(ids, made["id"].(float64))
	}
	var page struct {
		Next    *string
		Results []map[string]any
	}
	ann.Do(t, "GET", path, "").JSON(t, &page)
	require.Len(t, page.Results, 20)
	require.Equal(t, ids[24], page.Results[0]["id"])
	ann.Do(t, "GET", strings.TrimPrefix(*page.Next, r.Base), "").JSON(t, &page)
	require.Len(t, page.Results, 5)
}

func TestPresign(t *testing.T) {
	t.Parallel()
	r := newRig(t, storagetest.Start(t).Store(t))
	ann := r.As("1")
	grant := func(mime string) media.Presigned {
		res := ann.Do(t, "POST", "/api/v1/media/presign/", `{"mime":"`+mime+`"}`)
		require.Equal(t, 200, res.Status, res.Body)
		var p media.Presigned
		res.JSON(t, &p)
		return p
	}
	put := func(p media.Presigned, content []byte) int {
		req, err := http.NewRequestWithContext(t.Context(), p.Method, p.URL, bytes.NewReader(content))
		require.NoError(t, err)
		for name, value := range p.Headers {
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	done := func(c *apitest.Client, key string) apitest.Response {
		return c.Do(t, "POST", "/api/v1/media/presign/complete/", `{"key":"`+key+`"}`)
	}
	p := grant("image/png")
	require.Equal(t, 200, put(p, pngOf(t, 30, 20)))
	require.Equal(t, 404, done(r.As("2"), p.Key).Status)
	res := done(ann, p.Key)
	require.Equal(t, 201, res.Status, res.Body)
	require.Contains(t, res.Body, `"width":30,"height":20`)
	require.Equal(t, 404, done(ann, p.Key).Status, "once")
	require.Equal(t, 412, put(p, pngOf(t, 5, 5)), "what was looked at stays what it is")
	lie := grant("image/png")
	require.Equal(t, 200, put(lie, []byte("<script>")))
	require.Equal(t, 400, done(ann, lie.Key).Status)
	never := grant("image/png")
	require.Equal(t, 400, done(ann, never.Key).Status)
	require.Equal(t, 200, put(never, pngOf(t, 10, 10)))
	require.Equal(t, 201, done(ann, never.Key).Status, "told too early, and again")
	forgotten := grant("image/png")
	require.Equal(t, 200, put(forgotten, pngOf(t, 10, 10)))
	require.Len(t, r.files(t), 5)
	r.clock.Advance(25 * time.Hour)
	_, err := r.db.Pool.Exec(t.Context(), "UPDATE media_grants SET expires_at = now() - interval '1 hour'")
	require.NoError(t, err)
	swept, err := r.svc.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, swept.Orphans)
	require.Len(t, r.files(t), 4)
}

func TestServing(t *testing.T) {
	t.Parallel()
	r := newRig(t, storage.NewLocal(t.TempDir()))
	for key, content := range map[string]string{
		"posts/images/2026/11/a.jpg": "j", "gifts/trendy/x.json": "{}", "a.html": "<script>", "avatars/ფოტო 1.png": "0123456789", "posts/videos/thumbnails/2026/11/x.jpg": "t",
	} {
		_, err := r.store.Put(t.Context(), key, strings.NewReader(content), storage.PutOptions{Size: -1})
		require.NoError(t, err)
	}
	address, err := r.store.URL(t.Context(), "avatars/ფოტო 1.png")
	require.NoError(t, err)
	res := r.Do(t, "GET", address, "", "Accept", "image/webp,image/*")
	require.Equal(t, 200, res.Status, res.Body)
	require.Equal(t, "0123456789", res.Body)
	require.Equal(t, "public, max-age=31536000, immutable", res.Header.Get("Cache-Control"))
	require.Equal(t, "bytes", res.Header.Get("Accept-Ranges"))
	require.Equal(t, 304, r.Do(t, "GET", address, "", "If-None-Match", res.Header.Get("ETag")).Status)
	require.Equal(t, "345", r.Do(t, "GET", address, "", "Range", "bytes=3-5").Body)
	for path, kind := range map[string]string{
		"/media/posts/images/2026/11/a.jpg": "image/jpeg", "/media/gifts/trendy/x.json": "application/json", "/media/a.html": "application/octet-stream",
		"/media/posts/videos/thumbnails/2026/11/x.jpg": "image/jpeg",
	} {
		res := r.Do(t, "GET", path, "")
		require.Equal(t, 200, res.Status, path)
		require.Equal(t, kind, res.Header.Get("Content-Type"), path)
		require.Equal(t, kind == "application/octet-stream", strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment"), path)
	}
	for _, path := range []string{"/media/none.jpg", "/media/", "/media/gifts", "/media/..%2f..%2fetc%2fpasswd", "/media/%2e%2e/x", "/media/a.html%00", "/media/.incoming/x"} {
		res := r.Do(t, "GET", path, "")
		require.Equal(t, 404, res.Status, path)
		require.Empty(t, res.Header.Get("Cache-Control"), path)
	}
}

// TestOrphans shows what is swept: what never got a row and is old.
func TestOrphans(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		kept, err := r.svc.Receive(t.Context(), media.AssetKind, bytes.NewReader(pngOf(t, 600, 600)))
		require.NoError(t, err)
		require.NoError(t, r.svc.Keep(t.Context(), r.db.Pool, 1, kept))
		_, err = r.svc.Receive(t.Context(), media.Avatar, bytes.NewReader(pngOf(t, 10, 10)))
		require.NoError(t, err)
		_, err = r.store.Put(t.Context(), "old/installation.png", strings.NewReader("x"), storage.PutOptions{Size: -1})
		require.NoError(t, err)
		for _, orphans := range []int{0, 1, 0} {
			swept, err := r.svc.Sweep(t.Context())
			require.NoError(t, err)
			require.Equal(t, media.Swept{Orphans: orphans}, swept)
			r.clock.Advance(25 * time.Hour)
		}
		require.Len(t, r.files(t), 3)
		require.NoError(t, r.svc.Release(t.Context(), r.db.Pool, kept.Key))
		r.clock.Advance(49 * time.Hour)
		swept, err := r.svc.Sweep(t.Context())
		require.NoError(t, err)
		require.Equal(t, media.Swept{Released: 2}, swept)
		require.Equal(t, []string{"old/installation.png"}, r.files(t))
	})
}

// down is a storage that is out of reach.
type down struct{ storage.Store }

func (down) Put(context.Context, string, io.Reader, storage.PutOptions) (storage.Info, error) {
	return storage.Info{}, fmt.Errorf("store: %w", storage.ErrUnavailable)
}

func TestStorageDown(t *testing.T) {
	t.Parallel()
	r := newRig(t, down{storage.NewLocal(t.TempDir())})
	res := r.upload(t, 1, "a.png", pngOf(t, 10, 10))
	require.Equal(t, 503, res.Status, res.Body)
	require.Zero(t, r.count(t, "media_assets"))
	require.False(t, errors.Is(storage.ErrUnavailable, storage.ErrFull))
	require.True(t, json.Valid([]byte(res.Body)))
}
