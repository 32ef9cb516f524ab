package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// peekWait bounds one [Broker.Peek].
	peekWait = 3 * time.Second

	// peekPage is how many messages a page has, peekMost how many it may have.
	peekPage = 50
	peekMost = 200

	// peekAsks bounds the questions to the stream of one page: where messages
	// were consumed there are gaps to search.
	peekAsks = 4000

	// peekBytes is how much is told of one message's data.
	peekBytes = 4 << 10

	// peekHeaders, peekValues and peekValueBytes bound what is told of headers.
	peekHeaders    = 32
	peekValues     = 8
	peekValueBytes = 256
)

// Refusals of [Broker.Peek].
var (
	ErrNoStream = errors.New("broker: there is no such stream")
	ErrCursor   = errors.New("broker: this is no cursor of the stream")
)

// PeekPage is a page of a stream's messages, newest first. It marshals to what
// the dashboard answers.
type PeekPage struct {
	Items []Message `json:"items"`
	Next  *string   `json:"next"` // cursor of what is older, or nil
}

// Message is one message of a stream. Of its data at most 4 KiB are told.
type Message struct {
	Sequence  uint64              `json:"sequence"`
	Subject   string              `json:"subject"`
	At        time.Time           `json:"at"`
	Bytes     int                 `json:"bytes"` // of the whole data
	Headers   map[string][]string `json:"headers"`
	Data      string              `json:"data"`
	Encoding  string              `json:"encoding"` // of Data: text, base64
	Truncated bool                `json:"truncated"`
}

// Peek shows messages of a stream of [Table] without consuming them: it reads
// them by their numbers, so nobody else gets one less. limit is 50 when it is
// not positive and at most 200. Where much has been consumed in between, a page
// may have fewer items and still a next one.
//
// It returns [ErrNoStream], [ErrCursor] for a cursor that no page of the stream
// gave, or [ErrStopped].
func (b *Broker) Peek(ctx context.Context, stream, cursor string, limit int) (PeekPage, error) {
	ctx, cancel := context.WithTimeout(ctx, peekWait)
	defer cancel()
	if !slices.ContainsFunc(Table(), func(s Stream) bool { return s.Name == stream }) {
		return PeekPage{}, fmt.Errorf("%w: %.64q", ErrNoStream, stream)
	}
	js, err := b.JetStream()
	if err != nil {
		return PeekPage{}, err
	}
	handle, err := js.Stream(ctx, stream)
	if err != nil {
		return PeekPage{}, fmt.Errorf("broker: stream %s does not answer: %w", stream, err)
	}
	state := handle.CachedInfo().State
	below := state.LastSeq + 1
	if cursor != "" {
		if below, err = parseCursor(stream, cursor); err != nil || below > state.LastSeq+1 {
			return PeekPage{}, ErrCursor
		}
	}
	if limit <= 0 {
		limit = peekPage
	}
	limit = min(limit, peekMost)
	p := peeker{stream: handle, first: state.FirstSeq}
	page := PeekPage{Items: []Message{}}
	for len(page.Items) < limit && p.asked < peekAsks {
		m, err := p.before(ctx, below)
		if err != nil {
			return PeekPage{}, fmt.Errorf("broker: look into stream %s: %w", stream, err)
		}
		if m == nil {
			return page, nil
		}
		page.Items = append(page.Items, told(m))
		below = m.Sequence
	}
	if below > p.first {
		next := formatCursor(stream, below)
		page.Next = &next
	}
	return page, nil
}

// peeker finds messages by asking for the first one from a number on, which is
// all that a stream answers.
type peeker struct {
	stream jetstream.Stream
	first  uint64
	asked  int
}

// from gives the first message whose number is at least seq, if it is below
// limit.
func (p *peeker) from(ctx context.Context, seq, limit uint64) (*jetstream.RawStreamMsg, error) {
	p.asked++
	m, err := p.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m.Sequence >= limit {
		return nil, nil
	}
	return m, nil
}

// before gives the last message whose number is below limit, or nil. It steps
// back twice as far each time until it finds any, and halves what lies between
// that one and the limit.
func (p *peeker) before(ctx context.Context, limit uint64) (*jetstream.RawStreamMsg, error) {
	low, high := limit, limit // nothing is from low on
	var found *jetstream.RawStreamMsg
	for step := uint64(1); found == nil; step *= 2 {
		if low <= max(p.first, 1) {
			return nil, nil
		}
		high = low
		low -= min(step, low-max(p.first, 1))
		var err error
		if found, err = p.from(ctx, low, high); err != nil {
			return nil, err
		}
	}
	for found.Sequence+1 < high {
		middle := found.Sequence + 1 + (high-found.Sequence-1)/2
		later, err := p.from(ctx, middle, high)
		if err != nil {
			return nil, err
		}
		if later == nil {
			high = middle
		} else {
			found = later
		}
	}
	return found, nil
}

// told cuts a message to what people are shown.
func told(m *jetstream.RawStreamMsg) Message {
	out := Message{
		Sequence: m.Sequence, Subject: m.Subject, At: m.Time.UTC(), Bytes: len(m.Data),
		Headers: toldHeaders(m.Header), Encoding: "text", Truncated: len(m.Data) > peekBytes,
	}
	data := m.Data[:min(len(m.Data), peekBytes)]
	if !readable(m.Data) {
		out.Encoding, out.Data = "base64", base64.StdEncoding.EncodeToString(data)
		return out
	}
	out.Data = strings.ToValidUTF8(string(data), "") // a cut may split a letter
	return out
}

func toldHeaders(h nats.Header) map[string][]string {
	out := make(map[string][]string, min(len(h), peekHeaders))
	for name, values := range h {
		if len(out) == peekHeaders {
			break
		}
		list := make([]string, 0, min(len(values), peekValues))
		for _, v := range values[:min(len(values), peekValues)] {
			list = append(list, strings.ToValidUTF8(v[:min(len(v), peekValueBytes)], "�"))
		}
		out[strings.ToValidUTF8(name[:min(len(name), peekValueBytes)], "�")] = list
	}
	return out
}

// readable reports whether data is text that can be shown.
func readable(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	for _, r := range string(data) {
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
	}
	return true
}

func formatCursor(stream string, below uint64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(stream + "/" + strconv.FormatUint(below, 10)))
}

func parseCursor(stream, cursor string) (below uint64, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, ErrCursor
	}
	digits, ok := strings.CutPrefix(string(text), stream+"/")
	if !ok {
		return 0, ErrCursor
	}
	below, err = strconv.ParseUint(digits, 10, 64)
	if err != nil || below == 0 || formatCursor(stream, below) != cursor {
		return 0, ErrCursor
	}
	return below, nil
}
