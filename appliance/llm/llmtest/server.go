// Package llmtest serves a language model that says what a test tells it to,
// over HTTP and in the protocols of Ollama and OpenAI.
package llmtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Script is one answer. The zero value is an empty answer that ends well.
type Script struct {
	// Status refuses with an HTTP status; 0 is 200.
	Status int
	// Pieces are said one after the other.
	Pieces []string
	// Gate, if set, gives one value (or is closed) before each piece and
	// before the end.
	Gate <-chan struct{}
	// Break cuts the connection after the last piece.
	Break bool
	// Hang says nothing after the last piece until the client is gone.
	Hang bool
	// Failure reports an error in the stream after the last piece.
	Failure bool
	// Raw, if set, is the whole body, whatever the protocol.
	Raw string
}

// Say is the script of an answer in pieces.
func Say(pieces ...string) Script { return Script{Pieces: pieces} }

// Request is what a client asked.
type Request struct {
	Path          string
	Authorization string
	Body          map[string]any
	Raw           string          // the body as it came
	Gone          <-chan struct{} // closed when the exchange is over
}

// Prompt gives the prompt of a completion, or the text of the last message.
func (r Request) Prompt() string {
	if p, ok := r.Body["prompt"].(string); ok {
		return p
	}
	for _, key := range []string{"messages", "input"} {
		if list, ok := r.Body[key].([]any); ok && len(list) > 0 {
			if m, ok := list[len(list)-1].(map[string]any); ok {
				text, _ := m["content"].(string)
				return text
			}
		}
	}
	return ""
}

// Server is a fake model. It is safe for concurrent use.
type Server struct {
	URL string

	mu       sync.Mutex
	next     []Script
	standing Script
	requests []Request
	arrived  chan Request
}

// New serves until the test ends. It says "Hello world" until told otherwise.
func New(t testing.TB) *Server {
	s := &Server{standing: Say("Hello", " world"), arrived: make(chan Request, 1024)}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

// Always sets the answer of every request that has no script of its own.
func (s *Server) Always(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing = script
}

// Then appends the answers of the next requests.
func (s *Server) Then(scripts ...Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, scripts...)
}

// Requests gives all requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Next waits for the next request that Next has not yet given.
func (s *Server) Next(t testing.TB) Request {
	t.Helper()
	select {
	case r := <-s.arrived:
		return r
	case <-t.Context().Done():
		t.Fatal("no request reached the model")
		return Request{}
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	gone := make(chan struct{})
	defer close(gone)
	req := Request{Path: r.URL.Path, Authorization: r.Header.Get("Authorization"), Raw: string(raw), Gone: gone}
	if err := json.Unmarshal(raw, &req.Body); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	script := s.standing
	if len(s.next) > 0 {
		script, s.next = s.next[0], s.next[1:]
	}
	s.requests = append(s.requests, req)
	s.mu.Unlock()
	select {
	case s.arrived <- req:
	default: // a load test does not look
	}
	s.play(w, r, script, r.URL.Path)
}

// play writes script in the protocol of path.
func (s *Server) play(w http.ResponseWriter, r *http.Request, script Script, path string) {
	if script.Status != 0 && script.Status != http.StatusOK {
		// Real providers repeat what they were sent; nobody may pass it on.
		http.Error(w, fmt.Sprintf("refused %s", r.Header.Get("Authorization")), script.Status)
		return
	}
	protocol, ok := protocols[path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", protocol.contentType)
	flush := func() { _ = http.NewResponseController(w).Flush() }
	if script.Raw != "" {
		_, _ = io.WriteString(w, script.Raw)
		flush()
	}
	wait := func() bool {
		if script.Gate == nil {
			return true
		}
		select {
		case <-script.Gate:
			return true
		case <-r.Context().Done():
			return false
		}
	}
	for _, p := range script.Pieces {
		if !wait() {
			return
		}
		_, _ = io.WriteString(w, protocol.piece(p))
		flush()
	}
	switch {
	case script.Hang:
		flush()
		<-r.Context().Done()
	case script.Break:
		panic(http.ErrAbortHandler)
	case script.Failure:
		_, _ = io.WriteString(w, protocol.failure)
	case script.Raw == "":
		if wait() {
			_, _ = io.WriteString(w, protocol.end(len(script.Pieces)))
		}
	}
}
