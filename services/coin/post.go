package coin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"selflink/appliance/database"
	"selflink/services/coin/coindb"
)

// event is what is posted: the head of one transaction of the ledger.
type event struct {
	kind     string
	key      string // unique over all events; empty: none
	by       *int64 // who acts; nil: the system
	metadata map[string]any
	note     string
}

// entry is one side of it.
type entry struct {
	account   string
	direction string
	cents     int64
}

// errKeyTaken means that an event with the same key exists. Nothing was
// written, and the transaction may go on.
var errKeyTaken = errors.New("coin: the idempotency key is taken")

// systemAccount reports whether key may be posted to although nobody owns it.
func systemAccount(key string) bool {
	return key == "system:fees" || key == "system:revenue" || key == mintAccount
}

// check applies the rules of posting that need no look at the ledger, in the
// order that clients know (contract 20 §1.1).
func check(entries []entry) error {
	if len(entries) == 0 {
		return reject("coin_error", "At least one entry is required.")
	}
	var total int64
	for _, e := range entries {
		switch {
		case e.account == "":
			return reject("coin_error", "account_key is required.")
		case e.direction != debit && e.direction != credit:
			return reject("coin_error", "Direction must be DEBIT or CREDIT.")
		case e.cents <= 0:
			return reject("invalid_amount", "Amounts must be positive integers.")
		case e.cents > MaxCents:
			return reject("invalid_amount", "The amount is too large.")
		}
		if e.direction == credit {
			total += e.cents
		} else {
			total -= e.cents
		}
	}
	if total != 0 {
		return reject("coin_error", "Unbalanced ledger entries for currency: "+Currency)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.account, "system:") && !systemAccount(e.account) {
			return reject("account_invalid", "System account is not allowed.")
		}
	}
	return nil
}

// post is the one way into the ledger. It locks the users' accounts until tx
// ends, writes the event with its entries, and returns the event's id. What the
// rules refuse is a [Rejection], and then tx must be given up: some rules are
// the database's.
func (s *Service) post(ctx context.Context, tx database.Tx, ev event, entries []entry) (int64, error) {
	if err := check(entries); err != nil {
		return 0, err
	}
	q := coindb.New(tx)
	if err := lock(ctx, q, entries); err != nil {
		return 0, err
	}
	metadata, err := json.Marshal(ev.metadata)
	if err != nil {
		return 0, fmt.Errorf("encode the metadata of a coin event: %w", err)
	}
	if ev.metadata == nil {
		metadata = []byte("{}")
	}
	var key *string
	if ev.key != "" {
		key = &ev.key
	}
	id := s.ids.Next()
	at, err := q.InsertEvent(ctx, coindb.InsertEventParams{
		ID: id, EventType: ev.kind, CreatedBy: ev.by, IdempotencyKey: key, Metadata: metadata, Note: ev.note, EntryCount: int16(len(entries)),
	})
	if database.IsNoRows(err) {
		return 0, errKeyTaken
	}
	if err != nil {
		return 0, fmt.Errorf("store coin event: %w", refused(err))
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.direction, b.direction), cmp.Compare(a.cents, b.cents))
	})
	rows := coindb.InsertEntriesParams{EventID: id, Currency: Currency, CreatedAt: at}
	for _, e := range entries {
		rows.Ids = append(rows.Ids, s.ids.Next())
		rows.Accounts = append(rows.Accounts, e.account)
		rows.Amounts = append(rows.Amounts, e.cents)
		rows.Directions = append(rows.Directions, e.direction)
	}
	if err := q.InsertEntries(ctx, rows); err != nil {
		return 0, fmt.Errorf("store coin entries: %w", refused(err))
	}
	return id, nil
}

// lock takes the users' accounts of the entries and refuses those that are
// unknown or suspended, or have too little.
func lock(ctx context.Context, q *coindb.Queries, entries []entry) error {
	moves := map[string]int64{}
	for _, e := range entries {
		if systemAccount(e.account) {
			continue
		}
		if e.direction == credit {
			moves[e.account] += e.cents
		} else {
			moves[e.account] -= e.cents
		}
	}
	keys := make([]string, 0, len(moves))
	for key := range moves {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	rows, err := q.LockAccounts(ctx, keys)
	if err != nil {
		return fmt.Errorf("lock coin accounts: %w", err)
	}
	for _, r := range rows {
		keys = slices.DeleteFunc(keys, func(k string) bool { return k == r.AccountKey })
	}
	if len(keys) > 0 {
		return reject("account_invalid", "Unknown account_key(s): "+strings.Join(keys, ", "))
	}
	for _, r := range rows {
		if r.Status != "active" {
			return errInactive()
		}
	}
	for _, r := range rows {
		if r.BalanceCents+moves[r.AccountKey] < 0 {
			return errFunds()
		}
	}
	return nil
}
