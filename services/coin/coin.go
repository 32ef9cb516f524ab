// Package coin keeps the coins: a double-entry ledger of cents, in which every
// event credits what it debits.
//
// The database enforces what must hold: an event is balanced and complete when
// its transaction commits, nothing in the ledger is changed or deleted, no
// user's account goes below zero, and no coins are minted without a payment.
// This package asks first where it has better words, and turns refusals of the
// database into the same [Rejection].
package coin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"selflink/appliance/dashboard"
	"selflink/appliance/database"
	"selflink/services/coin/coindb"
)

const (
	// Currency is the only one of the ledger. A hundred cents of it are bought
	// with a hundred cents of money, whatever the money's currency.
	Currency = "SLC"

	// MaxCents is the most that one entry moves. Balances end at 2^53, above
	// which clients round.
	MaxCents = 1_000_000_000_000_000

	mintAccount = "system:mint"

	debit  = "DEBIT"
	credit = "CREDIT"

	typeMint = "mint"
)

// IDs makes ids that no other process makes. *snowflake.Generator is one.
type IDs interface{ Next() int64 }

// Deps are what the service needs; both are required.
type Deps struct {
	DB  database.Pool
	IDs IDs
}

// Service keeps the ledger. It is safe for concurrent use.
type Service struct {
	db  database.Pool
	ids IDs
	q   *coindb.Queries

	counts   dashboard.Counted[LedgerCounts]
	checking sync.Mutex // held while the ledger is read
}

// New makes the service.
func New(d Deps) (*Service, error) {
	if d.DB == nil || d.IDs == nil {
		return nil, errors.New("coin: a database and ids are needed")
	}
	return &Service{db: d.DB, ids: d.IDs, q: coindb.New(d.DB)}, nil
}

// Rejection is the ledger's refusal to post something. Nothing was written, and
// the same will be refused again.
type Rejection struct {
	Text string // for people, as clients know it
	Code string // for programs
}

// Error implements error.
func (r *Rejection) Error() string { return r.Text }

// Reason is the text, for callers that know this type by its method only.
func (r *Rejection) Reason() string { return r.Text }

func reject(code, text string) error { return &Rejection{Text: text, Code: code} }

func errInactive() error { return reject("account_inactive", "Coin account is not active.") }

func errFunds() error { return reject("insufficient_funds", "insufficient_funds") }

// userAccount is the key of a person's account.
func userAccount(user int64) string { return "user:" + strconv.FormatInt(user, 10) }

// Open makes the account of a user in the transaction that makes the user. One
// that exists stays as it is.
func (s *Service) Open(ctx context.Context, tx database.Tx, user int64) error {
	if err := coindb.New(tx).OpenAccount(ctx, user); err != nil {
		return fmt.Errorf("open coin account: %w", err)
	}
	return nil
}

// Mint credits a user with the cents of a payment, once per payment, in the
// transaction that marks the payment as minted; without such a payment event
// the commit fails. It returns the id of the ledger's event, which is the first
// one's when the payment was minted before. A [Rejection] says that the ledger
// refuses.
func (s *Service) Mint(ctx context.Context, tx database.Tx, provider, externalID string, user, cents int64, metadata map[string]any) (int64, error) {
	if provider == "" || externalID == "" {
		return 0, reject("coin_error", "Mint events require a provider:event_id idempotency_key.")
	}
	if err := s.Open(ctx, tx, user); err != nil {
		return 0, err
	}
	details := map[string]any{}
	for k, v := range metadata {
		details[k] = v
	}
	details["provider"], details["external_id"], details["amount_cents"] = provider, externalID, cents
	key := provider + ":" + externalID
	id, err := s.post(ctx, tx, event{kind: typeMint, key: key, metadata: details}, []entry{
		{mintAccount, debit, cents},
		{userAccount(user), credit, cents},
	})
	if !errors.Is(err, errKeyTaken) {
		return id, err
	}
	old, err := coindb.New(tx).Minted(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("read an earlier mint: %w", err)
	}
	if old.EventType != typeMint || old.AccountKey != userAccount(user) || old.AmountCents != cents {
		return 0, reject("coin_error", "The payment was minted for another user or amount.")
	}
	return old.ID, nil
}

// refused turns what the database refuses into a Rejection.
func refused(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.ConstraintName {
	case "coin_accounts_overdraft":
		return errFunds()
	case "coin_accounts_active":
		return errInactive()
	case "coin_accounts_most":
		return reject("coin_error", "The balance would be too large.")
	}
	return err
}
