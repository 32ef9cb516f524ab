package search

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/database"
	engine "selflink/appliance/search"
	"selflink/services/search/searchdb"
)

// Engines that can be built anew.
const (
	EnginePostgres   = "postgres"
	EngineOpenSearch = "opensearch"
)

const (
	// rebuildLock is the key of the advisory lock under which one process at a
	// time builds: "search" in ASCII.
	rebuildLock = 0x736561726368

	// batch is how many accounts are read and written at once.
	batch = 500
)

// Errors of [Service.Rebuild].
var (
	// ErrRebuilding means that another process is at it.
	ErrRebuilding = errors.New("search: the index is being built already")
	// ErrNoServer means that no search server is configured.
	ErrNoServer = errors.New("search: OpenSearch is not configured")
)

// Progress is how far a rebuild is.
type Progress struct {
	Engine string `json:"engine"`
	Index  string `json:"index"` // what is being built
	Done   int64  `json:"done"`  // accounts
	Total  int64  `json:"total"` // accounts when it began
}

// Rebuilt is what came of a rebuild.
type Rebuilt struct {
	Progress
	Resumed bool    `json:"resumed"` // it went on where another was broken off
	Seconds float64 `json:"seconds"`
}

// Rebuild builds the index of an engine anew while searches and changes go on;
// an empty name is the engine that is asked first. Broken off at any moment,
// also by a kill, it does no harm and goes on from there when it is called
// again. progress, which may be nil, is called after every batch. It fails with
// [ErrRebuilding] and [ErrNoServer].
func (s *Service[U]) Rebuild(ctx context.Context, name string, progress func(Progress)) (Rebuilt, error) {
	if name == "" {
		name = EnginePostgres
		if s.server != nil {
			name = EngineOpenSearch
		}
	}
	if name == EngineOpenSearch && s.server == nil {
		return Rebuilt{}, ErrNoServer
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	began := s.clock()
	var out Rebuilt
	// The lock lives as long as this transaction, which holds nothing else: it
	// ends with the process, however that ends.
	err := s.direct.Tx(ctx, func(tx database.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
			return fmt.Errorf("prepare the lock: %w", err)
		}
		var free bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(rebuildLock)).Scan(&free); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		if !free {
			return ErrRebuilding
		}
		held := func() error { // the connection may be lost, and the lock with it
			if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
				return fmt.Errorf("hold the lock: %w", err)
			}
			return nil
		}
		var err error
		if name == EngineOpenSearch {
			out, err = s.rebuildIndex(ctx, held, progress)
		} else {
			out, err = s.rebuildTable(ctx, held, progress)
		}
		return err
	})
	out.Seconds = s.clock().Sub(began).Seconds()
	if err != nil {
		return out, fmt.Errorf("build the index of %s: %w", name, err)
	}
	s.counts.forget()
	if err := s.q.NoteRebuilt(ctx, searchdb.NoteRebuiltParams{
		Engine: name, IndexName: out.Index, Accounts: out.Done, Seconds: out.Seconds, FinishedAt: s.clock().UTC(),
	}); err != nil {
		return out, fmt.Errorf("note that the index of %s was built: %w", name, err)
	}
	return out, nil
}

