package httpapi

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"selflink/appliance/health"
)

// unlistedNews is how long a proxy that is not listed is told after its last
// request.
const unlistedNews = time.Hour

// unlisted remembers the last neighbour that wrote X-Forwarded-For without
// being trusted. Only private addresses count: there stand the proxies, while
// on the internet anybody may write that header.
type unlisted struct {
	last atomic.Pointer[sighting]
}

type sighting struct {
	peer netip.Addr
	at   time.Time
}

func (u *unlisted) note(peer netip.Addr, now time.Time) {
	if !peer.IsLoopback() && !peer.IsPrivate() {
		return
	}
	if last := u.last.Load(); last != nil && last.peer == peer && now.Sub(last.at) < time.Minute {
		return
	}
	u.last.Store(&sighting{peer, now})
}

func (u *unlisted) check(now time.Time) error {
	last := u.last.Load()
	if last == nil || now.Sub(last.at) > unlistedNews {
		return nil
	}
	return fmt.Errorf("requests come with X-Forwarded-For from %s, which TRUSTED_PROXIES does not list", last.peer)
}

// registerChecks tells the registry what may go wrong here.
func (a *API) registerChecks() {
	if a.opts.Health == nil {
		return
	}
	a.opts.Health.Add(health.Check{
		Code: "http.proxy", Title: "A reverse proxy is not trusted", Private: true,
		Impact: "All clients behind it count as one address, so limits hit all of them together.",
		Remedy: "Add its address to TRUSTED_PROXIES and restart.",
		Run:    func(context.Context) error { return a.proxies.unlisted.check(time.Now()) },
	})
}
