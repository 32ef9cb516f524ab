package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// startManaged makes the cluster when there is none and starts Postgres and
// PgBouncer.
func (s *Server) startManaged(ctx context.Context) error {
	l, err := newLayout(s.opts)
	if err != nil {
		return err
	}
	s.runtime = l.runtime
	s.fork = newForker()
	acc, err := s.prepareAccess(l)
	if err != nil {
		return err
	}
	bin, made, err := s.prepareCluster(ctx, l, acc)
	if err != nil {
		return err
	}
	_, statErr := os.Stat(filepath.Join(l.cluster, localConf))
	if err := l.writeOwned(filepath.Join(l.runtime, postgresConf), postgresConfig(postgresSettings(s.opts), statErr == nil)); err != nil {
		return err
	}
	s.now.postgres = newSupervisor(s.postgresSpec(l, bin), s.fork, s.opts.Logger)

	// The pooler needs no server to start; both start at once.
	var wg sync.WaitGroup
	var postgresErr, poolerErr error
	wg.Go(func() {
		if postgresErr = s.now.postgres.start(ctx); postgresErr == nil {
			postgresErr = s.provision(ctx, acc, made)
		}
	})
	wg.Go(func() {
		poolerErr = s.startPooler(ctx, l, acc, poolerTarget{host: l.runtime, port: postgresPort}, [2]string{appUser, acc.App})
	})
	wg.Wait()
	if err := errors.Join(postgresErr, poolerErr); err != nil {
		return fmt.Errorf("start the database: %w", err)
	}
	s.now.pooled, s.now.direct, s.now.super = acc.pooledURL(), acc.directURL(), acc.superURL()
	s.now.directMode = pgx.QueryExecModeCacheStatement
	return nil
}

// prepareAccess loads the passwords, or makes them.
func (s *Server) prepareAccess(l layout) (access, error) {
	acc, ok, err := loadAccess(l.data)
	if err != nil {
		return acc, err
	}
	if ok && acc.Runtime == l.runtime {
		return acc, nil
	}
	if !ok {
		acc = newAccess(l.runtime)
		acc.fresh = true
	}
	acc.Runtime = l.runtime
	return acc, acc.store(l.data)
}

// prepareCluster refuses what is not ours, makes the cluster when there is
// none (made), and returns the binaries that fit.
func (s *Server) prepareCluster(ctx context.Context, l layout, acc access) (bin binaries, made bool, err error) {
	major, err := inspectCluster(l.cluster)
	if err != nil {
		return bin, false, err
	}
	if bin, err = findBinaries(s.opts.BinDir, major); err != nil {
		return bin, false, err
	}
	if major == 0 {
		s.log.Info("making a new database cluster", "version", bin.major)
		return bin, true, createCluster(ctx, l, bin, s.fork, acc.Superuser, s.opts.InitdbArgs, s.opts.Postgres["fsync"] != "off", s.log)
	}
	if acc.fresh {
		s.log.Warn("the database's passwords were lost; setting new ones")
		return bin, false, resetSuperuser(ctx, l, bin, s.fork, acc.Superuser, s.log)
	}
	return bin, false, nil
}

// postgresSpec says how the postmaster is run.
func (s *Server) postgresSpec(l layout, bin binaries) childSpec {
	return childSpec{
		name: "postgres",
		prepare: func(ctx context.Context) error {
			if err := evict(ctx, s.log, inDirectory(l.cluster)); err != nil {
				return err
			}
			return clearPidFiles(l)
		},
		command: func() (*exec.Cmd, func(), error) {
			dir, err := os.Open(l.cluster)
			if err != nil {
				return nil, nil, fmt.Errorf("open the cluster: %w", err)
			}
			cmd := exec.Command(filepath.Join(bin.dir, "postgres"), "-D", dataPath,
				"-c", "config_file="+filepath.Join(l.runtime, postgresConf),
				// On the command line, so that no file can open another way in.
				"-c", "listen_addresses=", "-c", "port="+strconv.Itoa(postgresPort),
				"-c", "unix_socket_directories="+l.runtime, "-c", "unix_socket_permissions=0700",
				"-c", "log_line_prefix="+logPrefix)
			cmd.Dir, cmd.Env = "/", childEnv()
			cmd.ExtraFiles = []*os.File{dir}
			cmd.SysProcAttr = l.attributes(syscall.SIGINT)
			return cmd, func() { dir.Close() }, nil
		},
		ready:  func(pid int) bool { return postmasterReady(l.cluster, pid) },
		exited: s.direct.reset,
		signals: []stopSignal{
			{syscall.SIGINT, postgresFast},     // fast: sessions are ended, everything is written
			{syscall.SIGQUIT, immediateAnswer}, // immediate: the next start replays the log
		},
		line: postgresLine,
	}
}

