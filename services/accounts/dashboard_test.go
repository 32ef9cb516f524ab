package accounts_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts"
)

const wrong = "Wr0ng-pass-77"

// operator makes an account with all rights and returns its id.
func (r *rig) operator(t testing.TB, handle string) int64 {
	t.Helper()
	id, err := r.svc.CreateAdmin(t.Context(), handle+"@example.com", password, handle)
	require.NoError(t, err)
	return id
}

func TestOpenSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.node(t, r.bus)
	ann := r.operator(t, "ann")
	r.join(t, "bob")
	eve := r.operator(t, "eve")
	require.NoError(t, r.svc.Deactivate(t.Context(), eve))

	for name, c := range map[string]struct {
		email, password string
		err             error
	}{
		"wrong password":              {"ann@example.com", wrong, accounts.ErrSignIn},
		"unknown":                     {"nobody@example.com", password, accounts.ErrSignIn},
		"closed":                      {"eve@example.com", password, accounts.ErrSignIn},
		"no address":                  {"\x00\xff", "", accounts.ErrSignIn},
		"no staff":                    {"bob@example.com", password, accounts.ErrNoRole},
		"no staff and wrong password": {"bob@example.com", wrong, accounts.ErrSignIn},
	} {
		_, err := r.svc.OpenSession(t.Context(), c.email, c.password, time.Hour)
		require.ErrorIs(t, err, c.err, name)
	}
	_, err := r.svc.OpenSession(t.Context(), "ann@example.com", password, 0)
	require.Error(t, err)

	before := r.clock.Now()
	d, err := r.svc.OpenSession(t.Context(), " ANN@example.com ", " "+password+" ", time.Hour)
	require.NoError(t, err)
	require.Equal(t, ann, d.UserID)
	require.Equal(t, "ann@example.com", d.Email)
	require.Equal(t, "ann", d.Name)
	require.Equal(t, accounts.RoleOperator, d.Role())
	require.WithinDuration(t, before.Add(time.Hour), d.ExpiresAt, time.Millisecond)
	for _, node := range []*accounts.Service{r.svc, other} {
		require.NoError(t, node.Confirm(t.Context(), d.Principal()))
		again, err := node.DashboardSession(t.Context(), d.UserID, d.SessionID)
		require.NoError(t, err)
		require.Equal(t, d, again)
	}
	p, err := r.svc.PersonDetail(t.Context(), ann)
	require.NoError(t, err)
	require.WithinDuration(t, before, *p.LastLogin, time.Millisecond)
	require.Len(t, p.Sessions, 1)
	require.Equal(t, d.SessionID, p.Sessions[0].ID)
	var tokens int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM auth_refresh_tokens").Scan(&tokens))
	require.Equal(t, 1, tokens, "bob's alone: a sign-in to the dashboard has none")

	// Whoever is no longer of the staff is out, however that came about.
	r.exec(t, "UPDATE users SET is_staff = false WHERE id = $1", ann)
	other.Forget(ann, "")
	require.ErrorIs(t, other.Confirm(t.Context(), d.Principal()), auth.ErrInvalid)
	r.exec(t, "UPDATE users SET is_staff = true WHERE id = $1", ann)

	// What is no session of the dashboard.
	phone, err := r.tokens.Verify(r.login(t, "ann", password).Access, auth.Access)
	require.NoError(t, err)
	for _, session := range []string{phone.Session.String(), uuid.NewString(), "", "x"} {
		_, err := r.svc.DashboardSession(t.Context(), ann, session)
		require.ErrorIs(t, err, auth.ErrInvalid)
	}
	_, err = r.svc.DashboardSession(t.Context(), eve, d.SessionID)
	require.ErrorIs(t, err, auth.ErrUserInactive)

	r.clock.Advance(time.Hour)
	require.ErrorIs(t, r.svc.Confirm(t.Context(), d.Principal()), auth.ErrInvalid, "its time is up")
	p, err = r.svc.PersonDetail(t.Context(), ann)
	require.NoError(t, err)
	require.Len(t, p.Sessions, 1, "the phone's")
}

