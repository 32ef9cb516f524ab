package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httputil"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// Uploads. The server reads a body before it calls a handler, into memory;
// that suits every operation but those that take files of any size. Their
// requests are told apart when the header has come: the server is told that
// there is no body, and the handler reads it from the connection, which then
// ends with the request. No other request takes another way because of them.

const (
	// unreadMark is the header under which the length of a body that was not
	// read passes the server. A client cannot forge its value.
	unreadMark = "X-Unread-Body"

	// lingerTime and lingerBytes bound the reading of what a client still sends
	// after its answer: a connection that is closed over unread bytes is reset,
	// and the client may never see the answer.
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20

	// uploadPiece is what is read of a body at once, in bytes: those who take
	// forms apart ask for little at a time.
	uploadPiece = 64 << 10
)

// Upload is the body of a request, on its way. It may be read until the
// handler returns, by one goroutine.
type Upload struct {
	// Length is the announced length in bytes; -1: not announced.
	Length int64
	// Type is the Content-Type.
	Type string

	body  io.Reader
	limit int64
	n     int64
	err   error
}

// Read implements [io.Reader]. Beyond the operation's BodyLimit it fails with
// the answer 413; a client that goes away, or stops sending, is an error too
// and never the end of the body.
func (u *Upload) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.body.Read(p)
	u.n += int64(n)
	var timeout net.Error
	switch {
	case u.n > u.limit:
		n, err = 0, Detail(http.StatusRequestEntityTooLarge, textBodyTooLarge)
	case errors.Is(err, io.EOF) && u.Length > u.n:
		err = fmt.Errorf("the client went away: %w", io.ErrUnexpectedEOF)
	case errors.As(err, &timeout) && timeout.Timeout():
		err = Detail(http.StatusRequestTimeout, "Request took too long to arrive.")
	}
	u.err = err
	return n, err
}

// Failed gives the answer to a request whose body could not be read to its
// end, nil when that is not why err happened.
func (u *Upload) Failed(err error) error {
	if u.err == nil || errors.Is(u.err, io.EOF) {
		return nil
	}
	if answer := (*Error)(nil); errors.As(u.err, &answer) {
		return answer
	}
	return Detail(http.StatusBadRequest, "The upload was cut off.")
}

// Parts reads the body as multipart/form-data.
func (u *Upload) Parts() (*multipart.Reader, error) {
	kind, params, err := mime.ParseMediaType(u.Type)
	switch {
	case err != nil || kind != "multipart/form-data":
		return nil, Detail(http.StatusUnsupportedMediaType, `Unsupported media type "`+strings.ToValidUTF8(u.Type, "\ufffd")+`" in request.`)
	case params["boundary"] == "" || len(params["boundary"]) > 200:
		return nil, Detail(http.StatusBadRequest, "Multipart form parse error - Invalid boundary in multipart: "+strings.ToValidUTF8(params["boundary"], "\ufffd"))
	}
	return multipart.NewReader(u, params["boundary"]), nil
}

// HandleUpload is [Handle] for an operation that reads its body itself, as it
// comes: memory does not grow with it. In has no Body. Operation.BodyLimit
// bounds the body, Operation.Timeout (none by default) the whole request; a
// client that sends nothing for Options.ReadTimeout is cut. The connection
// ends with the answer.
func HandleUpload[In, Out any](api *API, op Operation, handler func(ctx context.Context, in *In, body *Upload) (Out, error)) {
	if op.Status == 0 {
		op.Status = http.StatusOK
	}
	op.upload = true
	plan, err := compilePlan(reflect.TypeFor[In](), op)
	if err != nil {
		api.fail(op, err)
		return
	}
	api.register(op, &route{plan: plan, out: reflect.TypeFor[Out](), stream: true, run: func(rc *request) error {
		var in In
		if err := plan.bind(rc, reflect.ValueOf(&in).Elem()); err != nil {
			return err
		}
		return rc.upload(func(ctx context.Context, body *Upload) (any, error) { return handler(ctx, &in, body) })
	}})
}

// leaveUnread marks a request whose body is left on the connection.
func (a *API) leaveUnread(h *fasthttp.RequestHeader) {
	length := h.ContentLength()
	if length == -2 { // none
		length = 0
	}
	h.SetContentLength(0)
	h.Set(unreadMark, a.idPrefix+a.unread+strconv.Itoa(length))
}

