package httpapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/httpapi/ratelimit"
)

// Numbers of the fixed scopes; those of Limits.Scopes, of user limits and of
// bursts follow.
const (
	scopeIP = iota
	scopeUser
	scopeAnon
	scopeAuthIP
	scopeMentorUser
	scopeMentorGlobal
	firstFreeScope
)

// limits are the request limits, ready to count.
type limits struct {
	table                    *ratelimit.Table
	ip, user, anon           ratelimit.Rate
	named                    map[string]throttle
	writesOff                bool
	writes                   map[string]int // user limit key → scope
	next                     int
	bursts                   bool
	authIP                   ratelimit.Rate
	mentorUser, mentorGlobal ratelimit.Rate
}

// throttle is a named scope: it counts per user and per address.
type throttle struct {
	scope int // of users; that of addresses is the next number
	rate  ratelimit.Rate
}

// userLimit is a limit of writes in fixed windows.
type userLimit struct {
	scope int
	rate  ratelimit.Rate
}

func newLimits(o Limits, epoch time.Time) (limits, error) {
	l := limits{
		table:     ratelimit.New(o.MaxKeys, epoch),
		named:     make(map[string]throttle),
		writesOff: o.WritesOff,
		writes:    make(map[string]int),
		next:      firstFreeScope,
		bursts:    o.Bursts,
	}
	perSecond := func(n int) ratelimit.Rate { return ratelimit.Rate{N: n, Period: time.Second} }
	l.authIP, l.mentorUser, l.mentorGlobal = perSecond(o.AuthIP), perSecond(o.MentorUser), perSecond(o.MentorGlobal)
	var errs []error
	parse := func(name, text string) ratelimit.Rate {
		r, err := ratelimit.ParseRate(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("limit %s: %w", name, err))
		}
		return r
	}
	l.ip, l.user, l.anon = parse("ip", o.IP), parse("user", o.User), parse("anon", o.Anon)
	for name, text := range o.Scopes {
		l.named[name] = throttle{scope: l.next, rate: parse(name, text)}
		l.next += 2
	}
	return l, errors.Join(errs...)
}

// throttles finds the scopes of an operation. A scope without a rate limits
// nothing.
func (l *limits) throttles(names string) ([]throttle, error) {
	var out []throttle
	for _, name := range scopes(names) {
		if t, ok := l.named[name]; ok && !t.rate.Off() {
			out = append(out, t)
		}
	}
	return out, nil
}

func (l *limits) userLimit(op Operation) (userLimit, error) {
	rate, err := ratelimit.ParseRate(op.UserLimit)
	if err != nil || rate.Off() || l.writesOff {
		return userLimit{}, err
	}
	key := op.UserLimitKey
	if key == "" {
		key = op.ID
	}
	scope, ok := l.writes[key]
	if !ok {
		scope = l.next
		l.writes[key] = scope
		l.next++
	}
	return userLimit{scope: scope, rate: rate}, nil
}

// check counts a request in every scope that it falls under. All are counted;
// the longest wait is answered.
func (l *limits) check(rc *request, at *route) error {
	wait := l.table.Sliding(ratelimit.ByAddr(scopeIP, rc.client), l.ip, rc.start)
	count := func(k ratelimit.Key, r ratelimit.Rate) { wait = max(wait, l.table.Sliding(k, r, rc.start)) }
	if rc.known {
		count(ratelimit.ByUser(scopeUser, rc.principal.UserID), l.user)
	} else {
		count(ratelimit.ByAddr(scopeUser, rc.client), l.user)
		count(ratelimit.ByAddr(scopeAnon, rc.client), l.anon)
	}
	for _, t := range at.throttles {
		if rc.known {
			count(ratelimit.ByUser(t.scope, rc.principal.UserID), t.rate)
		}
		count(ratelimit.ByAddr(t.scope+1, rc.client), t.rate)
	}
	if wait > 0 {
		return Throttled(wait)
	}
	return nil
}

// write counts the writes of a user.
func (l *limits) write(rc *request) error {
	limit := rc.route.userLimit
	if limit.rate.Off() || !rc.known {
		return nil
	}
	if wait := l.table.Window(ratelimit.ByUser(limit.scope, rc.principal.UserID), limit.rate, rc.start); wait > 0 {
		return Throttled(wait)
	}
	return nil
}

// Burst is the short-term limiter of expensive operations: "auth" per client
// address, "mentor" per user and over all users. It returns nil while the
// caller may go on, else the 429 to return; it allows everything unless
// Limits.Bursts is on, and outside of a request.
func Burst(ctx context.Context, name string) error {
	rc, ok := ctx.Value(infoKey{}).(*request)
	if !ok || !rc.api.limits.bursts {
		return nil
	}
	l := &rc.api.limits
	switch name {
	case "auth":
		if !l.table.Burst(ratelimit.ByAddr(scopeAuthIP, rc.client), l.authIP, rc.api.opts.Now()) {
			return RateLimited()
		}
	case "mentor":
		// What the user's own limit refuses does not count for all users.
		if !l.table.Burst(ratelimit.ByUser(scopeMentorUser, rc.principal.UserID), l.mentorUser, rc.api.opts.Now()) ||
			!l.table.Burst(ratelimit.Key{Scope: scopeMentorGlobal}, l.mentorGlobal, rc.api.opts.Now()) {
			return RateLimited()
		}
	default:
		return fmt.Errorf("httpapi: no burst limit is called %q", name)
	}
	return nil
}
