package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/jobs"
	"selflink/services/accounts"
)

func TestCommandLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		code int
		text string // in either output
	}{
		{"", exitUsage, "name a command"},
		{"help", exitOK, "Usage: selflink COMMAND"},
		{"-h", exitOK, "Usage: selflink COMMAND"},
		{"help serve", exitOK, "Usage: selflink serve"},
		{"dance", exitUsage, `there is no command "dance"`},
		{"config", exitUsage, "needs one of these commands"},
		{"config -h", exitOK, "Usage: selflink config COMMAND"},
		{"config dance", exitUsage, `there is no command "dance" of selflink config`},
		{"version extra", exitUsage, `"extra" is one word too many`},
		{"version --what", exitUsage, "flag provided but not defined: -what"},
		{"jobs show", exitUsage, "something is missing"},
		{"jobs show 42", exitUsage, `"42" is not the id of a job`},
		{"jobs list --state lost", exitUsage, "no such state"},
		{"jobs list --limit 0", exitUsage, "--limit"},
		{"admin promote", exitUsage, "name the account"},
		{"admin create", exitUsage, "name the address"},
		{"admin demote", exitUsage, "name the account"},
		{"admin deactivate", exitUsage, "name the account"},
		{"admin list ann", exitUsage, "one word too many"},
		{"config docs --format x", exitUsage, "markdown, env or man"},
		{"serve --secret-key x", exitUsage, "not defined"},
		{"verify", exitUsage, "something is missing"},
		{"restore", exitUsage, "name the archive"},
		{"restore --undo x", exitUsage, "--undo stands alone"},
		{"restore --with-secrets --yes", exitUsage, "name the archive"},
		{"backup x", exitUsage, "one word too many"},
		{"backup list --limit 0", exitUsage, "--limit"},
		{"version", exitOK, "selflink v1.2.3 (commit abc1234"},
		{"--version", exitOK, "v1.2.3"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			require.Equal(t, c.code, b.run(strings.Fields(c.args)), b.err.String())
			require.Contains(t, b.out.String()+b.err.String(), c.text)
			if c.code == exitUsage {
				require.Empty(t, b.out.String())
			}
		})
	}
	// Every verb explains itself and knows --json.
	for _, args := range []string{"serve", "status", "doctor", "migrate", "config show", "config check", "config docs", "cluster token", "admin create", "admin promote",
		"admin reset-password", "admin list", "admin demote", "admin deactivate", "jobs list", "jobs show", "jobs retry", "jobs cancel", "backup", "backup list", "verify", "restore", "upgrade check", "upgrade forget", "rollback", "version"} {
		b := newBench(t)
		require.Equal(t, exitOK, b.run(append(strings.Fields(args), "-h")))
		require.Contains(t, b.out.String(), "Usage: selflink "+args)
		require.Contains(t, b.out.String(), "-json")
		require.Empty(t, b.err.String())
	}
}

