package database

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// ErrNewerSchema means that a newer version of the appliance has migrated this
// database; this one would not understand it.
var ErrNewerSchema = errors.New("database: the schema is newer than this version")

// migrateLock is the key of the advisory lock under which one process at a
// time migrates: "selflink" in ASCII.
const migrateLock = 0x73656c666c696e6b

// Schema is the state of the database's schema.
type Schema struct {
	Current int64       `json:"current"` // newest applied migration, 0 if none
	Target  int64       `json:"target"`  // newest migration that this version knows
	Steps   []Migration `json:"steps"`   // all known ones, in order
	// Unknown are applied steps that this version does not have.
	Unknown []int64 `json:"unknown,omitempty"`
}

// Migration is one step of the schema.
type Migration struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`                 // of its file
	AppliedAt *time.Time `json:"applied_at,omitempty"` // nil: pending
}

// Pending returns how many known steps are not applied.
func (s Schema) Pending() int {
	n := 0
	for _, m := range s.Steps {
		if m.AppliedAt == nil {
			n++
		}
	}
	return n
}

// Schema reads the state of the schema. It changes nothing.
func (s *Server) Schema(ctx context.Context) (Schema, error) {
	provider, closeDB, err := s.provider()
	if err != nil {
		return Schema{}, err
	}
	defer closeDB()
	return s.schema(ctx, s.direct, provider)
}

func (s *Server) schema(ctx context.Context, q Querier, provider *goose.Provider) (Schema, error) {
	applied := map[int64]time.Time{}
	var out Schema
	rows, err := q.Query(ctx, "SELECT version_id, tstamp FROM goose_db_version WHERE is_applied AND version_id > 0")
	if err == nil {
		var version int64
		var at time.Time
		_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error {
			applied[version] = at
			out.Current = max(out.Current, version)
			return nil
		})
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == codeUndefinedTable {
		err = nil // nothing was ever applied
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read the schema's version: %w", err)
	}
	for _, source := range provider.ListSources() {
		m := Migration{Version: source.Version, Name: filepath.Base(source.Path)}
		if at, ok := applied[source.Version]; ok {
			m.AppliedAt = &at
			delete(applied, source.Version)
		}
		out.Steps = append(out.Steps, m)
		out.Target = max(out.Target, source.Version)
	}
	out.Unknown = slices.Sorted(maps.Keys(applied))
	return out, nil
}

// Migrate applies the pending steps and returns how many there were. Processes
// that migrate at the same time wait for each other. It returns
// [ErrNewerSchema] when the database has steps that this version does not know;
// nothing is changed then.
func (s *Server) Migrate(ctx context.Context) (int, error) { return s.MigrateAfter(ctx, nil) }

// MigrateAfter is [Server.Migrate] that calls first, if it is not nil, with the
// state of the schema under the lock, before anything is changed; among
// processes that migrate at the same time it is called in one. When it fails
// nothing is changed. It may use the database, but not migrate it.
func (s *Server) MigrateAfter(ctx context.Context, first func(context.Context, Schema) error) (int, error) {
	provider, closeDB, err := s.provider()
	if err != nil {
		return 0, err
	}
	defer closeDB()
	state, err := s.schema(ctx, s.direct, provider)
	if err != nil {
		return 0, err
	}
	if err := state.Newer(); err != nil || state.Pending() == 0 {
		return 0, err
	}
	applied := 0
	// The lock belongs to a transaction, not to a session, so it holds even
	// where only a pooler's address is known.
	err = s.direct.Tx(ctx, func(tx Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
			return fmt.Errorf("prepare the lock: %w", err)
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrateLock)); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		// Another process may have been faster, and it may be newer.
		state, err := s.schema(ctx, s.direct, provider)
		if err != nil {
			return err
		}
		if err := state.Newer(); err != nil || state.Pending() == 0 {
			return err
		}
		if first != nil {
			if err := first(ctx, state); err != nil {
				return err
			}
		}
		results, err := provider.Up(ctx)
		for _, r := range results {
			if r.Error == nil {
				applied++
				s.log.Info("migrated", "step", filepath.Base(r.Source.Path), "took", r.Duration.Round(time.Millisecond).String())
			}
		}
		return err
	})
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	if applied > 0 {
		if err := s.recycle(ctx); err != nil {
			return applied, fmt.Errorf("recycle connections after migrating: %w", err)
		}
	}
	return applied, nil
}

// Newer returns [ErrNewerSchema] for a schema that this version does not know.
func (s Schema) Newer() error {
	if s.Current > s.Target {
		return fmt.Errorf("%w: it is at step %d, this version knows steps up to %d. Nothing was changed. Install the newer version again, or go back to the snapshot from before its upgrade: selflink rollback; without one, restore a backup made before it", ErrNewerSchema, s.Current, s.Target)
	}
	return nil
}

// recycle replaces all connections, whose cached plans and descriptions may
// not fit the schema any more.
func (s *Server) recycle(ctx context.Context) error {
	err := s.withConsole(ctx, func(conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(ctx, "RECONNECT").ReadAll()
		return err //nolint:wrapcheck // wrapped by the caller
	})
	s.pooled.reset()
	s.direct.reset()
	return err
}

// provider returns goose over the direct pool.
func (s *Server) provider() (*goose.Provider, func(), error) {
	inner := s.direct.inner.Load()
	if inner == nil {
		return nil, nil, fmt.Errorf("%w: the direct pool is not running", ErrUnavailable)
	}
	db := stdlib.OpenDBFromPool(inner)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, s.opts.Migrations)
	if err != nil {
		db.Close()
		return nil, nil, fmt.Errorf("read the migrations: %w", err)
	}
	return provider, func() { db.Close() }, nil
}
