package health

import (
	"context"
	"testing"
)

// Write runs the writer of the history alone, for the rest of the test.
func Write(r *Registry, t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.keeper.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}
