package httpapi

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// secured speaks TLS on a listener. The handshake happens with the first read,
// on the connection's own goroutine, so a slow client holds nobody up.
type secured struct {
	net.Listener
	config *tls.Config
}

// Accept implements net.Listener.
func (l secured) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &secureConn{Conn: tls.Server(conn, l.config)}, nil
}

// secureConn is a connection over TLS that knows whether a request has begun.
type secureConn struct {
	*tls.Conn
	greeted atomic.Bool // the handshake is done
	heard   atomic.Bool
}

// plainWait bounds the answer to a client that does not speak TLS.
const plainWait = time.Second

// plainAnswer is what it is told.
const plainAnswer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nThis port speaks HTTPS: write https:// before its name.\n"

// Handshake tells a client that speaks plain HTTP what it did wrong, in the
// only language that it understands.
func (c *secureConn) Handshake() error {
	err := c.Conn.Handshake()
	c.greeted.Store(err == nil)
	var header tls.RecordHeaderError
	if errors.As(err, &header) && header.Conn != nil && looksPlain(header.RecordHeader) {
		if header.Conn.SetWriteDeadline(time.Now().Add(plainWait)) == nil {
			_, _ = io.WriteString(header.Conn, plainAnswer)
		}
		_ = header.Conn.Close()
	}
	return err
}

// looksPlain recognises the first bytes of a request.
func looksPlain(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO":
		return true
	}
	return false
}

// Read implements net.Conn.
func (c *secureConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	return n, err
}

// silent reports whether the client has not sent a byte of a request: a
// handshake is none, but one that is under way may bring a request with it.
func (c *secureConn) silent() bool {
	return !c.heard.Load() && (c.greeted.Load() || silent(c.NetConn()))
}
