package accounts_test

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/cache"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/services/accounts"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const signingKey = "a key for tests, long enough for HS256"

// clock is a time that moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond) // no two rows of one moment
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// counter makes ids as long as real ones.
type counter struct{ n atomic.Int64 }

func (c *counter) Next() int64 { return 382706366684336128 + c.n.Add(1) }

// bus carries invalidations inside one process.
type bus struct {
	mu   sync.Mutex
	subs map[string][]func(string, []byte)
}

func (b *bus) Publish(subject string, data []byte) error {
	b.mu.Lock()
	subs := b.subs[subject]
	b.mu.Unlock()
	for _, f := range subs {
		f(subject, data)
	}
	return nil
}

func (b *bus) Subscribe(subject string, f func(string, []byte)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs[subject] = append(b.subs[subject], f)
	return func() {}, nil
}

// rig is a service of accounts over HTTP with a database of its own.
type rig struct {
	*apitest.Client
	db     *databasetest.DB
	svc    *accounts.Service
	clock  *clock
	bus    *bus
	ids    *counter
	tokens *auth.Tokens
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{
		db:    databasetest.New(t),
		clock: &clock{now: time.Date(2026, 11, 25, 8, 0, 0, 250_000_000, time.UTC)},
		bus:   &bus{subs: map[string][]func(string, []byte){}},
		ids:   &counter{},
	}
	var err error
	r.tokens, err = auth.NewTokens(auth.TokenOptions{Key: []byte(signingKey), Now: r.clock.Now})
	require.NoError(t, err)
	r.svc = r.node(t, r.bus)
	r.Client = r.serve(t, r.svc, httpapi.Limits{})
	return r
}

// node makes another service over the same database.
func (r *rig) node(t testing.TB, b cache.Bus) *accounts.Service {
	t.Helper()
	return r.nodeWith(t, b, func(*accounts.Deps) {})
}

// nodeWith makes one with dependencies of the test's own.
func (r *rig) nodeWith(t testing.TB, b cache.Bus, change func(*accounts.Deps)) *accounts.Service {
	t.Helper()
	passwords, err := auth.NewPasswords(auth.PasswordOptions{Wait: time.Minute})
	require.NoError(t, err)
	deps := accounts.Deps{
		DB: r.db.Pool, IDs: r.ids, Tokens: r.tokens, Passwords: passwords, Bus: b, Clock: r.clock.Now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	change(&deps)
	svc, err := accounts.New(deps)
	require.NoError(t, err)
	require.NoError(t, svc.Start(t.Context()))
	require.NoError(t, svc.Start(t.Context()))
	t.Cleanup(func() {
		require.NoError(t, svc.Stop(t.Context()))
		require.NoError(t, svc.Stop(t.Context()))
	})
	return svc
}

func (r *rig) serve(t testing.TB, svc *accounts.Service, limits httpapi.Limits) *apitest.Client {
	t.Helper()
	return r.serveWith(t, svc, httpapi.Options{Limits: limits})
}

// serveWith serves svc with options of the test's own.
func (r *rig) serveWith(t testing.TB, svc *accounts.Service, o httpapi.Options) *apitest.Client {
	t.Helper()
	o.Listen, o.Log, o.Auth = []string{"127.0.0.1:0"}, slog.New(slog.NewTextHandler(io.Discard, nil)), svc
	api, err := httpapi.New(o)
	require.NoError(t, err)
	svc.Register(api)
	return apitest.Serve(t, api)
}

// signedIn is somebody with an account.
type signedIn struct {
	*apitest.Client
	ID      int64
	Access  string
	Refresh string
}

type signInBody struct {
	Token        string         `json:"token"`
	RefreshToken string         `json:"refreshToken"`
	User         map[string]any `json:"user"`
	Message      string         `json:"message"`
}

const password = "Str0ng-pass-77"

// join registers somebody over HTTP.
func (r *rig) join(t testing.TB, handle string) *signedIn {
	t.Helper()
	res := r.Do(t, "POST", "/api/v1/auth/register/", `{"email":"`+handle+`@example.com","password":"`+password+`","handle":"`+handle+`","name":"`+handle+` Lee"}`)
	require.Equal(t, 201, res.Status, res.Body)
	return r.signed(t, res)
}

func (r *rig) login(t testing.TB, handle, password string) *signedIn {
	t.Helper()
	res := r.Do(t, "POST", "/api/v1/auth/login/", `{"email":"`+handle+`@example.com","password":"`+password+`"}`)
	require.Equal(t, 200, res.Status, res.Body)
	return r.signed(t, res)
}

func (r *rig) signed(t testing.TB, res apitest.Response) *signedIn {
	t.Helper()
	var b struct {
		Token, RefreshToken string
		User                struct{ ID int64 }
	}
	res.JSON(t, &b)
	return &signedIn{Client: r.As(b.Token), ID: b.User.ID, Access: b.Token, Refresh: b.RefreshToken}
}

// refresh trades a refresh token.
func (r *rig) refresh(t testing.TB, token string) apitest.Response {
	t.Helper()
	return r.Do(t, "POST", "/api/v1/auth/refresh/", `{"refresh":"`+token+`"}`)
}

func (r *rig) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := r.db.Pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}
