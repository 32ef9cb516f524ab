package database

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// insightWait bounds one [Server.Insight].
	insightWait = 5 * time.Second

	// insightStatement bounds each of its statements, and insightLock each of
	// their waits for a lock: who looks at what is stuck must not get stuck.
	insightStatement = "2s"
	insightLock      = "300ms"

	// rateSpan is over how long commits are averaged at least.
	rateSpan = 4 * time.Second

	shownLocks      = 50
	shownTables     = 20
	shownStatements = 20
	shownPools      = 50
)

// Insight is what people see of the database. It marshals to what the
// dashboard answers.
type Insight struct {
	Managed    bool              `json:"managed"`
	Postgres   PostgresInsight   `json:"postgres"`
	Pooler     *PoolerInsight    `json:"pooler"` // nil: none is managed
	Pools      []PoolInsight     `json:"pools"`
	Locks      []LockWait        `json:"locks"`
	Tables     []Table           `json:"tables"` // the 20 largest
	Migrations MigrationsInsight `json:"migrations"`
	Statements []StatementCost   `json:"statements"` // nil: pg_stat_statements is not there
}

// PostgresInsight is about the server and this database.
type PostgresInsight struct {
	Version            string    `json:"version"`
	StartedAt          time.Time `json:"started_at"`
	Size               int64     `json:"size_bytes"`
	CacheHitRatio      float64   `json:"cache_hit_ratio"` // of all blocks read, 0 to 1
	Connections        int       `json:"connections"`
	MaxConnections     int       `json:"max_connections"`
	LongestTransaction float64   `json:"longest_transaction_seconds"`
	CommitsPerSecond   float64   `json:"commits_per_second"` // since the last look; 0 in the first
}

// PoolerInsight is about the managed PgBouncer. It is without a version and
// pools while that does not answer.
type PoolerInsight struct {
	Version string       `json:"version"`
	Pools   []PoolerPool `json:"pools"`
}

// PoolerPool is one pool of PgBouncer.
type PoolerPool struct {
	Database       string  `json:"database"`
	User           string  `json:"user"`
	Mode           string  `json:"mode"`
	ClientsActive  int     `json:"clients_active"`
	ClientsWaiting int     `json:"clients_waiting"`
	ServersActive  int     `json:"servers_active"`
	ServersIdle    int     `json:"servers_idle"`
	ServersUsed    int     `json:"servers_used"`
	MaxWait        float64 `json:"max_wait_ms"`
}

// PoolInsight is one of this process's own pools.
type PoolInsight struct {
	Name     string  `json:"name"` // pooled, direct
	Max      int     `json:"max"`
	InUse    int     `json:"in_use"`
	Idle     int     `json:"idle"`
	Waits    int64   `json:"waits"`        // times that somebody found none free
	MeanWait float64 `json:"mean_wait_ms"` // of those
}

// LockWait is a session that waits for another's lock.
type LockWait struct {
	PID       int     `json:"pid"`
	BlockedBy []int   `json:"blocked_by"`
	Mode      string  `json:"mode"`
	Relation  string  `json:"relation"` // empty: it waits for a transaction
	Seconds   float64 `json:"seconds"`
	Query     string  `json:"query"` // without its literals
}

// Table is one table and its indexes.
type Table struct {
	Name            string     `json:"name"`
	Rows            int64      `json:"rows"` // estimated
	Bytes           int64      `json:"bytes"`
	DeadRows        int64      `json:"dead_rows"`
	LastAutovacuum  *time.Time `json:"last_autovacuum"`
	LastAutoanalyze *time.Time `json:"last_autoanalyze"`
}

// MigrationsInsight is the state of the schema.
type MigrationsInsight struct {
	Current int64           `json:"current"`
	Latest  int64           `json:"latest"`
	Items   []MigrationItem `json:"items"`
}

// MigrationItem is one step of the schema.
type MigrationItem struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	AppliedAt *time.Time `json:"applied_at"` // nil: pending
}

// StatementCost is what pg_stat_statements counts.
type StatementCost struct {
	Query string  `json:"query"`
	Calls int64   `json:"calls"`
	Mean  float64 `json:"mean_ms"`
	Total float64 `json:"total_ms"`
	Rows  int64   `json:"rows"`
}

