package realtime

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/health"
)

// nearlyFull is the share of Options.Connections, in percent, from which on
// the node counts as nearly full.
const nearlyFull = 90

// registerChecks tells r what may go wrong here.
func (h *Hub) registerChecks(r *health.Registry) {
	r.Add(health.Check{
		Code: "realtime", Title: "The event log is not followed", Severity: health.High, Visible: 10 * time.Second,
		Impact:    "Connections of this node get no events; what they miss comes when it goes on.",
		Remedy:    "See why in the lines of component realtime of the log; it is tried again all the time.",
		DependsOn: []string{database.CheckPostgres, database.CheckPooled},
		Run:       h.checkLog,
	})
	r.Add(health.Check{
		Code: "realtime.full", Title: "The node has nearly all the connections it takes", Visible: 30 * time.Second,
		Impact: "New WebSockets and event streams are refused when it has all.",
		Remedy: "Raise REALTIME_MAX_CONNECTIONS, and the limit of file descriptors with it; or run another node.",
		Run:    h.checkRoom,
	})
}

func (h *Hub) checkLog(context.Context) error {
	if err := h.log.failing.Load(); err != nil {
		return *err
	}
	return nil
}

func (h *Hub) checkRoom(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total*100 < h.opts.Connections*nearlyFull {
		return nil
	}
	return fmt.Errorf("%d of %d connections are open", h.total, h.opts.Connections)
}
