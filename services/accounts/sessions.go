package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/auth"
	"selflink/appliance/cache"
	"selflink/appliance/database"
	"selflink/services/accounts/accountsdb"
)

// refreshGrace is how long a rotated refresh token still gives its successors,
// for clients that lost the answer.
const refreshGrace = 30 * time.Second

// Why a session ended.
const (
	whyLogout      = "logout"
	whyReuse       = "reuse"
	whyPassword    = "password"
	whyDeactivated = "deactivated"
	whyOperator    = "operator"
	whyRole        = "role"
)

// session is what the cache holds of one. The zero session does not exist.
type session struct {
	user      int64
	live      bool
	dashboard bool
	until     time.Time // of the dashboard's; those of tokens end with them
}

// Pair is what a client keeps of a sign-in.
type Pair struct {
	Access  string
	Refresh string
}

// pair signs the tokens of one moment. issued is the iat of the access token:
// that of the refresh token it came from (contract 00 §2).
func (s *Service) pair(user int64, family, access, refresh uuid.UUID, issued, at time.Time) (Pair, error) {
	accessLife, refreshLife := s.tokens.Lives()
	a, err := s.tokens.Sign(auth.Claims{
		Type: auth.Access, ID: access, UserID: user, Session: family, IssuedAt: issued, ExpiresAt: at.Add(accessLife),
	})
	if err != nil {
		return Pair{}, err
	}
	r, err := s.tokens.Sign(auth.Claims{
		Type: auth.Refresh, ID: refresh, UserID: user, Session: family, IssuedAt: at, ExpiresAt: at.Add(refreshLife),
	})
	return Pair{Access: a, Refresh: r}, err
}

// errNoSession means that a session may not begin any more.
var errNoSession = errors.New("accounts: the account has changed")

// begin starts a session and signs its first tokens, unless the account was
// deactivated or its password reset since seen, which is its tokens_after when
// the password was checked. Then it returns no tokens.
func (s *Service) begin(ctx context.Context, user int64, seen *time.Time) (Pair, error) {
	family, access, refresh := uuid.New(), uuid.New(), uuid.New()
	now := s.now()
	at := now.Truncate(time.Second)
	_, life := s.tokens.Lives()
	// Who signs in goes on to ask for something: the session is in the cache by
	// then, put there as if it had been loaded, so that its end wins.
	_, err := s.sessions.Get(ctx, cache.Text(family.String()), func(ctx context.Context) (session, error) {
		n, err := s.q.InsertSession(ctx, accountsdb.InsertSessionParams{
			ID: family, UserID: user, TokensAfter: seen, CreatedAt: now, Jti: refresh, IssuedAt: at, ExpiresAt: at.Add(life),
		})
		if err == nil && n == 0 {
			err = errNoSession
		}
		return session{user: user, live: true}, err
	})
	if errors.Is(err, errNoSession) {
		return Pair{}, nil
	}
	if err != nil {
		return Pair{}, fmt.Errorf("begin session: %w", err)
	}
	return s.pair(user, family, access, refresh, at, at)
}

// Refresh trades a refresh token for new tokens. A token that was traded less
// than 30 s ago gives the same tokens again; later, it ends its session, since
// somebody has a copy. A token of the old backend is adopted into a session
// the first time it comes. Errors are *[auth.TokenError] or those of the
// database.
func (s *Service) Refresh(ctx context.Context, token string) (Pair, error) {
	c, err := s.tokens.Verify(token, auth.Refresh)
	if err != nil {
		return Pair{}, err
	}
	var out Pair
	var refusal error // told after the commit: ending a session must stay
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		out, refusal, err = s.rotate(ctx, tx, c)
		return err
	})
	if err != nil {
		return Pair{}, fmt.Errorf("refresh: %w", err)
	}
	return out, refusal
}

