package database

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	bootRetry    = 250 * time.Millisecond // between looks for an external database
	bootProgress = 5 * time.Second        // between log lines while it cannot be reached
)

// reachExternal waits for the external database, learns what it is, and puts
// the managed pooler in front when that is wanted.
func (s *Server) reachExternal(ctx context.Context) error {
	s.now.pooled = s.opts.DatabaseURL
	s.now.direct = s.opts.DirectURL
	main, err := s.probe(ctx, s.opts.DatabaseURL, "DATABASE_URL")
	if err != nil {
		return err
	}
	s.now.pooledMode = main.mode
	if s.now.direct == "" {
		s.now.direct, s.now.directMode = s.now.pooled, main.mode
		if main.pooled {
			s.log.Warn("DATABASE_URL leads through a connection pooler and DATABASE_DIRECT_URL is not set; migrations and backups go through the pooler as well")
		}
	} else {
		direct, err := s.probe(ctx, s.opts.DirectURL, "DATABASE_DIRECT_URL")
		if err != nil {
			return err
		}
		s.now.directMode = direct.mode
		if direct.pooled {
			s.log.Warn("DATABASE_DIRECT_URL leads through a connection pooler; it should reach Postgres itself")
		}
	}
	if !s.opts.ManagedPooler {
		return nil
	}
	return s.poolExternal(ctx)
}

// poolExternal starts the managed pooler in front of the external database.
func (s *Server) poolExternal(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(s.now.direct)
	if err != nil {
		return fmt.Errorf("read the database's address: %w", err)
	}
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
	target := poolerTarget{host: cfg.Host, port: int(cfg.Port)}
	target.tls, target.ca = tlsOfURL(s.now.direct)
	if err := s.startPooler(ctx, l, acc, target, [2]string{cfg.User, cfg.Password}); err != nil {
		return fmt.Errorf("start the pooler: %w", err)
	}
	s.now.pooled = socketURL(cfg.User, cfg.Password, l.runtime, poolerPort, cfg.Database)
	return nil
}

// tlsOfURL returns what the URL says about TLS, in PgBouncer's words, which
// are libpq's.
func tlsOfURL(address string) (mode, ca string) {
	u, err := url.Parse(address)
	if err != nil {
		return "", ""
	}
	return u.Query().Get("sslmode"), u.Query().Get("sslrootcert")
}

// found is what a probe learned.
type found struct {
	pooled bool // a pooler answers, not Postgres itself
	mode   pgx.QueryExecMode
}

// probe connects to address, waiting up to BootWait for somebody to answer,
// and learns whether a pooler is in the way: then the backend's own pid is not
// the one that the connection was greeted with. The question needs no
// privilege and changes nothing.
func (s *Server) probe(ctx context.Context, address, setting string) (found, error) {
	conn, err := s.dial(ctx, address, setting)
	if err != nil {
		return found{}, err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is pending on it
	if major := serverMajor(conn.PgConn().ParameterStatus("server_version")); major != 0 && major < minMajor {
		return found{}, fmt.Errorf("%w: %s leads to PostgreSQL %d, and %d is the oldest that is supported", ErrVersion, setting, major, minMajor)
	}
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return found{}, fmt.Errorf("probe %s: %w", setting, classify(err))
	}
	if pid == conn.PgConn().PID() {
		return found{mode: pgx.QueryExecModeCacheStatement}, nil
	}
	major, minor := consoleVersion(ctx, address)
	s.log.Info("a connection pooler answers", "setting", setting, "version", strconv.Itoa(major)+"."+strconv.Itoa(minor))
	return found{pooled: true, mode: poolerMode(major, minor)}, nil
}

// dial connects, waiting for a database that is still starting. What no wait
// can heal (a wrong password, an unknown database) is reported at once.
func (s *Server) dial(ctx context.Context, address, setting string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	cfg.ConnectTimeout = connectTimeout
	bounded, cancel := context.WithTimeout(ctx, s.opts.BootWait)
	defer cancel()
	begin, told := time.Now(), time.Time{}
	for {
		conn, err := pgx.ConnectConfig(bounded, cfg)
		if err == nil {
			return conn, nil
		}
		if wait := classify(err); ctx.Err() == nil && bounded.Err() == nil && !isTransient(wait) {
			return nil, fmt.Errorf("%s: %w", setting, err)
		}
		if bounded.Err() != nil || pause(bounded, bootRetry) != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("%s: %w", setting, ctx.Err())
			}
			return nil, fmt.Errorf("%w: %s did not answer within %v: %w", ErrUnavailable, setting, s.opts.BootWait, err)
		}
		if time.Since(told) > bootProgress {
			told = time.Now()
			s.log.Info("waiting for the database", "setting", setting, "since", time.Since(begin).Round(time.Second).String(), "error", err)
		}
	}
}

// isTransient reports whether a failed login may succeed later by itself.
func isTransient(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrBusy)
	}
	return true // the network
}

// consoleVersion asks a PgBouncer for its version in its console, with the
// application's own name. Most refuse; then the version is 0.0, which leads to
// the mode that is safe on all.
func consoleVersion(ctx context.Context, address string) (major, minor int) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return 0, 0
	}
	cfg.Database = poolerConsole
	cfg.ConnectTimeout = connectTimeout
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return 0, 0
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is pending on it
	values, err := showRows(ctx, conn, "SHOW CONFIG")
	if err != nil {
		return 0, 0
	}
	prepared := 0
	for _, row := range values {
		if row["key"] == "max_prepared_statements" {
			prepared, _ = strconv.Atoi(row["value"]) //nolint:errcheck // unreadable means none
		}
	}
	version, err := showRows(ctx, conn, "SHOW VERSION")
	if err != nil || len(version) == 0 || prepared == 0 {
		return 0, 0
	}
	major, minor, _ = parsePoolerVersion(version[0]["version"])
	return major, minor
}

// serverMajor reads "15.14 (Debian 15.14-0+deb12u1)"; 0 when it says nothing.
func serverMajor(version string) int {
	digits := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	major, err := strconv.Atoi(digits[0])
	if err != nil {
		return 0
	}
	return major
}