// TestSessionsOfTheDashboardEnd ends one in every way on one node while
// another holds it in its caches.
func TestSessionsOfTheDashboardEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var mu sync.Mutex
	told := map[string]bool{}
	here := r.nodeWith(t, r.bus, func(d *accounts.Deps) {
		d.Ended = func(_ context.Context, _ database.Tx, _ int64, session uuid.UUID) error {
			mu.Lock()
			defer mu.Unlock()
			told[session.String()] = true
			return nil
		}
	})
	root, ann := r.operator(t, "root"), r.operator(t, "ann")
	for _, c := range []struct {
		name string
		end  func(d accounts.DashboardSession) error
		mend string // SQL after which she may sign in again
	}{
		{"signed out", func(d accounts.DashboardSession) error { return here.CloseSession(t.Context(), ann, d.SessionID) }, ""},
		{"new password", func(accounts.DashboardSession) error {
			_, err := here.ResetPassword(t.Context(), "ann", password)
			return err
		}, ""},
		{"closed", func(accounts.DashboardSession) error { return here.Deactivate(t.Context(), ann) }, "UPDATE users SET is_active = true"},
		{"closed by an operator", func(accounts.DashboardSession) error {
			_, err := here.SetActive(t.Context(), root, ann, false)
			return err
		}, "UPDATE users SET is_active = true"},
		{"signed out by an operator", func(accounts.DashboardSession) error {
			_, err := here.EndSessions(t.Context(), root, ann)
			return err
		}, ""},
		{"no role", func(accounts.DashboardSession) error {
			_, err := here.SetRole(t.Context(), root, ann, accounts.RoleUser)
			return err
		}, "UPDATE users SET is_staff = true, is_superuser = true"},
		{"demoted by a command", func(accounts.DashboardSession) error {
			_, err := here.Demote(t.Context(), "@ann")
			return err
		}, "UPDATE users SET is_staff = true, is_superuser = true"},
	} {
		d, err := r.svc.OpenSession(t.Context(), "ann@example.com", password, time.Hour)
		require.NoError(t, err, c.name)
		require.NoError(t, r.svc.Confirm(t.Context(), d.Principal()), c.name)
		require.NoError(t, c.end(d), c.name)
		require.Error(t, r.svc.Confirm(t.Context(), d.Principal()), c.name)
		_, err = r.svc.DashboardSession(t.Context(), ann, d.SessionID)
		require.ErrorAs(t, err, new(*auth.TokenError), c.name)
		require.True(t, told[d.SessionID], c.name)
		if c.mend != "" {
			r.exec(t, c.mend+" WHERE id = $1", ann)
			r.svc.Forget(ann, "")
			here.Forget(ann, "")
			require.Error(t, r.svc.Confirm(t.Context(), d.Principal()), "it does not come back: "+c.name)
		}
	}

	d, err := r.svc.OpenSession(t.Context(), "ann@example.com", password, time.Hour)
	require.NoError(t, err)
	require.NoError(t, here.CloseSession(t.Context(), root, d.SessionID), "not theirs")
	require.NoError(t, here.CloseSession(t.Context(), ann, "nonsense"))
	require.NoError(t, here.CloseSession(t.Context(), ann, uuid.NewString()))
	_, err = here.SetRole(t.Context(), root, ann, accounts.RoleViewer)
	require.NoError(t, err)
	again, err := r.svc.DashboardSession(t.Context(), ann, d.SessionID)
	require.NoError(t, err)
	require.Equal(t, accounts.RoleViewer, again.Role(), "the same sign-in with fewer rights, at once on every node")

	// A command beside the nodes cannot tell their caches; what ends goes through
	// the log of events, which makes them forget.
	command := r.node(t, nil)
	_, err = command.Demote(t.Context(), "ann")
	require.NoError(t, err)
	r.svc.Forget(ann, d.SessionID)
	require.Error(t, r.svc.Confirm(t.Context(), d.Principal()))
	p, err := r.svc.Caller(t.Context(), r.login(t, "ann", password).Access)
	require.NoError(t, err)
	require.False(t, p.Staff, "and the account with the session")
}

