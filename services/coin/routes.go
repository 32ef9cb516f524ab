package coin

import (
	"context"
	"net/http"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

type nothing struct{}

type ledgerQuery struct {
	Limit  httpapi.Opt[string] `query:"limit" doc:"Rows per page, 1 to 200; 50 when missing."`
	Cursor string              `query:"cursor" raw:"true" doc:"The next_cursor of another page."`
}

// caller is who asks; every route of the ledger has somebody.
func caller(ctx context.Context) int64 {
	p, _ := auth.From(ctx)
	return p.UserID
}

// Register adds all routes of the ledger to api.
func (s *Service) Register(api *httpapi.API) {
	op := func(path, id, summary string) httpapi.Operation {
		return httpapi.Operation{Method: http.MethodGet, Path: path, ID: id, Tag: "coin", Summary: summary}
	}
	httpapi.Handle(api, op("coin/balance/", "coin_balance", "What the caller has."), func(ctx context.Context, _ *nothing) (Balance, error) {
		return s.Balance(ctx, caller(ctx))
	})
	httpapi.Handle(api, op("coin/ledger/", "coin_ledger", "The caller's entries, oldest first."), func(ctx context.Context, in *ledgerQuery) (Ledger, error) {
		return s.entries(ctx, caller(ctx), in.Limit, in.Cursor)
	})
	httpapi.Handle(api, op("users/me/recipient-id/", "coin_recipient", "What a payer needs to know of the caller."), func(ctx context.Context, _ *nothing) (Recipient, error) {
		b, err := s.Balance(ctx, caller(ctx)) // which opens the account
		return Recipient{b.AccountKey}, err
	})
	httpapi.Handle(api, op("me/entitlements/", "me_entitlements", "What the caller holds."), func(ctx context.Context, _ *nothing) (Entitlements, error) {
		return s.Entitlements(ctx, caller(ctx))
	})
}
