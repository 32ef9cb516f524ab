// Package crash proves that nothing accepted is lost: it runs the real binary
// under a steady load, kills the process and its children at random moments,
// and counts at the end. "make crash" runs it; it is behind the build tag
// crash because it takes minutes and needs the built binary.
package crash
