// Package crash proves that nothing accepted is lost: it runs the real binary
// under a steady load, kills the process and its children at random moments,
// and counts at the end. TestCrash counts accounts and answers, TestRealtime
// what listeners were told: every committed event once, in one order,
// TestPayments what was credited: every payment once, TestUploads the files: no
// row without one, none for ever without a row, TestReindex the index of people
// while its building is killed. "make crash" runs all; they are behind the
// build tag crash because they take minutes and need the built binary.
package crash
