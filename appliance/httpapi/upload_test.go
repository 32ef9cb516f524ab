package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

type received struct {
	Bytes  int64 `json:"bytes"`
	Length int64 `json:"length"`
	Caller int64 `json:"caller"`
}

func uploadServer(t *testing.T, o httpapi.Options) *apitest.Client {
	t.Helper()
	o.Listen, o.Log, o.Auth = []string{"127.0.0.1:0"}, slog.New(slog.DiscardHandler), tokens{}
	api, err := httpapi.New(o)
	require.NoError(t, err)
	httpapi.HandleUpload(api, httpapi.Operation{Method: "POST", Path: "take/{id}/", ID: "take", Tag: "x", Summary: "x", BodyLimit: 4 << 20, Status: 201},
		func(ctx context.Context, in *struct {
			ID int64 `path:"id"`
		}, body *httpapi.Upload) (received, error) {
			switch in.ID {
			case 2:
				panic("two")
			case 3:
				return received{}, httpapi.Detail(http.StatusConflict, "Early.")
			}
			n, err := io.Copy(io.Discard, body)
			who, _ := auth.From(ctx)
			return received{n, body.Length, who.UserID}, err
		})
	httpapi.Stream(api, httpapi.Operation{Method: "GET", Path: "/file", ID: "file", Tag: "x", Summary: "x", Access: httpapi.AccessPublic, Produces: "*/*"}, func(c *fiber.Ctx) error {
		const text = "0123456789"
		return httpapi.ServeContent(c, int64(len(text)), `"tag"`, func(from, length int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text[from : from+length])), nil
		})
	})
	return apitest.Serve(t, api)
}

func TestUpload(t *testing.T) {
	t.Parallel()
	c := uploadServer(t, httpapi.Options{})
	big := strings.Repeat("x", 3<<20)
	ann := c.As("ann")
	for _, s := range []struct {
		name, path, body string
		client           *apitest.Client
		status           int
		json             string
	}{
		{"nothing", "1/", "", ann, 201, `{"bytes":0,"length":0,"caller":1}`},
		{"small", "1/", "abc", ann, 201, `{"bytes":3,"length":3,"caller":1}`},
		{"big", "1/", big, ann, 201, `{"bytes":3145728,"length":3145728,"caller":1}`},
		{"without the slash", "1", big, ann, 201, `{"bytes":3145728,"length":3145728,"caller":1}`},
		{"too big", "1/", big + big, ann, 413, ""},
		{"nobody", "1/", big, c, 401, `{"detail":"Authentication credentials were not provided."}`},
		{"an ended session", "1/", big, c.As("expired"), 401, ""},
		{"no id", "x/", big, ann, 404, ""},
		{"a panic", "2/", big, ann, 500, ""},
		{"an early answer", "3/", big, ann, 409, `{"detail":"Early."}`},
	} {
		res := s.client.Do(t, "POST", "/api/v1/take/"+s.path, s.body, "Content-Type", "application/octet-stream")
		require.Equal(t, s.status, res.Status, "%s: %s", s.name, res.Body)
		if s.json != "" {
			require.JSONEq(t, s.json, res.Body, s.name)
		}
		require.NotEmpty(t, res.Header.Get("X-Request-Id"), s.name)
	}
	// In chunks, of no announced length.
	for size, status := range map[int]int{3 << 20: 201, 6 << 20: 413} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", c.Base+"/api/v1/take/1/", io.MultiReader(strings.NewReader(strings.Repeat("y", size))))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer ann")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, status, res.StatusCode, string(body))
		if status == 201 {
			require.JSONEq(t, `{"bytes":3145728,"length":-1,"caller":1}`, string(body))
		}
	}
}

