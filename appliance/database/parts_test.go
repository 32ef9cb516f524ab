package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	pg := func(code, message string) error { return &pgconn.PgError{Code: code, Message: message} }
	plain := errors.New("plain")
	for name, c := range map[string]struct {
		err  error
		want error // nil: unchanged
	}{
		"nothing":             {nil, nil},
		"plain":               {plain, nil},
		"no rows":             {pgx.ErrNoRows, nil},
		"unique":              {pg("23505", "duplicate key"), nil},
		"cancelled":           {fmt.Errorf("x: %w", context.Canceled), nil},
		"deadline":            {context.DeadlineExceeded, nil},
		"too many":            {pg("53300", "sorry, too many clients already"), ErrBusy},
		"pooler waited":       {pg("08P01", "query_wait_timeout"), ErrBusy},
		"pooler is full":      {pg("08P01", "no more connections allowed (max_client_conn)"), ErrBusy},
		"pooler lost server":  {pg("08P01", "server conn crashed?"), ErrUnavailable},
		"pooler cannot login": {pg("08P01", "server login has been failing, try again later (server_login_retry)"), ErrUnavailable},
		"stopping":            {pg("57P01", "terminating connection due to administrator command"), ErrUnavailable},
		"crashed":             {pg("57P02", "x"), ErrUnavailable},
		"starting":            {pg("57P03", "the database system is starting up"), ErrUnavailable},
		"closed":              {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), ErrUnavailable},
		"refused":             {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, ErrUnavailable},
		"already busy":        {fmt.Errorf("%w: x", ErrBusy), nil},
	} {
		got := classify(c.err)
		if c.want == nil {
			require.Equal(t, c.err, got, name)
			continue
		}
		require.ErrorIs(t, got, c.want, name)
		require.ErrorIs(t, got, c.err, name)
	}
}

func TestOnlyWhatNeverRanIsTriedAgain(t *testing.T) {
	t.Parallel()
	pg := func(message string) error {
		return fmt.Errorf("x: %w", &pgconn.PgError{Code: "08P01", Message: message})
	}
	require.True(t, neverRan(pg("server login has been failing, try again later (server_login_retry)")))
	require.False(t, neverRan(pg("server conn crashed?")), "it may have been executed")
	require.False(t, neverRan(pg("query_wait_timeout")), "it has waited long enough")
	require.False(t, neverRan(io.ErrUnexpectedEOF))
	require.False(t, neverRan(context.Canceled))
}

func TestChildrensLogLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parse func(string) (slog.Level, string)
		line  string
		level slog.Level
		msg   string
	}{
		{postgresLine, "[12] LOG:  database system is ready to accept connections", slog.LevelInfo, "database system is ready to accept connections"},
		{postgresLine, "[12] FATAL:  the database system is starting up", slog.LevelDebug, "the database system is starting up"},
		{postgresLine, "[12] FATAL:  password authentication failed", slog.LevelWarn, "password authentication failed"},
		{postgresLine, "[12] PANIC:  could not write to log file: No space left on device", slog.LevelError, "could not write to log file: No space left on device"},
		{postgresLine, "[12] WARNING:  terminating connection due to unexpected postmaster exit", slog.LevelDebug, "terminating connection due to unexpected postmaster exit"},
		{poolerLine, "2026-01-02 03:04:05.678 UTC [9] WARNING S-0x55: a/b@unix:5432 got packet", slog.LevelDebug, "S-0x55: a/b@unix:5432 got packet"},
		{postgresLine, "\tcontinued", slog.LevelDebug, "continued"},
		{postgresLine, "sh: postgres: not found", slog.LevelInfo, "sh: postgres: not found"},
		{poolerLine, "2026-01-02 03:04:05.678 UTC [9] LOG listening on unix:/run/x", slog.LevelDebug, "listening on unix:/run/x"},
		{poolerLine, "2026-01-02 03:04:05.678 UTC [9] WARNING pooler error", slog.LevelWarn, "pooler error"},
		{poolerLine, "2026-01-02 03:04:05.678 UTC [9] FATAL cannot load config", slog.LevelError, "cannot load config"},
		{poolerLine, "odd", slog.LevelInfo, "odd"},
	} {
		level, msg := c.parse(c.line)
		require.Equal(t, c.level, level, c.line)
		require.Equal(t, c.msg, msg, c.line)
	}
}

func TestRelayBoundsLines(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	last := &tail{}
	log := slog.New(slog.NewTextHandler(&out, nil))
	in := strings.Repeat("x", 3*maxLogLine) + "\n\nnext\nno newline"
	relay(io.NopCloser(strings.NewReader(in)), log, func(s string) (slog.Level, string) { return slog.LevelInfo, s }, last)
	require.Less(t, out.Len(), 2*maxLogLine)
	require.Equal(t, []string{"next", "no newline"}, last.lines[1:])
}

func TestPoolerVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]pgx.QueryExecMode{
		"PgBouncer 1.18.0\nlibevent 2.1.12-stable": pgx.QueryExecModeCacheDescribe,
		"PgBouncer 1.20.1":                         pgx.QueryExecModeCacheDescribe,
		"PgBouncer 1.21.0":                         pgx.QueryExecModeCacheStatement,
		"PgBouncer 1.24.1 (Debian)":                pgx.QueryExecModeCacheStatement,
		"PgBouncer 2.0":                            pgx.QueryExecModeCacheStatement,
	} {
		major, minor, ok := parsePoolerVersion(text)
		require.True(t, ok, text)
		require.Equal(t, want, poolerMode(major, minor), text)
	}
	for _, text := range []string{"", "PgBouncer ", "PgBouncer x.y", "PgBouncer 1", "Odyssey 1.3"} {
		_, _, ok := parsePoolerVersion(text)
		require.False(t, ok, text)
	}
}

func TestGeneratedFiles(t *testing.T) {
	t.Parallel()
	o, err := Options{DataDir: "/d", Postgres: map[string]string{"search_path": `"it's", public`}}.withDefaults()
	require.NoError(t, err)
	conf := string(postgresConfig(postgresSettings(o), false))
	require.Contains(t, conf, `search_path = '"it''s", public'`)
	require.NotContains(t, conf, localConf+"'")
	require.Contains(t, string(postgresConfig(nil, true)), "include_if_exists '/proc/self/fd/3/selflink.conf'")

	ini := string(poolerConfig(o, "/run/x", poolerTarget{host: "db.example", port: 5433, tls: "verify-full", ca: "/ca.pem"}, 1, 24))
	for _, want := range []string{
		"* = host='db.example' port=5433", "pool_mode = transaction", "auth_type = scram-sha-256",
		"max_prepared_statements = 200", "server_tls_sslmode = verify-full", "server_tls_ca_file = /ca.pem",
		"default_pool_size = 40", "query_wait_timeout = 3", "ignore_startup_parameters = extra_float_digits",
	} {
		require.Contains(t, ini, want+"\n")
	}
	require.NotContains(t, ini, "listen_addr")
	require.NotContains(t, string(poolerConfig(o, "/run/x", poolerTarget{host: "/run/x", port: 5432}, 1, 18)), "prepared")
	require.Equal(t, "\"a\" \"b\"\"c\"\n", string(poolerUserList([2]string{"a", `b"c`})))
}

func TestDamagedSecrets(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "{", "{}", `{"superuser_password":"x"}`} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, secretsName), []byte(content), 0o600))
		_, _, err := loadAccess(dir)
		require.ErrorContains(t, err, "is damaged")
	}
}

func TestRuntimeDirectoryOfSomebodyElse(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	me := account{uid: os.Geteuid(), gid: os.Getegid()}
	link := filepath.Join(base, "link")
	require.NoError(t, os.Symlink(t.TempDir(), link))
	require.ErrorContains(t, claimDir(link, me), "belongs to somebody else")
	file := filepath.Join(base, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, claimDir(file, me))
	open := filepath.Join(base, "open")
	require.NoError(t, os.Mkdir(open, 0o755))
	require.NoError(t, claimDir(open, me))
	info, err := os.Stat(open)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "closed to others")
}

func TestRootIsNobodyToRunAs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root hands its children over")
	}
	_, err := findAccount("root", "/nonexistent")
	require.ErrorContains(t, err, "refuse to run as root")
	_, err = findAccount("no such user", "/nonexistent")
	require.ErrorContains(t, err, "SELFLINK_RUN_AS")
	owned := t.TempDir()
	require.NoError(t, os.Chown(owned, 4242, 4242))
	a, err := findAccount("", owned)
	require.NoError(t, err)
	require.Equal(t, 4242, a.uid, "the owner of the cluster goes first")
	_, err = findAccount("nobody", owned)
	require.ErrorContains(t, err, "belongs to user 4242")
}

func TestPostgresMajorOfAPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "16", "bin")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres"), nil, 0o600))
	b, err := findBinaries(dir, 0)
	require.NoError(t, err)
	require.Equal(t, 16, b.major)
	_, err = findBinaries(dir, 15)
	require.ErrorIs(t, err, ErrVersion)
	_, err = findBinaries(t.TempDir(), 0)
	require.ErrorContains(t, err, "not installed")
	require.Equal(t, 15, serverMajor("15.14 (Debian 15.14-0+deb12u1)"))
	require.Zero(t, serverMajor("x"))
}

func FuzzChildrensOutput(f *testing.F) {
	f.Add("[1] LOG:  ready")
	f.Add("2026-01-02 03:04:05.678 UTC [9] LOG x")
	f.Add("PgBouncer 1.18.0")
	f.Add("]] [ LOG:  \t")
	f.Fuzz(func(t *testing.T, text string) {
		if _, msg := postgresLine(text); len(msg) > len(text) {
			t.Error("longer than what was read")
		}
		if _, msg := poolerLine(text); len(msg) > len(text) {
			t.Error("longer than what was read")
		}
		if major, minor, ok := parsePoolerVersion(text); ok && (major < 0 || minor < 0) {
			t.Error("a negative version")
		}
		serverMajor(text)
	})
}
