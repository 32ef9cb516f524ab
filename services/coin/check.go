package coin

import (
	"context"
	"fmt"
	"strings"
)

// Count is one number of a [Report].
type Count struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
	Fails bool   `json:"fails"` // whether it says that something is wrong
}

// Report is what [Service.Check] found.
type Report struct {
	OK     bool    `json:"ok"`
	Counts []Count `json:"counts"`
	// Notes are sentences about what is odd and yet nothing wrong.
	Notes []string `json:"notes"`
}

// Err names the counts that say that something is wrong, or is nil.
func (r Report) Err() error {
	var bad []string
	for _, c := range r.Counts {
		if c.Fails {
			bad = append(bad, fmt.Sprintf("%s=%d", c.Name, c.Count))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("coin_invariant_check failed: %s", strings.Join(bad, "; "))
}

// Check counts, at one moment, what must not be in the ledger. The database
// refuses all of it; the check is for data that came by another way.
func (s *Service) Check(ctx context.Context) (Report, error) {
	c, err := s.q.Check(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("check the ledger: %w", err)
	}
	r := Report{Notes: []string{}}
	add := func(name string, count int64, fails bool) { r.Counts = append(r.Counts, Count{name, count, fails}) }
	add("mint_events", c.MintEvents, false)
	for _, n := range []struct {
		name  string
		count int64
	}{
		{"mint_events_without_payment_event", c.MintEventsWithoutPaymentEvent},
		{"mint_events_with_non_minted_payment_event", c.MintEventsWithNonMintedPaymentEvent},
		{"payment_events_linked_to_non_mint_event", c.PaymentEventsLinkedToNonMintEvent},
		{"unbalanced_event_groups", c.UnbalancedEventGroups},
		{"unknown_account_entries", c.UnknownAccountEntries},
	} {
		add(n.name, n.count, n.count > 0)
	}
	// Somebody who had coins before the account was suspended is nothing wrong.
	add("suspended_account_entries", c.SuspendedAccountEntries, c.EntriesSinceSuspension > 0)
	if c.SuspendedAccountEntries > 0 && c.EntriesSinceSuspension == 0 {
		r.Notes = append(r.Notes, "all entries of suspended accounts are older than the suspension")
	}
	add("stored_balance_mismatches", c.StoredBalanceMismatches, c.StoredBalanceMismatches > 0)
	r.OK = r.Err() == nil
	return r, nil
}
