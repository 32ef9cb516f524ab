package main

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"time"
)

// Opcodes of WebSocket frames (RFC 6455 §5.2). opBad is ours: a frame that a
// server must not send.
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
	opBad   = 0xFF
)

// nextFrame reads the first frame in b. size is 0 while b holds less than all
// of it; payload is a part of b.
func nextFrame(b []byte) (op byte, payload []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	start, length := 2, int(b[1])
	switch {
	case b[0]&0xF0 != 0x80 || length&0x80 != 0: // fragments, extensions, masks
		return opBad, nil, 2
	case length == 126:
		if len(b) < 4 {
			return 0, nil, 0
		}
		start, length = 4, int(binary.BigEndian.Uint16(b[2:]))
	case length == 127:
		if len(b) < 10 {
			return 0, nil, 0
		}
		long := binary.BigEndian.Uint64(b[2:])
		if long > maxFrame {
			return opBad, nil, 2
		}
		start, length = 10, int(long)
	}
	if len(b) < start+length {
		return 0, nil, 0
	}
	return b[0] & 0x0F, b[start : start+length], start + length
}

// maxFrame is the longest frame in bytes that the load client takes.
const maxFrame = 48 << 10

// clientFrame appends a masked frame of at most 125 bytes. The mask is zero,
// which the protocol allows and which leaves the payload as it is.
func clientFrame(b []byte, op byte, payload []byte) []byte {
	b = append(b, 0x80|op, 0x80|byte(len(payload)), 0, 0, 0, 0)
	return append(b, payload...)
}

// place is where an event's number and its moment are. Numbers have ten digits
// and moments nineteen, so that all events of a run have them in one place; it
// is looked for once.
type place struct{ id, sent int }

const (
	idDigits   = 10
	sentDigits = 19
)

var (
	idKey   = []byte(`"id":`)
	sentKey = []byte(`"sent":`)
)

// read gives the number and the moment of an event; ok is false for frames of
// others.
func (p *place) read(b []byte) (id, sent int64, ok bool) {
	if !p.fits(b) && !p.find(b) {
		return 0, 0, false
	}
	return digits(b[p.id : p.id+idDigits]), digits(b[p.sent : p.sent+sentDigits]), true
}

func (p *place) fits(b []byte) bool {
	return p.id > 0 && len(b) >= p.id+idDigits && len(b) >= p.sent+sentDigits &&
		string(b[p.id-len(`"id":`):p.id]) == `"id":` && string(b[p.sent-len(`"sent":`):p.sent]) == `"sent":`
}

func (p *place) find(b []byte) bool {
	id, sent := bytes.Index(b, idKey), bytes.Index(b, sentKey)
	if id < 0 || sent < 0 {
		return false
	}
	found := place{id + len(idKey), sent + len(sentKey)}
	if !found.fits(b) {
		return false
	}
	*p = found
	return true
}

func digits(b []byte) int64 {
	var n int64
	for _, c := range b {
		n = n*10 + int64(c-'0')
	}
	return n
}

var positionKey = []byte(`"position":"`)

// positionOf is the position in a frame, nothing when it has none. It is the
// last member of an event, while others follow it in an acknowledgement.
func positionOf(b []byte) []byte {
	at := bytes.LastIndex(b, positionKey)
	if at < 0 {
		return nil
	}
	b = b[at+len(positionKey):]
	if end := bytes.IndexByte(b, '"'); end >= 0 {
		return b[:end]
	}
	return nil
}

// escape appends a position as the value of a query parameter.
func escape(b, position []byte) []byte {
	for _, c := range position {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return b
}

// chunks takes the framing of Transfer-Encoding: chunked away, over any cut of
// the stream.
type chunks struct {
	left  int // of the chunk's data and the line end behind it
	size  int
	inExt bool
	ended bool
}

// strip moves the data in b to its front and returns it.
func (c *chunks) strip(b []byte) []byte {
	out := 0
	for i := 0; i < len(b); {
		if c.left > 0 {
			n := min(c.left, len(b)-i)
			// The last two bytes are the line end.
			data := min(n, max(0, c.left-2))
			copy(b[out:], b[i:i+data])
			out += data
			i += n
			c.left -= n
			continue
		}
		switch d := b[i]; {
		case d == '\n':
			if c.size == 0 {
				c.ended = true
				return b[:out]
			}
			c.left, c.size, c.inExt = c.size+2, 0, false
		case c.inExt || d == '\r':
		case d >= '0' && d <= '9':
			c.size = c.size<<4 | int(d-'0')
		case d|0x20 >= 'a' && d|0x20 <= 'f':
			c.size = c.size<<4 | int(d|0x20-'a'+10)
		default:
			c.inExt = true
		}
		i++
	}
	return b[:out]
}

// nextEvent reads the first server-sent event in b; size is 0 while b holds
// less than all of it. Comments have no data.
func nextEvent(b []byte) (data []byte, size int) {
	for {
		end := bytes.IndexByte(b[size:], '\n')
		if end < 0 {
			return nil, 0
		}
		line := b[size : size+end]
		size += end + 1
		if len(line) == 0 {
			return data, size
		}
		if rest, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			data = rest
		}
	}
}

// httpAnswer reads the head and the body of one HTTP answer with a length;
// size is 0 while b holds less than all of it.
func httpAnswer(b []byte) (status int, body []byte, size int) {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return 0, nil, 0
	}
	length := 0
	for line := range bytes.SplitSeq(b[:head], []byte("\r\n")) {
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):])))
		}
	}
	size = head + 4 + length
	if len(b) < size {
		return 0, nil, 0
	}
	return httpStatus(b), b[head+4 : size], size
}

// httpStatus is the status in the first line of an answer, 0 for something
// else.
func httpStatus(b []byte) int {
	if len(b) < 12 || string(b[:7]) != "HTTP/1." {
		return 0
	}
	return int(digits(b[9:12]))
}

// histogram counts durations in steps of about one percent, without keeping
// each.
type histogram struct {
	counts [64 << stepBits]uint32
	total  int
	most   int64
}

const stepBits = 6

func (h *histogram) add(nanos int64) {
	nanos = max(nanos, 1)
	h.most = max(h.most, nanos)
	h.counts[step(uint64(nanos))]++
	h.total++
}

// step numbers the durations: exact below 2^stepBits, then 2^stepBits steps
// for each doubling.
func step(n uint64) int {
	shift := max(bits.Len64(n)-stepBits-1, 0)
	return shift<<stepBits + int(n>>shift)
}

// percentile is the upper end of the step that holds it.
func (h *histogram) percentile(p float64) time.Duration {
	rank := int(float64(h.total) * p / 100)
	for i, n := range h.counts {
		if rank -= int(n); rank < 0 {
			if i < 2<<stepBits {
				return time.Duration(i)
			}
			shift := i>>stepBits - 1
			return time.Duration(min(h.most, int64(i-shift<<stepBits+1)<<shift-1))
		}
	}
	return time.Duration(h.most)
}

func (h *histogram) reset() { *h = histogram{} }
