package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/doctor"
	"selflink/appliance/health"
	"selflink/appliance/loopback"
)

// examined runs "doctor --json" and returns what it found, without what is
// this machine's own: its disk and its limits.
func (b *bench) examined(t *testing.T, args ...string) (code int, found findings, codes []string) {
	t.Helper()
	b.out.text.Reset()
	code = b.run(append([]string{"doctor", "--json"}, args...))
	require.NoError(t, json.Unmarshal([]byte(b.out.String()), &found), "%s%s", b.out.String(), b.err.String())
	for _, f := range found.Faults {
		switch {
		case strings.HasPrefix(f.Code, "disk."):
			t.Skip("the disk of this machine is nearly full")
		case f.Code != "descriptors.low":
			codes = append(codes, f.Code)
			require.NotEmpty(t, f.Title, f.Code)
			require.NotEmpty(t, f.Text, f.Code)
			require.NotEmpty(t, f.Impact, f.Code)
			require.NotEmpty(t, f.Remedy, f.Code)
		}
	}
	return code, found, codes
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	ready := func(t *testing.T, data string) {
		require.NoError(t, os.MkdirAll(filepath.Join(data, "secrets"), 0o700))
		require.NoError(t, os.Chmod(data, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(data, "secrets", "secret_key"), []byte("Zm9yLXRoZS10ZXN0cy1vbmx5LTEyMzQ\n"), 0o600))
	}
	write := func(t *testing.T, path, text string, mode os.FileMode) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}
	free := "SELFLINK_LISTEN=" + loopback.Address(t)
	for name, c := range map[string]struct {
		environ []string
		before  func(t *testing.T, data string)
		codes   []string // sorted by severity, in any order within one
		exit    int
		says    string
	}{
		"good":              {environ: []string{free}, before: ready, exit: exitOK},
		"new":               {environ: []string{free}, codes: []string{"data.absent"}, exit: exitOK, says: "does not exist"},
		"behind a proxy":    {environ: []string{free, "TRUSTED_PROXIES=127.0.0.1", "ALLOWED_HOSTS=a.example", "RATE_LIMITS_ENABLED=true"}, before: ready, exit: exitOK},
		"exposed":           {environ: []string{"SELFLINK_LISTEN=0.0.0.0:0", "ALLOWED_HOSTS=a.example"}, before: ready, codes: []string{"config.limits"}, exit: exitFailed, says: "RATE_LIMITS_ENABLED=true"},
		"everybody proxies": {environ: []string{free, "TRUSTED_PROXIES=0.0.0.0/0", "ALLOWED_HOSTS=a.example", "RATE_LIMITS_ENABLED=true"}, before: ready, codes: []string{"config.proxies"}, exit: exitFailed},
		"development": {
			environ: []string{"SELFLINK_LISTEN=0.0.0.0:0", "DEBUG=true", "SECRET_KEY=changeme"}, before: ready,
			codes: []string{"config.debug", "config.secrets", "config.hosts", "config.limits"}, exit: exitFailed, says: "published example",
		},
		"refused settings": {
			environ: []string{"SELFLINK_LISTEN=0.0.0.0:0", "SECRET_KEY=changeme", "JWT_ACCESS_MINUTES=x", "RATE_LIMITS_ENABLED=true"}, before: ready,
			codes: []string{"settings.secret-key", "settings.jwt-access-minutes", "settings.allowed-hosts"}, exit: exitFailed, says: "openssl rand",
		},
		"a remark": {environ: []string{free, "CORS_ALLOWED_ORIGINS=localhost"}, before: ready, codes: []string{"settings.cors-allowed-origins"}, exit: exitOK},
		"no programs": {
			environ: []string{free, "SELFLINK_POSTGRES_BIN=/nonexistent", "SELFLINK_PGBOUNCER_BIN=/nonexistent/pgbouncer"}, before: ready,
			codes: []string{"programs.postgres", "programs.pgbouncer"}, exit: exitFailed, says: "apt-get install",
		},
		"a taken port": {environ: []string{"SELFLINK_LISTEN=" + taken.Addr().String()}, before: ready, codes: []string{"listen.http"}, exit: exitFailed, says: "another process listens there"},
		"not our address": {
			environ: []string{"SELFLINK_LISTEN=192.0.2.1:80", "ALLOWED_HOSTS=a.example", "RATE_LIMITS_ENABLED=true"}, before: ready,
			codes: []string{"listen.http"}, exit: exitFailed, says: "cannot assign requested address",
		},
		"no directory": {environ: []string{free}, before: func(t *testing.T, data string) { write(t, data, "", 0o600) }, codes: []string{"data.directory"}, exit: exitFailed, says: "is no directory"},
		"not to be made": {
			environ: []string{free}, before: func(t *testing.T, data string) {
				require.NoError(t, os.Symlink("/proc/nowhere", data))
			}, codes: []string{"data.directory"}, exit: exitFailed,
		},
		"open to all": {environ: []string{free}, before: func(t *testing.T, data string) {
			ready(t, data)
			require.NoError(t, os.Chmod(data, 0o777))
			require.NoError(t, os.Chmod(filepath.Join(data, "secrets"), 0o755))
			write(t, filepath.Join(data, "postgres.json"), `{"superuser_password":"a","app_password":"b","pooler_password":"c"}`, 0o644)
		}, codes: []string{"secrets.modes", "data.mode"}, exit: exitFailed, says: "postgres.json has mode 0644"},
		"something else in the way": {environ: []string{free}, before: func(t *testing.T, data string) {
			ready(t, data)
			write(t, filepath.Join(data, "postgres", "holiday.jpg"), "beach", 0o600)
		}, codes: []string{"programs.postgres"}, exit: exitFailed, says: "Nothing was changed"},
		"a lost key": {environ: []string{free}, before: func(t *testing.T, data string) {
			write(t, filepath.Join(data, "postgres", "PG_VERSION"), "15\n", 0o600)
			write(t, filepath.Join(data, "postgres", "global", "pg_control"), "x", 0o600)
		}, codes: []string{"secrets.missing"}, exit: exitFailed, says: "everybody has to sign in again"},
		"leftovers": {environ: []string{free}, before: func(t *testing.T, data string) {
			ready(t, data)
			write(t, filepath.Join(data, "postgres", "PG_VERSION"), "15\n", 0o600)
			write(t, filepath.Join(data, "postgres", "global", "pg_control"), "x", 0o600)
			write(t, filepath.Join(data, "postgres", "postmaster.pid"), "1\n", 0o600)
		}, codes: []string{"data.leftovers"}, exit: exitOK, says: "postmaster.pid"},
		"no external database": {
			environ: []string{free, "DATABASE_URL=postgres://ann:hunter22@" + loopback.Address(t) + "/x", "DATABASE_BOOT_SECONDS=1"}, before: ready,
			codes: []string{"database"}, exit: exitFailed, says: "connection refused",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, append(c.environ, "PATH="+os.Getenv("PATH"))...)
			if c.before != nil {
				c.before(t, b.data)
			}
			code, found, codes := b.examined(t)
			require.ElementsMatch(t, c.codes, codes, b.out.String())
			require.Equal(t, c.exit, code, b.out.String())
			require.Equal(t, c.exit == exitOK, found.OK)
			require.Contains(t, b.out.String(), c.says)
			require.NotContains(t, b.out.String(), "hunter22")
			require.NotContains(t, b.out.String(), "changeme")
			require.Greater(t, len(found.Checked), 15)

			b.out.text.Reset()
			require.Equal(t, c.exit, b.run([]string{"doctor"}))
			require.Contains(t, b.out.String(), " checks")
			for _, code := range c.codes {
				require.Contains(t, b.out.String(), "("+code+")")
			}
		})
	}
}

