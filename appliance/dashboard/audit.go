package dashboard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"selflink/appliance/audit"
	"selflink/appliance/httpapi"
)

// verifyTime bounds the walk over the trail, which bounds itself before.
const verifyTime = 25 * time.Second

type auditInput struct {
	pageInput
	Action   string `query:"action" max:"128"`
	Actor    string `query:"actor" max:"20" doc:"Id of the account."`
	ObjectID string `query:"object_id" max:"128"`
}

func (d *Desk) registerAudit() {
	Handle(d, Operation{Method: http.MethodGet, Path: "audit", ID: "audit", Summary: "The audit trail, the newest first."},
		func(ctx context.Context, in *auditInput) (audit.Page, error) {
			q := audit.Query{Action: in.Action, ObjectID: in.ObjectID, Cursor: in.Cursor, Limit: in.Size()}
			if in.Actor != "" {
				id, err := userInput{in.Actor}.account()
				if err != nil {
					return audit.Page{}, httpapi.Invalid("actor", "This is no id of an account.")
				}
				q.Actor = id
			}
			page, err := d.opts.Audit.Page(ctx, q)
			if errors.Is(err, audit.ErrCursor) {
				return page, badCursor()
			}
			return page, err
		})
	Handle(d, Operation{
		Method: http.MethodGet, Path: "audit/verify", ID: "audit_verify", Timeout: verifyTime,
		Summary: "Compute the chain of the trail again and tell whether it holds.",
	}, func(ctx context.Context, _ *struct{}) (audit.Verification, error) {
		return d.opts.Audit.Verify(ctx)
	})
}
