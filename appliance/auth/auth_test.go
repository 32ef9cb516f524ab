package auth_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
)

const key = "a key for tests, long enough for HS256"

func tokens(t testing.TB, now func() time.Time) *auth.Tokens {
	t.Helper()
	ts, err := auth.NewTokens(auth.TokenOptions{Key: []byte(key), Now: now})
	require.NoError(t, err)
	return ts
}

func at(s int64) func() time.Time { return func() time.Time { return time.Unix(s, 0) } }

func sign(t testing.TB, method jwt.SigningMethod, k any, claims jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, claims).SignedString(k)
	require.NoError(t, err)
	return s
}

func TestTokensSayWhatTheContractSays(t *testing.T) {
	t.Parallel()
	ts := tokens(t, at(1_000))
	id := uuid.MustParse("0123456789abcdef0123456789abcdef")
	c := auth.Claims{Type: auth.Access, ID: id, UserID: 382706366684336128, IssuedAt: time.Unix(990, 0).UTC(), ExpiresAt: time.Unix(1_900, 0).UTC()}
	token, err := ts.Sign(c)
	require.NoError(t, err)
	parts := strings.Split(token, ".")
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	require.NoError(t, err)
	require.Equal(t, `{"alg":"HS256","typ":"JWT"}`, string(head))
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	require.Equal(t, `{"token_type":"access","exp":1900,"iat":990,"jti":"0123456789abcdef0123456789abcdef","user_id":382706366684336128}`, string(body))
	again, err := ts.Sign(c)
	require.NoError(t, err)
	require.Equal(t, token, again, "the same claims make the same token")
	got, err := ts.Verify(token, auth.Access)
	require.NoError(t, err)
	require.Equal(t, c, got)

	c.Session = uuid.New()
	token, err = ts.Sign(c)
	require.NoError(t, err)
	got, err = ts.Verify(token, auth.Access)
	require.NoError(t, err)
	require.Equal(t, c, got)
}

func TestVerifyNamesTheReason(t *testing.T) {
	t.Parallel()
	ts := tokens(t, at(1_000))
	good := func(change map[string]any) jwt.MapClaims {
		c := jwt.MapClaims{"token_type": "access", "exp": 1_900, "iat": 990, "jti": "0123456789abcdef0123456789abcdef", "user_id": 7}
		for k, v := range change {
			if v == nil {
				delete(c, k)
			} else {
				c[k] = v
			}
		}
		return c
	}
	hs := func(change map[string]any) string { return sign(t, jwt.SigningMethodHS256, []byte(key), good(change)) }
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"good":                   {hs(nil), nil},
		"user as text":           {hs(map[string]any{"user_id": "7"}), nil},
		"fraction of a second":   {hs(map[string]any{"exp": 1_900.5}), nil},
		"without iat":            {hs(map[string]any{"iat": nil}), nil},
		"expired this second":    {hs(map[string]any{"exp": 1_000}), auth.ErrExpired},
		"no exp":                 {hs(map[string]any{"exp": nil}), auth.ErrNoExpiry},
		"exp is text":            {hs(map[string]any{"exp": "soon"}), auth.ErrInvalid},
		"exp beyond all time":    {hs(map[string]any{"exp": 1e300}), auth.ErrInvalid},
		"no jti":                 {hs(map[string]any{"jti": nil}), auth.ErrNoID},
		"jti of others":          {hs(map[string]any{"jti": "abc"}), nil},
		"jti is a number":        {hs(map[string]any{"jti": 5}), auth.ErrInvalid},
		"no type":                {hs(map[string]any{"token_type": nil}), auth.ErrNoType},
		"wrong type":             {hs(map[string]any{"token_type": "refresh"}), auth.ErrWrongType},
		"no user":                {hs(map[string]any{"user_id": nil}), auth.ErrNoUser},
		"user is a name":         {hs(map[string]any{"user_id": "ann"}), auth.ErrNoUser},
		"user is a list":         {hs(map[string]any{"user_id": []int{7}}), auth.ErrNoUser},
		"user is zero":           {hs(map[string]any{"user_id": 0}), auth.ErrNoUser},
		"bad session":            {hs(map[string]any{"sid": "x"}), auth.ErrInvalid},
		"other key":              {sign(t, jwt.SigningMethodHS256, []byte("other"), good(nil)), auth.ErrInvalid},
		"other algorithm":        {sign(t, jwt.SigningMethodHS512, []byte(key), good(nil)), auth.ErrInvalid},
		"no algorithm":           {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(nil)), auth.ErrInvalid},
		"garbage":                {"abc.def.ghi", auth.ErrInvalid},
		"nothing":                {"", auth.ErrInvalid},
		"endless":                {strings.Repeat("a", 1<<20), auth.ErrInvalid},
		"expired before no user": {hs(map[string]any{"exp": 1, "user_id": nil}), auth.ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := ts.Verify(row.token, auth.Access)
			if row.want != nil {
				require.Equal(t, row.want, err)
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, 7, c.UserID)
		})
	}
	_, err := auth.NewTokens(auth.TokenOptions{})
	require.Error(t, err)
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"": "", "Token x": "", "bearer x": "", "Bearer x": "x", "  Bearer   x ": "x", "Bearerx": "",
	} {
		got, err := auth.Bearer(header)
		require.NoError(t, err, header)
		require.Equal(t, want, got, header)
	}
	for _, header := range []string{"Bearer", "Bearer ", "Bearer a b", "Bearer a\tb"} {
		_, err := auth.Bearer(header)
		require.Equal(t, error(auth.ErrHeader), err, header)
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p, err := auth.NewPasswords(auth.PasswordOptions{})
	require.NoError(t, err)
	hash, err := p.Hash(ctx, "correct horse")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$"), hash)
	other, err := p.Hash(ctx, "correct horse")
	require.NoError(t, err)
	require.NotEqual(t, hash, other, "salted")

	const django = "pbkdf2_sha256$1000$saltsalt$"
	old := django + "qQIx4N+q0vxfAZKRywj0vNwA8/N0ihAvrBsxOWvO4TY="
	weak := strings.Replace(hash, "m=19456", "m=9728", 1)
	for _, row := range []struct {
		name, stored, password string
		ok, stale              bool
		err                    error
	}{
		{name: "right", stored: hash, password: "correct horse", ok: true},
		{name: "wrong", stored: hash, password: "correct house"},
		{name: "no account", stored: "", password: "correct horse"},
		{name: "unusable", stored: auth.Unusable + "x", password: "correct horse"},
		{name: "old", stored: old, password: "Str0ng-pass-77", ok: true, stale: true},
		{name: "old and wrong", stored: old, password: "x"},
		{name: "other cost, so another key", stored: weak, password: "correct horse"},
		{name: "plain", stored: "correct horse", err: auth.ErrHash},
		{name: "endless iterations", stored: strings.Replace(old, "$1000$", "$999999999$", 1), err: auth.ErrHash},
		{name: "no iterations", stored: strings.Replace(old, "$1000$", "$0$", 1), err: auth.ErrHash},
		{name: "endless memory", stored: strings.Replace(hash, "m=19456", "m=4294967295", 1), err: auth.ErrHash},
		{name: "no threads", stored: strings.Replace(hash, "p=1", "p=0", 1), err: auth.ErrHash},
	} {
		ok, stale, err := p.Check(ctx, row.stored, row.password)
		require.ErrorIs(t, err, row.err, row.name)
		require.Equal(t, row.ok, ok, row.name)
		require.Equal(t, row.stale, stale, row.name)
	}
}

