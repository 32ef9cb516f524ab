package search

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/dashboard"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/jobs"
	engine "selflink/appliance/search"
)

// dashboardPeriod is how often the page of searches is looked at while somebody
// watches it.
const dashboardPeriod = 5 * time.Second

// counts are what takes long to count, or is asked of others.
type counts struct {
	people dashboard.Counted[PeopleCounts]
	server dashboard.Counted[*OpenSearchStatus]
}

func (c *counts) forget() {
	c.people.Forget()
	c.server.Forget()
}

// PeopleCounts are the accounts that Postgres finds.
type PeopleCounts struct {
	Accounts int64 `json:"accounts" doc:"Open accounts."`
	Indexed  int64 `json:"indexed" doc:"Of them in the table that is searched."`
}

// BacklogInsight is what waits to be indexed by the search server.
type BacklogInsight struct {
	Kind string `json:"kind"` // of the jobs
	jobs.Backlog
}

// LastRebuilt is a rebuild that came to its end.
type LastRebuilt struct {
	Engine     string    `json:"engine"`
	Index      string    `json:"index"`
	Accounts   int64     `json:"accounts"`
	Seconds    float64   `json:"seconds"`
	FinishedAt time.Time `json:"finished_at"`
}

// Insight is what people see of searches. It marshals to what the dashboard
// answers. What is nil is not known.
type Insight struct {
	Engine     string                    `json:"engine" enum:"postgres,opensearch" doc:"That is asked first."`
	Fallen     string                    `json:"fallen" doc:"Why Postgres answers instead, on this node; empty: it does not."`
	FallenAt   *time.Time                `json:"fallen_since"`
	Checks     []dashboard.OverviewCheck `json:"checks"`
	People     *PeopleCounts             `json:"people" doc:"Null when there are too many to count in time."`
	CountedAt  *time.Time                `json:"counted_at"`
	Estimated  *int64                    `json:"estimated_people" doc:"About how many can be found, where they are not counted."`
	Trigrams   bool                      `json:"pg_trgm"`
	Unaccent   bool                      `json:"unaccent"`
	OpenSearch *OpenSearchStatus         `json:"opensearch" doc:"Null when it is not configured."`
	Backlog    *BacklogInsight           `json:"backlog" doc:"Null when nothing has to be indexed."`
	Rebuilt    []LastRebuilt             `json:"last_rebuilt"`
	Told       engine.Told               `json:"told" doc:"Searches on this node since it started."`
}

// Insight tells how searches are answered. Of a search server that does not
// answer it tells why.
func (s *Service[U]) Insight(ctx context.Context) (out Insight, err error) {
	out = Insight{Engine: EnginePostgres, Checks: []dashboard.OverviewCheck{}, Told: s.fallback.Told(), Rebuilt: []LastRebuilt{}}
	if since, why := s.fallback.Fallen(); why != nil {
		out.Fallen, out.FallenAt = why.Error(), &since
	}
	if out.People, out.CountedAt, err = s.counts.people.Get(ctx, s.countPeople); err != nil {
		return out, err
	}
	if out.People == nil {
		if out.Estimated, err = dashboard.Estimate(ctx, s.db, "search_users"); err != nil {
			return out, err
		}
	}
	if out.Trigrams, out.Unaccent, err = s.extensions(ctx); err != nil {
		return out, err
	}
	rebuilt, err := s.q.LastRebuilt(ctx)
	if err != nil {
		return out, fmt.Errorf("read the last rebuilds: %w", err)
	}
	for _, r := range rebuilt {
		out.Rebuilt = append(out.Rebuilt, LastRebuilt{r.Engine, r.IndexName, r.Accounts, r.Seconds, r.FinishedAt.UTC()})
	}
	if s.server == nil {
		return out, nil
	}
	return out, s.serverInsight(ctx, &out)
}

func (s *Service[U]) serverInsight(ctx context.Context, out *Insight) error {
	out.Engine = EngineOpenSearch
	said, _, err := s.counts.server.Get(ctx, s.serverStatus)
	switch {
	case err != nil:
		return err
	case said != nil:
		out.OpenSearch = *said
	default:
		out.OpenSearch = &OpenSearchStatus{Address: s.server.Address(), Stray: []string{}, Error: "it does not answer in time"}
	}
	if s.backlog == nil {
		return nil
	}
	waiting, err := s.backlog(ctx, indexJob{}.Kind())
	if err != nil {
		return err
	}
	out.Backlog = &BacklogInsight{indexJob{}.Kind(), waiting}
	return nil
}