func TestConfigVerbs(t *testing.T) {
	t.Parallel()
	const secret = "pV8r2Qy7mW1zK5xT9sLc"
	b := newBench(t, "SECRET_KEY="+secret, "DATABASE_URL=postgres://app:hunter2hunter2@db/x")
	require.Equal(t, exitOK, b.run([]string{"config", "show"}))
	require.Regexp(t, `SECRET_KEY +\*+ +environment`, b.out.String())
	require.Regexp(t, `DATABASE_URL +postgres://app:\*+@db/x +environment`, b.out.String())
	require.Equal(t, exitOK, b.run([]string{"config", "show", "--json"}))
	require.NotContains(t, b.out.String(), secret)
	require.NotContains(t, b.out.String(), "hunter2")

	b = newBench(t, "DEBUG=perhaps", "SECRET_KEY=change-me", "SELFLINK_LISTN=x")
	require.Equal(t, exitFailed, b.run([]string{"config", "check"}))
	require.Contains(t, b.err.String(), "2 problems")
	require.Contains(t, b.out.String(), "did you mean SELFLINK_LISTEN?")
	require.Equal(t, exitFailed, b.run([]string{"config", "show"}), "what is wrong is shown and told")
	require.Contains(t, b.out.String(), "perhaps")
	b = newBench(t, "DEBUG=perhaps")
	require.Equal(t, exitFailed, b.run([]string{"config", "check", "--json"}))
	var out struct {
		OK       bool
		Problems []struct{ Setting, Problem, Fix string }
		Remarks  []struct{ Level, Setting, Text string }
	}
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &out))
	require.False(t, out.OK)
	require.Equal(t, "DEBUG", out.Problems[0].Setting)
	require.NotEmpty(t, out.Problems[0].Fix)
	require.NotEmpty(t, out.Remarks)

	b = newBench(t)
	require.Equal(t, exitOK, b.run([]string{"config", "check"}))
	require.NoDirExists(t, b.data, "checking makes nothing")

	b = newBench(t, "DEBUG=perhaps") // documents do not depend on the settings
	require.Equal(t, exitOK, b.run([]string{"config", "docs"}))
	require.Contains(t, b.out.String(), "`SELFLINK_LISTEN`")
	require.Equal(t, exitOK, newBench(t).run([]string{"config", "docs", "--format", "env"}))
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	b := newBench(t).withLedger(l).withInput("correct horse\nsecond line\n")
	require.Equal(t, exitOK, b.run([]string{"admin", "create", "--email", "ann@example.com", "--name", "Ann"}), b.err.String())
	require.Equal(t, []string{"create ann@example.com|correct horse|Ann"}, l.calls)
	require.True(t, l.closed)
	require.True(t, l.keyed, "before the first start the key is made")
	require.True(t, l.migrated, "before the first start the schema is made")
	require.NotContains(t, b.out.String()+b.err.String(), "correct horse", "a password that was given is not repeated")

	l = &fakeLedger{}
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"admin", "create", "ann@example.com", "--generate", "--json"}))
	var out map[string]string
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &out))
	require.Equal(t, "1152921504606846976", out["id"])
	require.Len(t, out["password"], 26)
	require.Equal(t, []string{"create ann@example.com|" + out["password"] + "|"}, l.calls)

	l = &fakeLedger{}
	b = newBench(t, "ADMIN_EMAIL=env@example.com", "ADMIN_NAME=Env", "ADMIN_PASSWORD=tQ8#vL2mXz").withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"admin", "create"}), b.err.String())
	require.Equal(t, []string{"create env@example.com|tQ8#vL2mXz|Env"}, l.calls)

	l = &fakeLedger{}
	b = newBench(t).withLedger(l).withInput("new password\n")
	require.Equal(t, exitOK, b.run([]string{"admin", "reset-password", "@ann"}))
	require.Equal(t, exitOK, b.run([]string{"admin", "promote", "--email", "bob@example.com"}))
	require.Equal(t, []string{"reset @ann|new password", "promote bob@example.com"}, l.calls)

	b = newBench(t) // no input, no database touched
	require.Equal(t, exitUsage, b.run([]string{"admin", "reset-password", "ann"}))
	require.Contains(t, b.err.String(), "--generate")
	b = newBench(t).withInput(strings.Repeat("x", 10_000))
	require.Equal(t, exitFailed, b.run([]string{"admin", "reset-password", "ann"}))

	taken := &fakeLedger{}
	b = newBench(t).withLedger(taken).withInput("correct horse\n")
	b.parts.openLedger = func(context.Context, *config.Config, *slog.Logger, string, string) (ledger, error) {
		return takenLedger{taken}, nil
	}
	require.Equal(t, exitFailed, b.run([]string{"admin", "create", "ann@example.com"}))
	require.Contains(t, b.err.String(), "ann@example.com has an account already")
	require.Contains(t, b.err.String(), "selflink admin promote ann@example.com")

	l = &fakeLedger{err: errors.New("accounts: no such account")}
	b = newBench(t).withLedger(l)
	require.Equal(t, exitFailed, b.run([]string{"admin", "promote", "nobody"}))
	require.Contains(t, b.err.String(), "cannot promote nobody: accounts: no such account")
	require.True(t, l.closed)
}