// startPooler writes PgBouncer's files and starts it.
func (s *Server) startPooler(ctx context.Context, l layout, acc access, target poolerTarget, users ...[2]string) error {
	program, err := findPooler(s.opts.PgBouncer)
	if err != nil {
		return err
	}
	major, minor, err := poolerVersion(ctx, program)
	if err != nil {
		return err
	}
	ini := filepath.Join(l.runtime, poolerINI)
	if err := l.writeOwned(ini, poolerConfig(s.opts, l.runtime, target, major, minor)); err != nil {
		return err
	}
	users = append(users, [2]string{poolerAdmin, acc.Pooler})
	if err := l.writeOwned(filepath.Join(l.runtime, poolerUsers), poolerUserList(users...)); err != nil {
		return err
	}
	socket := poolerSocket(l.runtime)
	sup := newSupervisor(childSpec{
		name: "pgbouncer",
		prepare: func(ctx context.Context) error {
			if err := evict(ctx, s.log, withArgument(filepath.Base(program), ini)); err != nil {
				return err
			}
			if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove a stale socket: %w", err)
			}
			return nil
		},
		command: func() (*exec.Cmd, func(), error) {
			cmd := exec.Command(program, ini)
			cmd.Dir, cmd.Env = "/", childEnv()
			cmd.SysProcAttr = l.attributes(syscall.SIGINT)
			return cmd, func() {}, nil
		},
		ready: func(int) bool {
			conn, err := net.Dial("unix", socket)
			if err != nil {
				return false
			}
			conn.Close()
			return true
		},
		exited: s.pooled.reset,
		signals: []stopSignal{
			{syscall.SIGINT, poolerSafe},
			{syscall.SIGQUIT, immediateAnswer},
		},
		line: poolerLine,
	}, s.fork, s.opts.Logger)
	s.now.pooler = sup
	s.now.console = acc.consoleURL()
	s.now.poolerVersion = strconv.Itoa(major) + "." + strconv.Itoa(minor)
	s.now.pooledMode = poolerMode(major, minor)
	return sup.start(ctx)
}

// poolerMode chooses pgx's way of sending statements through a PgBouncer.
// Describing every statement anew (DescribeExec) is never chosen: in
// transaction mode it mixes up the unnamed statements of clients silently.
func poolerMode(major, minor int) pgx.QueryExecMode {
	if preparedSupport(major, minor) {
		return pgx.QueryExecModeCacheStatement
	}
	return pgx.QueryExecModeCacheDescribe
}

// findPooler finds PgBouncer's program, which Debian puts where only root looks.
func findPooler(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	for _, candidate := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"} {
		if found, err := exec.LookPath(candidate); err == nil {
			return found, nil
		}
	}
	return "", errors.New("database: PgBouncer is not installed here; install it (apt-get install pgbouncer)")
}

// poolerVersion asks the program for its version.
func poolerVersion(ctx context.Context, program string) (major, minor int, err error) {
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Dir, cmd.Env = "/", childEnv()
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	major, minor, ok := parsePoolerVersion(string(out))
	if !ok {
		return 0, 0, fmt.Errorf("database: %s does not name its version", program)
	}
	return major, minor, nil
}