func (s *Service[U]) countPeople(ctx context.Context) (PeopleCounts, error) {
	c, err := s.q.CountAccounts(ctx)
	if err != nil {
		return PeopleCounts{}, fmt.Errorf("count accounts: %w", err)
	}
	return PeopleCounts{c.Accounts, c.Indexed}, nil
}

// Hit is somebody who was found.
type Hit struct {
	ID     string `json:"id"`
	Handle string `json:"handle"`
	Name   string `json:"name"`
}

// Tried is the outcome of a search that an operator tried.
type Tried struct {
	Engine string  `json:"engine" doc:"That answered."`
	Took   float64 `json:"took_ms"`
	Hits   []Hit   `json:"hits"`
}

type tryInput struct {
	Body struct {
		Q string `json:"q" max:"200"`
	}
}

// Reindexing is a rebuild that was ordered.
type Reindexing struct {
	Job string `json:"job_id"`
}

// Reindex orders the job that builds the index of the search server anew, if
// none is waiting or under way already; its id is returned either way. Without
// a search server it fails with [ErrNoServer].
func (s *Service[U]) Reindex(ctx context.Context) (id jobs.ID, err error) {
	if s.server == nil {
		return id, ErrNoServer
	}
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		id, err = s.jobs.Enqueue(ctx, tx, rebuildJob{Name: usersIndex}, jobs.EnqueueOptions{Unique: usersIndex})
		return err
	})
	if err != nil {
		return id, fmt.Errorf("enqueue building the index: %w", err)
	}
	return id, nil
}

// RegisterDashboard adds the page of searches to the dashboard. show tells of an
// account what the page shows.
func (s *Service[U]) RegisterDashboard(d *dashboard.Desk, show func(U) Hit) {
	look := func(ctx context.Context) (Insight, error) {
		out, err := s.Insight(ctx)
		out.Checks = d.Checks("search")
		return out, err
	}
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "search", ID: "search", Summary: "Who answers searches, and how complete the indices are."},
		func(ctx context.Context, _ *struct{}) (Insight, error) { return look(ctx) })
	d.Topic("search", dashboardPeriod, func(ctx context.Context) (any, error) { return look(ctx) })
	dashboard.Handle(d, dashboard.Operation{
		Method: http.MethodPost, Path: "search/try", ID: "search_try", Acts: true,
		Summary: "Search as the operator. The text is kept nowhere.",
	}, func(ctx context.Context, in *tryInput) (Tried, error) {
		if engine.Clean(in.Body.Q) == "" {
			return Tried{}, httpapi.Invalid("q", "Write something to search for.")
		}
		out := Tried{Hits: []Hit{}}
		err := d.Act(ctx, dashboard.Deed{Action: "search.try", ObjectType: "search"}, func() error {
			viewer, _ := auth.From(ctx) // the command line is nobody: it sees what a guest would
			began := time.Now()
			found, by, err := s.users(ctx, viewer, in.Body.Q, DefaultLimit)
			if err != nil {
				return err
			}
			out.Engine, out.Took = by, float64(time.Since(began).Microseconds())/1000
			for _, u := range found {
				out.Hits = append(out.Hits, show(u))
			}
			return nil
		})
		return out, err
	})
	dashboard.Handle(d, dashboard.Operation{
		Method: http.MethodPost, Path: "search/reindex", ID: "search_reindex", Acts: true, Status: http.StatusAccepted,
		Summary: "Build the index of OpenSearch anew, in a job.", Errors: []int{409},
	}, func(ctx context.Context, _ *struct{}) (Reindexing, error) {
		var out Reindexing
		err := d.Act(ctx, dashboard.Deed{Action: "search.reindex", ObjectType: "search", ObjectID: usersIndex}, func() error {
			id, err := s.Reindex(ctx)
			out.Job = id.String()
			return err
		})
		if errors.Is(err, ErrNoServer) {
			return out, httpapi.Detail(http.StatusConflict, "Postgres keeps its table up to date by itself. To build it anew: selflink search reindex --engine postgres")
		}
		return out, err
	})
}
