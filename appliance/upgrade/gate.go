package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"selflink/appliance/health"
)

// look is the time between two looks at the health of a version that is not
// proven.
const look = time.Second

// Gate is what a version has to pass to count as installed: ready, then without
// a problem of high severity, once. The first decides whether a start after an
// upgrade succeeds; for the second it watches while the server serves, because
// a full disk is no fault of the new version.
type Gate struct {
	keeper *Keeper
	health *health.Registry
	limit  time.Duration

	cancel context.CancelFunc
	done   chan struct{}
}

// Gate makes the gate of a server whose checks are in h. limit bounds the wait
// until it is ready.
func (k *Keeper) Gate(h *health.Registry, limit time.Duration) *Gate {
	return &Gate{keeper: k, health: h, limit: limit}
}

// Start waits until a migrated version is ready, and returns [ErrFailed] when it
// does not get there. Without an upgrade it returns at once. Then it watches
// until Stop.
func (g *Gate) Start(ctx context.Context) error {
	state, err := g.keeper.State()
	if err != nil {
		return err
	}
	if u := state.Upgrade; u.open() && u.Phase == Migrated {
		if err := g.ready(ctx); err != nil {
			return err
		}
		if err := g.keeper.phase(Ready, nil); err != nil {
			return err
		}
	} else if settled(state, g.keeper.opts.Build) {
		return nil
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g.cancel, g.done = cancel, make(chan struct{})
	go g.watch(watch)
	return nil
}

// settled reports whether there is nothing left to prove.
func settled(s State, build Build) bool {
	return s.Good != nil && *s.Good == build && (s.Upgrade == nil || s.Upgrade.Phase == Done || s.Upgrade.Phase == RolledBack)
}

// ready waits until the server says so, or limit is over.
func (g *Gate) ready(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, g.limit)
	defer cancel()
	for {
		results, ready := g.health.Run(limit)
		if ready {
			return nil
		}
		if wait(limit, look) == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var missing []string
		for _, r := range results {
			if !r.OK && r.Ready {
				missing = append(missing, r.Name+": "+r.Error)
			}
		}
		return fmt.Errorf("not ready within %s: %s", g.limit, strings.Join(missing, "; "))
	}
}

// watch waits for a moment without a grave problem.
func (g *Gate) watch(ctx context.Context) {
	defer close(g.done)
	for !g.calm() {
		if wait(ctx, look) != nil {
			return
		}
	}
	if err := g.keeper.prove(); err != nil {
		g.keeper.log.Error("the upgrade is good, and cannot be written down as such", "error", err)
	}
}

// calm reports whether every check has answered and none of high severity
// fails, visible or not.
func (g *Gate) calm() bool {
	for _, part := range g.health.Checks() {
		for _, c := range part.Checks {
			if c.State == health.StateUnknown || c.State != health.StateHealthy && c.Severity == health.High {
				return false
			}
		}
	}
	return true
}

// Stop ends the watch. What is not proven by then is looked at again at the
// next start.
func (g *Gate) Stop(ctx context.Context) error {
	if g.cancel == nil {
		return nil
	}
	g.cancel()
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prove notes that this build works, and removes the snapshots that earlier
// upgrades left.
func (k *Keeper) prove() error {
	old := []string{}
	state, err := k.update(func(s *State) {
		now := k.now().UTC()
		if s.Good == nil || *s.Good != k.opts.Build {
			build := k.opts.Build
			s.Good, s.Since = &build, now
		}
		if u := s.Upgrade; u != nil && (u.Phase == Migrated || u.Phase == Ready) {
			old = slices.Clone(u.Older)
			u.Phase, u.Error, u.Ended, u.Older = Done, "", &now, nil
		}
	})
	if err != nil {
		return err
	}
	if u := state.Upgrade; u != nil && u.Phase == Done && u.Ended != nil {
		k.log.Info("the upgrade is done", "from", u.From.String(), "to", u.To.String(), "schema", u.SchemaTo)
	}
	for _, id := range old {
		if idShape.MatchString(id) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(k.dir, id)))
		}
	}
	return err
}

// Explain adds to the error of a start that it came after an upgrade, which can
// be gone back from.
func (k *Keeper) Explain(err error) error {
	if err == nil || errors.Is(err, ErrFailed) || errors.Is(err, context.Canceled) {
		return err
	}
	state, stateErr := k.State()
	if u := state.Upgrade; stateErr == nil && u.open() && u.Phase == Migrated {
		return fmt.Errorf("%w: from %s to %s: %w", ErrFailed, u.From, u.To, err)
	}
	return err
}

// wait waits for d or until ctx is done.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
