package dashboard

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

// Session tells a page who uses it.
type Session struct {
	State     string     `json:"state" enum:"signed_in,signed_out"`
	FirstRun  bool       `json:"first_run" doc:"No operator exists yet: follow the link in the log."`
	User      *User      `json:"user,omitempty"`
	CSRF      string     `json:"csrf,omitempty" doc:"Send it as X-CSRF-Token with everything that changes something."`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Version   string     `json:"version,omitempty"`
	Commit    string     `json:"commit,omitempty"`
	Node      string     `json:"node,omitempty"`
}

// User is who uses the desk, as the pages show it.
type User struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
	Role  string `json:"role" enum:"viewer,operator"`
}

type signInBody struct {
	Body struct {
		Email    string `json:"email" max:"254"`
		Password string `json:"password" max:"4096" trim:"false"`
	}
}

type firstRunBody struct {
	Body struct {
		Token    string `json:"token" max:"200"`
		Email    string `json:"email" format:"email" max:"254"`
		Name     string `json:"name" max:"120" optional:"true" blank:"true"`
		Password string `json:"password" min:"8" max:"4096" trim:"false"`
	}
}

func (d *Desk) registerSession() {
	public := func(method, path, id, summary string, errs ...int) httpapi.Operation {
		return httpapi.Operation{
			Method: method, Path: base + path, ID: "dashboard_" + id, Tag: tag, Summary: summary,
			Access: httpapi.AccessPublic, OwnLimits: true, Errors: errs,
		}
	}
	httpapi.Handle(d.api, public(http.MethodGet, "session", "session", "Who is signed in."), d.session)
	httpapi.Handle(d.api, public(http.MethodPost, "session", "sign_in", "Sign in with an account of the staff.", 400, 403, 429), d.signIn)
	httpapi.Handle(d.api, public(http.MethodDelete, "session", "sign_out", "Sign out.", 403), d.signOut)
	httpapi.Handle(d.api, public(http.MethodPost, "first-run", "first_run", "Make the first operator, by the link in the log.", 400, 410, 429), d.firstRun)
}

func (d *Desk) session(ctx context.Context, _ *struct{}) (Session, error) {
	token := cookie(httpapi.RequestInfo(ctx).Header("Cookie"))
	if token == "" {
		return d.signedOut(ctx), nil
	}
	p, err := d.caller(ctx, token, true)
	var answer *httpapi.Error
	if errors.As(err, &answer) {
		return d.signedOut(ctx), nil
	}
	if err != nil {
		return Session{}, err
	}
	who, err := d.opts.Identity.Person(ctx, p)
	if err != nil {
		if !unreachable(err) {
			return Session{}, err
		}
		who = Person{ID: p.UserID} // the name waits for the database
	}
	who.Operator = p.Superuser
	return d.signedIn(who, token, p.ExpiresAt), nil
}

func (d *Desk) signedOut(ctx context.Context) Session {
	return Session{State: "signed_out", FirstRun: d.first.open(ctx, d.opts.Identity)}
}

func (d *Desk) signedIn(who Person, token string, expires time.Time) Session {
	role := "viewer"
	if who.Operator {
		role = "operator"
	}
	expires = expires.UTC()
	return Session{
		State: "signed_in", User: &User{ID: strconv.FormatInt(who.ID, 10), Email: who.Email, Name: who.Name, Role: role},
		CSRF: csrfToken(token), ExpiresAt: &expires, Version: d.opts.Version, Commit: d.opts.Commit, Node: d.opts.Node,
	}
}

// foreign refuses what another site's page sends: there is no cookie yet by
// which to tell.
func foreign(ctx context.Context) error {
	if site := httpapi.RequestInfo(ctx).Header("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return httpapi.Forbidden()
	}
	return nil
}

func (d *Desk) signIn(ctx context.Context, in *signInBody) (httpapi.Result[Session], error) {
	var out httpapi.Result[Session]
	if err := foreign(ctx); err != nil {
		return out, err
	}
	if err := d.attempt(ctx); err != nil {
		return out, err
	}
	who, err := d.opts.Identity.SignIn(ctx, in.Body.Email, in.Body.Password, SessionLife)
	var locked *LockedError
	switch {
	case errors.As(err, &locked):
		return out, httpapi.Throttled(locked.Wait)
	case errors.Is(err, ErrWrong):
		return out, httpapi.Detail(http.StatusBadRequest, "Wrong address or password.")
	case errors.Is(err, ErrNotStaff):
		return out, httpapi.Detail(http.StatusForbidden, "This account may not use the dashboard.")
	case err != nil:
		return out, err
	}
	return d.welcome(ctx, who, "dashboard.sign_in")
}

// welcome writes the sign-in down and sets the cookie.
func (d *Desk) welcome(ctx context.Context, who SignedIn, action string) (httpapi.Result[Session], error) {
	info := httpapi.RequestInfo(ctx)
	err := d.record(ctx, &who.ID, info.ClientIP, Deed{Action: action, ObjectType: "user", ObjectID: strconv.FormatInt(who.ID, 10)}, nil)
	if err != nil {
		return httpapi.Result[Session]{}, err
	}
	return httpapi.Result[Session]{
		Body:   d.signedIn(who.Person, who.Token, who.ExpiresAt),
		Header: []httpapi.Header{setCookie(who.Token, time.Until(who.ExpiresAt), info.Secure)},
	}, nil
}

func (d *Desk) signOut(ctx context.Context, _ *struct{}) (httpapi.Result[httpapi.NoContent], error) {
	out := httpapi.Result[httpapi.NoContent]{Status: http.StatusNoContent}
	info := httpapi.RequestInfo(ctx)
	token := cookie(info.Header("Cookie"))
	if token == "" {
		return out, nil
	}
	if !sameSite(info, token) {
		return out, httpapi.Detail(http.StatusForbidden, "The request did not come from the dashboard: reload the page and try again.")
	}
	out.Header = []httpapi.Header{setCookie("", 0, info.Secure)}
	p, err := d.opts.Identity.Caller(ctx, token)
	d.known.forget(token)
	if errors.As(err, new(*auth.TokenError)) {
		return out, nil // it had ended before
	}
	if err != nil {
		return out, err
	}
	return out, d.opts.Identity.SignOut(ctx, p)
}

func (d *Desk) firstRun(ctx context.Context, in *firstRunBody) (httpapi.Result[Session], error) {
	var out httpapi.Result[Session]
	if err := foreign(ctx); err != nil {
		return out, err
	}
	if err := d.attempt(ctx); err != nil {
		return out, err
	}
	gone := httpapi.Detail(http.StatusGone, "This link does not serve any more. Sign in, or make an operator with:  selflink admin create")
	token := d.first.current()
	if token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(in.Body.Token)) != 1 {
		return out, gone
	}
	_, err := d.opts.Identity.CreateFirstAdmin(ctx, in.Body.Email, in.Body.Password, in.Body.Name)
	if errors.Is(err, ErrAdminExists) {
		d.endFirstRun()
		return out, gone
	}
	if err != nil {
		return out, err
	}
	d.endFirstRun()
	who, err := d.opts.Identity.SignIn(ctx, in.Body.Email, in.Body.Password, SessionLife)
	if err != nil {
		return out, err
	}
	return d.welcome(ctx, who, "dashboard.first_run")
}
