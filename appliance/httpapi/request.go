package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/telemetry"
)

// Info is what a handler may ask about the request itself.
type Info struct {
	ID       string // request id, echoed to the client and in every log line
	ClientIP string // behind trusted proxies the address they report
	BaseURL  string // scheme://host, for absolute links
	Method   string
	Path     string
	RawQuery string
	Secure   bool // came by HTTPS, to us or to a trusted proxy
	Local    bool // came by Options.Socket
	request  *request
}

// Header gives a request header, copied; it is empty once the handler has
// returned.
func (i Info) Header(name string) string {
	if i.request == nil {
		return ""
	}
	return i.request.header(name)
}

type infoKey struct{}

// RequestInfo gives what ctx knows about its request; it is zero outside of
// one.
func RequestInfo(ctx context.Context) Info {
	rc, ok := ctx.Value(infoKey{}).(*request)
	if !ok {
		return Info{}
	}
	return rc.info()
}

// requestLocal keys the request in the locals of a fiber context.
type requestLocal struct{}

// request is one request on its way through the checks. It is also the
// handler's context: the deadline's timer is only started when somebody waits
// for it, since a hot handler that answers from memory never does.
type request struct {
	api    *API
	fc     *fiber.Ctx // nil once the handler has returned
	route  *route
	res    *resource
	params [maxParams]string

	id        string
	client    netip.Addr
	secure    bool
	local     bool  // came by the socket
	unread    int64 // length of a body that waits on the connection, -1: in chunks, -2: none waits
	streaming bool  // the answer goes on after the handler; ServeEvents ends it
	method    string
	path      string
	query     string
	host      string
	start     time.Time
	principal auth.Principal
	known     bool  // a caller is signed in
	failure   error // what went wrong, when that is nobody's mistake but ours

	deadline time.Time // zero: none
	mu       sync.Mutex
	inner    context.Context
	cancel   context.CancelFunc
	live     bool            // the fiber context may be read; guarded by mu
	tally    *database.Tally // of the statements under this context; nil: there were none; guarded by mu
}

// context gives the handler's context with the caller in it.
func (rc *request) context() context.Context {
	if rc.known {
		return auth.With(rc, rc.principal)
	}
	return rc
}

// Deadline implements context.Context.
func (rc *request) Deadline() (time.Time, bool) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.deadline, !rc.deadline.IsZero()
}

// Done implements context.Context.
func (rc *request) Done() <-chan struct{} { return rc.wait().Done() }

// Err implements context.Context.
func (rc *request) Err() error {
	rc.mu.Lock()
	inner, deadline := rc.inner, rc.deadline
	rc.mu.Unlock()
	switch {
	case inner != nil:
		return inner.Err()
	case !deadline.IsZero() && !time.Now().Before(deadline):
		return rc.wait().Err()
	}
	return rc.api.base.Err()
}

// Value implements context.Context.
func (rc *request) Value(key any) any {
	switch key.(type) {
	case infoKey:
		return rc
	case telemetry.RequestKey:
		return rc.id
	case telemetry.UserKey:
		if !rc.known {
			return nil
		}
		return rc.principal.UserID
	case database.TallyKey:
		if rc.api.opts.Requests == nil {
			return nil
		}
		return rc.count()
	}
	rc.mu.Lock()
	inner := rc.inner
	rc.mu.Unlock()
	if inner == nil {
		inner = rc.api.base
	}
	return inner.Value(key)
}

// count gives the tally of the request's statements. Many requests have none.
func (rc *request) count() *database.Tally {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.tally == nil {
		rc.tally = new(database.Tally)
	}
	return rc.tally
}

// wait gives the context behind Done and makes it on first use.
func (rc *request) wait() context.Context {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.inner == nil {
		if rc.deadline.IsZero() {
			rc.inner, rc.cancel = context.WithCancel(rc.api.base)
		} else {
			rc.inner, rc.cancel = context.WithDeadline(rc.api.base, rc.deadline)
		}
	}
	return rc.inner
}

// redo sets another deadline, zero for none. What waits for the old one is
// told to end.
func (rc *request) redo(deadline time.Time) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.cancel != nil {
		rc.cancel()
		rc.inner, rc.cancel = nil, nil
	}
	rc.deadline = deadline
}

// detach lets go of the fiber context, which is about to be reused.
func (rc *request) detach() {
	rc.mu.Lock()
	rc.live = false
	rc.mu.Unlock()
}

// finish ends the context.
func (rc *request) finish() {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.cancel != nil {
		rc.cancel()
		return
	}
	rc.inner = rc.api.over
}

func (rc *request) info() Info {
	scheme := "http://"
	if rc.secure {
		scheme = "https://"
	}
	return Info{
		ID: rc.id, ClientIP: rc.client.String(), BaseURL: scheme + rc.host,
		Method: rc.method, Path: rc.path, RawQuery: rc.query,
		Secure: rc.secure, Local: rc.local, request: rc,
	}
}

func (rc *request) header(name string) string {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if !rc.live {
		return ""
	}
	return string(rc.fc.Request().Header.Peek(name))
}

// param gives a path parameter by name.
func (rc *request) param(name string) string {
	for i, p := range rc.res.params {
		if p == name {
			return rc.params[i]
		}
	}
	return ""
}

// noContent answers without a body.
func (rc *request) noContent(status int) {
	rc.fc.Response().ResetBody()
	rc.fc.Response().Header.SetNoDefaultContentType(true)
	rc.fc.Status(status)
}

// maxKeptBuffer is the largest encoding buffer that is kept for reuse.
const maxKeptBuffer = 64 << 10

// encode answers with v as JSON, compact and without HTML escapes.
func (rc *request) encode(status int, v any) error {
	buf, ok := rc.api.buffers.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	buf.Reset()
	defer func() {
		if buf.Cap() <= maxKeptBuffer {
			rc.api.buffers.Put(buf)
		}
	}()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	rc.write(status, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}))
	return nil
}

const typeJSON = "application/json"

// write answers with a JSON document; body is copied.
func (rc *request) write(status int, body []byte) {
	resp := rc.fc.Response()
	resp.SetStatusCode(status)
	resp.Header.SetContentType(typeJSON)
	resp.SetBody(body)
}

// refuse answers with e.
func (rc *request) refuse(e *Error) {
	for _, h := range e.Header {
		rc.fc.Response().Header.Set(h.Name, h.Value)
	}
	status := e.Status
	if status < 400 {
		status = http.StatusInternalServerError
	}
	rc.write(status, e.Body)
}

// scopes splits a comma list.
func scopes(s string) []string {
	var out []string
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}
