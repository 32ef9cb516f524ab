// Package auth issues and verifies tokens, hashes passwords, and names who is
// calling.
package auth

import (
	"context"
	"time"
)

// Principal is the caller of a request, as the access token and the account
// behind it say.
type Principal struct {
	UserID    int64
	SessionID string // the refresh family the token came from; empty for tokens of the old backend
	Staff     bool
	Superuser bool
	IssuedAt  time.Time // of the access token
	ExpiresAt time.Time // of the access token; whatever it opened ends then
}

type principalKey struct{}

// With returns a context that carries p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns the caller that ctx carries; ok is false for anonymous ones.
func From(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(principalKey{}).(Principal)
	return p, ok
}
