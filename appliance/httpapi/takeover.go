package httpapi

import (
	"errors"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// TakeOver answers a [Stream] operation by giving its connection away: f gets
// it after every check of the request has passed, in a goroutine that must not
// wait, and from then on owns it and closes it. head is the response's head
// with all headers set so far, which f has to send first; early are bytes that
// the client has already sent. The server neither tracks nor ends the
// connection any more: whoever takes connections over closes them when the
// appliance stops.
//
// Nothing of c, and no buffer of the request, is kept alive by the connection.
func TakeOver(c *fiber.Ctx, status int, f func(conn net.Conn, head, early []byte)) error {
	rc, ok := c.Locals(requestLocal{}).(*request)
	if !ok {
		return errors.New("httpapi: TakeOver outside of a Stream operation")
	}
	if rc.api.streaming.Err() != nil {
		return Unavailable()
	}
	c.Status(status)
	fctx := c.Context()
	fctx.HijackSetNoResponse(true)
	fctx.Hijack(func(conn net.Conn) {
		early := buffered(conn)
		if whole, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
			conn = whole.UnsafeConn() // the wrapper holds on to the request's read buffer
		}
		f(conn, responseHead(fctx, status), early)
	})
	return nil
}

// buffered takes what the server has read beyond the request. With a deadline
// in the past a read gives only what is there already.
func buffered(conn net.Conn) []byte {
	if conn.SetReadDeadline(time.Unix(1, 0)) != nil {
		return nil
	}
	var early []byte
	var b [512]byte
	for {
		n, err := conn.Read(b[:])
		early = append(early, b[:n]...)
		if err != nil || n == 0 {
			break
		}
	}
	_ = conn.SetReadDeadline(time.Time{})
	return early
}

// responseHead writes the head of a response that has no length: it ends with
// its connection.
func responseHead(fctx *fasthttp.RequestCtx, status int) []byte {
	head := make([]byte, 0, 512)
	head = fasthttp.AppendUint(append(head, "HTTP/1.1 "...), status)
	head = append(append(append(head, ' '), fasthttp.StatusMessage(status)...), "\r\n"...)
	for key, value := range fctx.Response.Header.All() {
		switch string(key) {
		case fiber.HeaderContentLength, fiber.HeaderTransferEncoding:
			continue
		case fiber.HeaderContentType:
			if status == fasthttp.StatusSwitchingProtocols {
				continue
			}
		}
		head = append(append(append(append(head, key...), ": "...), value...), "\r\n"...)
	}
	return append(head, "\r\n"...)
}
