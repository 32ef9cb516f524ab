package websocket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"selflink/appliance/realtime/websocket"
)

// masked is a client's frame.
func masked(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := []byte{1, 2, 3, 4}
	b = append(b, key...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func TestMessages(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ab", 4000)
	for name, c := range map[string]struct {
		in   []byte
		want []string // "op payload"
		code int      // of the error at the end, 0: the end of the stream
	}{
		"text":                   {in: masked(0x81, "hi"), want: []string{"\x01hi"}},
		"several in one read":    {in: join(masked(0x81, "a"), masked(0x82, "b"), masked(0x89, "p")), want: []string{"\x01a", "\x02b", "\x09p"}},
		"length of two bytes":    {in: masked(0x81, long), want: []string{"\x01" + long}},
		"largest in the buffer":  {in: masked(0x81, long[:256]), want: []string{"\x01" + long[:256]}},
		"smallest beyond it":     {in: masked(0x81, long[:257]), want: []string{"\x01" + long[:257]}},
		"fragments":              {in: join(masked(0x01, "a"), masked(0x00, "b"), masked(0x80, "c")), want: []string{"\x01abc"}},
		"ping between fragments": {in: join(masked(0x01, "a"), masked(0x89, "!"), masked(0x80, "c")), want: []string{"\x09!", "\x01ac"}},
		"character cut in two":   {in: join(masked(0x01, "\xc3"), masked(0x80, "\xa9")), want: []string{"\x01é"}},
		"close with a code":      {in: masked(0x88, "\x0f\xa1bye"), code: 4001},
		"close without one":      {in: masked(0x88, ""), code: 1000},
		"close with half a code": {in: masked(0x88, "\x03"), code: 1002},
		"close with a bad code":  {in: masked(0x88, "\x03\xed"), code: 1002},
		"close with bad text":    {in: masked(0x88, "\x03\xe8\xff"), code: 1007},
		"bad text":               {in: masked(0x81, "\xff"), code: 1007},
		"too big":                {in: masked(0x81, strings.Repeat("x", 10_001)), code: 1009},
		"too big in fragments":   {in: join(masked(0x01, long), masked(0x80, long)), code: 1009},
		"huge length":            {in: []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, code: 1009},
		"negative length":        {in: []byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, code: 1002},
		"not masked":             {in: []byte{0x81, 1, 'a'}, code: 1002},
		"reserved bit":           {in: masked(0xc1, "a"), code: 1002},
		"unknown kind":           {in: masked(0x83, "a"), code: 1002},
		"fragmented ping":        {in: masked(0x09, "a"), code: 1002},
		"long ping":              {in: masked(0x89, long[:126]), code: 1002},
		"fragment of nothing":    {in: masked(0x80, "a"), code: 1002},
		"text inside fragments":  {in: join(masked(0x01, "a"), masked(0x81, "b")), code: 1002},
	} {
		for pace, src := range map[string]io.Reader{"at once": bytes.NewReader(c.in), "byte by byte": iotest.OneByteReader(bytes.NewReader(c.in))} {
			t.Run(name+" "+pace, func(t *testing.T) {
				t.Parallel()
				r := websocket.NewReader(src, 10_000)
				var got []string
				for {
					op, payload, err := r.Next()
					if err == nil {
						got = append(got, string(rune(op))+string(payload))
						continue
					}
					var closed *websocket.CloseError
					if c.code == 0 {
						require.ErrorIs(t, err, io.EOF)
					} else {
						require.ErrorAs(t, err, &closed)
						require.Equal(t, c.code, closed.Code)
					}
					break
				}
				require.Equal(t, c.want, got)
			})
		}
	}
}

// A stream that ends inside of a frame is not an orderly end.
func TestCutInsideFrame(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 1000} {
		whole := masked(0x81, strings.Repeat("x", size))
		r := websocket.NewReader(bytes.NewReader(whole[:len(whole)-1]), 10_000)
		_, _, err := r.Next()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

func TestServerFrames(t *testing.T) {
	t.Parallel()
	require.Equal(t, []byte{0x81, 2, 'h', 'i'}, websocket.AppendFrame(nil, websocket.Text, []byte("hi")))
	require.Equal(t, []byte{0x81, 126, 0, 126}, websocket.AppendHead(nil, websocket.Text, 126))
	require.Equal(t, []byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}, websocket.AppendHead(nil, websocket.Binary, 65536))
	require.Equal(t, []byte{0x88, 4, 0x11, 0x31, 'n', 'o'}, websocket.AppendClose(nil, 4401, "no"))
	require.Equal(t, []byte{0x88, 0}, websocket.AppendClose(nil, 0, "unused"))
	cut := websocket.AppendClose(nil, 1000, strings.Repeat("é", 100))
	require.Len(t, cut, 2+2+122, "cut between two characters")
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	require.True(t, websocket.Asked("keep-alive, Upgrade", "WebSocket"))
	require.False(t, websocket.Asked("keep-alive", "websocket"))
	require.False(t, websocket.Asked("upgrade", "h2c"))
	accept, err := websocket.Accept("dGhlIHNhbXBsZSBub25jZQ==", "13") // the RFC's example
	require.NoError(t, err)
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", accept)
	for _, bad := range [][2]string{{"", "13"}, {"c2hvcnQ=", "13"}, {"dGhlIHNhbXBsZSBub25jZQ==", "8"}, {"dGhlIHNhbXBsZSBub25jZQ== ", "13"}} {
		_, err := websocket.Accept(bad[0], bad[1])
		require.ErrorIs(t, err, websocket.ErrHandshake)
	}
	require.Equal(t, []string{"a", "b"}, websocket.Subprotocols(" a, ,b"))
}

// FuzzReader feeds any bytes: the reader ends with an error, keeps its limit,
// and gives the same messages however the bytes are cut.
func FuzzReader(f *testing.F) {
	f.Add(masked(0x81, "hi"))
	f.Add(join(masked(0x01, "a"), masked(0x89, "!"), masked(0x80, "c"), masked(0x88, "\x03\xe8")))
	f.Add(masked(0x81, strings.Repeat("x", 300)))
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 512
		read := func(src io.Reader) (messages []string, end string) {
			r := websocket.NewReader(src, limit)
			for {
				op, payload, err := r.Next()
				if err != nil {
					var closed *websocket.CloseError
					if !errors.As(err, &closed) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("unexpected error %v", err)
					}
					return messages, err.Error()
				}
				if len(payload) > limit {
					t.Fatalf("%d bytes are over the limit", len(payload))
				}
				messages = append(messages, string(rune(op))+string(payload))
			}
		}
		atOnce, end := read(bytes.NewReader(data))
		slowly, slowEnd := read(iotest.OneByteReader(bytes.NewReader(data)))
		require.Equal(t, atOnce, slowly)
		require.Equal(t, end, slowEnd)
	})
}
