package nodes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// frame is anything that a client gets.
type frame struct {
	Type      string `json:"type"`
	Message   string `json:"message"`
	ID        int    `json:"id"`
	Session   string `json:"session"`
	TaskID    string `json:"task_id"`
	Reply     string `json:"reply"`
	Position  string `json:"position"`
	Recovered *bool  `json:"recovered"`
}

// listener is a connection that gets events.
type listener interface {
	// read gives the next frame, or why there is none.
	read(ctx context.Context) (frame, error)
}

// next is read for who expects a frame.
func next(t testing.TB, l listener) frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := l.read(ctx)
	require.NoError(t, err)
	return f
}

// gifts reads n events that were published with gift, and nothing between.
func gifts(t testing.TB, l listener, n int) (events []frame) {
	t.Helper()
	for range n {
		f := next(t, l)
		require.Equal(t, "gift.received", f.Type)
		events = append(events, f)
	}
	return events
}

func ids(events []frame) []int {
	out := make([]int, len(events))
	for i, f := range events {
		out[i] = f.ID
	}
	return out
}

// socket is a WebSocket.
type socket struct{ conn *websocket.Conn }

// dial opens a WebSocket and gives the refusal's status when it is refused.
func (n *node) dial(t testing.TB, token, query string) (s *socket, refused int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	conn, response, err := websocket.Dial(ctx, n.url("/ws")+"?"+query, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		require.NotNil(t, response, "%v", err)
		return nil, response.StatusCode
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return &socket{conn}, 0
}

// connect opens a WebSocket that has to succeed and reads its first frame.
func (n *node) connect(t testing.TB, who person, query string) (*socket, frame) {
	t.Helper()
	s, refused := n.dial(t, who.token, query)
	require.NotNil(t, s, "refused: %d", refused)
	ack := next(t, s)
	require.Equal(t, "connected", ack.Message)
	return s, ack
}

func (s *socket) read(ctx context.Context) (f frame, err error) {
	_, data, err := s.conn.Read(ctx)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(data, &f)
}

// quiet makes sure that nothing is on its way, by a question whose answer has
// to be next.
func (s *socket) quiet(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.conn.Write(ctx, websocket.MessageText, []byte(`{"type":"ping"}`)))
	require.Equal(t, "ignored", next(t, s).Message)
}

// closed reads until the node closes the connection, and gives what came before
// and the close code; 0 is an end without one.
func (s *socket) closed(t testing.TB) (before []frame, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		f, err := s.read(ctx)
		if err == nil {
			before = append(before, f)
			continue
		}
		require.NoError(t, ctx.Err(), "the connection was not closed")
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			return before, int(closed.Code)
		}
		return before, 0
	}
}

// stream is a client of server-sent events.
type stream struct{ lines *bufio.Scanner }

// stream opens one that has to succeed and reads its first event.
func (n *node) stream(t testing.TB, who person, query string) *stream {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url("/api/v1/events/stream/?"+query), nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+who.token)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(t, err)
	// Whoever waits for a stream in vain is woken by its end.
	end := time.AfterFunc(patience, func() { _ = response.Body.Close() })
	t.Cleanup(func() { end.Stop(); _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	s := &stream{bufio.NewScanner(response.Body)}
	require.Equal(t, "connected", next(t, s).Message)
	return s
}

func (s *stream) read(context.Context) (f frame, err error) {
	id := ""
	for s.lines.Scan() {
		if text, ok := strings.CutPrefix(s.lines.Text(), "id: "); ok {
			id = text
		}
		if text, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			err = json.Unmarshal([]byte(text), &f)
			f.Position = id
			return f, err
		}
	}
	return f, errors.Join(io.EOF, s.lines.Err())
}