func TestAdminRights(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	b := newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"admin", "list"}))
	require.Contains(t, b.out.String(), "selflink admin create")

	seen := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l = &fakeLedger{staff: []accounts.PersonSummary{
		{ID: 1 << 60, Email: "ann@example.com", Handle: "ann", Active: true, Role: accounts.RoleOperator, CreatedAt: seen, LastLogin: &seen},
		{ID: 7, Email: "bob@example.com", Handle: "bob", Role: accounts.RoleViewer, CreatedAt: seen},
	}}
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"admin", "list"}))
	require.Regexp(t, `operator +ann@example.com +ann +active +2026-01-02 03:04:05Z\nviewer +bob@example.com +bob +deactivated +never\n`, b.out.String())
	require.True(t, l.closed)
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"admin", "list", "--json"}))
	require.Contains(t, b.out.String(), `"id": "1152921504606846976"`)

	l = &fakeLedger{}
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"admin", "demote", "@ann"}))
	require.Contains(t, b.out.String(), "@ann has no rights any more.")
	require.Equal(t, exitOK, b.run([]string{"admin", "deactivate", "--email", "bob@example.com", "--json"}))
	require.Equal(t, []string{"demote @ann", "deactivate bob@example.com"}, l.calls)

	for _, what := range []string{"demote", "deactivate"} {
		l = &fakeLedger{err: fmt.Errorf("alter account: %w", accounts.ErrLastOperator)}
		b = newBench(t).withLedger(l)
		require.Equal(t, exitFailed, b.run([]string{"admin", what, "ann"}))
		require.Contains(t, b.err.String(), "cannot "+what+" ann: ")
		require.Contains(t, b.err.String(), "selflink admin promote")
		require.True(t, l.closed)
	}
}

// takenLedger knows every address already.
type takenLedger struct{ *fakeLedger }

func (l takenLedger) Accounts() accountKeeper { return l }

func (takenLedger) CreateAdmin(context.Context, string, string, string) (int64, error) {
	return 0, httpapi.Invalid("email", "user with this email already exists.")
}

func TestJobs(t *testing.T) {
	t.Parallel()
	first, second := uuid.MustParse("01890000-0000-7000-8000-000000000001"), uuid.MustParse("01890000-0000-7000-8000-000000000002")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := &fakeLedger{list: []jobs.Info{
		{ID: second, Kind: "mentor.answer", Queue: "llm", State: jobs.Dead, Attempt: 3, Args: json.RawMessage(`{"question_id":1}`), CreatedAt: at, RunAt: at, FinishedAt: &at,
			Failures: []jobs.Failure{{Attempt: 3, At: at, Error: "llm: the model\nis not available"}}},
		{ID: first, Kind: "accounts.lapse", Queue: "default", State: jobs.Succeeded, CreatedAt: at, RunAt: at},
	}, failing: map[jobs.ID]error{second: fmt.Errorf("jobs: retry %s: %w", second, jobs.ErrWrongState)}}

	b := newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "list", "--state", "dead", "--kind", "k", "--queue", "q", "--before", second.String(), "--limit", "7"}))
	require.Equal(t, jobs.Filter{State: jobs.Dead, Kind: "k", Queue: "q", Before: second, Most: 7}, l.filter)
	require.Contains(t, b.out.String(), "llm: the model is not available")
	require.Contains(t, b.out.String(), "2026-01-02 03:04:05Z")
	require.Equal(t, b.data, l.dataDir)

	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "list", "--json"}))
	var list []jobs.Info
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &list))
	require.Len(t, list, 2)

	b = newBench(t).withLedger(&fakeLedger{})
	require.Equal(t, exitOK, b.run([]string{"jobs", "list", "--json"}))
	require.Equal(t, "[]\n", b.out.String())

	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "show", second.String()}))
	require.Contains(t, b.out.String(), "Failure 1 2026-01-02 03:04:05Z")
	b = newBench(t).withLedger(l)
	require.Equal(t, exitFailed, b.run([]string{"jobs", "show", uuid.NewString()}))
	require.Contains(t, b.err.String(), "selflink jobs list")

	b = newBench(t).withLedger(l)
	require.Equal(t, exitFailed, b.run([]string{"jobs", "retry", second.String(), first.String()}))
	require.Equal(t, []string{"retry " + second.String(), "retry " + first.String()}, l.calls, "one that fails does not keep the next from it")
	require.Contains(t, b.out.String(), first.String()+" is queued")
	require.Contains(t, b.err.String(), "jobs: retry "+second.String()+": not possible in the job's state\n")
	require.Equal(t, 1, strings.Count(b.err.String(), "jobs:"), b.err.String())
	require.Contains(t, b.err.String(), "can be cancelled")
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "cancel", first.String(), "--json"}))
	require.JSONEq(t, `[{"id":"`+first.String()+`","done":"asked to end"}]`, b.out.String())

	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "delete", first.String()}))
	require.Contains(t, b.out.String(), first.String()+" is deleted")
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "list", "--error", "50%", "--since", "2026-01-02T03:04:05Z", "--until", "1h"}))
	require.Equal(t, "50%", l.filter.Error)
	require.Equal(t, at, l.filter.Since)
	require.WithinDuration(t, time.Now().Add(-time.Hour), l.filter.Until, time.Minute)
	b = newBench(t).withLedger(l)
	require.Equal(t, exitUsage, b.run([]string{"jobs", "list", "--since", "yesterday"}))
}

