package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"selflink/appliance/database"
	"selflink/services/accounts/accountsdb"
)

// Errors of the methods for operators.
var (
	// ErrNoAccount means that no account has that id, address or handle.
	ErrNoAccount = errors.New("accounts: no such account")
	// ErrPassword means that a new password is shorter than [MinPassword].
	ErrPassword = fmt.Errorf("accounts: a password needs at least %d characters", MinPassword)
	// ErrEmail means that a new account's address is no address.
	ErrEmail = errors.New("accounts: not an e-mail address")
)

// AdminExists reports whether any active superuser is there.
func (s *Service) AdminExists(ctx context.Context) (bool, error) {
	ok, err := s.q.AdminExists(ctx)
	if err != nil {
		return false, fmt.Errorf("look for an administrator: %w", err)
	}
	return ok, nil
}

// CreateAdmin makes an account with all rights and returns its id. A taken
// address is an *httpapi.Error with the usual 400.
func (s *Service) CreateAdmin(ctx context.Context, email, password, name string) (int64, error) {
	email, name = strings.TrimSpace(email), strings.TrimSpace(name)
	password, err := newPassword(password)
	if err != nil {
		return 0, err
	}
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(email, " \t\r\n\x00") || len(email) > maxEmail {
		return 0, ErrEmail
	}
	if name == "" {
		name = local
	}
	return s.create(ctx, newUser{email: email, password: password, name: cut(name, maxName), admin: true})
}

// maxEmail is the longest address in characters (contract 01 §2).
const maxEmail = 254

// newPassword trims a password as the API does, and refuses a short one.
func newPassword(password string) (string, error) {
	password = strings.TrimSpace(password)
	if utf8.RuneCountInString(password) < MinPassword {
		return "", ErrPassword
	}
	return password, nil
}

// find gives the id behind an address or a handle.
func (s *Service) find(ctx context.Context, emailOrHandle string) (int64, error) {
	text := normalEmail(strings.TrimSpace(emailOrHandle))
	id, err := s.q.FindUser(ctx, accountsdb.FindUserParams{Email: text, EmailFold: foldEmail(text), Handle: strings.TrimPrefix(foldEmail(text), "@")})
	if database.IsNoRows(err) {
		return 0, ErrNoAccount
	}
	if err != nil {
		return 0, fmt.Errorf("find account: %w", err)
	}
	return id, nil
}

// Promote gives an account all rights and returns its id.
func (s *Service) Promote(ctx context.Context, emailOrHandle string) (int64, error) {
	id, err := s.find(ctx, emailOrHandle)
	if err != nil {
		return 0, err
	}
	err = s.alter(ctx, id, func(tx database.Tx) (int64, error) {
		return accountsdb.New(tx).Promote(ctx, accountsdb.PromoteParams{ID: id, Now: s.now()})
	})
	return id, err
}

// ResetPassword sets a new password, ends all sessions of the account and
// returns its id.
func (s *Service) ResetPassword(ctx context.Context, emailOrHandle, password string) (int64, error) {
	password, err := newPassword(password)
	if err != nil {
		return 0, err
	}
	id, err := s.find(ctx, emailOrHandle)
	if err != nil {
		return 0, err
	}
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return 0, err
	}
	err = s.alter(ctx, id, func(tx database.Tx) (int64, error) {
		n, err := accountsdb.New(tx).SetPassword(ctx, accountsdb.SetPasswordParams{ID: id, Password: hash, Now: s.now()})
		if err != nil {
			return n, err
		}
		return n, s.endAll(ctx, tx, id, whyPassword)
	})
	return id, err
}

// Deactivate closes an account: it cannot sign in, and all its sessions end.
// Its data stay.
func (s *Service) Deactivate(ctx context.Context, id int64) error {
	return s.alter(ctx, id, func(tx database.Tx) (int64, error) {
		n, err := accountsdb.New(tx).Deactivate(ctx, accountsdb.DeactivateParams{ID: id, Now: s.now()})
		if err != nil {
			return n, err
		}
		return n, s.endAll(ctx, tx, id, whyDeactivated)
	})
}

// alter runs a change of one account, which tells how many rows it met.
func (s *Service) alter(ctx context.Context, id int64, change func(tx database.Tx) (int64, error)) error {
	err := s.db.Tx(ctx, func(tx database.Tx) error {
		n, err := change(tx)
		if err == nil && n == 0 {
			err = ErrNoAccount
		}
		s.changed(tx, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("alter account: %w", err)
	}
	return nil
}