// Insight tells how the database stands. It takes at most 5 s, over the direct
// way, and returns [ErrUnavailable] or [ErrBusy] where Postgres cannot be asked.
func (s *Server) Insight(ctx context.Context) (Insight, error) {
	ctx, cancel := context.WithTimeout(ctx, insightWait)
	defer cancel()
	out := Insight{
		Managed: s.opts.DatabaseURL == "", Pools: s.ownPools(),
		Locks: []LockWait{}, Tables: []Table{}, Migrations: MigrationsInsight{Items: []MigrationItem{}},
	}
	var pooler sync.WaitGroup
	pooler.Go(func() { out.Pooler = s.poolerInsight(ctx) })
	err := errors.Join(
		s.look(ctx, func(tx Tx) error { return s.lookPostgres(ctx, tx, &out.Postgres) }),
		s.look(ctx, func(tx Tx) (err error) {
			out.Locks, err = lookLocks(ctx, tx)
			return err
		}),
		s.lookTables(ctx, &out.Tables),
		s.lookMigrations(ctx, &out.Migrations),
	)
	if err == nil {
		// Not every server has them, nor lets everybody read them.
		if lookErr := s.look(ctx, func(tx Tx) (err error) {
			out.Statements, err = lookStatements(ctx, tx)
			return err
		}); lookErr != nil {
			s.log.Debug("pg_stat_statements was not read", "error", lookErr)
			out.Statements = nil
		}
	}
	pooler.Wait()
	if err != nil {
		return Insight{}, fmt.Errorf("look at the database: %w", err)
	}
	return out, nil
}

// look runs f in a transaction that reads only, each of whose statements is
// bounded.
func (s *Server) look(ctx context.Context, f func(tx Tx) error) error {
	return s.direct.Tx(ctx, func(tx Tx) error {
		for _, set := range []string{"TRANSACTION READ ONLY", "LOCAL statement_timeout = '" + insightStatement + "'", "LOCAL lock_timeout = '" + insightLock + "'"} {
			if _, err := tx.Exec(ctx, "SET "+set); err != nil {
				return fmt.Errorf("bound a look: %w", err)
			}
		}
		return f(tx)
	})
}

func (s *Server) ownPools() []PoolInsight {
	out := make([]PoolInsight, 0, 2)
	for _, p := range []*pool{s.pooled, s.direct} {
		one := PoolInsight{Name: p.name}
		if inner := p.inner.Load(); inner != nil {
			st := inner.Stat()
			one.Max, one.InUse, one.Idle, one.Waits = int(st.MaxConns()), int(st.AcquiredConns()), int(st.IdleConns()), st.EmptyAcquireCount()
			if one.Waits > 0 {
				one.MeanWait = milliseconds(st.EmptyAcquireWaitTime() / time.Duration(one.Waits))
			}
		}
		out = append(out, one)
	}
	return out
}

func milliseconds(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

func (s *Server) poolerInsight(ctx context.Context) *PoolerInsight {
	r := s.running.Load()
	if r == nil || r.console == "" {
		return nil
	}
	out := &PoolerInsight{Pools: []PoolerPool{}}
	err := s.withConsole(ctx, func(conn *pgx.Conn) error {
		version, err := showRows(ctx, conn, "SHOW VERSION")
		if err != nil {
			return err
		}
		for _, row := range version {
			out.Version = strings.TrimPrefix(row["version"], "PgBouncer ")
		}
		rows, err := showRows(ctx, conn, "SHOW POOLS")
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row["database"] == poolerConsole || len(out.Pools) == shownPools {
				continue
			}
			count := func(name string) int { return int(number(row[name])) }
			out.Pools = append(out.Pools, PoolerPool{
				Database: row["database"], User: row["user"], Mode: row["pool_mode"],
				ClientsActive: count("cl_active"), ClientsWaiting: count("cl_waiting"),
				ServersActive: count("sv_active"), ServersIdle: count("sv_idle"), ServersUsed: count("sv_used"),
				MaxWait: number(row["maxwait"])*1e3 + number(row["maxwait_us"])/1e3,
			})
		}
		return nil
	})
	if err != nil { // the health check says why
		s.log.Debug("the pooler was not asked", "error", err)
	}
	return out
}

func (s *Server) lookPostgres(ctx context.Context, tx Tx, out *PostgresInsight) error {
	var commits, hit, read int64
	err := tx.QueryRow(ctx, `
		SELECT current_setting('server_version'), pg_postmaster_start_time(), pg_database_size(d.datid),
		       d.xact_commit, d.blks_hit, d.blks_read, current_setting('max_connections')::int,
		       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
		       (SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0)::float8
		          FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())
		  FROM pg_stat_database d WHERE d.datname = current_database()`).Scan(
		&out.Version, &out.StartedAt, &out.Size, &commits, &hit, &read, &out.MaxConnections, &out.Connections, &out.LongestTransaction)
	if err != nil {
		return fmt.Errorf("ask Postgres how it is: %w", err)
	}
	out.StartedAt = out.StartedAt.UTC()
	out.CacheHitRatio = 1
	if hit+read > 0 {
		out.CacheHitRatio = math.Round(1e4*float64(hit)/float64(hit+read)) / 1e4
	}
	out.CommitsPerSecond = s.commits.perSecond(commits, time.Now())
	return nil
}

