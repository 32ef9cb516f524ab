package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/upgrade"
)

// fakeUpgrader answers what the test says and notes what is done.
type fakeUpgrader struct {
	report upgrade.Report
	plan   upgrade.Plan
	err    error
	gone   upgrade.Forgotten
	calls  []string
}

func (u *fakeUpgrader) Check(context.Context) (upgrade.Report, error) { return u.report, u.err }
func (u *fakeUpgrader) Plan(context.Context) (upgrade.Plan, error)    { return u.plan, u.err }
func (u *fakeUpgrader) OnProgress(func(backup.Progress))              {}

func (u *fakeUpgrader) PlanMove(m upgrade.Move) (upgrade.MovePlan, error) {
	return upgrade.MovePlan{From: 15, To: m.To, OK: u.err == nil, Bytes: 3 << 20, Estimate: 90}, nil
}

func (u *fakeUpgrader) MovePostgres(_ context.Context, m upgrade.Move) (upgrade.Moved, error) {
	u.calls = append(u.calls, "move")
	return upgrade.Moved{From: 15, To: m.To, Rows: 7, Tables: 2, Aside: "/data/upgrade/x/next/postgres"}, u.err
}

func (u *fakeUpgrader) Rollback(context.Context) (upgrade.Returned, error) {
	u.calls = append(u.calls, "rollback")
	return upgrade.Returned{Plan: u.plan, Aside: "/data/upgrade/x/cluster", Seconds: 1}, u.err
}

func (u *fakeUpgrader) Forget(dry bool) (upgrade.Forgotten, error) {
	if !dry {
		u.calls = append(u.calls, "forget")
	}
	return u.gone, u.err
}

func (b *bench) withUpgrader(u *fakeUpgrader) *bench {
	b.parts.newUpgrader = func(*config.Config, *slog.Logger, string, string) (upgrader, error) { return u, nil }
	return b
}

func TestUpgradeCheck(t *testing.T) {
	t.Parallel()
	u := &fakeUpgrader{report: upgrade.Report{OK: true, To: upgrade.Build{Version: "v1.2.3"}, Pending: []string{"9001_one.sql"}, Findings: []upgrade.Finding{
		{What: "schema", Verdict: upgrade.Good, Text: "one step"}, {What: "disk", Verdict: upgrade.Warn, Text: "little room", Todo: "buy one"},
	}}}
	b := newBench(t).withUpgrader(u)
	require.Equal(t, exitOK, b.run([]string{"upgrade", "check"}))
	require.Contains(t, b.out.String(), "Upgrade to selflink v1.2.3")
	require.Contains(t, b.out.String(), "→ buy one")
	require.Contains(t, b.out.String(), "takes a snapshot")

	u.report.OK = false
	b = newBench(t).withUpgrader(u)
	require.Equal(t, exitFailed, b.run([]string{"upgrade", "check", "--json"}))
	var out upgrade.Report
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &out))
	require.Len(t, out.Findings, 3)
	require.Equal(t, "settings", out.Findings[0].What)

	b = newBench(t, "JWT_ACCESS_MINUTES=x") // no database is looked at
	require.Equal(t, exitFailed, b.run([]string{"upgrade", "check"}))
	require.Contains(t, b.out.String(), "selflink config check")
	require.Contains(t, b.out.String(), "would fail")
}

func TestRollback(t *testing.T) {
	t.Parallel()
	u := &fakeUpgrader{plan: upgrade.Plan{
		From: upgrade.Build{Version: "v2"}, To: upgrade.Build{Version: "v1"}, SchemaTo: 16, Lost: 90,
		Snapshot: &upgrade.Snapshot{Kind: upgrade.Cluster, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		Program:  upgrade.Program{Path: "/usr/bin/selflink", Version: "v1", Why: "no program of before is kept"},
	}}
	b := newBench(t).withUpgrader(u)
	require.Equal(t, exitFailed, b.run([]string{"rollback"}), "nobody was there to be asked")
	require.Empty(t, u.calls)
	require.Contains(t, b.out.String(), "from selflink v2 to v1")
	require.Contains(t, b.out.String(), "1m30s")
	require.Contains(t, b.out.String(), "Nothing was changed")

	require.Equal(t, exitOK, b.run([]string{"rollback", "--yes"}))
	require.Equal(t, []string{"rollback"}, u.calls)
	require.Contains(t, b.out.String(), "apt-get install selflink=1")

	u.plan.Program = upgrade.Program{Path: "/usr/bin/selflink", Version: "v1", Replace: true, Kept: "/data/upgrade/failed/selflink"}
	b = newBench(t).withUpgrader(u)
	require.Equal(t, exitOK, b.run([]string{"rollback", "--yes"}))
	require.Contains(t, b.out.String(), "is that of v1 again")

	b = newBench(t).withUpgrader(u)
	require.Equal(t, exitFailed, b.run([]string{"rollback", "--json"}))
	var plan upgrade.Plan
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &plan))
	require.Equal(t, u.plan, plan)

	u.err = upgrade.ErrServing
	b = newBench(t).withUpgrader(u)
	require.Equal(t, exitFailed, b.run([]string{"rollback", "--yes"}))
	require.Contains(t, b.err.String(), "systemctl stop selflink")
}

func TestUpgradeForget(t *testing.T) {
	t.Parallel()
	u := &fakeUpgrader{}
	b := newBench(t).withUpgrader(u)
	require.Equal(t, exitOK, b.run([]string{"upgrade", "forget"}))
	require.Contains(t, b.out.String(), "Nothing is kept")

	u.gone = upgrade.Forgotten{Bytes: 3 << 20, Upgrade: &upgrade.Upgrade{From: upgrade.Build{Version: "v1"}, To: upgrade.Build{Version: "v2"}, Phase: upgrade.Done}}
	require.Equal(t, exitFailed, b.run([]string{"upgrade", "forget"}))
	require.Empty(t, u.calls)
	require.Contains(t, b.out.String(), "would remove 3.0 MiB")
	require.Equal(t, exitOK, b.run([]string{"upgrade", "forget", "--yes"}))
	require.Equal(t, []string{"forget"}, u.calls)
	require.Contains(t, b.out.String(), "no way back to v1")
}

// A start that fails after an upgrade names the one command.
func TestServeNamesTheWayBack(t *testing.T) {
	t.Parallel()
	b := newBench(t).withServer(&fakeServer{start: func(context.Context) error { return upgrade.ErrFailed }})
	require.Equal(t, exitFailed, b.run([]string{"serve"}))
	require.Contains(t, b.err.String(), "selflink rollback")
}

func TestUpgradePostgres(t *testing.T) {
	t.Parallel()
	u := &fakeUpgrader{}
	b := newBench(t).withUpgrader(u)
	require.Equal(t, exitUsage, b.run([]string{"upgrade", "postgres"}))
	require.Equal(t, exitOK, b.run([]string{"upgrade", "postgres", "--to", "17", "--dry-run"}))
	require.Empty(t, u.calls)
	require.Contains(t, b.out.String(), "from PostgreSQL 15 to 17")
	require.Contains(t, b.out.String(), "1m30s")
	require.Equal(t, exitOK, b.run([]string{"upgrade", "postgres", "--to", "17"}))
	require.Equal(t, []string{"move"}, u.calls)
	require.Contains(t, b.out.String(), "7 rows of 2 tables")
	u.err = upgrade.ErrServing
	require.Equal(t, exitFailed, b.run([]string{"upgrade", "postgres", "--to", "17", "--dry-run"}))
	require.Equal(t, exitFailed, b.run([]string{"upgrade", "postgres", "--to", "17"}))
}
