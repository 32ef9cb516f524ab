package auth

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Type tells access tokens from refresh tokens; it is their token_type claim.
type Type string

// The types of tokens.
const (
	Access  Type = "access"
	Refresh Type = "refresh"
)

const (
	// DefaultAccess is the life of an access token (contract 00 §2).
	DefaultAccess = 15 * time.Minute
	// DefaultRefresh is the life of a refresh token (contract 00 §2).
	DefaultRefresh = 7 * 24 * time.Hour

	// maxToken is the longest token in bytes that is looked at. Our own have
	// about 300.
	maxToken = 4096

	scheme = "Bearer"
)

// Claims are what a token says. Moments have a resolution of one second.
type Claims struct {
	Type      Type
	ID        uuid.UUID
	UserID    int64
	Session   uuid.UUID // the family; zero for tokens of the old backend
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// TokenOptions configure [NewTokens].
type TokenOptions struct {
	Key     []byte        // signs all tokens; required
	Access  time.Duration // life of access tokens ([DefaultAccess])
	Refresh time.Duration // life of refresh tokens ([DefaultRefresh])
	Now     func() time.Time
}

// Tokens signs and verifies. The same claims always make the same token. It is
// safe for concurrent use.
type Tokens struct {
	opts   TokenOptions
	parser *jwt.Parser
}

// NewTokens makes a signer. It fails without a key.
func NewTokens(o TokenOptions) (*Tokens, error) {
	if len(o.Key) == 0 {
		return nil, errors.New("auth: a key to sign tokens is needed")
	}
	if o.Access < 0 || o.Refresh < 0 {
		return nil, errors.New("auth: the life of a token cannot be negative")
	}
	if o.Access == 0 {
		o.Access = DefaultAccess
	}
	if o.Refresh == 0 {
		o.Refresh = DefaultRefresh
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Tokens{opts: o, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithoutClaimsValidation(), // Verify does it, in the order that the answers need
	)}, nil
}

// Lives gives the lives of access and refresh tokens.
func (t *Tokens) Lives() (access, refresh time.Duration) { return t.opts.Access, t.opts.Refresh }

// payload is a token's JSON. Field order fixes the bytes that are signed.
type payload struct {
	Type    string `json:"token_type"`
	Expires int64  `json:"exp"`
	Issued  int64  `json:"iat"`
	ID      string `json:"jti"`
	UserID  int64  `json:"user_id"`
	Session string `json:"sid,omitempty"`
}

// Valid claims of the library's interface; only signing uses them.
func (p payload) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (p payload) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (p payload) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (p payload) GetIssuer() (string, error)                   { return "", nil }
func (p payload) GetSubject() (string, error)                  { return "", nil }
func (p payload) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// Sign makes the token of c.
func (t *Tokens) Sign(c Claims) (string, error) {
	p := payload{
		Type: string(c.Type), Expires: c.ExpiresAt.Unix(), Issued: c.IssuedAt.Unix(),
		ID: hex.EncodeToString(c.ID[:]), UserID: c.UserID,
	}
	if c.Session != uuid.Nil {
		p.Session = hex.EncodeToString(c.Session[:])
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, p).SignedString(t.opts.Key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return s, nil
}

// received is a token's JSON as it may arrive.
type received struct {
	payload
	Type    *string         `json:"token_type"`
	Expires *json.Number    `json:"exp"`
	Issued  *json.Number    `json:"iat"`
	ID      *string         `json:"jti"`
	UserID  json.RawMessage `json:"user_id"`
	Session string          `json:"sid"`
}

// Verify reads a token of one type. Its errors are of type *[TokenError].
func (t *Tokens) Verify(token string, want Type) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, ErrInvalid
	}
	var r received
	if _, err := t.parser.ParseWithClaims(token, &r, func(*jwt.Token) (any, error) { return t.opts.Key, nil }); err != nil {
		return Claims{}, ErrInvalid
	}
	c := Claims{Type: want}
	if r.Expires == nil {
		return Claims{}, ErrNoExpiry
	}
	var ok bool
	if c.ExpiresAt, ok = moment(*r.Expires); !ok {
		return Claims{}, ErrInvalid
	}
	if !t.opts.Now().Before(c.ExpiresAt) {
		return Claims{}, ErrExpired
	}
	if r.Issued != nil {
		if c.IssuedAt, ok = moment(*r.Issued); !ok {
			return Claims{}, ErrInvalid
		}
	}
	if r.ID == nil {
		return Claims{}, ErrNoID
	}
	if r.Type == nil {
		return Claims{}, ErrNoType
	}
	if *r.Type != string(want) {
		return Claims{}, ErrWrongType
	}
	if c.UserID, ok = userID(r.UserID); !ok {
		return Claims{}, ErrNoUser
	}
	c.ID = tokenID(*r.ID)
	if r.Session != "" {
		var err error
		if c.Session, err = uuid.Parse(r.Session); err != nil {
			return Claims{}, ErrInvalid
		}
	}
	return c, nil
}

// tokenID reads a jti. Ours are UUIDs; of a signed token that others minted
// with our key any text serves, and always gives the same id.
func tokenID(s string) uuid.UUID {
	id, err := uuid.Parse(s)
	if err != nil {
		return uuid.NewSHA1(uuid.NameSpaceOID, []byte(s))
	}
	return id
}

// moment reads seconds since 1970, whole or with a fraction that is dropped.
func moment(n json.Number) (time.Time, bool) {
	whole, _, _ := strings.Cut(n.String(), ".")
	s, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || s < 0 || s > maxSeconds {
		return time.Time{}, false
	}
	return time.Unix(s, 0).UTC(), true
}

// maxSeconds is the end of the year 9999.
const maxSeconds = 253402300799

// userID reads a number or the text of one.
func userID(b json.RawMessage) (int64, bool) {
	s := string(bytes.TrimSpace(b))
	if len(s) >= 2 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0
}

// Bearer takes the token out of an Authorization header. It is empty for no
// header and for other schemes; the scheme's case counts. The error is
// [ErrHeader].
func Bearer(header string) (string, error) {
	if token, ok := strings.CutPrefix(header, scheme+" "); ok && token != "" && strings.IndexByte(token, ' ') < 0 && strings.IndexByte(token, '\t') < 0 {
		return token, nil
	}
	parts := strings.Fields(header)
	switch {
	case len(parts) == 0 || parts[0] != scheme:
		return "", nil
	case len(parts) != 2:
		return "", ErrHeader
	}
	return parts[1], nil
}
