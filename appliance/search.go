package appliance

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/services/accounts"
	"selflink/services/search"
)

// newSearch adds to deps what follows from the settings and the other parts,
// and registers the jobs.
func newSearch(cfg *config.Config, db *database.Server, people *accounts.Service, engine *jobs.Engine, deps search.Deps[accounts.User]) (*search.Service[accounts.User], error) {
	deps.DB, deps.Direct, deps.Jobs = db.Pool(), db.Direct(), engine
	deps.People, deps.ID = people, func(u accounts.User) int64 { return u.ID }
	if cfg.OpenSearch {
		deps.Server = &search.Server{
			Address:  cfg.OpenSearchScheme + "://" + net.JoinHostPort(cfg.OpenSearchHost, strconv.Itoa(cfg.OpenSearchPort)),
			Username: cfg.OpenSearchUser, Password: cfg.OpenSearchPassword.Reveal(),
		}
		if cfg.OpenSearchCA != "" {
			ca, err := os.ReadFile(cfg.OpenSearchCA)
			if err != nil {
				return nil, fmt.Errorf("OPENSEARCH_CA_FILE: %w", err)
			}
			deps.Server.CA = ca
		}
	}
	s, err := search.New(deps)
	if err != nil {
		return nil, err
	}
	return s, s.HandleJobs(engine)
}

// reindex makes the index of people follow an account, which accounts tells of.
func (a *Appliance) reindex(ctx context.Context, tx database.Tx, id int64) error {
	return a.search.Changed(ctx, tx, id)
}

func (l *Ledger) reindex(ctx context.Context, tx database.Tx, id int64) error {
	return l.search.Changed(ctx, tx, id)
}

// Search looks after the indices of people.
func (l *Ledger) Search() *search.Service[accounts.User] { return l.search }

// both is what happens with a new account: first one thing, then the other, in
// its transaction.
func both(first, second func(ctx context.Context, tx database.Tx, id int64) error) func(ctx context.Context, tx database.Tx, id int64) error {
	return func(ctx context.Context, tx database.Tx, id int64) error {
		if err := first(ctx, tx, id); err != nil {
			return err
		}
		return second(ctx, tx, id)
	}
}

// hit is what the dashboard shows of somebody who was found.
func hit(u accounts.User) search.Hit {
	return search.Hit{ID: strconv.FormatInt(u.ID, 10), Handle: u.Handle, Name: u.Name}
}