// TestUploadBroken has clients that lie about the length, stop, or try to slip
// a second request in.
func TestUploadBroken(t *testing.T) {
	t.Parallel()
	c := uploadServer(t, httpapi.Options{ReadTimeout: 300 * time.Millisecond})
	raw := func(text string, hangUp bool) string {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.Base, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte(text))
		require.NoError(t, err)
		if hangUp {
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		}
		all, err := io.ReadAll(conn)
		require.NoError(t, err)
		return string(all)
	}
	head := func(more string) string {
		return "POST /api/v1/take/1/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\n" + more + "\r\n"
	}
	second := "GET /file HTTP/1.1\r\nHost: x\r\n\r\n"
	require.Contains(t, raw(head("Content-Length: 100\r\n")+"short", true), "400")
	require.Contains(t, raw(head("Content-Length: 100\r\n")+"stopped", false), "408")
	require.Contains(t, raw(head("Transfer-Encoding: chunked\r\n")+"zz\r\nnonsense", true), "400")
	require.Contains(t, raw(head("Transfer-Encoding: chunked\r\n")+"5\r\nab", true), "400")
	for _, text := range []string{
		raw(head("Content-Length: 3\r\n")+"abc"+second, true),
		raw(head("Transfer-Encoding: chunked\r\n")+"0\r\n\r\n"+second, true),
		raw(strings.Replace(head("Content-Length: 3\r\n"), "ann", "expired", 1)+"abc"+second, true),
		raw(strings.Replace(head(fmt.Sprintf("Content-Length: %d\r\n", len(second))), "ann", "expired", 1)+second, true),
	} {
		require.Equal(t, 1, strings.Count(text, "HTTP/1.1 "), "what follows a body is no request: %s", text)
	}
	// The mark of unread bodies cannot be forged.
	forged := raw("POST /api/v1/nowhere/ HTTP/1.1\r\nHost: x\r\nX-Unread-Body: 5\r\nContent-Length: 0\r\n\r\n"+second, true)
	require.Equal(t, 2, strings.Count(forged, "HTTP/1.1 "))
	// Expect: 100-continue, as curl sends it.
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.Base, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(head("Content-Length: 3\r\nExpect: 100-continue\r\n")))
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100")
	_, err = conn.Write([]byte("abc"))
	require.NoError(t, err)
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Contains(t, string(rest), `"bytes":3`)
}

func TestServeContent(t *testing.T) {
	t.Parallel()
	c := uploadServer(t, httpapi.Options{})
	for _, s := range []struct {
		header, value string
		status        int
		body, span    string
	}{
		{"Accept", "image/webp", 200, "0123456789", ""},
		{"Range", "bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"Range", "bytes=7-", 206, "789", "bytes 7-9/10"},
		{"Range", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{"Range", "bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		{"Range", "bytes=5-500", 206, "56789", "bytes 5-9/10"},
		{"Range", "bytes=10-", 416, "", "bytes */10"},
		{"Range", "bytes=-0", 416, "", "bytes */10"},
		{"Range", "bytes=4-2", 200, "0123456789", ""},
		{"Range", "bytes=1-2,4-5", 200, "0123456789", ""},
		{"Range", "lines=1-2", 200, "0123456789", ""},
		{"Range", "bytes=99999999999999999999-", 200, "0123456789", ""},
		{"If-None-Match", `"tag"`, 304, "", ""},
		{"If-None-Match", `W/"tag"`, 304, "", ""},
		{"If-None-Match", `"x", "tag"`, 304, "", ""},
		{"If-None-Match", `"other"`, 200, "0123456789", ""},
	} {
		res := c.Do(t, "GET", "/file", "", s.header, s.value)
		require.Equal(t, s.status, res.Status, "%s %s", s.header, s.value)
		if s.status < 400 {
			require.Equal(t, s.body, res.Body, s.value)
			require.Equal(t, `"tag"`, res.Header.Get("ETag"))
		}
		require.Equal(t, s.span, res.Header.Get("Content-Range"), s.value)
	}
	res := c.Do(t, "GET", "/file", "", "Range", "bytes=2-4", "If-Range", `"old"`)
	require.Equal(t, "0123456789", res.Body)
	res = c.Do(t, "HEAD", "/file", "")
	require.Equal(t, 200, res.Status)
	require.Equal(t, "10", res.Header.Get("Content-Length"))
}