func TestQueuesAndErrorsOfJobs(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	b := newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "pause", "llm"}))
	require.Contains(t, b.out.String(), "Queue llm is paused")
	b = newBench(t).withLedger(l)
	require.Equal(t, exitOK, b.run([]string{"jobs", "resume", "llm", "--json"}))
	require.JSONEq(t, `{"queue":"llm","done":"resumed"}`, b.out.String())
	require.Equal(t, []string{"pause llm|the command line", "resume llm"}, l.calls)
	l.err = fmt.Errorf("jobs: pause x: %w", jobs.ErrUnknownQueue)
	b = newBench(t).withLedger(l)
	require.Equal(t, exitFailed, b.run([]string{"jobs", "pause", "x"}))
	require.Contains(t, b.err.String(), "jobs: pause x: no such queue")

	b = newBench(t).withLedger(&fakeLedger{})
	require.Equal(t, exitOK, b.run([]string{"jobs", "errors"}))
	require.Equal(t, "No job is dead.\n", b.out.String())
	b = newBench(t).withLedger(&fakeLedger{groups: []jobs.ErrorGroup{{Kind: "mentor.answer", Error: "llm: status <n>", Count: 12}}})
	require.Equal(t, exitOK, b.run([]string{"jobs", "errors"}))
	require.Contains(t, b.out.String(), "llm: status <n>")
	b = newBench(t).withLedger(&fakeLedger{})
	require.Equal(t, exitOK, b.run([]string{"jobs", "errors", "--json"}))
	require.Equal(t, "[]\n", b.out.String())
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	b := newBench(t).withLedger(&fakeLedger{from: 2, to: 5})
	require.Equal(t, exitOK, b.run([]string{"migrate"}))
	require.Contains(t, b.out.String(), "from version 2 to 5")
	b = newBench(t).withLedger(&fakeLedger{from: 5, to: 5})
	require.Equal(t, exitOK, b.run([]string{"migrate", "--json"}))
	require.JSONEq(t, `{"from":5,"to":5}`, b.out.String())
	l := &fakeLedger{err: database.ErrNewerSchema}
	b = newBench(t).withLedger(l)
	require.Equal(t, exitFailed, b.run([]string{"migrate"}))
	require.Contains(t, b.err.String(), "Run the newer version")
	require.True(t, l.closed)
	b = newBench(t).withLedger(&fakeLedger{openErr: database.ErrUnavailable})
	require.Equal(t, exitFailed, b.run([]string{"migrate"}))
	require.Contains(t, b.err.String(), "open the database")
}