func (s *Service) rotate(ctx context.Context, tx database.Tx, c auth.Claims) (out Pair, refusal, err error) {
	q := accountsdb.New(tx)
	t, err := s.held(ctx, q, c)
	if errors.As(err, new(*auth.TokenError)) {
		return Pair{}, err, nil
	}
	if err != nil {
		return Pair{}, nil, err
	}
	now := s.now()
	switch {
	case !t.IsActive:
		return Pair{}, auth.ErrUserInactive, nil
	case t.EndedAt != nil || t.UserID != c.UserID:
		return Pair{}, auth.ErrInvalid, nil
	case t.RotatedAt != nil && now.Sub(*t.RotatedAt) < refreshGrace:
		out, err = s.pair(t.UserID, t.SessionID, *t.Access, *t.Successor, t.IssuedAt, t.RotatedAt.Truncate(time.Second))
		return out, nil, err
	case t.RotatedAt != nil:
		s.log.Warn("a refresh token was used again, its session ends", "user_id", t.UserID)
		return Pair{}, auth.ErrInvalid, s.end(ctx, tx, t.SessionID, whyReuse)
	}
	access, successor := uuid.New(), uuid.New()
	at := now.Truncate(time.Second)
	_, life := s.tokens.Lives()
	if err := q.Rotate(ctx, accountsdb.RotateParams{Now: now, Successor: successor, Access: access, Jti: c.ID}); err != nil {
		return Pair{}, nil, fmt.Errorf("rotate token: %w", err)
	}
	err = q.InsertToken(ctx, accountsdb.InsertTokenParams{Jti: successor, SessionID: t.SessionID, IssuedAt: at, ExpiresAt: at.Add(life)})
	if err != nil {
		return Pair{}, nil, fmt.Errorf("store successor: %w", err)
	}
	if err := q.ExtendSession(ctx, accountsdb.ExtendSessionParams{ID: t.SessionID, ExpiresAt: at.Add(life)}); err != nil {
		return Pair{}, nil, fmt.Errorf("extend session: %w", err)
	}
	out, err = s.pair(t.UserID, t.SessionID, access, successor, t.IssuedAt, at)
	return out, nil, err
}

// held finds and locks the record of a refresh token, and makes one for a
// token of the old backend.
func (s *Service) held(ctx context.Context, q *accountsdb.Queries, c auth.Claims) (accountsdb.LockTokenRow, error) {
	t, err := q.LockToken(ctx, c.ID)
	if database.IsNoRows(err) && c.Session == uuid.Nil {
		if err := s.adopt(ctx, q, c); err != nil {
			return t, err
		}
		t, err = q.LockToken(ctx, c.ID)
	}
	if database.IsNoRows(err) {
		return t, auth.ErrInvalid
	}
	if err != nil {
		return t, fmt.Errorf("find token: %w", err)
	}
	return t, nil
}

// adopt makes a session of a refresh token that the old backend issued.
func (s *Service) adopt(ctx context.Context, q *accountsdb.Queries, c auth.Claims) error {
	u, err := q.UserState(ctx, c.UserID)
	switch {
	case database.IsNoRows(err):
		return auth.ErrUserNotFound
	case err != nil:
		return fmt.Errorf("find user: %w", err)
	case !u.IsActive:
		return auth.ErrUserInactive
	case u.TokensAfter != nil && !c.IssuedAt.After(*u.TokensAfter):
		return auth.ErrInvalid
	}
	family := uuid.New()
	err = q.AdoptSession(ctx, accountsdb.AdoptSessionParams{ID: family, UserID: c.UserID, CreatedAt: s.now(), ExpiresAt: c.ExpiresAt})
	if err != nil {
		return fmt.Errorf("adopt session: %w", err)
	}
	n, err := q.AdoptToken(ctx, accountsdb.AdoptTokenParams{Jti: c.ID, SessionID: family, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt})
	if err != nil {
		return fmt.Errorf("adopt token: %w", err)
	}
	if n == 0 { // somebody else was adopting it at the same time
		if err := q.DropSession(ctx, family); err != nil {
			return fmt.Errorf("drop session: %w", err)
		}
	}
	return nil
}

// end ends one session once tx commits.
func (s *Service) end(ctx context.Context, tx database.Tx, id uuid.UUID, why string) error {
	user, err := accountsdb.New(tx).EndSession(ctx, accountsdb.EndSessionParams{ID: id, Now: s.now(), Why: why})
	if database.IsNoRows(err) {
		return nil // ended before
	}
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return s.endOpen(ctx, tx, user, []uuid.UUID{id})
}

// endAll ends all sessions of a user once tx commits.
func (s *Service) endAll(ctx context.Context, tx database.Tx, user int64, why string) error {
	ended, err := accountsdb.New(tx).EndSessions(ctx, accountsdb.EndSessionsParams{UserID: user, Now: s.now(), Why: why})
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	// One by one as well: what every node has to forget is known by its id.
	if err := s.endOpen(ctx, tx, user, ended); err != nil {
		return err
	}
	if s.endedAll != nil {
		if err := s.endedAll(ctx, tx, user); err != nil {
			return fmt.Errorf("end sessions: %w", err)
		}
	}
	return nil
}

// endOpen ends what the sessions that tx ended have open, and makes every node
// forget them.
func (s *Service) endOpen(ctx context.Context, tx database.Tx, user int64, ended []uuid.UUID) error {
	for _, id := range ended {
		if s.ended == nil {
			break
		}
		if err := s.ended(ctx, tx, user, id); err != nil {
			return fmt.Errorf("end sessions: %w", err)
		}
	}
	tx.AfterCommit(func() {
		for _, id := range ended {
			s.sessions.Invalidate(cache.Text(id.String()))
		}
	})
	return nil
}

