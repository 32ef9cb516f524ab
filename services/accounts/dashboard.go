package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/services/accounts/accountsdb"
)

// Errors of sign-ins to the dashboard; [LockedError] is another.
var (
	// ErrSignIn means that no active account has that address and password.
	ErrSignIn = errors.New("accounts: wrong address or password")
	// ErrNoRole means that address and password are right, and that the account
	// is not of the staff.
	ErrNoRole = errors.New("accounts: the account may not use the dashboard")
)

// DashboardSession is a sign-in to the dashboard. It has no tokens: whoever
// keeps its id must not let go of it.
type DashboardSession struct {
	UserID    int64
	SessionID string
	Email     string
	Name      string
	Staff     bool
	Superuser bool
	ExpiresAt time.Time
}

// Role is what the account may do: [RoleViewer], [RoleOperator] or [RoleUser].
func (d DashboardSession) Role() string { return roleOf(d.Staff, d.Superuser) }

// Principal is who signed in, for [Service.Confirm].
func (d DashboardSession) Principal() auth.Principal {
	return auth.Principal{UserID: d.UserID, SessionID: d.SessionID, Staff: d.Staff, Superuser: d.Superuser, ExpiresAt: d.ExpiresAt}
}

// OpenSession signs in to the dashboard for as long as life. Only the staff
// may: [ErrNoRole] is told to whoever knows the password. For an unknown
// address, a wrong password and a closed account the answer is [ErrSignIn] and
// takes as long. After maxGuesses wrong passwords of one address it is a
// *[LockedError], also for addresses of nobody. [auth.ErrBusy] means that no
// core was free to check the password.
func (s *Service) OpenSession(ctx context.Context, email, password string, life time.Duration) (DashboardSession, error) {
	if life <= 0 {
		return DashboardSession{}, errors.New("accounts: a session needs time to live")
	}
	email, password = clean(email), strings.TrimSpace(password)
	guess, err := s.guess(ctx, email)
	if err != nil {
		return DashboardSession{}, err
	}
	c, ok, err := s.matches(ctx, email, password)
	if err != nil { // it was not looked at
		return DashboardSession{}, errors.Join(err, guess.undo(ctx))
	}
	if !ok {
		return DashboardSession{}, ErrSignIn
	}
	if err := guess.right(ctx); err != nil {
		return DashboardSession{}, err
	}
	if !c.IsStaff {
		return DashboardSession{}, ErrNoRole
	}
	id, now := uuid.New(), s.now()
	r, err := s.q.OpenDashboard(ctx, accountsdb.OpenDashboardParams{
		ID: id, UserID: c.ID, TokensAfter: c.TokensAfter, CreatedAt: now, ExpiresAt: now.Add(life),
	})
	if database.IsNoRows(err) { // closed, demoted or with a new password meanwhile
		return DashboardSession{}, ErrSignIn
	}
	if err != nil {
		return DashboardSession{}, fmt.Errorf("begin session: %w", err)
	}
	return DashboardSession{
		UserID: c.ID, SessionID: id.String(), Email: r.Email, Name: r.Name, Staff: r.IsStaff, Superuser: r.IsSuperuser, ExpiresAt: now.Add(life),
	}, nil
}

// DashboardSession gives a sign-in to the dashboard as it stands now, from the
// caches where they hold it. An *[auth.TokenError] means that it is over: it
// ended, its time is up, or the account was closed or left the staff. What was
// done by this service on any node counts within milliseconds, what was missed
// within 30 s.
func (s *Service) DashboardSession(ctx context.Context, user int64, session string) (DashboardSession, error) {
	if session == "" || uuid.Validate(session) != nil {
		return DashboardSession{}, auth.ErrInvalid
	}
	a, held, err := s.standing(ctx, auth.Principal{UserID: user, SessionID: session})
	if err != nil {
		return DashboardSession{}, err
	}
	if !held.dashboard {
		return DashboardSession{}, auth.ErrInvalid
	}
	return DashboardSession{
		UserID: user, SessionID: session, Email: *a.user.Email, Name: a.user.Name, Staff: a.staff, Superuser: a.superuser, ExpiresAt: held.until,
	}, nil
}

// CloseSession ends a sign-in to the dashboard. One that is over already, or
// that is not the user's, is no error.
func (s *Service) CloseSession(ctx context.Context, user int64, session string) error {
	id, err := uuid.Parse(session)
	if err != nil {
		return nil //nolint:nilerr // nobody's session
	}
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		held, err := accountsdb.New(tx).SessionStates(ctx, []uuid.UUID{id})
		if err != nil {
			return fmt.Errorf("find session: %w", err)
		}
		if len(held) == 0 || held[0].UserID != user {
			return nil
		}
		return s.end(ctx, tx, id, whyLogout)
	})
	if err != nil {
		return fmt.Errorf("close session: %w", err)
	}
	return nil
}
