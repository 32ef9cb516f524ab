package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/services/coin"
)

func TestCoinCheck(t *testing.T) {
	t.Parallel()
	good := coin.Report{OK: true, Counts: []coin.Count{{Name: "mint_events", Count: 3}, {Name: "unbalanced_event_groups"}}, Notes: []string{"odd but well"}}
	b := newBench(t).withLedger(&fakeLedger{report: good})
	require.Equal(t, exitOK, b.run([]string{"coin", "check"}), b.err.String())
	require.Equal(t, "coin_invariant_check:\n- mint_events=3\n- unbalanced_event_groups=0\nnote: odd but well\n", b.out.String())

	bad := coin.Report{Counts: []coin.Count{{Name: "mint_events", Count: 3}, {Name: "unbalanced_event_groups", Count: 1, Fails: true}, {Name: "unknown_account_entries", Count: 2, Fails: true}}, Notes: []string{}}
	b = newBench(t).withLedger(&fakeLedger{report: bad})
	require.Equal(t, exitFailed, b.run([]string{"coin", "check"}))
	require.Contains(t, b.err.String(), "coin_invariant_check failed: unbalanced_event_groups=1; unknown_account_entries=2")
	require.Contains(t, b.out.String(), "- unbalanced_event_groups=1\n")

	b = newBench(t).withLedger(&fakeLedger{report: bad})
	require.Equal(t, exitFailed, b.run([]string{"coin", "check", "--json"}))
	require.JSONEq(t, `{"ok":false,"notes":[],"counts":[{"name":"mint_events","count":3,"fails":false},
		{"name":"unbalanced_event_groups","count":1,"fails":true},{"name":"unknown_account_entries","count":2,"fails":true}]}`, b.out.String())

	b = newBench(t)
	require.Equal(t, exitUsage, b.run([]string{"coin", "mint"}))
}
