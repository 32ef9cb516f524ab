package httpapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"selflink/appliance/database"
)

// serve is the way of every request.
func (a *API) serve(fctx *fasthttp.RequestCtx) {
	c := a.app.AcquireCtx(fctx)
	rc := a.newRequest(c)
	a.observe.begin()
	defer func() {
		if p := recover(); p != nil {
			a.log.LogAttrs(a.base, levelError, "panic in a request", logID(rc.id), logPanic(p), logStack(debug.Stack()))
			fctx.Hijack(nil)
			rc.streaming = false
			rc.failure = fmt.Errorf("panic: %v", p)
			rc.refuse(Detail(http.StatusInternalServerError, textServerError))
		}
		if !rc.streaming {
			a.report(rc)
			rc.finish()
		}
		rc.detach()
		a.app.ReleaseCtx(c)
	}()
	if err := a.checks(rc); err != nil {
		rc.refuse(a.toError(rc, err))
	}
	if rc.unread != -2 && !rc.streaming {
		rc.dismiss(fctx)
	}
}

// newRequest takes what is kept of a request out of fasthttp's buffers, which
// are reused.
func (a *API) newRequest(c *fiber.Ctx) *request {
	fctx := c.Context()
	uri := fctx.URI()
	path, query, host := uri.PathOriginal(), uri.QueryString(), uri.Host()
	kept := make([]byte, 0, len(path)+len(query)+len(host))
	kept = append(append(append(kept, path...), query...), host...)
	all := string(kept)
	rc := &request{
		api: a, fc: c, live: true,
		path:  all[:len(path)],
		query: all[len(path) : len(path)+len(query)],
		host:  all[len(path)+len(query):],
		start: a.opts.Now(),
	}
	rc.method = knownMethod(c.Method())
	rc.client, rc.secure = a.proxies.client(fctx)
	_, rc.local = fctx.LocalAddr().(*net.UnixAddr)
	rc.unreadLength(fctx)
	rc.id = a.requestID(fctx.Request.Header.Peek("X-Request-ID"))
	c.Locals(requestLocal{}, rc)
	fctx.Response.Header.Set("X-Request-ID", rc.id)
	return rc
}

// maxRequestID is the longest request id that is taken over from a client.
const maxRequestID = 128

// requestID takes over an id of harmless characters, else makes one.
func (a *API) requestID(given []byte) string {
	ok := len(given) > 0 && len(given) <= maxRequestID
	for _, c := range given {
		ok = ok && (isAlnum(c) || c == '-' || c == '_' || c == '.' || c == ':')
	}
	if ok {
		return string(given)
	}
	var b [40]byte
	return string(strconv.AppendUint(append(b[:0], a.idPrefix...), a.idCount.Add(1), 10))
}

// checks leads a request through every check to its handler. The order is part
// of the contract (00 §6).
func (a *API) checks(rc *request) error {
	head := &rc.fc.Response().Header
	method := rc.fc.Method()
	m, found := a.router.find(rc.path, &rc.params)
	system := found && m.res.first.op.system
	if !system && !rc.local && !a.hosts.allow(rc.host) {
		rc.badHost()
		return nil
	}
	securityHeaders(head)
	if a.cors(rc, method) {
		return nil
	}
	if !found {
		head.SetCanonical(headerVary, varyOrigin)
		return NoSuchPath()
	}
	if m.slashless && (method == http.MethodGet || method == http.MethodHead) {
		rc.addSlash()
		return nil
	}
	rc.res = m.res
	rc.route = rc.res.methods[method]
	if rc.route == nil && method == http.MethodHead {
		rc.route = rc.res.methods[http.MethodGet]
	}
	at := rc.route // whose rules hold: of an unknown method, those of the resource
	if at == nil {
		at = rc.res.first
	}
	head.SetCanonical(headerVary, varyAll)
	head.SetCanonical(headerAllow, rc.res.allow)
	rc.deadline = time.Now().Add(a.opts.RequestTimeout)
	if !system {
		if !acceptable(rc.fc.Request().Header.Peek("Accept"), at.op.Produces) {
			return Detail(http.StatusNotAcceptable, textNotAccepted)
		}
		if err := a.admit(rc, at); err != nil {
			return err
		}
	}
	switch {
	case rc.route == nil && method == http.MethodOptions:
		return rc.describe()
	case rc.route == nil:
		return Detail(http.StatusMethodNotAllowed, `Method "`+strings.ToValidUTF8(method, "\ufffd")+`" not allowed.`)
	case rc.route.stream && method == http.MethodHead && rc.route.op.Produces != anyType:
		rc.headOfStream()
		return nil
	}
	if rc.unread != -2 && (!rc.route.op.upload || rc.unread > a.bodyLimit(rc.route)) {
		return Detail(http.StatusRequestEntityTooLarge, textBodyTooLarge)
	}
	if err := a.limits.write(rc); err != nil {
		return err
	}
	switch timeout := rc.route.op.Timeout; {
	case timeout > 0:
		rc.redo(time.Now().Add(timeout))
	case rc.route.stream:
		rc.redo(time.Time{})
	}
	return rc.route.run(rc)
}

// admit checks who calls, whether they may, and whether they call too often.
func (a *API) admit(rc *request, at *route) error {
	if at.op.Identify != nil {
		p, err := at.op.Identify(rc)
		if err != nil {
			return err
		}
		rc.principal, rc.known = p, true
	} else if header := rc.fc.Request().Header.Peek(fiber.HeaderAuthorization); len(header) > 0 && a.opts.Auth != nil {
		p, err := a.opts.Auth.Authenticate(rc, string(header))
		// Who is refused is a stranger where strangers may come. Who could not
		// be looked up is not: to take one for a stranger would tell an app that
		// its session is over.
		if err != nil && (at.op.Access != AccessPublic || !errors.As(err, new(Refusal))) {
			return err
		}
		if err == nil && p.UserID != 0 {
			rc.principal, rc.known = p, true
		}
	}
	switch {
	case at.op.Access == AccessPublic:
	case !rc.known:
		return Unauthorized(textNoAuth, "")
	case at.op.Access == AccessStaff && !rc.principal.Staff:
		return Forbidden()
	}
	if at.op.OwnLimits {
		return nil
	}
	return a.limits.check(rc, at)
}

// toError turns any error into an answer. What is nobody's mistake but ours is
// logged here, once.
func (a *API) toError(rc *request, err error) *Error {
	var answer *Error
	var refusal Refusal
	switch {
	case errors.As(err, &answer):
		if answer.Status >= http.StatusInternalServerError {
			rc.failure = err
		}
		return answer
	case errors.As(err, &refusal):
		detail, code, token := refusal.Unauthorized()
		if token != "" {
			return InvalidToken(token)
		}
		return Unauthorized(detail, code)
	}
	rc.failure = err
	switch {
	case errors.Is(err, database.ErrBusy), errors.Is(err, database.ErrUnavailable):
		a.log.LogAttrs(a.base, levelWarn, "request met an unavailable database", logID(rc.id), logError(err))
		return Unavailable()
	case rc.Err() != nil:
		a.log.LogAttrs(a.base, levelWarn, "request ran out of time", logID(rc.id), logError(err))
		return Unavailable()
	}
	a.log.LogAttrs(a.base, levelError, "request failed", logID(rc.id), logRoute(rc), logError(err))
	return Detail(http.StatusInternalServerError, textServerError)
}
