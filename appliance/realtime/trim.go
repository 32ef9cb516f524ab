package realtime

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/realtime/realtimedb"
)

// trimStep is how many events one statement deletes.
const trimStep = 1000

// Trim deletes events past the age and count of their channels, and old
// tickets, in small steps, and returns how many events went. It is meant for a
// schedule every few minutes and may run on several nodes at once.
func (h *Hub) Trim(ctx context.Context) (int64, error) {
	var total int64
	var floor int64
	old := time.Now().Add(-maxAge)
	for {
		gone, err := h.q.TrimExpired(ctx, trimStep)
		if err != nil {
			return total, fmt.Errorf("delete old events: %w", err)
		}
		total += int64(len(gone))
		for _, g := range gone {
			if g.CreatedAt.Before(old) {
				floor = max(floor, g.Seq)
			}
		}
		if len(gone) < trimStep {
			break
		}
	}
	until := h.log.now().seq
	for _, k := range classes() {
		n, err := h.q.TrimCrowded(ctx, realtimedb.TrimCrowdedParams{After: h.trimmed.Load(), Prefix: k.prefix, Keep: k.count})
		if err != nil {
			return total, fmt.Errorf("delete events beyond the count of %s: %w", k.prefix, err)
		}
		total += n
	}
	h.trimmed.Store(until)
	if floor > 0 {
		if err := h.q.RaiseFloor(ctx, floor); err != nil {
			return total, fmt.Errorf("raise the floor of the event log: %w", err)
		}
	}
	if _, err := h.q.DropTickets(ctx); err != nil {
		return total, fmt.Errorf("delete old tickets: %w", err)
	}
	return total, nil
}
