package health_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/health"
)

func TestVerdict(t *testing.T) {
	t.Parallel()
	var r health.Registry
	r.Add(health.Check{Name: "well", Ready: true, Run: func(context.Context) error { return nil }})
	r.Add(health.Check{Name: "optional", Run: func(context.Context) error { return errors.New("odd") }})
	results, ready := r.Run(t.Context())
	require.True(t, ready, "a failing check that is not required is only reported")
	require.Equal(t, []health.Result{{Name: "well", OK: true, Ready: true}, {Name: "optional", Error: "odd"}}, results)

	release := make(chan struct{})
	defer close(release)
	r.Add(health.Check{Name: "hung", Ready: true, Run: func(context.Context) error { <-release; return nil }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, ready = r.Run(ctx)
	require.False(t, ready, "a hung check must not hide the others")
	require.Contains(t, results[2].Error, "no answer")
}