func TestDoctorFix(t *testing.T) {
	t.Parallel()
	b := newBench(t, "SELFLINK_LISTEN="+loopback.Address(t), "PATH="+os.Getenv("PATH"))
	code, _, codes := b.examined(t, "--fix")
	require.Equal(t, exitOK, code)
	require.Empty(t, codes)
	key := filepath.Join(b.data, "secrets", "secret_key")
	require.FileExists(t, key)
	require.Contains(t, b.err.String(), "fixing: mkdir -m 0700 -p "+b.data+"\nfixing: make "+key+"\n")

	// What is open is closed; a link is not followed.
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, nil, 0o644))
	require.NoError(t, os.Chmod(other, 0o644))
	require.NoError(t, os.Symlink(other, filepath.Join(b.data, "secrets", "link")))
	for path, mode := range map[string]os.FileMode{b.data: 0o777, filepath.Join(b.data, "secrets"): 0o755, key: 0o644} {
		require.NoError(t, os.Chmod(path, mode))
	}
	code, _, codes = b.examined(t)
	require.Equal(t, exitFailed, code)
	require.ElementsMatch(t, []string{"secrets.modes", "data.mode"}, codes)
	b.out.text.Reset()
	require.Equal(t, exitOK, b.run([]string{"doctor", "--fix"}), b.out.String())
	require.Contains(t, b.out.String(), "fixing: chmod 0600 "+key+"  (it is 0644)")
	require.Contains(t, b.out.String(), "fixed: secrets.modes")
	for path, mode := range map[string]os.FileMode{b.data: 0o750, filepath.Join(b.data, "secrets"): 0o700, key: 0o600, other: 0o644} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
	b.out.text.Reset()
	require.Equal(t, exitOK, b.run([]string{"doctor", "--fix"}))
	require.Contains(t, b.out.String(), "nothing that can be fixed")

	// What a dead process left is removed, and nothing else.
	cluster := filepath.Join(b.data, "postgres")
	require.NoError(t, os.MkdirAll(filepath.Join(cluster, "global"), 0o700))
	for name, text := range map[string]string{"PG_VERSION": "15\n", "global/pg_control": "x", "postmaster.pid": "1\n", "base.dat": "data"} {
		require.NoError(t, os.WriteFile(filepath.Join(cluster, name), []byte(text), 0o600))
	}
	code, found, codes := b.examined(t, "--fix")
	require.Equal(t, exitOK, code)
	require.Empty(t, codes)
	require.Equal(t, []doctor.Treatment{{Code: "data.leftovers", Steps: []string{"rm " + filepath.Join(cluster, "postmaster.pid")}}}, found.Fixed)
	require.NoFileExists(t, filepath.Join(cluster, "postmaster.pid"))
	require.FileExists(t, filepath.Join(cluster, "base.dat"))
}

