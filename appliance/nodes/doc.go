// Package nodes holds the test of several processes: the built command twice,
// on one external database behind a pooler, joined by a TLS route, and driven
// as clients and operators do. It kills one of the two and counts what its
// clients get from the other. Its benchmark measures how long an event takes
// from one node to a client of the other. It has no code of its own.
package nodes
