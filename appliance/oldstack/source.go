// Package oldstack carries the rows of the old backend's database over into
// ours.
//
// It knows how to read that database and how to copy a table so that nothing is
// lost, doubled or overwritten; what the tables are and what becomes of their
// rows is told by the services, each for its own ([Copy]).
//
// The old database is only read, in one snapshot, over one connection, in
// batches along the primary key; the old backend may run meanwhile. Each batch
// is stored in one transaction together with the digests of what was written,
// so a copy that is killed at any moment is gone on with by the next one.
package oldstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Errors of reaching and reading the old database.
var (
	// ErrAddress means that an address is none of a Postgres database.
	ErrAddress = errors.New("oldstack: the old database's address cannot be read: it looks like postgres://user:password@host:5432/database")
	// ErrUnreachable means that the old database cannot be reached.
	ErrUnreachable = errors.New("oldstack: the old database cannot be reached")
	// ErrSchema means that it is not the old backend's, or one whose tables
	// are not understood.
	ErrSchema = errors.New("oldstack: the old database's tables are not as expected")
)

const (
	connectTimeout = 15 * time.Second
	closeTimeout   = 5 * time.Second
)

// Source is one snapshot of the old database. It is not safe for concurrent
// use.
type Source struct {
	conn *pgx.Conn
	// Taken is the moment of the snapshot, by the old database's clock.
	Taken  time.Time
	tables map[string]*oldTable
}

// oldTable is a table as it is in the old database.
type oldTable struct {
	name     string
	readable bool
	columns  map[string]bool
}

// Open connects and takes the snapshot. Its errors never hold the password.
func Open(ctx context.Context, address string) (*Source, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, ErrAddress // the cause may quote parts of it
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.RuntimeParams["application_name"] = "selflink import"
	// Statements without a name leave nothing behind on a pooler's connection.
	// What makes this mode unsafe elsewhere, a pooler that changes connections
	// between two messages, does not happen inside a transaction.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	s := &Source{conn: conn, tables: map[string]*oldTable{}}
	if err := s.begin(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return s, nil
}

// begin takes the snapshot and looks which tables there are.
func (s *Source) begin(ctx context.Context) error {
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		// One long transaction, which stands idle while its rows are stored.
		"SET LOCAL idle_in_transaction_session_timeout = 0",
		"SET LOCAL statement_timeout = 0",
		"SET LOCAL TimeZone = 'UTC'",
		"SET LOCAL DateStyle = 'ISO'",
		"SET LOCAL extra_float_digits = 3",
	} {
		if _, err := s.conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("begin the snapshot: %w", err)
		}
	}
	if err := s.conn.QueryRow(ctx, "SELECT now()").Scan(&s.Taken); err != nil {
		return fmt.Errorf("begin the snapshot: %w", err)
	}
	rows, err := s.conn.Query(ctx, `SELECT c.relname::text, a.attname::text, has_column_privilege(c.oid, a.attnum, 'SELECT')
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
		  AND pg_table_is_visible(c.oid) AND c.relnamespace <> 'pg_catalog'::regnamespace`)
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}
	var table, column string
	var readable bool
	_, err = pgx.ForEachRow(rows, []any{&table, &column, &readable}, func() error {
		t := s.tables[table]
		if t == nil {
			t = &oldTable{name: table, readable: true, columns: map[string]bool{}}
			s.tables[table] = t
		}
		t.columns[column] = true
		t.readable = t.readable && readable
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}
	return nil
}

// Close ends the snapshot.
func (s *Source) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = s.conn.Close(ctx) // it was only read
}

// find gives the table of that name, or the only one with that model's name of
// any app; nil: there is none.
func (s *Source) find(name string) *oldTable {
	if t := s.tables[name]; t != nil {
		return t
	}
	_, model, _ := strings.Cut(name, "_")
	var found *oldTable
	for other, t := range s.tables {
		if strings.HasSuffix(other, "_"+model) {
			if found != nil {
				return nil // any would be a guess
			}
			found = t
		}
	}
	return found
}

// named lists which tables stand for a name, for an error.
func (s *Source) named(name string) string {
	_, model, _ := strings.Cut(name, "_")
	var similar []string
	for other := range s.tables {
		if strings.HasSuffix(other, "_"+model) {
			similar = append(similar, other)
		}
	}
	if len(similar) == 0 {
		return name + " (nor any other *_" + model + ")"
	}
	slices.Sort(similar)
	return name + " (and of " + strings.Join(similar, ", ") + " none is certain)"
}

// count tells how many rows a table has.
func (s *Source) count(ctx context.Context, t *oldTable) (n int64, err error) {
	if err := s.conn.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{t.name}.Sanitize()).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the rows of %s: %w", t.name, err)
	}
	return n, nil
}
