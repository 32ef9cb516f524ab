package coin

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/httpapi"
	"selflink/services/coin/coindb"
)

// Keys of what can be held.
const (
	premium     = "premium"
	premiumPlus = "premium_plus"
)

// Entitlement says whether something may be used.
type Entitlement struct {
	Active      bool               `json:"active"`
	ActiveUntil *httpapi.Timestamp `json:"active_until"`
}

// Entitlements are all that somebody can hold.
type Entitlements struct {
	Premium     Entitlement `json:"premium"`
	PremiumPlus Entitlement `json:"premium_plus"`
}

// Entitlements gives what a user holds. Nobody is refused anything by it:
// clients choose by it what they show.
func (s *Service) Entitlements(ctx context.Context, user int64) (Entitlements, error) {
	rows, err := s.q.Entitlements(ctx, coindb.EntitlementsParams{UserID: user, Keys: []string{premium, premiumPlus}})
	if err != nil {
		return Entitlements{}, fmt.Errorf("read entitlements: %w", err)
	}
	var out Entitlements
	for _, r := range rows {
		held := Entitlement{
			Active:      r.ActiveUntil != nil && r.ActiveUntil.After(time.Now()),
			ActiveUntil: httpapi.NullTimestamp(r.ActiveUntil),
		}
		if r.Key == premium {
			out.Premium = held
		} else {
			out.PremiumPlus = held
		}
	}
	return out, nil
}
