package payments

import (
	"context"
	"encoding/json"
	"fmt"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/payments/paymentsdb"
)

// Plan is what can be subscribed to.
type Plan struct {
	ID         int64           `json:"id"`
	Name       string          `json:"name"`
	PriceCents int32           `json:"price_cents"`
	Interval   string          `json:"interval"`
	Features   json.RawMessage `json:"features"`
	IsActive   bool            `json:"is_active"`
}

func publicPlan(r paymentsdb.ActivePlansRow) Plan {
	return Plan{ID: r.ID, Name: r.Name, PriceCents: r.PriceCents, Interval: r.Interval, Features: r.Features, IsActive: r.IsActive}
}

func planColumns() []column[paymentsdb.ActivePlansRow] {
	type row = paymentsdb.ActivePlansRow
	return []column[row]{
		{"created_at", func(r row) string { return moment(&r.CreatedAt) }},
		{"id", func(r row) string { return number(r.ID) }},
		{"name", func(r row) string { return r.Name }},
		{"price_cents", func(r row) string { return number(int64(r.PriceCents)) }},
		{"interval", func(r row) string { return r.Interval }},
		{"is_active", func(r row) string { return flag(r.IsActive) }},
	}
}

// plans lists what can be subscribed to: nothing while payments are off.
func (s *Service) plans(ctx context.Context, in httpapi.PageQuery) (httpapi.Page[Plan], error) {
	if !s.Enabled {
		return nobody[Plan](), nil
	}
	rows, err := s.q.ActivePlans(ctx)
	if err != nil {
		return httpapi.Page[Plan]{}, fmt.Errorf("list plans: %w", err)
	}
	return paginate(ctx, in, rows, planColumns(), func(r paymentsdb.ActivePlansRow) int64 { return r.ID }, publicPlan)
}

func (s *Service) plan(ctx context.Context, id int64) (Plan, error) {
	r, err := s.q.Plan(ctx, id)
	if database.IsNoRows(err) {
		return Plan{}, httpapi.NotFound("Plan")
	}
	if err != nil {
		return Plan{}, fmt.Errorf("read plan: %w", err)
	}
	return publicPlan(paymentsdb.ActivePlansRow(r)), nil
}
