// Package snowflake makes the 64-bit ids of rows.
//
// An id is ((ms since 2024-01-01T23:20:00Z) << 22) | (node << 12) | sequence
// (contract 00 §3). Two processes must never share a node id: see [Lease].
package snowflake
