package upgrade

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/health"
)

// begun is a keeper whose upgrade is migrated and not proven.
func begun(t *testing.T) *Keeper {
	t.Helper()
	k, err := New(Options{DataDir: t.TempDir(), Build: newBuild})
	require.NoError(t, err)
	_, err = k.update(func(s *State) {
		s.Upgrade = &Upgrade{ID: k.newID(), From: oldBuild, To: newBuild, Phase: Migrated}
	})
	require.NoError(t, err)
	return k
}

// registry has one required and one grave check, which fail as they are told.
func registry(t *testing.T, unready, grave *atomic.Bool) *health.Registry {
	t.Helper()
	h := health.New(health.Options{Interval: 10 * time.Millisecond})
	fails := func(on *atomic.Bool) func(context.Context) error {
		return func(context.Context) error {
			if on.Load() {
				return errors.New("it is told to")
			}
			return nil
		}
	}
	h.Add(health.Check{Code: "needed", Ready: true, Run: fails(unready)})
	h.Add(health.Check{Code: "grave", Severity: health.High, Run: fails(grave)})
	require.NoError(t, h.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, h.Stop(context.Background())) })
	return h
}

func phaseOf(t *testing.T, k *Keeper) Phase {
	t.Helper()
	s, err := k.State()
	require.NoError(t, err)
	return s.Upgrade.Phase
}

func TestGate(t *testing.T) {
	t.Parallel()
	var unready, grave atomic.Bool
	unready.Store(true)
	k := begun(t)
	h := registry(t, &unready, &grave)

	err := k.Gate(h, 10*time.Millisecond).Start(t.Context())
	require.ErrorContains(t, err, "needed: it is told to")
	require.ErrorIs(t, k.Explain(err), ErrFailed)
	require.Equal(t, Migrated, phaseOf(t, k), "the next start tries again")

	unready.Store(false)
	grave.Store(true)
	require.Eventually(t, func() bool { return len(h.Problems()) == 1 }, time.Minute, time.Millisecond)
	g := k.Gate(h, time.Minute)
	require.NoError(t, g.Start(t.Context()), "a grave problem is no reason not to serve")
	require.Equal(t, Ready, phaseOf(t, k))
	grave.Store(false)
	<-g.done
	require.Equal(t, Done, phaseOf(t, k))
	require.NoError(t, g.Stop(t.Context()))

	g = k.Gate(h, time.Minute)
	require.NoError(t, g.Start(t.Context()))
	require.Nil(t, g.done, "there is nothing left to prove")
	require.NoError(t, g.Stop(t.Context()))

	// Without an upgrade it only notes which build works.
	k, err = New(Options{DataDir: t.TempDir(), Build: oldBuild})
	require.NoError(t, err)
	g = k.Gate(h, time.Minute)
	require.NoError(t, g.Start(t.Context()))
	<-g.done
	s, err := k.State()
	require.NoError(t, err)
	require.Equal(t, oldBuild, *s.Good)
	require.Nil(t, s.Upgrade)
}

// A server that is stopped before it was proven is proven by a later one.
func TestGateIsStopped(t *testing.T) {
	t.Parallel()
	var unready, grave atomic.Bool
	grave.Store(true)
	k := begun(t)
	h := registry(t, &unready, &grave)
	require.Eventually(t, func() bool { return len(h.Problems()) == 1 }, time.Minute, time.Millisecond)
	g := k.Gate(h, time.Minute)
	require.NoError(t, g.Start(t.Context()))
	require.NoError(t, g.Stop(t.Context()))
	require.Equal(t, Ready, phaseOf(t, k))
	grave.Store(false)
	g = k.Gate(h, time.Minute)
	require.NoError(t, g.Start(t.Context()))
	<-g.done
	require.Equal(t, Done, phaseOf(t, k))
}
