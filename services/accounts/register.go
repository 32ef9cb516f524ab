package accounts

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

const (
	maxHandle = 30
	// handleStem leaves room for the random end of a handle that is taken.
	handleStem = 26
	// fallbackHandle is for people whose name and address have no Latin
	// letters.
	fallbackHandle = "selflink"
	// handleTries bounds the search for a free handle; each try has a chance
	// of 1 in 65 536 to be taken per account of the same name.
	handleTries = 20

	// MinPassword is the shortest password in characters (contract 01 §2).
	MinPassword = 8
)

// Texts of refused registrations.
const (
	msgEmailTaken   = "user with this email already exists."
	msgHandleExists = "user with this handle already exists."
	msgHandleTaken  = "Handle is already taken."
	msgHandleEmpty  = "Handle must contain letters or numbers."
	msgNoName       = "Please provide your full name."
)

// newUser is an account to be made.
type newUser struct {
	email, password, name string
	handle                string // as typed; empty: found from name and address
	admin                 bool
	first                 bool // only while there is no administrator
}

// create makes an account and returns its id. Refusals are *httpapi.Error.
func (s *Service) create(ctx context.Context, in newUser) (int64, error) {
	in.email = normalEmail(in.email)
	if err := s.checkTaken(ctx, in); err != nil {
		return 0, err
	}
	password, err := s.passwords.Hash(ctx, in.password)
	if err != nil {
		return 0, err
	}
	for range handleTries {
		handle := normalHandle(in.handle)
		if in.handle == "" {
			if handle, err = s.freeHandle(ctx, in); err != nil {
				return 0, err
			}
		}
		id := s.ids.Next()
		err = s.insert(ctx, id, in, handle, password)
		switch {
		case err == nil:
			return id, nil
		case database.IsUniqueViolation(err, "users_email_key"), database.IsUniqueViolation(err, "users_email_fold_key"):
			return 0, httpapi.Invalid("email", msgEmailTaken)
		case database.IsUniqueViolation(err, "users_handle_key") && in.handle != "":
			return 0, httpapi.Invalid("handle", msgHandleTaken)
		case !database.IsUniqueViolation(err, "users_handle_key"):
			return 0, fmt.Errorf("create account: %w", err)
		}
	}
	return 0, errors.New("create account: no free handle was found")
}

func (s *Service) insert(ctx context.Context, id int64, in newUser, handle, password string) error {
	return s.db.Tx(ctx, func(tx database.Tx) error {
		q := accountsdb.New(tx)
		if in.first {
			if err := firstAdmin(ctx, q); err != nil {
				return err
			}
		}
		err := q.InsertUser(ctx, accountsdb.InsertUserParams{
			ID: id, Email: in.email, EmailFold: foldEmail(in.email), Handle: handle, Password: password,
			Name: in.name, IsStaff: in.admin, IsSuperuser: in.admin, CreatedAt: s.now(),
		})
		if err == nil && s.created != nil {
			err = s.created(ctx, tx, id)
		}
		s.changed(tx, id)
		switch {
		case err != nil:
			return err
		case in.first:
			return s.record(ctx, tx, id, "accounts.first_admin_created", id, nil)
		case in.admin:
			return s.record(ctx, tx, 0, "accounts.admin_created", id, nil)
		}
		return nil
	})
}

// firstAdmin refuses when there is an administrator, and lets nobody else make
// one until the transaction ends. It has to be the first in it.
func firstAdmin(ctx context.Context, q *accountsdb.Queries) error {
	if err := q.LockAllUsers(ctx); err != nil {
		return fmt.Errorf("lock accounts: %w", err)
	}
	exists, err := q.AdminExists(ctx)
	if err != nil {
		return fmt.Errorf("look for an administrator: %w", err)
	}
	if exists {
		return ErrAdminExists
	}
	return nil
}

// checkTaken refuses what can be refused before the expensive hash, in the
// order that clients know.
func (s *Service) checkTaken(ctx context.Context, in newUser) error {
	var bad httpapi.FieldErrors
	taken, err := s.q.TakenEmail(ctx, accountsdb.TakenEmailParams{Email: in.email, EmailFold: foldEmail(in.email)})
	if err != nil {
		return fmt.Errorf("look for the address: %w", err)
	}
	if taken {
		bad.Add("email", msgEmailTaken)
	}
	handle := normalHandle(in.handle)
	held := map[string]bool{}
	if in.handle != "" {
		if held, err = s.taken(ctx, in.handle, handle); err != nil {
			return err
		}
	}
	if held[in.handle] {
		bad.Add("handle", msgHandleExists)
	}
	if err := bad.Err(); err != nil {
		return err
	}
	switch {
	case in.name == "":
		return httpapi.Invalid("fullName", msgNoName)
	case in.handle != "" && handle == "":
		return httpapi.Invalid("handle", msgHandleEmpty)
	case held[handle]:
		return httpapi.Invalid("handle", msgHandleTaken)
	}
	return nil
}

func (s *Service) taken(ctx context.Context, handles ...string) (map[string]bool, error) {
	found, err := s.q.TakenHandles(ctx, handles)
	if err != nil {
		return nil, fmt.Errorf("look for handles: %w", err)
	}
	held := make(map[string]bool, len(found))
	for _, h := range found {
		held[h] = true
	}
	return held, nil
}

// freeHandle finds a handle for somebody who chose none.
func (s *Service) freeHandle(ctx context.Context, in newUser) (string, error) {
	name := normalHandle(in.name)
	local, _, _ := strings.Cut(in.email, "@")
	wished := []string{name, normalHandle(local), fallbackHandle}
	held, err := s.taken(ctx, wished...)
	if err != nil {
		return "", err
	}
	for _, h := range wished {
		if h != "" && !held[h] {
			return h, nil
		}
	}
	if name == "" {
		name = fallbackHandle
	}
	var end [2]byte
	if _, err := rand.Read(end[:]); err != nil {
		return "", fmt.Errorf("make a handle: %w", err)
	}
	return name[:min(len(name), handleStem)] + hex.EncodeToString(end[:]), nil
}

// normalHandle keeps letters, digits and single underscores inside.
func normalHandle(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case r == '_' && !strings.HasSuffix(b.String(), "_"):
			b.WriteRune(r)
		}
	}
	h := strings.Trim(b.String(), "_")
	return h[:min(len(h), maxHandle)]
}

// normalEmail writes the domain in lower case and keeps the local part.
func normalEmail(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s
	}
	return s[:at] + strings.ToLower(s[at:])
}

// foldEmail is what two spellings of one address have in common.
func foldEmail(s string) string { return strings.ToLower(s) }
