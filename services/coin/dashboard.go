package coin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"selflink/appliance/dashboard"
	"selflink/appliance/httpapi"
)

// auditTime bounds a check that an operator waits for. A ledger that needs
// longer is checked by its schedule.
const auditTime = time.Minute

// LedgerCounts are the totals of the ledger.
type LedgerCounts struct {
	Accounts  int64        `json:"accounts" doc:"Of people."`
	Suspended int64        `json:"suspended"`
	Events    []EventCount `json:"events"`
	Minted    int64        `json:"minted_cents" doc:"All coins that were ever made."`
	Held      int64        `json:"held_cents" doc:"What people have."`
}

// EventCount counts events of one type.
type EventCount struct {
	Type   string `json:"type"`
	Events int64  `json:"events"`
}

// Insight is what people see of the ledger. It marshals to what the dashboard
// answers. What is nil is not known.
type Insight struct {
	Currency  string        `json:"currency"`
	Counts    *LedgerCounts `json:"counts" doc:"Null when there is too much to count in time."`
	CountedAt *time.Time    `json:"counted_at"`
	Estimated *int64        `json:"estimated_entries" doc:"About how many entries there are, where they are not counted."`
	Last      *Checked      `json:"last_check"`
	Schedule  string        `json:"check_schedule" doc:"Name of the schedule that checks."`
}

// Insight tells how the ledger is.
func (s *Service) Insight(ctx context.Context) (out Insight, err error) {
	out = Insight{Currency: Currency, Schedule: "coin.check"}
	if out.Counts, out.CountedAt, err = s.counts.Get(ctx, s.count); err != nil {
		return out, err
	}
	if out.Counts == nil {
		if out.Estimated, err = dashboard.Estimate(ctx, s.db, "coin_entries"); err != nil {
			return out, err
		}
	}
	out.Last, err = s.LastAudit(ctx)
	return out, err
}

func (s *Service) count(ctx context.Context) (out LedgerCounts, err error) {
	accounts, err := s.q.CountAccounts(ctx)
	if err != nil {
		return out, fmt.Errorf("count accounts: %w", err)
	}
	out = LedgerCounts{Accounts: accounts.Accounts, Suspended: accounts.Suspended, Held: accounts.Held, Events: []EventCount{}}
	events, err := s.q.CountEvents(ctx)
	if err != nil {
		return out, fmt.Errorf("count events: %w", err)
	}
	for _, e := range events {
		out.Events = append(out.Events, EventCount{e.EventType, e.Events})
	}
	if out.Minted, err = s.q.TotalMinted(ctx); err != nil {
		return out, fmt.Errorf("add up what was minted: %w", err)
	}
	return out, nil
}

// RegisterDashboard adds the act on the ledger to the dashboard; what is to be
// seen of it stands on the page of payments.
func (s *Service) RegisterDashboard(d *dashboard.Desk) {
	dashboard.Handle(d, dashboard.Operation{
		Method: http.MethodPost, Path: "payments/ledger/check", ID: "ledger_check", Acts: true, Timeout: auditTime + 5*time.Second,
		Summary: "Read the whole ledger and count what must not be in it.", Errors: []int{409, 503},
	}, func(ctx context.Context, _ *struct{}) (Checked, error) {
		out := Checked{Report: Report{Counts: []Count{}, Notes: []string{}}}
		err := d.Act(ctx, dashboard.Deed{Action: "coin.check", ObjectType: "ledger"}, func() (err error) {
			limited, cancel := context.WithTimeout(ctx, auditTime)
			defer cancel()
			out, err = s.Audit(limited)
			return err
		})
		switch {
		case errors.Is(err, ErrChecking):
			return out, httpapi.Detail(http.StatusConflict, "It is being checked already.")
		case errors.Is(err, context.DeadlineExceeded):
			return out, httpapi.Detail(http.StatusServiceUnavailable, "A minute was not enough. Its schedule has more time: selflink schedule run coin.check")
		}
		return out, err
	})
}
