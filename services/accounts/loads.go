package accounts

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/gather"
	"selflink/services/accounts/accountsdb"
)

// Callers that the caches do not hold are looked up together when many come at
// once: after a restart, or when a crowd arrives in the same instant. One lane
// is enough for that, and a second would wake another connection, whose plans
// are cold.
const (
	loadLanes   = 1
	loadMost    = 100
	loadTimeout = 10 * time.Second
)

// loads fill the caches. Who is not found is the zero value.
type loads struct {
	accounts *gather.Group[int64, account]
	sessions *gather.Group[uuid.UUID, session]
}

func newLoads(q *accountsdb.Queries) (l loads, err error) {
	o := gather.Options{Lanes: loadLanes, Most: loadMost, Timeout: loadTimeout}
	l.accounts, err = gather.New(o, func(ctx context.Context, ids []int64) ([]account, error) {
		rows, err := q.Accounts(ctx, ids)
		if err != nil {
			return nil, fmt.Errorf("load accounts: %w", err)
		}
		found := make(map[int64]account, len(rows))
		for i := range rows {
			found[rows[i].ID] = accountOf(&rows[i])
		}
		return inOrder(ids, found), nil
	})
	if err != nil {
		return l, err
	}
	l.sessions, err = gather.New(o, func(ctx context.Context, ids []uuid.UUID) ([]session, error) {
		rows, err := q.SessionStates(ctx, ids)
		if err != nil {
			return nil, fmt.Errorf("load sessions: %w", err)
		}
		found := make(map[uuid.UUID]session, len(rows))
		for _, r := range rows {
			found[r.ID] = session{user: r.UserID, live: r.Live, dashboard: r.Dashboard, until: r.ExpiresAt.UTC()}
		}
		return inOrder(ids, found), nil
	})
	return l, err
}

// inOrder gives what was found of each id.
func inOrder[K comparable, V any](ids []K, found map[K]V) []V {
	out := make([]V, len(ids))
	for i, id := range ids {
		out[i] = found[id]
	}
	return out
}
