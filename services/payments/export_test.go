package payments

import (
	"encoding/json"
	"time"
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
