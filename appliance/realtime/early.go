package realtime

import (
	"io"
	"net"
)

// withEarly reads first what the client has sent together with its handshake.
func withEarly(early []byte, conn net.Conn) io.Reader {
	if len(early) == 0 {
		return conn
	}
	return &earlyReader{early, conn}
}

type earlyReader struct {
	early []byte
	conn  net.Conn
}

// Read implements io.Reader.
func (r *earlyReader) Read(b []byte) (int, error) {
	if len(r.early) == 0 {
		return r.conn.Read(b)
	}
	n := copy(b, r.early)
	if r.early = r.early[n:]; len(r.early) == 0 {
		r.early = nil
	}
	return n, nil
}
