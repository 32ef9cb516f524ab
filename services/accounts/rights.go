package accounts

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"selflink/appliance/database"
	"selflink/services/accounts/accountsdb"
)

// Why an act on somebody's account is refused.
var (
	// ErrNotOperator means that whoever acts is no active operator any more.
	ErrNotOperator = errors.New("accounts: only an operator may do that")
	// ErrSelf means that operators do not close or demote their own account.
	ErrSelf = errors.New("accounts: not with one's own account")
	// ErrLastOperator means that nobody would be left with all rights.
	ErrLastOperator = errors.New("accounts: the last operator stays")
)

// SetActive closes or opens an account, by an operator. Closing ends its
// sessions and what they have open, as [Service.Deactivate] does. What is so
// already stays so. It fails with [ErrNoAccount], [ErrNotOperator], [ErrSelf]
// and [ErrLastOperator].
func (s *Service) SetActive(ctx context.Context, by, id int64, active bool) (PersonDetails, error) {
	if err := s.setActive(ctx, by, id, active); err != nil {
		return PersonDetails{}, err
	}
	return s.PersonDetail(ctx, id)
}

// SetRole makes somebody a user, a viewer or an operator, by an operator. Who
// becomes a user is signed out of the dashboard. It fails with [ErrRole],
// [ErrNoAccount], [ErrNotOperator], [ErrSelf] and [ErrLastOperator].
func (s *Service) SetRole(ctx context.Context, by, id int64, role string) (PersonDetails, error) {
	if err := s.setRole(ctx, by, id, role); err != nil {
		return PersonDetails{}, err
	}
	return s.PersonDetail(ctx, id)
}

// EndSessions signs somebody out everywhere, by an operator, and voids tokens
// that belong to no session. It fails with [ErrNoAccount] and
// [ErrNotOperator].
func (s *Service) EndSessions(ctx context.Context, by, id int64) (PersonDetails, error) {
	err := s.act(ctx, by, id, func(tx database.Tx, _ standingOf) error {
		if err := accountsdb.New(tx).VoidTokens(ctx, accountsdb.VoidTokensParams{ID: id, Now: s.now()}); err != nil {
			return fmt.Errorf("void tokens: %w", err)
		}
		if err := s.endAll(ctx, tx, id, whyOperator); err != nil {
			return err
		}
		return s.record(ctx, tx, by, "accounts.sessions_ended", id, nil)
	})
	if err != nil {
		return PersonDetails{}, fmt.Errorf("end sessions: %w", err)
	}
	return s.PersonDetail(ctx, id)
}

func (s *Service) setActive(ctx context.Context, by, id int64, active bool) error {
	err := s.act(ctx, by, id, func(tx database.Tx, who standingOf) error {
		q := accountsdb.New(tx)
		switch {
		case who.active == active:
			return nil
		case active:
			if err := q.Activate(ctx, accountsdb.ActivateParams{ID: id, Now: s.now()}); err != nil {
				return fmt.Errorf("activate: %w", err)
			}
			if err := s.tellChange(ctx, tx, id); err != nil {
				return err
			}
			return s.record(ctx, tx, by, "accounts.activated", id, nil)
		}
		if err := who.mayGo(by, id); err != nil {
			return err
		}
		if err := q.Deactivate(ctx, accountsdb.DeactivateParams{ID: id, Now: s.now()}); err != nil {
			return fmt.Errorf("deactivate: %w", err)
		}
		if err := s.endAll(ctx, tx, id, whyDeactivated); err != nil {
			return err
		}
		if err := s.tellChange(ctx, tx, id); err != nil {
			return err
		}
		return s.record(ctx, tx, by, "accounts.deactivated", id, nil)
	})
	if err != nil {
		return fmt.Errorf("alter account: %w", err)
	}
	return nil
}

func (s *Service) setRole(ctx context.Context, by, id int64, role string) error {
	if role != RoleUser && role != RoleViewer && role != RoleOperator {
		return ErrRole
	}
	err := s.act(ctx, by, id, func(tx database.Tx, who standingOf) error {
		// Not by the role alone: an account may be a superuser that is not of the
		// staff, which is no role.
		staff, superuser := role != RoleUser, role == RoleOperator
		if who.staff == staff && who.superuser == superuser {
			return nil
		}
		if role != RoleOperator {
			if err := who.mayGo(by, id); err != nil {
				return err
			}
		}
		q := accountsdb.New(tx)
		if err := q.SetRole(ctx, accountsdb.SetRoleParams{ID: id, IsStaff: staff, IsSuperuser: superuser, Now: s.now()}); err != nil {
			return fmt.Errorf("set role: %w", err)
		}
		if role == RoleUser {
			ended, err := q.EndDashboard(ctx, accountsdb.EndDashboardParams{UserID: id, Now: s.now(), Why: whyRole})
			if err != nil {
				return fmt.Errorf("end sessions: %w", err)
			}
			if err := s.endOpen(ctx, tx, id, ended); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, by, "accounts.role_changed", id, map[string]any{"from": roleOf(who.staff, who.superuser), "to": role})
	})
	if err != nil {
		return fmt.Errorf("alter account: %w", err)
	}
	return nil
}

// standingOf is what an account may do, and how many others may do all.
type standingOf struct {
	active, staff, superuser bool
	others                   int // active operators beside it
}

// mayGo refuses to close or demote oneself and the last operator.
func (o standingOf) mayGo(by, id int64) error {
	switch {
	case by == id:
		return ErrSelf
	case o.active && o.staff && o.superuser && o.others == 0:
		return ErrLastOperator
	}
	return nil
}

// act runs a change of one account while it and all operators are held, so
// that two who act at once do so one after the other. by is 0 for a command.
func (s *Service) act(ctx context.Context, by, id int64, change func(tx database.Tx, who standingOf) error) error {
	return s.db.Tx(ctx, func(tx database.Tx) error {
		rows, err := accountsdb.New(tx).LockOperators(ctx, id)
		if err != nil {
			return fmt.Errorf("lock accounts: %w", err)
		}
		var who standingOf
		found, allowed := false, by == 0
		for _, r := range rows {
			operator := r.IsActive && r.IsStaff && r.IsSuperuser
			if r.ID == by && operator {
				allowed = true
			}
			if r.ID == id {
				found, who.active, who.staff, who.superuser = true, r.IsActive, r.IsStaff, r.IsSuperuser
			} else if operator {
				who.others++
			}
		}
		switch {
		case !allowed:
			return ErrNotOperator
		case !found:
			return ErrNoAccount
		}
		s.changed(tx, id)
		return change(tx, who)
	})
}

// record tells the audit trail what was done to an account. by is 0 for a
// command.
func (s *Service) record(ctx context.Context, tx database.Tx, by int64, action string, id int64, metadata map[string]any) error {
	if s.audit == nil {
		return nil
	}
	e := AuditEntry{Action: action, ObjectType: "user", ObjectID: strconv.FormatInt(id, 10), Metadata: map[string]any{}}
	for name, value := range metadata {
		e.Metadata[name] = value
	}
	if by == 0 {
		e.Metadata["by"] = "command"
	} else {
		e.Actor = &by
	}
	if err := s.audit(ctx, tx, e); err != nil {
		return fmt.Errorf("record %s: %w", action, err)
	}
	return nil
}
