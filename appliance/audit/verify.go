package audit

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/audit/auditdb"
)

// verifyBatch is how many events are read at once, at most 16 MiB.
const verifyBatch = 1000

// Verification is what a walk along the trail found.
type Verification struct {
	Checked int64 `json:"checked"` // events
	OK      bool  `json:"ok"`      // nothing wrong in what was checked
	// FirstBad is the first event whose hash or place is wrong; when the trail
	// ends too early, the last one that is there. nil also when nothing is left
	// of a trail that had events.
	FirstBad  *string `json:"first_bad"`
	Truncated bool    `json:"truncated"` // time ran out before the end
}

// Verify walks the trail from its beginning to the end that it has now, for as
// long as Options.VerifyTime, and stops at the first event that is wrong.
func (l *Log) Verify(ctx context.Context) (Verification, error) {
	head, err := l.q.Head(ctx)
	if err != nil {
		return Verification{}, fmt.Errorf("audit: find the end of the trail: %w", err)
	}
	deadline := time.Now().Add(l.verifyTime)
	var v Verification
	var last auditdb.AuditEvent
	for last.Seq < head.Seq {
		if time.Now().After(deadline) {
			v.OK, v.Truncated = true, true
			return v, nil
		}
		rows, err := l.q.Walk(ctx, auditdb.WalkParams{After: last.Seq, Until: head.Seq, Most: verifyBatch})
		if err != nil {
			return v, fmt.Errorf("audit: read the trail: %w", err)
		}
		for i := range rows {
			v.Checked++
			if !follows(last, rows[i]) {
				return v.bad(rows[i].ID.String()), nil
			}
			last = rows[i]
		}
		if len(rows) == 0 { // its end is missing
			return v.bad(known(last)), nil
		}
	}
	if last.HashSelf != head.Hash {
		return v.bad(known(last)), nil
	}
	stray, err := l.q.Stray(ctx)
	if err != nil {
		return v, fmt.Errorf("audit: look past the end of the trail: %w", err)
	}
	if len(stray) > 0 {
		return v.bad(stray[0].String()), nil
	}
	v.OK = true
	return v, nil
}

func (v Verification) bad(id string) Verification {
	if id != "" {
		v.FirstBad = &id
	}
	return v
}

// known is the id of an event, empty for none.
func known(e auditdb.AuditEvent) string {
	if e.Seq == 0 {
		return ""
	}
	return e.ID.String()
}

// follows reports whether an event is the next in the chain and what it was
// when it was written.
func follows(before, e auditdb.AuditEvent) bool {
	return e.Seq == before.Seq+1 && e.HashPrev == before.HashSelf && e.CreatedAt.After(before.CreatedAt) &&
		e.HashSelf == hash(covered{
			action: e.Action, actor: e.ActorUser, at: e.CreatedAt, metadata: e.Metadata,
			objectID: e.ObjectID, objectType: e.ObjectType, prev: e.HashPrev,
		})
}
