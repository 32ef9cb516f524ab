package payments

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

// message is a webhook of Stripe, as far as it is used. Only what is needed is
// read: Stripe's objects differ from version to version of its API.
type message struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Created int64  `json:"created"`
	Data    struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

// maxEventID is the longest id of an event that can be stored.
const maxEventID = 255

// decodeMessage reads a webhook.
func decodeMessage(body []byte) (message, error) {
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return message{}, err
	}
	switch {
	case m.ID == "" || len(m.ID) > maxEventID || !storable(m.ID):
		return message{}, errors.New("the event has no id")
	case m.Type == "" || len(m.Type) > 64 || !storable(m.Type):
		return message{}, errors.New("the event has no type")
	case m.Created < 0 || m.Created > maxUnix:
		return message{}, errors.New("the event has no moment")
	}
	return m, nil
}

// at is when Stripe made the event; one that does not say is older than all.
func (m message) at() time.Time { return time.Unix(m.Created, 0).UTC() }

// storable reports whether Postgres takes a text.
func storable(s string) bool { return !strings.ContainsRune(s, 0) }

// session is a checkout session.
type session struct {
	ID                string          `json:"id"`
	Mode              string          `json:"mode"`
	PaymentStatus     string          `json:"payment_status"`
	ClientReferenceID string          `json:"client_reference_id"`
	Metadata          metadata        `json:"metadata"`
	AmountTotal       json.RawMessage `json:"amount_total"`
	AmountReceived    json.RawMessage `json:"amount_received"`
	Currency          string          `json:"currency"`
	PaymentIntent     reference       `json:"payment_intent"`
	Subscription      reference       `json:"subscription"`
	Customer          reference       `json:"customer"`
}

// payment gives our reference of what was paid for.
func (s session) payment() string {
	for _, r := range []string{s.ClientReferenceID, s.Metadata["reference"], s.Metadata["payment_reference"]} {
		if r != "" {
			return r
		}
	}
	return ""
}

// subscription is a subscription at Stripe.
type subscription struct {
	ID       string    `json:"id"`
	Status   string    `json:"status"`
	Customer reference `json:"customer"`
	Metadata metadata  `json:"metadata"`
	period
	Items struct {
		Data []struct{ period } `json:"data"`
	} `json:"items"`
}

// period is what was paid for, in unix seconds.
type period struct {
	Start int64 `json:"current_period_start"`
	End   int64 `json:"current_period_end"`
}

// bounds gives the period of a subscription, which newer versions of Stripe's
// API tell with its items.
func (s subscription) bounds() (start, end *time.Time) {
	p := s.period
	if len(s.Items.Data) > 0 {
		if p.Start == 0 {
			p.Start = s.Items.Data[0].Start
		}
		if p.End == 0 {
			p.End = s.Items.Data[0].End
		}
	}
	moment := func(unix int64) *time.Time {
		if unix <= 0 || unix > maxUnix {
			return nil
		}
		t := time.Unix(unix, 0).UTC()
		return &t
	}
	return moment(p.Start), moment(p.End)
}

// state is our word for Stripe's.
func (s subscription) state() string {
	switch s.Status {
	case "active", "trialing":
		return stateActive
	case "canceled", "incomplete_expired":
		return stateCanceled
	case "past_due", "unpaid":
		return "past_due"
	}
	return stateIncomplete
}

// reversal is a charge that was refunded, or a dispute about one.
type reversal struct {
	PaymentIntent  reference `json:"payment_intent"`
	Amount         int64     `json:"amount"`
	AmountRefunded int64     `json:"amount_refunded"`
	Currency       string    `json:"currency"`
}

// reference is the id of an object, which Stripe sends as text or, when it was
// asked to, as the object itself. Null is none.
type reference string

// UnmarshalJSON implements json.Unmarshaler.
func (r *reference) UnmarshalJSON(b []byte) error {
	var id string
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte{'{'}) {
		var object struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(b, &object); err != nil {
			return err
		}
		id = object.ID
	} else if err := json.Unmarshal(b, &id); err != nil {
		return err
	}
	if len(id) > maxEventID || !storable(id) {
		return errors.New("an id is too long")
	}
	*r = reference(id)
	return nil
}

// optional is nil for none.
func (r reference) optional() *string {
	if r == "" {
		return nil
	}
	s := string(r)
	return &s
}

// metadata are texts; whatever else is sent there is left out.
type metadata map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *metadata) UnmarshalJSON(b []byte) error {
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*m = make(metadata, len(raw))
	for k, v := range raw {
		if text, ok := v.(string); ok && storable(text) {
			(*m)[k] = text
		}
	}
	return nil
}

// id reads one of our ids; 0 is none.
func (m metadata) id(name string) int64 {
	n, err := strconv.ParseInt(m[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// missing reports whether a number was not sent.
func missing(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

// wholeCents reads a whole number, sent as one or as text.
func wholeCents(raw json.RawMessage) (int64, bool) {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if json.Unmarshal(raw, &text) != nil {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}