func TestGuessing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.node(t, r.bus)
	r.operator(t, "ann")
	open := func(node *accounts.Service, email, password string) error {
		_, err := node.OpenSession(t.Context(), email, password, time.Hour)
		return err
	}
	var locked *accounts.LockedError
	// From two nodes, in any spelling, for whoever has an account and nobody.
	for _, email := range []string{"ann@example.com", "nobody@example.com"} {
		for i := range 10 {
			require.ErrorIs(t, open([]*accounts.Service{r.svc, other}[i%2], []string{email, " " + strings.ToUpper(email)}[i%2], wrong), accounts.ErrSignIn)
			r.clock.Advance(time.Minute)
		}
		require.ErrorAs(t, open(r.svc, email, password), &locked, email)
		require.InDelta(t, 5*time.Minute, locked.Wait, float64(time.Second))
		r.clock.Advance(4 * time.Minute)
		require.ErrorAs(t, open(other, email, password), &locked, "it does not look at the right one")
		require.InDelta(t, time.Minute, locked.Wait, float64(time.Second))
	}
	require.Equal(t, 200, r.Do(t, "POST", "/api/v1/auth/login/", `{"email":"ann@example.com","password":"`+password+`"}`).Status, "the app knows no lock")
	for range 12 {
		require.Equal(t, badLogin, r.Do(t, "POST", "/api/v1/auth/login/", `{"email":"root@example.com","password":"`+wrong+`"}`).Body)
	}
	r.operator(t, "root")
	require.NoError(t, open(r.svc, "root@example.com", password), "nor does the app fill it")

	// The window slides: ten in fifteen minutes, however they are spread.
	r.clock.Advance(time.Hour)
	require.ErrorIs(t, open(r.svc, "ann@example.com", wrong), accounts.ErrSignIn)
	r.clock.Advance(14 * time.Minute)
	for range 9 {
		require.ErrorIs(t, open(r.svc, "ann@example.com", wrong), accounts.ErrSignIn)
	}
	require.ErrorAs(t, open(r.svc, "ann@example.com", wrong), &locked)
	r.clock.Advance(time.Minute)
	require.ErrorIs(t, open(r.svc, "ann@example.com", wrong), accounts.ErrSignIn)
	require.ErrorAs(t, open(r.svc, "ann@example.com", wrong), &locked)
	require.InDelta(t, 14*time.Minute, locked.Wait, float64(time.Second))

	// A new password opens the lock, the right one forgets the wrong ones.
	_, err := r.svc.ResetPassword(t.Context(), "ann", password)
	require.NoError(t, err)
	for range 3 {
		for range 9 {
			require.ErrorIs(t, open(r.svc, "ann@example.com", wrong), accounts.ErrSignIn)
		}
		require.NoError(t, open(r.svc, "ann@example.com", password))
	}

	// Old ones are swept away by new ones.
	r.clock.Advance(time.Hour)
	require.ErrorIs(t, open(r.svc, "x@example.com", wrong), accounts.ErrSignIn)
	var rows int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM dashboard_guesses").Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestGuessesAtOnceAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.operator(t, "ann")
	var wrongs, refused atomic.Int64
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			_, err := r.svc.OpenSession(t.Context(), "ann@example.com", wrong, time.Hour)
			switch {
			case errors.Is(err, accounts.ErrSignIn):
				wrongs.Add(1)
			case errors.As(err, new(*accounts.LockedError)):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 10, wrongs.Load())
	require.EqualValues(t, 14, refused.Load())
}

// TestABusyMachineIsNoGuess fills the only turn at hashing: who was not looked
// at did not guess.
func TestABusyMachineIsNoGuess(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.operator(t, "ann")
	passwords, err := auth.NewPasswords(auth.PasswordOptions{Parallel: 1, Wait: time.Nanosecond})
	require.NoError(t, err)
	svc, err := accounts.New(accounts.Deps{
		DB: r.db.Pool, IDs: r.ids, Tokens: r.tokens, Passwords: passwords, Clock: r.clock.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	var looked, busy atomic.Int64
	for range 40 {
		wg.Go(func() {
			_, err := svc.OpenSession(t.Context(), "ann@example.com", wrong, time.Hour)
			switch {
			case errors.Is(err, auth.ErrBusy):
				busy.Add(1)
			case errors.Is(err, accounts.ErrSignIn):
				looked.Add(1)
			}
		})
	}
	wg.Wait()
	var counted int64
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT coalesce(sum(cardinality(at)), 0) FROM dashboard_guesses").Scan(&counted))
	require.Equal(t, looked.Load(), counted, "%d were not looked at", busy.Load())
}

func TestFirstAdmin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.join(t, "bob")
	_, err := r.svc.CreateFirstAdmin(t.Context(), "bob@example.com", password, "")
	var taken *httpapi.Error
	require.ErrorAs(t, err, &taken)
	require.JSONEq(t, `{"email":["user with this email already exists."]}`, string(taken.Body))
	_, err = r.svc.CreateFirstAdmin(t.Context(), "nonsense", password, "")
	require.ErrorIs(t, err, accounts.ErrEmail)
	_, err = r.svc.CreateFirstAdmin(t.Context(), "ann@example.com", "short", "")
	require.ErrorIs(t, err, accounts.ErrPassword)

	var wg sync.WaitGroup
	var made, refused atomic.Int64
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			_, err := r.svc.CreateFirstAdmin(t.Context(), name+"@first.example.com", password, name)
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, accounts.ErrAdminExists):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, made.Load())
	require.EqualValues(t, 5, refused.Load())
	_, err = r.svc.CreateFirstAdmin(t.Context(), "bob@example.com", password, "")
	require.ErrorIs(t, err, accounts.ErrAdminExists)
	staff, err := r.svc.Staff(t.Context())
	require.NoError(t, err)
	require.Len(t, staff, 1)
	require.Equal(t, accounts.RoleOperator, staff[0].Role)

	// A closed one is none.
	r.exec(t, "UPDATE users SET is_active = false WHERE is_superuser")
	_, err = r.svc.CreateFirstAdmin(t.Context(), "next@example.com", password, "Next")
	require.NoError(t, err)
}
