// Package search is what people are found by: the routes, what of an account is
// indexed, and the jobs and commands that keep an index of OpenSearch as the
// accounts are.
//
// Everything is found by Postgres alone. When OpenSearch is configured it is
// asked first; its hits are read again from Postgres, so whoever is closed,
// gone or blocked is never shown, however old the index is. Whenever it fails,
// Postgres answers. Indexing never fails a change of an account: a job is
// enqueued in the transaction, and the newest state wins whatever the order in
// which jobs run.
package search

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/jobs"
	engine "selflink/appliance/search"
	"selflink/services/search/searchdb"
)

const (
	// DefaultLimit and MaxLimit are how many people a search gives (contract 14
	// §3.1).
	DefaultLimit = 20
	MaxLimit     = 50
)

// usersIndex is the name of the index of people, and usersMapping what it is
// made with (contract 04 §11).
const (
	usersIndex   = "users_v1"
	usersMapping = `{
		"settings": {"index": {"number_of_shards": 1, "number_of_replicas": 0}},
		"mappings": {"dynamic": false, "properties": {
			"id":         {"type": "long"},
			"name":       {"type": "text", "analyzer": "standard"},
			"handle":     {"type": "keyword"},
			"bio":        {"type": "text"},
			"locale":     {"type": "keyword"},
			"created_at": {"type": "date"}
		}}
	}`
)

// People knows who may find whom. U is an account as the API shows it.
type People[U any] interface {
	// Found gives those of ids whom viewer may find, in the order of ids.
	Found(ctx context.Context, viewer auth.Principal, ids []int64) ([]U, error)
}

// Server says where OpenSearch is.
type Server struct {
	Address  string // scheme://host:port
	Username string
	Password string // empty: no credentials are sent
	CA       []byte // PEM certificates to trust; empty: the system's
}

// Deps are what the service needs. DB, Jobs, People and ID are required.
type Deps[U any] struct {
	DB      database.Pool // pooled
	Direct  database.Pool // for what takes long; DB
	Jobs    jobs.Enqueuer
	People  People[U]
	ID      func(U) int64
	Server  *Server // nil: Postgres alone
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Health  *health.Registry
	Clock   func() time.Time // time.Now
	// Backlog tells of the unfinished jobs of a kind; nil: that is not known.
	Backlog func(ctx context.Context, kind string) (jobs.Backlog, error)
}

// Service finds people. It is safe for concurrent use.
type Service[U any] struct {
	db       database.Pool
	direct   database.Pool
	q        *searchdb.Queries
	jobs     jobs.Enqueuer
	people   People[U]
	id       func(U) int64
	server   *engine.OpenSearch // nil: none
	fallback *engine.Fallback
	backlog  func(ctx context.Context, kind string) (jobs.Backlog, error)
	counts   counts
	log      *slog.Logger
	clock    func() time.Time
}

// New makes the service. The search server need not be there.
func New[U any](d Deps[U]) (*Service[U], error) {
	if d.DB == nil || d.Jobs == nil || d.People == nil || d.ID == nil {
		return nil, errors.New("search: a database, jobs and people are needed")
	}
	if d.Direct == nil {
		d.Direct = d.DB
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	s := &Service[U]{
		db: d.DB, direct: d.Direct, q: searchdb.New(d.DB), jobs: d.Jobs, people: d.People, id: d.ID,
		backlog: d.Backlog, log: d.Log.With("component", "search"), clock: d.Clock,
	}
	var err error
	if d.Server != nil {
		if s.server, err = engine.NewOpenSearch(engine.OpenSearchOptions{
			Address: d.Server.Address, Username: d.Server.Username, Password: d.Server.Password, CA: d.Server.CA,
			Alias: usersIndex, Mapping: usersMapping, Fields: []string{"name^2", "handle", "bio"},
		}); err != nil {
			return nil, err
		}
	}
	s.fallback, err = engine.NewFallback(engine.FallbackOptions{
		First: s.server, Second: engine.NewPostgres(d.DB), Log: d.Log, Metrics: d.Metrics, Health: d.Health, Clock: d.Clock,
	})
	return s, err
}

// startTime bounds the look at the search server when the service starts.
const startTime = 2 * time.Second

// Start has the index built when there is none yet. A server that does not
// answer now is no error: its index is looked for again when an account
// changes. Starting twice does nothing more.
func (s *Service[U]) Start(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	in, err := s.server.Indices(limited)
	if err != nil {
		s.log.Warn("OpenSearch does not answer, Postgres answers searches meanwhile", "error", err)
		return nil
	}
	if in.Live != "" && !in.Direct {
		return nil
	}
	return s.db.Tx(ctx, func(tx database.Tx) error { return s.enqueueRebuild(ctx, tx) })
}

// Stop closes the connections to the search server. Stopping twice does
// nothing.
func (s *Service[U]) Stop(context.Context) error {
	if s.server == nil {
		return nil
	}
	if err := s.server.Close(); err != nil {
		return fmt.Errorf("search: close: %w", err)
	}
	return nil
}

// Users finds people whom viewer may find, at most limit. Text without content
// finds nobody.
func (s *Service[U]) Users(ctx context.Context, viewer auth.Principal, text string, limit int) ([]U, error) {
	out, _, err := s.users(ctx, viewer, text, limit)
	return out, err
}

// users is Users, and names the engine that answered; none for no text.
func (s *Service[U]) users(ctx context.Context, viewer auth.Principal, text string, limit int) (out []U, by string, err error) {
	text = engine.Clean(text)
	if handle := strings.TrimPrefix(text, "@"); handle != "" { // as people write handles
		text = handle
	}
	limit = min(limit, MaxLimit)
	out = make([]U, 0, max(limit, 0))
	if text == "" || limit <= 0 {
		return out, "", nil
	}
	seen := map[int64]bool{}
	by, err = s.fallback.FindBy(ctx, engine.Query{Text: text, Viewer: viewer.UserID, Limit: limit}, func(ctx context.Context, ids []int64) (bool, error) {
		found, err := s.people.Found(ctx, viewer, ids)
		if err != nil {
			return false, err
		}
		for _, u := range found {
			if id := s.id(u); len(out) < limit && !seen[id] {
				seen[id], out = true, append(out, u)
			}
		}
		return len(out) >= limit, nil
	})
	if err != nil {
		return nil, by, fmt.Errorf("search people: %w", err)
	}
	return out, by, nil
}

// limitOf reads a limit as the contract does: what is no number, or a negative
// one, counts as the default.
func limitOf(text string) int {
	text = strings.TrimPrefix(strings.TrimSpace(text), "+")
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange) && !strings.HasPrefix(text, "-"):
		return MaxLimit
	case err != nil, n < 0:
		return DefaultLimit
	}
	return min(n, MaxLimit)
}
