package payments

import (
	"context"
	"encoding/json"
	"time"

	"selflink/appliance/dashboard"
)

// Signed is the check of a signature.
func Signed(header string, body []byte, secrets []string, now time.Time) bool {
	return signed(header, body, secrets, now)
}

// Decode reads a webhook and every object that it may be about.
func Decode(body []byte) (id string, ok bool) {
	m, err := decodeMessage(body)
	if err != nil {
		return "", false
	}
	for _, object := range []any{&session{}, &subscription{}, &reversal{}} {
		if json.Unmarshal(m.Data.Object, object) != nil {
			continue
		}
		switch o := object.(type) {
		case *session:
			_ = o.payment()
			_, _ = wholeCents(o.AmountTotal)
		case *subscription:
			_, _ = o.bounds()
			_ = o.state()
		}
	}
	return m.ID, true
}

// NewestCheckouts lists checkouts of a state.
func (s *Service) NewestCheckouts(ctx context.Context, status string, page dashboard.PageInput) (dashboard.List[KnownCheckout], error) {
	return s.newestCheckouts(ctx, checkoutsInput{page, status})
}

// NewestEvents lists events.
func (s *Service) NewestEvents(ctx context.Context, page dashboard.PageInput) (dashboard.List[KnownEvent], error) {
	return s.newestEvents(ctx, page)
}