// commitRate makes a rate of a count that several look at.
type commitRate struct {
	mu    sync.Mutex
	base  int64
	since time.Time
	rate  float64
}

func (c *commitRate) perSecond(count int64, now time.Time) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	span := now.Sub(c.since)
	if c.since.IsZero() || count < c.base { // the first look, or counted anew
		c.base, c.since, c.rate = count, now, 0
		return 0
	}
	if span >= rateSpan || c.rate == 0 && span > 0 {
		c.rate = math.Round(10*float64(count-c.base)/span.Seconds()) / 10
	}
	if span >= rateSpan {
		c.base, c.since = count, now
	}
	return c.rate
}

func lookLocks(ctx context.Context, tx Tx) ([]LockWait, error) {
	rows, err := tx.Query(ctx, `
		SELECT a.pid, array(SELECT DISTINCT b FROM unnest(pg_blocking_pids(a.pid)) b ORDER BY b)::int[], l.mode,
		       CASE WHEN l.relation IS NULL OR l.database <> (SELECT oid FROM pg_database WHERE datname = current_database()) THEN ''
		            ELSE l.relation::regclass::text END,
		       greatest(extract(epoch FROM clock_timestamp() - coalesce(l.waitstart, a.query_start, clock_timestamp())), 0)::float8,
		       left(coalesce(a.query, ''), 4000)
		  FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
		 WHERE a.wait_event_type = 'Lock'
		 ORDER BY 5 DESC, 1 LIMIT $1`, shownLocks)
	if err != nil {
		return nil, fmt.Errorf("look for locks: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w LockWait, err error) {
		err = row.Scan(&w.PID, &w.BlockedBy, &w.Mode, &w.Relation, &w.Seconds, &w.Query)
		w.Query = plainStatement(w.Query)
		return w, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for locks: %w", err)
	}
	return out, nil
}

// lookTables asks for the largest tables. Their exact sizes need a look at each
// table; while one is locked, those of the last vacuum have to do.
func (s *Server) lookTables(ctx context.Context, out *[]Table) error {
	const exact, estimate = "pg_total_relation_size(t.relid)", `(c.relpages::bigint * current_setting('block_size')::bigint)`
	read := func(size string) error {
		return s.look(ctx, func(tx Tx) error {
			rows, err := tx.Query(ctx, `
				SELECT CASE t.schemaname WHEN 'public' THEN '' ELSE t.schemaname || '.' END || t.relname,
				       t.n_live_tup, coalesce(`+size+`, 0), t.n_dead_tup, t.last_autovacuum, t.last_autoanalyze
				  FROM pg_stat_user_tables t JOIN pg_class c ON c.oid = t.relid
				 ORDER BY 3 DESC, 1 LIMIT $1`, shownTables)
			if err != nil {
				return fmt.Errorf("look at the tables: %w", err)
			}
			*out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
				err = row.Scan(&t.Name, &t.Rows, &t.Bytes, &t.DeadRows, &t.LastAutovacuum, &t.LastAutoanalyze)
				t.LastAutovacuum, t.LastAutoanalyze = inUTC(t.LastAutovacuum), inUTC(t.LastAutoanalyze)
				return t, err
			})
			if err != nil {
				return fmt.Errorf("look at the tables: %w", err)
			}
			return nil
		})
	}
	err := read(exact)
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrBusy) || ctx.Err() != nil {
		return err
	}
	return read(estimate)
}

func (s *Server) lookMigrations(ctx context.Context, out *MigrationsInsight) error {
	state, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	out.Current, out.Latest = state.Current, state.Target
	for _, m := range state.Steps {
		out.Items = append(out.Items, MigrationItem{m.Version, m.Name, inUTC(m.AppliedAt)})
	}
	return nil
}

// lookStatements gives nil without an error when the extension is not there.
func lookStatements(ctx context.Context, tx Tx) ([]StatementCost, error) {
	var schema string
	err := tx.QueryRow(ctx, "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'").Scan(&schema)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for pg_stat_statements: %w", err)
	}
	rows, err := tx.Query(ctx, `
		SELECT left(query, 4000), calls, mean_exec_time, total_exec_time, rows
		  FROM `+pgx.Identifier{schema, "pg_stat_statements"}.Sanitize()+`
		 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
		 ORDER BY total_exec_time DESC LIMIT $1`, shownStatements)
	if err != nil {
		return nil, fmt.Errorf("read pg_stat_statements: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (st StatementCost, err error) {
		err = row.Scan(&st.Query, &st.Calls, &st.Mean, &st.Total, &st.Rows)
		st.Query = plainStatement(st.Query) // it keeps the literals of some
		return st, err
	})
	if err != nil {
		return nil, fmt.Errorf("read pg_stat_statements: %w", err)
	}
	return out, nil
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}
