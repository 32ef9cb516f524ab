package auth

import "errors"

// TokenError says why a token or the account behind it is refused. It names
// its own 401 body of contract 00 §2 through Unauthorized, so that whoever
// answers the request needs no list of reasons.
type TokenError struct {
	detail, code, token string
}

// Error implements error. It never contains a token.
func (e *TokenError) Error() string {
	if e.token != "" {
		return "auth: " + e.token
	}
	return "auth: " + e.detail
}

// Unauthorized gives the parts of the 401 body. When token is not empty it is
// the inner message of the "token not valid" body, and the detail where only
// one text is answered.
func (e *TokenError) Unauthorized() (detail, code, token string) { return e.detail, e.code, e.token }

// Reasons to refuse a token, its account, or a header.
var (
	// ErrInvalid is a token that is malformed, signed by another key or in
	// another way, or that has been ended.
	ErrInvalid = &TokenError{token: "Token is invalid"}
	// ErrExpired is a token past its time.
	ErrExpired = &TokenError{token: "Token is expired"}
	// ErrWrongType is a token of the other type.
	ErrWrongType = &TokenError{token: "Token has wrong type"}
	// ErrNoType is a token that names no type.
	ErrNoType = &TokenError{token: "Token has no type"}
	// ErrNoID is a token without a jti.
	ErrNoID = &TokenError{token: "Token has no id"}
	// ErrNoExpiry is a token without an end.
	ErrNoExpiry = &TokenError{token: "Token has no 'exp' claim"}
	// ErrNoUser is a token that names no user.
	ErrNoUser = &TokenError{detail: "Token contained no recognizable user identification", code: "token_not_valid"}
	// ErrHeader is a Bearer header with no or several values.
	ErrHeader = &TokenError{detail: "Authorization header must contain two space-delimited values", code: "bad_authorization_header"}
	// ErrUserNotFound is a token whose user is gone.
	ErrUserNotFound = &TokenError{detail: "User not found", code: "user_not_found"}
	// ErrUserInactive is a token whose user is deactivated.
	ErrUserInactive = &TokenError{detail: "User is inactive", code: "user_inactive"}
)

// ErrBusy means that all cores were hashing passwords for the whole bounded
// wait, or that too many waited already. The request is answered with 503.
var ErrBusy = errors.New("auth: too many passwords are being checked")

// ErrHash is a stored password in a form that this package does not know.
var ErrHash = errors.New("auth: stored password has an unknown form")