// unreadLength finds the mark.
func (rc *request) unreadLength(fctx *fasthttp.RequestCtx) {
	rc.unread = -2
	if fctx.IsGet() || fctx.IsHead() {
		return
	}
	text, ok := strings.CutPrefix(string(fctx.Request.Header.Peek(unreadMark)), rc.api.idPrefix+rc.api.unread)
	if n, err := strconv.ParseInt(text, 10, 64); ok && err == nil {
		rc.unread = n
	}
}

// upload lets run have the body, and answers with what it returns.
func (rc *request) upload(run func(ctx context.Context, body *Upload) (any, error)) error {
	u := &Upload{Length: rc.unread, Type: string(rc.fc.Request().Header.ContentType()), limit: rc.api.bodyLimit(rc.route)}
	if u.Length == -2 { // the path was written so that it was not known in time
		raw := bytes.Clone(rc.fc.Request().Body())
		u.Length, u.body = int64(len(raw)), bytes.NewReader(raw)
		res, err := run(rc.context(), u)
		if err != nil {
			return err
		}
		return rc.encode(rc.route.op.Status, res)
	}
	rc.streaming = true
	fctx := rc.fc.Context()
	method := strings.Clone(rc.fc.Method())
	fctx.HijackSetNoResponse(true)
	fctx.Hijack(func(conn net.Conn) {
		s := &stream{rc: rc, method: method, header: sharedHeader(fctx)}
		release, ok := rc.api.streams.hold(conn)
		defer release()
		defer conn.Close()
		defer rc.finish()
		if !ok {
			return
		}
		u.body = rc.bodyOf(conn, u.Length)
		status, answer := rc.answerUpload(u, run)
		rc.api.reportAs(rc, method, status, int64(len(answer)))
		if conn.SetWriteDeadline(time.Now().Add(rc.api.opts.WriteTimeout)) == nil {
			if _, err := conn.Write(s.whole(status, answer)); err == nil {
				linger(conn)
			}
		}
	})
	return nil
}

// bodyOf reads the body from the connection, each piece in its time.
func (rc *request) bodyOf(conn net.Conn, length int64) io.Reader {
	patient := bufio.NewReaderSize(patientReader{conn, rc.api.opts.ReadTimeout}, uploadPiece)
	if length < 0 {
		return httputil.NewChunkedReader(patient)
	}
	return io.LimitReader(patient, length)
}

// patientReader gives each read its own time.
type patientReader struct {
	conn net.Conn
	wait time.Duration
}

// Read implements [io.Reader].
func (r patientReader) Read(p []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(r.wait)); err != nil {
		return 0, err
	}
	return r.conn.Read(p)
}

// answerUpload runs the handler; a panic in it is answered like anywhere else.
func (rc *request) answerUpload(u *Upload, run func(context.Context, *Upload) (any, error)) (status int, answer []byte) {
	a := rc.api
	refuse := func(e *Error) (int, []byte) { return e.Status, e.Body }
	defer func() {
		if p := recover(); p != nil {
			a.log.LogAttrs(a.base, levelError, "panic in an upload", logID(rc.id), logRoute(rc), logPanic(p), logStack(debug.Stack()))
			status, answer = refuse(Detail(http.StatusInternalServerError, textServerError))
		}
	}()
	res, err := run(rc.context(), u)
	if err != nil {
		if failed := u.Failed(err); failed != nil {
			err = failed
		}
		return refuse(a.toError(rc, err))
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(res); err != nil {
		return refuse(a.toError(rc, fmt.Errorf("encode %T: %w", res, err)))
	}
	return rc.route.op.Status, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})
}

// whole is a response with its body.
func (s *stream) whole(status int, body []byte) []byte {
	b := append(s.head(status), "Content-Type: "+typeJSON+"\r\nConnection: close\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
	return append(b, body...)
}

// dismiss answers a request whose body nobody has read. What follows on its
// connection is that body, so the connection ends.
func (rc *request) dismiss(fctx *fasthttp.RequestCtx) {
	fctx.Response.SetConnectionClose()
	fctx.HijackSetNoResponse(true)
	fctx.Hijack(func(conn net.Conn) {
		defer conn.Close()
		if conn.SetWriteDeadline(time.Now().Add(rc.api.opts.WriteTimeout)) != nil {
			return
		}
		w := bufio.NewWriter(conn)
		if fctx.Response.Write(w) == nil && w.Flush() == nil {
			linger(conn)
		}
	})
}

// linger says that nothing more comes, and reads what is still on its way.
func linger(conn net.Conn) {
	plain := conn
	if whole, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
		plain = whole.UnsafeConn()
	}
	half, ok := plain.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, lingerBytes) //nolint:errcheck // whatever ends it
}

