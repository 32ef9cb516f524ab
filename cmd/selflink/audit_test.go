package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/audit"
)

// fakeTrail answers what the test wants.
type fakeTrail struct {
	page  audit.Page
	found audit.Verification
	asked audit.Query
}

func (f *fakeTrail) Page(_ context.Context, q audit.Query) (audit.Page, error) {
	f.asked = q
	return f.page, nil
}

func (f *fakeTrail) Verify(context.Context) (audit.Verification, error) { return f.found, nil }

func TestAudit(t *testing.T) {
	t.Parallel()
	next, olga := "there", "7"
	trail := &fakeTrail{page: audit.Page{Next: &next, Items: []audit.Item{
		{CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), ActorUser: &olga, ActorName: "Olga", Action: "jobs.retry", ObjectType: "job", ObjectID: "j", Metadata: json.RawMessage(`{}`)},
		{Action: "queues.pause", ObjectType: "queue", ObjectID: "default", Metadata: json.RawMessage(`{"by":"command"}`)},
	}}}
	b := newBench(t).withLedger(&fakeLedger{trail: trail})
	require.Equal(t, exitOK, b.run([]string{"audit", "list", "--actor", "7", "--limit", "2"}))
	require.Equal(t, audit.Query{Actor: 7, Limit: 2}, trail.asked)
	for _, want := range []string{"2026-01-02 03:04:05Z  Olga", "the command line  queues.pause  queue default", "--cursor there"} {
		require.Contains(t, b.out.String(), want)
	}
	require.Equal(t, exitUsage, b.run([]string{"audit", "list", "--limit", "0"}))

	bad := "e1"
	for _, c := range []struct {
		found audit.Verification
		code  int
		text  string
	}{
		{audit.Verification{Checked: 3, OK: true}, exitOK, "All 3 events hold."},
		{audit.Verification{Checked: 3, OK: true, Truncated: true}, exitOK, "The first 3 events hold"},
		{audit.Verification{Checked: 3, FirstBad: &bad}, exitFailed, "the first bad event is e1"},
		{audit.Verification{}, exitFailed, "missing at its end"},
	} {
		b := newBench(t).withLedger(&fakeLedger{trail: &fakeTrail{found: c.found}})
		require.Equal(t, c.code, b.run([]string{"audit", "verify"}))
		require.Contains(t, b.out.String(), c.text)
	}
}