// rebuildIndex fills an index beside the one that is searched, while jobs write
// to both, and puts it in its place.
func (s *Service[U]) rebuildIndex(ctx context.Context, held func() error, progress func(Progress)) (Rebuilt, error) {
	out, position, err := s.beginIndex(ctx)
	if err != nil {
		return out, err
	}
	for {
		rows, err := s.q.Accounts(ctx, searchdb.AccountsParams{After: position, Most: batch})
		if err != nil {
			return out, fmt.Errorf("read accounts: %w", err)
		}
		docs := make([]engine.Document, 0, len(rows))
		for _, r := range rows {
			d, err := documentOf(r)
			if err != nil {
				return out, err
			}
			if d.Body != nil {
				docs = append(docs, d)
			}
		}
		if err := s.server.Fill(ctx, docs); err != nil {
			return out, err
		}
		if err := held(); err != nil {
			return out, err
		}
		if len(rows) == 0 {
			break
		}
		position, out.Done = rows[len(rows)-1].ID, out.Done+int64(len(docs))
		if err := s.q.AdvanceRebuild(ctx, searchdb.AdvanceRebuildParams{Name: usersIndex, IndexName: out.Index, Position: position, Done: out.Done}); err != nil {
			return out, fmt.Errorf("note how far it is: %w", err)
		}
		progress(out.Progress)
	}
	if err := s.server.Swap(ctx, out.Index); err != nil {
		return out, err
	}
	if err := s.q.EndRebuild(ctx, usersIndex); err != nil {
		return out, fmt.Errorf("note that it is done: %w", err)
	}
	in, err := s.server.Indices(ctx)
	if err != nil {
		return out, err
	}
	for _, stray := range in.Stray {
		if err := s.server.Drop(ctx, stray); err != nil {
			return out, err
		}
	}
	s.log.Info("an index was built", "index", out.Index, "accounts", out.Done)
	return out, nil
}

// beginIndex finds the index that a broken off rebuild left, or makes a new
// one, and says after which account to go on.
func (s *Service[U]) beginIndex(ctx context.Context) (out Rebuilt, position int64, err error) {
	out.Engine = EngineOpenSearch
	in, err := s.server.Indices(ctx)
	if err != nil {
		return out, 0, err
	}
	noted, err := s.q.Rebuild(ctx, usersIndex)
	if err != nil && !database.IsNoRows(err) {
		return out, 0, fmt.Errorf("read how far it was: %w", err)
	}
	if in.Next != "" && in.Next == noted.IndexName {
		out.Index, out.Done, out.Total, out.Resumed = noted.IndexName, noted.Done, noted.Total, true
		return out, noted.Position, nil
	}
	if in.Next != "" {
		if err := s.server.Drop(ctx, in.Next); err != nil {
			return out, 0, err
		}
	}
	if out.Total, err = s.q.CountOpen(ctx); err != nil {
		return out, 0, fmt.Errorf("count accounts: %w", err)
	}
	if out.Index, err = s.server.Begin(ctx, s.clock()); err != nil {
		return out, 0, err
	}
	// What of this is noted too late is found by the next call, and dropped.
	err = s.q.BeginRebuild(ctx, searchdb.BeginRebuildParams{Name: usersIndex, IndexName: out.Index, Total: out.Total})
	if err != nil {
		return out, 0, fmt.Errorf("note that it begins: %w", err)
	}
	return out, 0, nil
}

// putAccounts folds open accounts anew. They are held meanwhile, so that a
// change at the same time is not overwritten.
const putAccounts = `WITH u AS MATERIALIZED (SELECT users AS account, id, is_active FROM users WHERE id > $1 ORDER BY id LIMIT $2 FOR SHARE)
SELECT count(*), coalesce(max(id), 0), count(CASE WHEN is_active THEN search_users_put(account)::text END) FROM u`

// rebuildTable folds all accounts anew in Postgres, after bringing in the
// extensions that there are now.
func (s *Service[U]) rebuildTable(ctx context.Context, held func() error, progress func(Progress)) (Rebuilt, error) {
	out := Rebuilt{Progress: Progress{Engine: EnginePostgres, Index: "search_users"}}
	// Not over the direct way, of whose few connections the lock has one.
	if _, err := s.db.Exec(ctx, "SELECT search_setup()"); err != nil {
		return out, fmt.Errorf("bring in extensions: %w", err)
	}
	var err error
	if out.Total, err = s.q.CountOpen(ctx); err != nil {
		return out, fmt.Errorf("count accounts: %w", err)
	}
	for position := int64(0); ; {
		var n, last, put int64
		if err := s.db.QueryRow(ctx, putAccounts, position, batch).Scan(&n, &last, &put); err != nil {
			return out, fmt.Errorf("fold accounts: %w", err)
		}
		if err := held(); err != nil {
			return out, err
		}
		if n == 0 {
			break
		}
		position, out.Done = last, out.Done+put
		progress(out.Progress)
	}
	// Where triggers were off, closed accounts may have stayed.
	if _, err := s.db.Exec(ctx, "DELETE FROM search_users s USING users u WHERE u.id = s.user_id AND NOT u.is_active"); err != nil {
		return out, fmt.Errorf("leave out closed accounts: %w", err)
	}
	return out, nil
}

