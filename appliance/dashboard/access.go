package dashboard

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/ratelimit"
)

const (
	// base is where the API lives.
	base = "/dashboard/api/"
	// tag is the part of the OpenAPI document.
	tag = "dashboard"

	cookieName = "selflink_dashboard"
	csrfHeader = "X-CSRF-Token"

	// maxCallers bounds the memory of the limits.
	maxCallers = 10_000
	// grace is how long somebody who was known stays known for reading while
	// the database cannot be asked: this is when the dashboard is needed most.
	grace = 15 * time.Minute
	// maxKnown bounds how many are remembered for it.
	maxKnown = 256
)

// Scopes of the limits.
const (
	scopeSignIn = iota
	scopeUser
)

var (
	// signIns are the attempts of one address to sign in.
	signIns = ratelimit.Rate{N: 10, Period: time.Minute}
	// requests are those of one account. A page loads with about five.
	requests = ratelimit.Rate{N: 600, Period: time.Minute}
)

func errSignIn() error { return httpapi.Unauthorized("Sign in.", "") }

// Operation describes one operation of the desk's API.
type Operation struct {
	Method      string
	Path        string // relative to /dashboard/api/
	ID          string // unique among all; "dashboard_" is put before it
	Summary     string
	Description string
	// Acts says that it changes something: for operators alone, with the CSRF
	// token. Whoever handles it writes the audit trail by Desk.Act.
	Acts bool
	// Operators says that only operators may read it.
	Operators bool
	Status    int
	Produces  string
	Timeout   time.Duration
	Errors    []int
}

func (d *Desk) operation(op Operation) httpapi.Operation {
	return httpapi.Operation{
		Method: op.Method, Path: base + op.Path, ID: "dashboard_" + op.ID, Tag: tag, Summary: op.Summary, Description: op.Description,
		Access: httpapi.AccessStaff, Identify: d.identify(op.Acts || op.Operators), Status: op.Status, Produces: op.Produces,
		OwnLimits: true, Timeout: op.Timeout, Errors: op.Errors,
	}
}

// Handle adds a typed operation, as [httpapi.Handle] does. The context carries
// the caller.
func Handle[In, Out any](d *Desk, op Operation, f func(ctx context.Context, in *In) (Out, error)) {
	httpapi.Handle(d.api, d.operation(op), f)
}

// Stream adds an operation that writes its own answer, as [httpapi.StreamIn]
// does.
func Stream[In any](d *Desk, op Operation, f func(c *fiber.Ctx, in *In) error) {
	httpapi.StreamIn(d.api, d.operation(op), f)
}

// identify makes the check of who calls.
func (d *Desk) identify(operators bool) func(ctx context.Context) (auth.Principal, error) {
	return func(ctx context.Context) (auth.Principal, error) {
		info := httpapi.RequestInfo(ctx)
		if info.Local {
			return auth.Principal{Staff: true, Superuser: true}, nil
		}
		token := cookie(info.Header("Cookie"))
		if token == "" {
			return auth.Principal{}, errSignIn()
		}
		p, err := d.caller(ctx, token, safe(info.Method))
		if err != nil {
			return auth.Principal{}, err
		}
		if !safe(info.Method) && !sameSite(info, token) {
			return auth.Principal{}, httpapi.Detail(http.StatusForbidden, "The request did not come from the dashboard: reload the page and try again.")
		}
		if operators && !p.Superuser {
			return auth.Principal{}, httpapi.Detail(http.StatusForbidden, "Only an operator may do that.")
		}
		if wait := d.limits.Sliding(ratelimit.ByUser(scopeUser, p.UserID), requests, time.Now()); wait > 0 {
			return auth.Principal{}, httpapi.Throttled(wait)
		}
		return p, nil
	}
}

// caller says whose cookie it is. reading allows one who was known a moment ago
// while the database is away.
func (d *Desk) caller(ctx context.Context, token string, reading bool) (auth.Principal, error) {
	p, err := d.opts.Identity.Caller(ctx, token)
	var refusal *auth.TokenError
	switch {
	case errors.As(err, &refusal):
		d.known.forget(token)
		return auth.Principal{}, errSignIn()
	case err != nil:
		if old, ok := d.known.get(token, time.Now()); ok && reading && unreachable(err) {
			return old, nil
		}
		return auth.Principal{}, err
	case !p.Staff:
		d.known.forget(token)
		return auth.Principal{}, errSignIn()
	}
	d.known.put(token, p, time.Now())
	return p, nil
}

func unreachable(err error) bool {
	return errors.Is(err, database.ErrBusy) || errors.Is(err, database.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// sameSite checks that an act comes from a page of ours: by the token that only
// such a page can read, and by what the browser says itself.
func sameSite(info httpapi.Info, token string) bool {
	if site := info.Header("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(info.Header(csrfHeader)), []byte(csrfToken(token))) == 1
}

// csrfToken follows from the cookie and does not give it away.
func csrfToken(cookie string) string {
	mac := hmac.New(sha256.New, []byte(cookie))
	mac.Write([]byte("selflink dashboard csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// cookie finds ours in a Cookie header.
func cookie(header string) string {
	for part := range strings.SplitSeq(header, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if ok && name == cookieName {
			return value
		}
	}
	return ""
}

// setCookie writes the header that keeps token, or ends it when empty.
func setCookie(token string, life time.Duration, secure bool) httpapi.Header {
	c := http.Cookie{
		Name: cookieName, Value: token, Path: "/dashboard", MaxAge: int(life.Seconds()), HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteStrictMode,
	}
	if token == "" {
		c.MaxAge = -1
	}
	return httpapi.Header{Name: "Set-Cookie", Value: c.String()}
}

// attempt counts an attempt to sign in.
func (d *Desk) attempt(ctx context.Context) error {
	addr, err := netip.ParseAddr(httpapi.RequestInfo(ctx).ClientIP)
	if err != nil {
		return httpapi.Forbidden()
	}
	if wait := d.limits.Sliding(ratelimit.ByAddr(scopeSignIn, addr), signIns, time.Now()); wait > 0 {
		return httpapi.Throttled(wait)
	}
	return nil
}

// known remembers who was let in, by the hash of the cookie. The zero value is
// ready to use.
type known struct {
	mu    sync.Mutex
	byKey map[[sha256.Size]byte]acquaintance
}

type acquaintance struct {
	who  auth.Principal
	seen time.Time
}

func (k *known) put(token string, p auth.Principal, now time.Time) {
	key := sha256.Sum256([]byte(token))
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byKey == nil {
		k.byKey = make(map[[sha256.Size]byte]acquaintance)
	}
	if _, there := k.byKey[key]; !there && len(k.byKey) >= maxKnown {
		for old, a := range k.byKey {
			if now.Sub(a.seen) > grace {
				delete(k.byKey, old)
			}
		}
		if len(k.byKey) >= maxKnown {
			return
		}
	}
	k.byKey[key] = acquaintance{p, now}
}

func (k *known) get(token string, now time.Time) (auth.Principal, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.byKey[sha256.Sum256([]byte(token))]
	if !ok || now.Sub(a.seen) > grace || now.After(a.who.ExpiresAt) {
		return auth.Principal{}, false
	}
	return a.who, true
}

func (k *known) forget(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.byKey, sha256.Sum256([]byte(token)))
}
