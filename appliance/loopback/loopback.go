// Package loopback finds addresses for tests that have to know one before
// anybody listens there, or want one where nobody ever does.
package loopback

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports that no kernel gives out by itself: the range of Linux begins at 32768.
// One of that range may be taken at any moment, be it by a client's end of a
// connection.
const (
	first = 10000
	last  = 32000
)

// Address gives a host:port of 127.0.0.1 where nobody listens, and that nobody
// gets who asks the kernel for any. Nothing holds it.
func Address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(last-first)))
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatalf("give back %s: %v", address, err)
		}
		return address
	}
	t.Fatal("no address of 127.0.0.1 is free")
	return ""
}
