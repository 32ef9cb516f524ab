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

// ErrAdminExists means that the first administrator was made before.
var ErrAdminExists = errors.New("accounts: there is an administrator already")

// CreateAdmin makes an account with all rights and returns its id. A taken
// address is an *httpapi.Error with the usual 400.
func (s *Service) CreateAdmin(ctx context.Context, email, password, name string) (int64, error) {
	return s.createAdmin(ctx, email, password, name, false)
}

// CreateFirstAdmin is [Service.CreateAdmin] for whoever sets the appliance up.
// It fails with [ErrAdminExists] once any active superuser is there, also when
// several try at once.
func (s *Service) CreateFirstAdmin(ctx context.Context, email, password, name string) (int64, error) {
	exists, err := s.AdminExists(ctx)
	if err != nil {
		return 0, err
	}
	if exists {
		return 0, ErrAdminExists
	}
	return s.createAdmin(ctx, email, password, name, true)
}

func (s *Service) createAdmin(ctx context.Context, email, password, name string, first bool) (int64, error) {
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
	return s.create(ctx, newUser{email: email, password: password, name: cut(name, maxName), admin: true, first: first})
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
	return s.byName(ctx, emailOrHandle, func(id int64) error { return s.setRole(ctx, 0, id, RoleOperator) })
}

// Demote takes all rights from an account and returns its id. It fails with
// [ErrLastOperator].
func (s *Service) Demote(ctx context.Context, emailOrHandle string) (int64, error) {
	return s.byName(ctx, emailOrHandle, func(id int64) error { return s.setRole(ctx, 0, id, RoleUser) })
}

// CloseAccount is [Service.Deactivate] by address or handle; it returns the account's
// id.
func (s *Service) CloseAccount(ctx context.Context, emailOrHandle string) (int64, error) {
	return s.byName(ctx, emailOrHandle, func(id int64) error { return s.Deactivate(ctx, id) })
}

// byName acts on the account behind an address or a handle.
func (s *Service) byName(ctx context.Context, emailOrHandle string, act func(id int64) error) (int64, error) {
	id, err := s.find(ctx, emailOrHandle)
	if err != nil {
		return 0, err
	}
	return id, act(id)
}

// ResetPassword sets a new password, ends all sessions of the account, opens
// the lock of its sign-ins to the dashboard, and returns its id.
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
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		q := accountsdb.New(tx)
		n, err := q.SetPassword(ctx, accountsdb.SetPasswordParams{ID: id, Password: hash, Now: s.now()})
		if err != nil {
			return fmt.Errorf("store password: %w", err)
		}
		if n == 0 {
			return ErrNoAccount
		}
		if err := q.ForgetGuessesOf(ctx, id); err != nil {
			return fmt.Errorf("forget wrong sign-ins: %w", err)
		}
		if err := s.endAll(ctx, tx, id, whyPassword); err != nil {
			return err
		}
		s.changed(tx, id)
		return s.record(ctx, tx, 0, "accounts.password_reset", id, nil)
	})
	if err != nil {
		return id, fmt.Errorf("reset password: %w", err)
	}
	return id, nil
}

// Deactivate closes an account: it cannot sign in, and all its sessions end.
// Its data stay. It fails with [ErrLastOperator].
func (s *Service) Deactivate(ctx context.Context, id int64) error {
	return s.setActive(ctx, 0, id, false)
}
