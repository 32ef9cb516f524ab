package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

const msgBadLogin = "Invalid credentials"

// answer turns a full queue of passwords into 503.
func answer(err error) error {
	if errors.Is(err, auth.ErrBusy) {
		return httpapi.Unavailable()
	}
	return err
}

// refused answers for a refresh token that does not serve: its inner message
// is the detail.
func refused(err error) error {
	var bad *auth.TokenError
	if !errors.As(err, &bad) {
		return err
	}
	detail, code, token := bad.Unauthorized()
	if token != "" {
		return httpapi.Unauthorized(token, "token_not_valid")
	}
	return httpapi.Unauthorized(detail, code)
}

// checkLogin gives the account of an address and its password. Whatever is
// wrong, the answer is the same and takes as long.
func (s *Service) checkLogin(ctx context.Context, in credentials) (accountsdb.CredentialsRow, error) {
	c, ok, err := s.matches(ctx, in.Email, in.Password)
	if err == nil && !ok {
		err = httpapi.NonField(msgBadLogin)
	}
	return c, err
}

// matches reports whether an address and a password open an account that is
// active. Whatever is wrong, it takes as long.
func (s *Service) matches(ctx context.Context, email, password string) (c accountsdb.CredentialsRow, ok bool, err error) {
	// Without a row Check works on a decoy.
	c, err = s.q.Credentials(ctx, accountsdb.CredentialsParams{Email: email, EmailFold: foldEmail(normalEmail(email))})
	if err != nil && !database.IsNoRows(err) {
		return c, false, fmt.Errorf("find credentials: %w", err)
	}
	ok, stale, err := s.passwords.Check(ctx, c.Password, password)
	if errors.Is(err, auth.ErrHash) {
		s.log.Error("an account's stored password cannot be read", "user_id", c.ID)
		ok, err = false, nil
	}
	if err != nil || !ok || !c.IsActive {
		return c, false, err
	}
	if stale {
		s.upgrade(ctx, c, password)
	}
	return c, true, nil
}

// upgrade stores a password that matched an old hash in the new form. The
// login does not depend on it: the next one tries again.
func (s *Service) upgrade(ctx context.Context, c accountsdb.CredentialsRow, password string) {
	hash, err := s.passwords.Hash(ctx, password)
	if err == nil {
		err = s.q.UpgradePassword(ctx, accountsdb.UpgradePasswordParams{ID: c.ID, Old: c.Password, Password: hash})
	}
	if err != nil {
		s.log.Warn("an old password hash stays for now", "user_id", c.ID, "error", err)
	}
}

func (s *Service) signIn(ctx context.Context, id int64, seen *time.Time, message string) (SignedIn, error) {
	p, err := s.begin(ctx, id, seen)
	if err != nil {
		return SignedIn{}, err
	}
	if p.Access == "" {
		return SignedIn{}, httpapi.NonField(msgBadLogin)
	}
	u, err := s.own(ctx, id)
	if err != nil {
		return SignedIn{}, err
	}
	return SignedIn{Token: p.Access, RefreshToken: p.Refresh, User: u, Message: message}, nil
}
