package dashboard

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"selflink/appliance/audit"
	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

// Deed is an act as the audit trail tells it.
type Deed struct {
	Action     string // "jobs.retry"
	ObjectType string // "job"
	ObjectID   string
	Metadata   map[string]any // without secrets
}

// Act writes the deed into the audit trail and then does it, so that nothing is
// done that is not written. A failure is written as well, as "….failed".
func (d *Desk) Act(ctx context.Context, deed Deed, do func() error) error {
	p, _ := auth.From(ctx)
	info := httpapi.RequestInfo(ctx)
	var actor *int64
	metadata := maps.Clone(deed.Metadata)
	ip := info.ClientIP
	if info.Local {
		ip = ""
		if metadata == nil {
			metadata = map[string]any{}
		}
		metadata["by"] = "command"
	} else {
		actor = &p.UserID
	}
	deed.Metadata = metadata
	if err := d.record(ctx, actor, ip, deed, nil); err != nil {
		return err
	}
	if err := do(); err != nil {
		// The act's own error is what the caller must hear.
		if again := d.record(ctx, actor, ip, deed, err); again != nil {
			d.log.Warn("a failed act is missing in the audit trail", "action", deed.Action, "error", again)
		}
		return err
	}
	return nil
}

// actor names the caller for those who read what was paused, and by whom.
func (d *Desk) actor(ctx context.Context) string {
	if httpapi.RequestInfo(ctx).Local {
		return "the command line"
	}
	p, _ := auth.From(ctx)
	who, err := d.opts.Identity.Person(ctx, p)
	switch {
	case err != nil:
		return "account " + strconv.FormatInt(p.UserID, 10)
	case who.Name != "":
		return who.Name
	}
	return who.Email
}

func (d *Desk) record(ctx context.Context, actor *int64, ip string, deed Deed, failure error) error {
	action, metadata := deed.Action, maps.Clone(deed.Metadata)
	if metadata == nil {
		metadata = map[string]any{}
	}
	if failure != nil {
		action += ".failed"
		metadata["error"] = failure.Error()
	}
	err := d.opts.Audit.Record(ctx, audit.Entry{
		Actor: actor, ActorIP: ip, Action: action, ObjectType: deed.ObjectType, ObjectID: deed.ObjectID, Metadata: metadata,
	})
	if err != nil {
		return fmt.Errorf("write the audit trail: %w", err)
	}
	return nil
}