// parsePoolerVersion reads "PgBouncer 1.18.0" and whatever follows.
func parsePoolerVersion(text string) (major, minor int, ok bool) {
	_, rest, found := strings.Cut(text, "PgBouncer ")
	number := func(from string) (n int, rest string, ok bool) {
		end := 0
		for end < len(from) && from[end] >= '0' && from[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(from[:end])
		return n, from[end:], err == nil
	}
	major, rest, ok = number(rest)
	if !found || !ok || !strings.HasPrefix(rest, ".") {
		return 0, 0, false
	}
	minor, _, ok = number(rest[1:])
	return major, minor, ok
}

// provision makes the application's role and database in a new cluster (made),
// and in one where the login as it fails: a kill may have come in between. In
// all later starts that login is all it costs.
func (s *Server) provision(ctx context.Context, acc access, made bool) error {
	if !made {
		conn, err := pgx.Connect(ctx, acc.directURL())
		if err == nil {
			return conn.Close(ctx)
		}
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != codeInvalidPassword && pg.Code != codeInvalidAuth && pg.Code != codeUnknownDatabase {
			return fmt.Errorf("log in to the database: %w", err)
		}
	}
	super, err := pgx.Connect(ctx, acc.superURL())
	if err != nil {
		return fmt.Errorf("log in as the cluster's superuser (if %s does not belong to this cluster, move it away and start again): %w", secretsName, err)
	}
	defer super.Close(ctx) //nolint:errcheck // nothing is pending on it
	var role, database bool
	if err := super.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $2)", appUser, appDatabase).Scan(&role, &database); err != nil {
		return fmt.Errorf("look for the application's role: %w", err)
	}
	verb := "CREATE"
	if role {
		verb = "ALTER"
	}
	// The password is letters and digits (crypto/rand.Text): no quoting.
	if _, err := super.Exec(ctx, verb+" ROLE "+appUser+" LOGIN PASSWORD '"+acc.App+"'"); err != nil {
		return fmt.Errorf("make the application's role: %w", err)
	}
	if !database {
		if _, err := super.Exec(ctx, "CREATE DATABASE "+appDatabase+" OWNER "+appUser); err != nil {
			return fmt.Errorf("make the application's database: %w", err)
		}
	}
	return nil
}

// resetSuperuser sets the superuser's password while no server runs, after its
// file was lost. Whoever can do this owns the files anyway.
func resetSuperuser(ctx context.Context, l layout, bin binaries, fork *forker, password string, log *slog.Logger) error {
	if err := evict(ctx, log, inDirectory(l.cluster)); err != nil {
		return err
	}
	if err := clearPidFiles(l); err != nil {
		return err
	}
	dir, err := os.Open(l.cluster)
	if err != nil {
		return fmt.Errorf("open the cluster: %w", err)
	}
	defer dir.Close()
	cmd := exec.Command(filepath.Join(bin.dir, "postgres"), "--single", "-D", dataPath,
		"-c", "log_min_error_statement=panic", "-c", "exit_on_error=true", "postgres")
	cmd.Dir, cmd.Env = "/", childEnv()
	cmd.ExtraFiles = []*os.File{dir}
	cmd.SysProcAttr = l.attributes(syscall.SIGINT)
	cmd.Stdin = strings.NewReader("ALTER ROLE " + superuser + " PASSWORD '" + password + "'\n")
	if err := runOnce(ctx, fork, cmd); err != nil {
		return fmt.Errorf("set the superuser's password: %w", err)
	}
	return nil
}

// removeRuntime removes what was written at start; strange files stay, and the
// directory with them.
func removeRuntime(dir string) {
	for _, name := range []string{postgresConf, poolerINI, poolerUsers} {
		_ = os.Remove(filepath.Join(dir, name)) //nolint:errcheck // it may never have been written
	}
	_ = os.Remove(poolerSocket(dir)) //nolint:errcheck // removed by the pooler when it ended in order
	_ = os.Remove(dir)               //nolint:errcheck // not empty: somebody else's files
}