// Logout ends the session of a refresh token, if one is given, and that of
// the caller. Ending a session twice is no error; a refresh token that does
// not serve, or of somebody else than the caller, is an *[auth.TokenError].
func (s *Service) Logout(ctx context.Context, who auth.Principal, refresh string) error {
	var c auth.Claims
	if refresh != "" {
		var err error
		if c, err = s.tokens.Verify(refresh, auth.Refresh); err != nil {
			return err
		}
		if who.UserID != 0 && who.UserID != c.UserID {
			return auth.ErrInvalid
		}
	}
	err := s.db.Tx(ctx, func(tx database.Tx) error {
		if refresh != "" {
			t, err := s.held(ctx, accountsdb.New(tx), c)
			if err != nil {
				return err
			}
			if err := s.end(ctx, tx, t.SessionID, whyLogout); err != nil {
				return err
			}
		}
		if who.SessionID == "" {
			return nil
		}
		id, err := uuid.Parse(who.SessionID)
		if err != nil {
			return fmt.Errorf("read session id: %w", err)
		}
		return s.end(ctx, tx, id, whyLogout)
	})
	if err != nil {
		return fmt.Errorf("logout: %w", err)
	}
	return nil
}

// Authenticate says who calls by an Authorization header. It needs the
// database only for what the caches do not hold. Errors are
// *[auth.TokenError] or those of the database.
func (s *Service) Authenticate(ctx context.Context, authorization string) (auth.Principal, error) {
	token, err := auth.Bearer(authorization)
	if err != nil || token == "" {
		return auth.Principal{}, err
	}
	return s.Caller(ctx, token)
}

// Caller says whose access token it is, for whoever gets one by another way
// than a header.
func (s *Service) Caller(ctx context.Context, access string) (auth.Principal, error) {
	c, err := s.tokens.Verify(access, auth.Access)
	if err != nil {
		return auth.Principal{}, err
	}
	p := auth.Principal{UserID: c.UserID, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt}
	if c.Session != uuid.Nil { // else of the old backend
		p.SessionID = c.Session.String()
	}
	a, _, err := s.standing(ctx, p)
	if err != nil {
		return auth.Principal{}, err
	}
	p.Staff, p.Superuser = a.staff, a.superuser
	return p, nil
}

// Confirm checks that the account and the session of a caller still stand, for
// whatever lives longer than a request. It asks the database only for what the
// caches do not hold. Errors are those of [Service.Caller].
func (s *Service) Confirm(ctx context.Context, p auth.Principal) error {
	_, _, err := s.standing(ctx, p)
	return err
}

// Forget makes this node ask the database about a user, and about a session of
// theirs unless it is empty, the next time. It is for whoever learns of an
// end that the caches of this node were not told of: of one by a command beside
// the nodes, or while the bus was away.
func (s *Service) Forget(user int64, session string) {
	s.accounts.Forget(cache.ID(user)) // a session may have ended with their rights
	if session != "" {
		s.sessions.Forget(cache.Text(session))
	}
}

// standing looks after the account and the session behind a verified token or
// a session of the dashboard.
func (s *Service) standing(ctx context.Context, p auth.Principal) (account, session, error) {
	a, err := s.account(ctx, p.UserID)
	if err != nil {
		return account{}, session{}, err
	}
	switch {
	case !a.exists():
		return account{}, session{}, auth.ErrUserNotFound
	case !a.active:
		return account{}, session{}, auth.ErrUserInactive
	}
	if p.SessionID == "" {
		if !a.tokensAfter.IsZero() && !p.IssuedAt.After(a.tokensAfter) {
			return account{}, session{}, auth.ErrInvalid
		}
		return a, session{}, nil
	}
	held, err := s.sessions.Get(ctx, cache.Text(p.SessionID), func(ctx context.Context) (session, error) {
		id, err := uuid.Parse(p.SessionID)
		if err != nil {
			return session{}, fmt.Errorf("read session id: %w", err)
		}
		return s.loads.sessions.Do(ctx, id)
	})
	if err != nil {
		return account{}, session{}, err
	}
	switch {
	case !held.live || held.user != p.UserID:
		return account{}, session{}, auth.ErrInvalid
	case held.dashboard && (!a.staff || !s.clock().Before(held.until)):
		return account{}, session{}, auth.ErrInvalid
	}
	return a, held, nil
}

// PruneSessions deletes sessions and refresh tokens past their time, in small
// steps, and returns how many rows went. It is meant for a daily schedule and
// may run on several nodes at once.
func (s *Service) PruneSessions(ctx context.Context) (int64, error) {
	var total int64
	for _, step := range []func(context.Context, time.Time) (int64, error){s.q.PruneSessions, s.q.PruneTokens} {
		for {
			n, err := step(ctx, s.now())
			if err != nil {
				return total, fmt.Errorf("prune sessions: %w", err)
			}
			total += n
			if n == 0 {
				break
			}
		}
	}
	return total, nil
}
