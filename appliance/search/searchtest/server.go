// Package searchtest serves what the appliance needs of OpenSearch, in memory
// and over HTTP: indices, aliases, bulk, search, count and health. It refuses
// what a real server would refuse, and what our requests should not be, and can
// be told to fail. Where a real server is at hand it is the better test; this
// one is for everywhere else.
package searchtest

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// User and Password are the credentials that the server asks for.
const (
	User     = "indexer"
	Password = "correct horse battery"
)

// Mode is how a server fails. The zero value is not at all.
type Mode int

// The ways to fail.
const (
	Well       Mode = iota
	Red             // searches lack shards, the health is red
	Slow            // nothing is answered until the caller gives up
	Garbage         // answers are no JSON
	Overloaded      // 429
	Broken          // 500 with a page of HTML
	Endless         // answers do not end
	TimedOut        // searches are broken off
	Empty           // answers are JSON of something else
)

// Server is a search server. It is safe for concurrent use.
type Server struct {
	URL   string
	Cert  []byte // PEM of its certificate, when it was made with TLS
	t     testing.TB
	http  *httptest.Server
	quit  chan struct{}
	state state

	mu       sync.Mutex
	mode     Mode
	requests []string // method and path of each, without credentials
	bulks    int
	hook     func(method, path string)
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server { return start(t, false) }

// NewTLS starts one that speaks https with a certificate of its own.
func NewTLS(t testing.TB) *Server { return start(t, true) }

func start(t testing.TB, secure bool) *Server {
	s := &Server{t: t, quit: make(chan struct{}), state: newState()}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	if secure {
		s.http.StartTLS()
		s.Cert = certificate(s.http.Certificate().Raw)
	} else {
		s.http.Start()
	}
	s.URL = s.http.URL
	t.Cleanup(func() {
		close(s.quit)
		s.http.Close()
	})
	return s
}

// Set makes the server fail, or not any more.
func (s *Server) Set(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

// Hook is called with every request before it is answered, for tests that do
// something in between.
func (s *Server) Hook(f func(method, path string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// Requests gives what was asked, as "GET /path".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	mode, hook := s.mode, s.hook
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if hook != nil {
		hook(r.Method, r.URL.Path)
	}
	user, password, ok := r.BasicAuth()
	if !ok || subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(User+":"+Password)) != 1 {
		w.Header().Set("WWW-Authenticate", `Basic realm="OpenSearch Security"`)
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if s.fail(w, r, mode) {
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	status, answer := s.route(r, body, mode)
	encoded, err := json.Marshal(answer)
	if err != nil {
		s.t.Errorf("searchtest: encode an answer: %v", err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}

// fail answers as a server that fails would; false: it does not.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, mode Mode) bool {
	switch mode {
	case Slow:
		select {
		case <-r.Context().Done():
		case <-s.quit:
		case <-time.After(time.Minute):
		}
	case Garbage:
		_, _ = io.WriteString(w, "\x00{not json")
	case Overloaded:
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":{"type":"circuit_breaking_exception","reason":"too many"},"status":429}`)
	case Broken:
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "<html>oops</html>")
	case Endless:
		chunk := []byte(strings.Repeat(" ", 1<<16))
		for {
			if _, err := w.Write(chunk); err != nil {
				return true
			}
		}
	case Empty:
		_, _ = io.WriteString(w, `{"name":"something else"}`)
	default:
		return false
	}
	return true
}

func fault(status int, kind, reason string) (int, any) {
	return status, map[string]any{"status": status, "error": map[string]any{"type": kind, "reason": reason}}
}

func notFound(index string) (int, any) {
	return fault(http.StatusNotFound, "index_not_found_exception", "no such index ["+index+"]")
}

// route answers one well-formed request. Whatever we do not send is an error of
// the test.
func (s *Server) route(r *http.Request, body []byte, mode Mode) (int, any) {
	if len(body) > 0 {
		want := "application/json"
		if r.URL.Path == "/_bulk" {
			want = "application/x-ndjson"
		}
		if got := r.Header.Get("Content-Type"); got != want {
			s.t.Errorf("searchtest: %s %s with Content-Type %q", r.Method, r.URL.Path, got)
			return fault(http.StatusNotAcceptable, "media_type_header_exception", got)
		}
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	what := parts[len(parts)-1]
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/_bulk":
		return s.bulk(r, body)
	case r.Method == http.MethodPost && r.URL.Path == "/_aliases":
		return s.state.change(body)
	case r.Method == http.MethodGet && len(parts) == 2 && what == "_alias":
		return s.state.aliases(parts[0])
	case r.Method == http.MethodGet && len(parts) == 3 && parts[0] == "_cluster" && parts[1] == "health":
		status := "green"
		if mode == Red {
			status = "red"
		}
		return http.StatusOK, map[string]any{"status": status, "timed_out": false}
	case r.Method == http.MethodGet && len(parts) == 2 && what == "_count":
		docs, ok := s.state.docs(parts[0])
		if !ok {
			return notFound(parts[0])
		}
		return http.StatusOK, map[string]any{"count": len(docs)}
	case r.Method == http.MethodPost && len(parts) == 2 && what == "_refresh":
		if _, ok := s.state.docs(parts[0]); !ok {
			return notFound(parts[0])
		}
		return http.StatusOK, map[string]any{"_shards": map[string]any{"failed": 0}}
	case r.Method == http.MethodPost && len(parts) == 2 && what == "_search":
		return s.search(parts[0], body, mode)
	case r.Method == http.MethodPut && len(parts) == 1:
		return s.state.create(parts[0], body)
	case r.Method == http.MethodDelete && len(parts) == 1:
		return s.state.remove(parts[0])
	}
	s.t.Errorf("searchtest: nothing answers %s %s", r.Method, r.URL.Path)
	return fault(http.StatusBadRequest, "illegal_argument_exception", fmt.Sprintf("no handler for %s", r.URL.Path))
}

// Bulks is how many bulks there were.
func (s *Server) Bulks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bulks
}

// Names gives the indices, each with its aliases, sorted: "users_v1_2 users_v1".
func (s *Server) Names() []string { return s.state.names() }

// Document gives a document of an index or alias; nil: it is not there.
func (s *Server) Document(index, id string) map[string]any {
	docs, _ := s.state.docs(index)
	return docs[id]
}

// Count is how many documents an index or alias has; -1: there is none.
func (s *Server) Count(index string) int {
	docs, ok := s.state.docs(index)
	if !ok {
		return -1
	}
	return len(docs)
}

// Make makes an index as somebody else would, with aliases.
func (s *Server) Make(index string, aliases ...string) {
	s.state.make(index, aliases...)
}

// Remove deletes an index, given as [Server.Names] does.
func (s *Server) Remove(name string) {
	index, _, _ := strings.Cut(name, " ")
	s.state.remove(index)
}
