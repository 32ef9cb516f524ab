// Package accounts knows who people are: their accounts, sessions, devices,
// profiles, and who follows whom.
//
// A sign-in is a session: a family of refresh tokens of which one is current.
// Ending it (logout, a reused old token, a new password, deactivation) voids
// its access tokens too, on every node within milliseconds. What others may
// see of an account leaves out its address, birth data and settings.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/auth"
	"selflink/appliance/cache"
	"selflink/appliance/database"
	"selflink/services/accounts/accountsdb"
)

const (
	// cacheTTL bounds for how long a node that missed an invalidation still
	// accepts an ended session or shows an old account.
	cacheTTL = 30 * time.Second

	// cachedAccounts and cachedSessions bound the memory of the caches, about
	// 1 KiB an account and 200 bytes a session.
	cachedAccounts = 20_000
	cachedSessions = 40_000
)

// IDs makes ids that no other process makes. *snowflake.Generator is one.
type IDs interface{ Next() int64 }

// Deps are what the service needs. DB, IDs, Tokens and Passwords are
// required.
type Deps struct {
	DB        database.Pool
	IDs       IDs
	Tokens    *auth.Tokens
	Passwords *auth.Passwords
	Bus       cache.Bus        // nil: a single process
	Log       *slog.Logger     // nil: silent
	Clock     func() time.Time // time.Now
	// Created runs in the transaction that makes an account, for what other
	// services keep per account. An error undoes the account.
	Created func(ctx context.Context, tx database.Tx, id int64) error
	// Changed runs in the transaction that changes what others see of an
	// account, or closes or opens it, after the change. An error undoes it.
	Changed func(ctx context.Context, tx database.Tx, id int64) error
	// Ended runs in the transaction that ends a session, once for each, and
	// then EndedAll in the one that ends all of a user's, also those without an
	// id: whatever a session has open must end with it.
	Ended    func(ctx context.Context, tx database.Tx, user int64, session uuid.UUID) error
	EndedAll func(ctx context.Context, tx database.Tx, user int64) error
	// Audit records in the transaction what somebody with rights does to an
	// account, as its last step. An error undoes it. nil: nothing is recorded.
	Audit func(ctx context.Context, tx database.Tx, e AuditEntry) error
	// Avatars keeps pictures of people (nil: none are taken).
	Avatars Avatars
}

// AuditEntry is what somebody with rights did.
type AuditEntry struct {
	Actor      *int64 // nil: a command, as the metadata say
	Action     string // "accounts.role_changed"
	ObjectType string // "user"
	ObjectID   string
	Metadata   map[string]any
}

// Service keeps accounts. It is safe for concurrent use.
type Service struct {
	db        database.Pool
	q         *accountsdb.Queries
	ids       IDs
	tokens    *auth.Tokens
	passwords *auth.Passwords
	log       *slog.Logger
	clock     func() time.Time
	created   func(ctx context.Context, tx database.Tx, id int64) error
	edited    func(ctx context.Context, tx database.Tx, id int64) error
	ended     func(ctx context.Context, tx database.Tx, user int64, session uuid.UUID) error
	endedAll  func(ctx context.Context, tx database.Tx, user int64) error
	audit     func(ctx context.Context, tx database.Tx, e AuditEntry) error
	avatars   Avatars

	accounts *cache.Local[cache.ID, account]
	sessions *cache.Local[cache.Text, session]
	loads    loads // of both
}

// New makes the service. [Service.Start] joins its caches to the bus.
func New(d Deps) (*Service, error) {
	if d.DB == nil || d.IDs == nil || d.Tokens == nil || d.Passwords == nil {
		return nil, errors.New("accounts: a database, ids, tokens and passwords are needed")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	s := &Service{
		db: d.DB, q: accountsdb.New(d.DB), ids: d.IDs, tokens: d.Tokens, passwords: d.Passwords,
		log: d.Log.With("component", "accounts"), clock: d.Clock, created: d.Created, edited: d.Changed,
		ended: d.Ended, endedAll: d.EndedAll, audit: d.Audit, avatars: d.Avatars,
	}
	var err error
	if s.loads, err = newLoads(s.q); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	s.accounts, err = cache.NewLocal[cache.ID, account](cache.Options{
		Name: "accounts", Size: cachedAccounts, TTL: cacheTTL, Bus: d.Bus, Logger: d.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	s.sessions, err = cache.NewLocal[cache.Text, session](cache.Options{
		Name: "sessions", Size: cachedSessions, TTL: cacheTTL, Bus: d.Bus, Logger: d.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return s, nil
}

// Start makes the caches follow what other nodes change. Starting twice does
// nothing.
func (s *Service) Start(ctx context.Context) error {
	if err := s.accounts.Start(ctx); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	if err := s.sessions.Start(ctx); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	return nil
}

// Stop ends what Start began. Stopping twice does nothing.
func (s *Service) Stop(ctx context.Context) error {
	return errors.Join(s.sessions.Stop(ctx), s.accounts.Stop(ctx))
}

// now is the time as Postgres can store it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// tellChange tells who asked for it that others see an account differently.
func (s *Service) tellChange(ctx context.Context, tx database.Tx, id int64) error {
	if s.edited == nil {
		return nil
	}
	if err := s.edited(ctx, tx, id); err != nil {
		return fmt.Errorf("tell of the change: %w", err)
	}
	return nil
}

// changed makes every node forget an account once tx has committed.
func (s *Service) changed(tx database.Tx, ids ...int64) {
	tx.AfterCommit(func() {
		for _, id := range ids {
			s.accounts.Invalidate(cache.ID(id))
		}
	})
}
