package websocket

import (
	"errors"
	"io"
	"unicode/utf8"
)

// bufferSize holds what clients say as a rule: a heartbeat is 22 bytes. It is
// kept for as long as the connection lives, so it is small.
const bufferSize = 256

// Reader puts a client's messages together. It is used by one goroutine.
type Reader struct {
	src   io.Reader
	limit int

	buf  [bufferSize]byte
	r, w int // unread part of buf

	op       Op     // of the message under way
	message  []byte // its fragments so far
	fragment bool   // a message is under way
}

// NewReader reads from src messages of at most limit bytes.
func NewReader(src io.Reader, limit int) *Reader {
	return &Reader{src: src, limit: limit}
}

// Next waits for the next message or control frame. Text is valid UTF-8. The
// payload may be used until the following call. The error is a *[CloseError]
// when the client closes, breaks the protocol or sends more than the limit;
// else it is the source's.
func (r *Reader) Next() (Op, []byte, error) {
	for {
		h, err := r.header()
		if err != nil {
			return 0, nil, err
		}
		if !h.op.control() {
			if h.op == Continuation != r.fragment {
				return 0, nil, protocolError()
			}
			if h.length > uint64(r.limit) || len(r.message)+int(h.length) > r.limit {
				return 0, nil, &CloseError{Code: CodeTooBig, Reason: "frame too big"}
			}
		}
		payload, err := r.payload(int(h.length), h.key)
		if err != nil {
			return 0, nil, err
		}
		switch {
		case h.op == Close:
			return 0, nil, closing(payload)
		case h.op.control():
			return h.op, payload, nil
		case h.fin && !r.fragment:
			return whole(h.op, payload)
		}
		if !r.fragment {
			r.op, r.fragment = h.op, true
		}
		r.message = append(r.message, payload...)
		if h.fin {
			message := r.message
			r.message, r.fragment = nil, false
			return whole(r.op, message)
		}
	}
}

func whole(op Op, message []byte) (Op, []byte, error) {
	if op == Text && !utf8.Valid(message) {
		return 0, nil, &CloseError{Code: CodeInvalid, Reason: "invalid text"}
	}
	return op, message, nil
}

// header reads the head of the next frame.
func (r *Reader) header() (header, error) {
	for {
		h, n, err := parseHeader(r.buf[r.r:r.w])
		if err == nil {
			r.r += n
			return h, nil
		}
		if !errors.Is(err, errShort) {
			return h, err
		}
		if err := r.fill(); err != nil {
			return h, err
		}
	}
}

// fill reads more into the buffer.
func (r *Reader) fill() error {
	if r.r > 0 {
		copy(r.buf[:], r.buf[r.r:r.w])
		r.r, r.w = 0, r.w-r.r
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// payload reads and unmasks what follows a head, in place when it fits.
func (r *Reader) payload(size int, key [4]byte) ([]byte, error) {
	if size <= bufferSize {
		for r.w-r.r < size {
			if err := r.fill(); err != nil {
				return nil, eof(err)
			}
		}
		b := r.buf[r.r : r.r+size]
		r.r += size
		unmask(b, key, 0)
		return b, nil
	}
	b := make([]byte, size)
	n := copy(b, r.buf[r.r:r.w])
	r.r += n
	if _, err := io.ReadFull(r.src, b[n:]); err != nil {
		return nil, eof(err)
	}
	unmask(b, key, 0)
	return b, nil
}

// eof tells an end inside of a frame from one between frames.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