// A refused configuration makes no secrets, and says so.
func TestDoctorFixFails(t *testing.T) {
	t.Parallel()
	b := newBench(t, "SELFLINK_LISTEN="+loopback.Address(t), "JWT_ACCESS_MINUTES=x", "PATH="+os.Getenv("PATH"))
	require.NoError(t, os.MkdirAll(b.data, 0o700))
	code, found, codes := b.examined(t, "--fix")
	require.Equal(t, exitFailed, code)
	require.ElementsMatch(t, []string{"settings.jwt-access-minutes", "secrets.missing"}, codes)
	require.Len(t, found.Fixed, 1)
	require.Contains(t, found.Fixed[0].Error, "JWT_ACCESS_MINUTES")
	b.out.text.Reset()
	require.Equal(t, exitFailed, b.run([]string{"doctor", "--fix"}))
	require.Contains(t, b.out.String(), "not fixed: secrets.missing")
}

func TestDoctorAsksTheServer(t *testing.T) {
	t.Parallel()
	problem := func(code string, s health.Severity, required bool) health.Problem {
		return health.Problem{Code: code, Severity: s, Required: required}
	}
	for name, c := range map[string]struct {
		server  standing
		faults  []health.Problem
		codes   []string
		skipped string
	}{
		"well":      {server: standing{State: stateReady}},
		"down":      {server: standing{State: stateDown}, skipped: "it does not run"},
		"starting":  {server: standing{State: stateStarting}, skipped: "it is starting"},
		"a problem": {server: standing{State: stateReady, Problems: []health.Problem{problem("jobs.dead", health.Medium, false)}}, codes: []string{"jobs.dead"}},
		"the worst first, none twice": {
			faults: []health.Problem{problem("config.limits", health.Medium, false)},
			server: standing{State: stateNotReady, Problems: []health.Problem{problem("database", health.High, true), problem("config.limits", health.Medium, false)}},
			codes:  []string{"database", "config.limits"},
		},
		"not ready for a moment": {server: standing{State: stateNotReady, NotReady: []string{"broker"}}, codes: []string{"server"}},
		"hangs":                  {server: standing{State: stateNotReady, Reason: "no answer"}, codes: []string{"server"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := findings{Report: doctor.Report{Faults: c.faults}, Server: c.server}
			f.addServer()
			var codes []string
			for _, p := range f.Faults {
				codes = append(codes, p.Code)
			}
			require.Equal(t, c.codes, codes)
			if c.skipped != "" {
				require.Equal(t, []doctor.Skipped{{Code: "server", Why: c.skipped}}, f.Skipped)
			} else {
				require.Equal(t, []string{"server"}, f.Checked)
			}
		})
	}
}