// ServeContent answers a [Stream] operation of GET with size bytes, or the one
// range of them that the request asks for. open is called with what is to be
// sent; its reader is closed by the server. etag, with its quotes, names this
// content for good.
func ServeContent(c *fiber.Ctx, size int64, etag string, open func(from, length int64) (io.ReadCloser, error)) error {
	head := &c.Response().Header
	head.Set(fiber.HeaderETag, etag)
	head.Set(fiber.HeaderAcceptRanges, "bytes")
	if matches(c.Get(fiber.HeaderIfNoneMatch), etag) {
		return c.Status(http.StatusNotModified).Send(nil)
	}
	from, length, status := int64(0), size, http.StatusOK
	if text := c.Get(fiber.HeaderRange); text != "" {
		if guard := c.Get(fiber.HeaderIfRange); guard == "" || guard == etag {
			first, last, ok, bad := parseRange(text, size)
			if bad {
				head.Set(fiber.HeaderContentRange, "bytes */"+strconv.FormatInt(size, 10))
				return Detail(http.StatusRequestedRangeNotSatisfiable, "The range is beyond the end of the file.")
			}
			if ok {
				from, length, status = first, last-first+1, http.StatusPartialContent
				head.Set(fiber.HeaderContentRange, fmt.Sprintf("bytes %d-%d/%d", first, last, size))
			}
		}
	}
	c.Status(status)
	if length == 0 {
		return c.Send(nil)
	}
	body, err := open(from, length)
	if err != nil {
		return err
	}
	rc, ok := c.Locals(requestLocal{}).(*request)
	if !ok {
		return errors.Join(errors.New("httpapi: ServeContent outside of a Stream operation"), body.Close())
	}
	c.Context().SetBodyStream(&paced{body, c.Context().Conn(), rc.api.opts.WriteTimeout}, int(length))
	return nil
}

// paced gives every piece of a download the time of a whole response: how long
// all of it takes is up to the client.
type paced struct {
	io.ReadCloser
	conn net.Conn
	wait time.Duration
}

// pieceBytes is what is read and written at once.
const pieceBytes = 128 << 10

// WriteTo implements [io.WriterTo].
func (p *paced) WriteTo(w io.Writer) (n int64, err error) {
	buf := make([]byte, pieceBytes)
	for {
		m, err := p.Read(buf)
		if m > 0 {
			if err := p.conn.SetWriteDeadline(time.Now().Add(p.wait)); err != nil {
				return n, err
			}
			written, err := w.Write(buf[:m])
			if n += int64(written); err != nil {
				return n, err
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// matches reports whether a list of If-None-Match names a tag.
func matches(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == etag {
			return true
		}
	}
	return false
}

// parseRange reads "bytes=first-last". Several ranges, and what is no range,
// are answered with the whole; bad is one that lies beyond the end.
func parseRange(text string, size int64) (first, last int64, ok, bad bool) {
	spec, found := strings.CutPrefix(text, "bytes=")
	a, b, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !found || !dash || strings.Contains(spec, ",") {
		return 0, 0, false, false
	}
	if a == "" { // the last b bytes
		n, err := strconv.ParseInt(b, 10, 64)
		if err != nil || n < 0 {
			return 0, 0, false, false
		}
		if n == 0 || size == 0 {
			return 0, 0, false, true
		}
		return max(size-n, 0), size - 1, true, false
	}
	first, err := strconv.ParseInt(a, 10, 64)
	if err != nil || first < 0 {
		return 0, 0, false, false
	}
	last = size - 1
	if b != "" {
		if last, err = strconv.ParseInt(b, 10, 64); err != nil || last < first {
			return 0, 0, false, false
		}
	}
	if first >= size {
		return 0, 0, false, true
	}
	return first, min(last, size-1), true, false
}