func TestPasswordsWaitBounded(t *testing.T) {
	t.Parallel()
	p, err := auth.NewPasswords(auth.PasswordOptions{Parallel: 1, Wait: time.Millisecond})
	require.NoError(t, err)
	free := auth.Occupy(p)
	_, err = p.Hash(t.Context(), "x")
	require.ErrorIs(t, err, auth.ErrBusy)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = p.Check(gone, "", "x")
	require.Error(t, err)
	free()
	_, err = p.Hash(t.Context(), "x")
	require.NoError(t, err)

	patient, err := auth.NewPasswords(auth.PasswordOptions{Parallel: 1, Wait: time.Hour})
	require.NoError(t, err)
	auth.Occupy(patient)
	auth.Crowd(patient)
	_, err = patient.Hash(t.Context(), "x")
	require.ErrorIs(t, err, auth.ErrBusy, "a full queue refuses at once")
}

func FuzzVerify(f *testing.F) {
	ts := tokens(f, at(1_000))
	good, err := ts.Sign(auth.Claims{Type: auth.Access, ID: uuid.New(), UserID: 7, IssuedAt: time.Unix(1, 0), ExpiresAt: time.Unix(2_000, 0)})
	require.NoError(f, err)
	f.Add(good, `{"token_type":"access","exp":1900,"jti":"0123456789abcdef0123456789abcdef","user_id":"7"}`)
	f.Add("a.b.c", `{"exp":1e9,"user_id":[]}`)
	f.Fuzz(func(t *testing.T, token, claims string) {
		if c, err := ts.Verify(token, auth.Access); err == nil && (c.UserID <= 0 || !c.ExpiresAt.After(time.Unix(1_000, 0))) {
			t.Fatalf("%+v was accepted", c)
		}
		// The same with a good signature over any claims.
		enc := base64.RawURLEncoding
		signed := enc.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + enc.EncodeToString([]byte(claims))
		sig, err := jwt.SigningMethodHS256.Sign(signed, []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := ts.Verify(signed+"."+enc.EncodeToString(sig), auth.Access); err == nil && (c.UserID <= 0 || !c.ExpiresAt.After(time.Unix(1_000, 0))) {
			t.Fatalf("%+v was accepted", c)
		}
	})
}

func FuzzCheckPassword(f *testing.F) {
	f.Add("pbkdf2_sha256$1$s$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "x")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "x")
	f.Fuzz(func(t *testing.T, stored, password string) {
		if err := auth.ParseHash(stored); err != nil && err != auth.ErrHash {
			t.Fatal(fmt.Errorf("another error: %w", err))
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	ts := tokens(b, at(1_000))
	token, err := ts.Sign(auth.Claims{Type: auth.Access, ID: uuid.New(), UserID: 7, Session: uuid.New(), IssuedAt: time.Unix(1, 0), ExpiresAt: time.Unix(2_000, 0)})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ts.Verify(token, auth.Access); err != nil {
			b.Fatal(err)
		}
	}
}