// Status is how the engines are.
type Status struct {
	Engine     string            `json:"engine"` // that is asked first
	Postgres   PostgresStatus    `json:"postgres"`
	OpenSearch *OpenSearchStatus `json:"opensearch"` // nil: not configured
}

// PostgresStatus is how the table is.
type PostgresStatus struct {
	Accounts int64 `json:"accounts"` // that can be found
	Trigrams bool  `json:"pg_trgm"`
	Unaccent bool  `json:"unaccent"`
}

// OpenSearchStatus is how the index is.
type OpenSearchStatus struct {
	Address   string    `json:"address"`
	Index     string    `json:"index"`  // that is searched; empty: none
	Health    string    `json:"health"` // green, yellow, red; empty: unknown
	Documents int64     `json:"documents"`
	Building  *Building `json:"building"` // nil: nothing is
	Stray     []string  `json:"stray"`    // indices that broken off builds left
	Error     string    `json:"error"`    // why it does not answer; empty: it does
}

// Building is an index on its way.
type Building struct {
	Progress
	StartedAt time.Time `json:"started_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Status asks both engines. A search server that fails is no error, but said in
// the answer.
func (s *Service[U]) Status(ctx context.Context) (Status, error) {
	out := Status{Engine: EnginePostgres}
	var err error
	if out.Postgres.Accounts, err = s.q.CountOpen(ctx); err != nil {
		return out, fmt.Errorf("count accounts: %w", err)
	}
	if out.Postgres.Trigrams, out.Postgres.Unaccent, err = s.extensions(ctx); err != nil {
		return out, err
	}
	if s.server == nil {
		return out, nil
	}
	out.Engine = EngineOpenSearch
	out.OpenSearch, err = s.serverStatus(ctx)
	return out, err
}

// extensions tells which of Postgres are there.
func (s *Service[U]) extensions(ctx context.Context) (trigrams, unaccent bool, err error) {
	err = s.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'), EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'unaccent')`).
		Scan(&trigrams, &unaccent)
	if err != nil {
		return false, false, fmt.Errorf("look for extensions: %w", err)
	}
	return trigrams, unaccent, nil
}

// serverStatus asks the search server.
func (s *Service[U]) serverStatus(ctx context.Context) (*OpenSearchStatus, error) {
	h, err := s.server.Health(ctx)
	o := &OpenSearchStatus{Address: s.server.Address(), Index: h.Live, Health: h.Status, Documents: h.Documents, Stray: append([]string{}, h.Stray...)}
	if err != nil {
		if ctx.Err() != nil {
			return o, context.Cause(ctx)
		}
		o.Error = err.Error()
	}
	if h.Next == "" {
		return o, nil
	}
	noted, err := s.q.Rebuild(ctx, usersIndex)
	if err != nil && !database.IsNoRows(err) {
		return o, fmt.Errorf("read how far it is: %w", err)
	}
	if noted.IndexName == h.Next {
		o.Building = &Building{
			Progress:  Progress{Engine: EngineOpenSearch, Index: h.Next, Done: noted.Done, Total: noted.Total},
			StartedAt: noted.StartedAt.UTC(), UpdatedAt: noted.UpdatedAt.UTC(),
		}
	}
	return o, nil
}
