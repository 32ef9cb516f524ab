package jobs

import (
	"context"

	"github.com/google/uuid"

	"selflink/appliance/jobs/jobsdb"
)

// recall finds what this process has claimed of ids without knowing it.
func (e *Engine) recall(ctx context.Context, s *lifetime, ids []uuid.UUID) ([]jobsdb.ClaimRow, error) {
	found, err := e.sql.Claimed(ctx, jobsdb.ClaimedParams{Instance: &s.instance, Ids: ids})
	if err != nil {
		return nil, err
	}
	rows := make([]jobsdb.ClaimRow, 0, len(found))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, row := range found {
		if e.held[row.ID] == nil {
			rows = append(rows, jobsdb.ClaimRow(row))
		}
	}
	return rows, nil
}

// hold notes what this process has claimed; drop forgets it once its end is
// written. The heartbeat compares the notes with the rows.
func (e *Engine) hold(claimed []*Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, job := range claimed {
		e.held[job.ID] = job
	}
}

func (e *Engine) drop(ended ...*Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, job := range ended {
		if e.held[job.ID] == job {
			delete(e.held, job.ID)
		}
	}
}
