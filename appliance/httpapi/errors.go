package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Error is an answer that refuses: a status, the exact JSON body that the
// client reads, and headers that go with it. A handler returns it; wrapping it
// with %w keeps its meaning. It is immutable once returned.
type Error struct {
	Status int
	Body   json.RawMessage
	Header []Header
}

// Header is one response header.
type Header struct{ Name, Value string }

// Error implements error. The text is for logs and tests.
func (e *Error) Error() string {
	return fmt.Sprintf("httpapi: answer %d %s", e.Status, e.Body)
}

// Texts that several places answer with (contract 00 §6).
const (
	textNotFound     = "Not found."
	textForbidden    = "You do not have permission to perform this action."
	textNoAuth       = "Authentication credentials were not provided."
	textNotAccepted  = "Could not satisfy the request Accept header."
	textServerError  = "Internal server error."
	textUnavailable  = "Service temporarily unavailable, try again later."
	textRateLimited  = "Rate limit exceeded."
	textBodyTooLarge = "Request body is too large."
	textBadCursor    = "Invalid cursor"
)

// nonField is the key of errors that belong to no single field.
const nonField = "non_field_errors"

// Detail refuses with {"detail": text}.
func Detail(status int, text string) *Error {
	return &Error{Status: status, Body: object("detail", text)}
}

// DetailCode refuses with {"detail": text, "code": code}.
func DetailCode(status int, text, code string) *Error {
	return &Error{Status: status, Body: object("detail", text, "code", code)}
}

// NotFound is 404 for a missing object. Model is the public name of its kind:
// "User", "Device", "MentorSession".
func NotFound(model string) *Error {
	return Detail(http.StatusNotFound, "No "+model+" matches the given query.")
}

// NoSuchPath is 404 for an address that leads nowhere, also for an id that is
// not one.
func NoSuchPath() *Error { return Detail(http.StatusNotFound, textNotFound) }

// Forbidden is 403 with the usual text.
func Forbidden() *Error { return Detail(http.StatusForbidden, textForbidden) }

// Invalid is 400 for one field: {"field": ["message", …]}.
func Invalid(field string, messages ...string) *Error {
	var f FieldErrors
	f.Add(field, messages...)
	return f.err()
}

// NonField is 400 for a rule over several fields.
func NonField(messages ...string) *Error { return Invalid(nonField, messages...) }

// Throttled is 429 with the time after which the client may come back, in
// whole seconds rounded up, at least one.
func Throttled(wait time.Duration) *Error {
	seconds := max(int64(1), int64((wait+time.Second-1)/time.Second))
	unit := " seconds."
	if seconds == 1 {
		unit = " second."
	}
	n := strconv.FormatInt(seconds, 10)
	e := Detail(http.StatusTooManyRequests, "Request was throttled. Expected available in "+n+unit)
	e.Header = []Header{{"Retry-After", n}}
	return e
}

// RateLimited is 429 of the burst limiter; it carries no Retry-After.
func RateLimited() *Error { return Detail(http.StatusTooManyRequests, textRateLimited) }

// Unavailable is 503 with Retry-After: a dependency is down or busy, and the
// same request may succeed soon.
func Unavailable() *Error {
	e := Detail(http.StatusServiceUnavailable, textUnavailable)
	e.Header = []Header{{"Retry-After", "1"}}
	return e
}

// Unauthorized is 401 with the WWW-Authenticate header. An empty code leaves
// the code out.
func Unauthorized(detail, code string) *Error {
	e := Detail(http.StatusUnauthorized, detail)
	if code != "" {
		e = DetailCode(http.StatusUnauthorized, detail, code)
	}
	e.Header = challenge
	return e
}

// challenge is the header of every 401.
var challenge = []Header{{"WWW-Authenticate", `Bearer realm="api"`}}

// InvalidToken is 401 for an access token that does not serve; message says
// why ("Token is expired", "Token is invalid", "Token has wrong type").
func InvalidToken(message string) *Error {
	b := []byte(`{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":"AccessToken","token_type":"access","message":`)
	b = appendString(b, message)
	b = append(b, `}]}`...)
	return &Error{Status: http.StatusUnauthorized, Body: b, Header: challenge}
}

// object builds a flat JSON object of string values from pairs.
func object(pairs ...string) json.RawMessage {
	b := []byte{'{'}
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, pairs[i])
		b = append(b, ':')
		b = appendString(b, pairs[i+1])
	}
	return append(b, '}')
}
