// Package websocket is the server's side of the WebSocket protocol (RFC 6455):
// the handshake's rules, frames, and messages put together from them. It holds
// no connection and starts nothing.
//
// It exists beside the well-kept libraries because a fan-out writes one encoded
// frame to thousands of connections, and because a connection that waits must
// cost next to no memory; both want the frames themselves.
package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Op is what a frame is (RFC 6455 §5.2).
type Op byte

// The frames there are.
const (
	Continuation Op = 0
	Text         Op = 1
	Binary       Op = 2
	Close        Op = 8
	Ping         Op = 9
	Pong         Op = 10
)

// control tells frames that stand alone and may come between fragments.
func (o Op) control() bool { return o >= Close }

func (o Op) known() bool { return o <= Binary || o >= Close && o <= Pong }

// Close codes of RFC 6455 §7.4.1 that are used here.
const (
	CodeNormal    = 1000
	CodeGoingAway = 1001
	CodeProtocol  = 1002
	CodeInvalid   = 1007 // text that is not UTF-8
	CodePolicy    = 1008
	CodeTooBig    = 1009
	CodeInternal  = 1011
	CodeRestart   = 1012
	CodeTryAgain  = 1013
)

// CloseError says with which code and reason a connection ends, be it that the
// client broke the protocol or that it said so itself.
type CloseError struct {
	Code   int
	Reason string
	// Remote is set when the client has sent the close frame.
	Remote bool
}

// Error implements error.
func (e *CloseError) Error() string {
	return fmt.Sprintf("websocket: closed with %d %s", e.Code, e.Reason)
}

func protocolError() error { return &CloseError{Code: CodeProtocol, Reason: "protocol error"} }

const (
	finBit  = 0x80
	rsvBits = 0x70
	maskBit = 0x80

	maxControl = 125 // bytes of payload, RFC 6455 §5.5
	len16      = 126 // announces a length of 2 bytes
	len64      = 127 // announces a length of 8 bytes
)

// header is the head of a frame from a client.
type header struct {
	fin    bool
	op     Op
	key    [4]byte
	length uint64
}

// errShort means that b holds only a part of the header.
var errShort = errors.New("websocket: header incomplete")

// parseHeader reads the head of a client's frame and how many bytes it has.
func parseHeader(b []byte) (h header, n int, err error) {
	if len(b) < 2 {
		return h, 0, errShort
	}
	h.fin, h.op = b[0]&finBit != 0, Op(b[0]&0x0f)
	// No extension is agreed upon, so no reserved bit has a meaning; and a
	// client has to mask (§5.1).
	if b[0]&rsvBits != 0 || !h.op.known() || b[1]&maskBit == 0 {
		return h, 0, protocolError()
	}
	h.length, n = uint64(b[1]&^maskBit), 2
	if h.op.control() && (!h.fin || h.length > maxControl) {
		return h, 0, protocolError()
	}
	switch h.length {
	case len16:
		if len(b) < 4 {
			return h, 0, errShort
		}
		h.length, n = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case len64:
		if len(b) < 10 {
			return h, 0, errShort
		}
		h.length, n = binary.BigEndian.Uint64(b[2:]), 10
		if h.length>>63 != 0 {
			return h, 0, protocolError()
		}
	}
	if len(b) < n+4 {
		return h, 0, errShort
	}
	copy(h.key[:], b[n:])
	return h, n + 4, nil
}

// unmask undoes the client's masking (§5.3); at is how many bytes of the
// payload came before b.
func unmask(b []byte, key [4]byte, at int) {
	for i := range b {
		b[i] ^= key[(at+i)&3]
	}
}

// AppendHead appends the head of a server's unfragmented frame with size bytes
// of payload.
func AppendHead(dst []byte, op Op, size int) []byte {
	dst = append(dst, finBit|byte(op))
	switch {
	case size <= maxControl:
		return append(dst, byte(size))
	case size <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, len16), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(dst, len64), uint64(size))
}

// AppendFrame appends a server's unfragmented frame.
func AppendFrame(dst []byte, op Op, payload []byte) []byte {
	return append(AppendHead(dst, op, len(payload)), payload...)
}

// AppendClose appends a close frame. A code of 0 makes one without a payload; a
// reason that would not fit is cut.
func AppendClose(dst []byte, code int, reason string) []byte {
	if code == 0 {
		return AppendHead(dst, Close, 0)
	}
	if len(reason) > maxControl-2 {
		reason = reason[:maxControl-2]
		for !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	dst = AppendHead(dst, Close, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}

// closing reads a close frame's payload (§5.5.1, §7.4).
func closing(payload []byte) error {
	if len(payload) == 0 {
		return &CloseError{Code: CodeNormal, Remote: true}
	}
	if len(payload) == 1 {
		return protocolError()
	}
	code := int(binary.BigEndian.Uint16(payload))
	switch {
	case code >= 3000 && code <= 4999, code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
	default:
		return protocolError()
	}
	if !utf8.Valid(payload[2:]) {
		return &CloseError{Code: CodeInvalid, Reason: "invalid text"}
	}
	return &CloseError{Code: code, Reason: string(payload[2:]), Remote: true}
}
