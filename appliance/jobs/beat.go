package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/jobs/jobsdb"
)

const (
	// strayWait is how long a row may be claimed by this process without the
	// process knowing of it before it is handed back: longer than a statement
	// may take whose answer is still on its way.
	strayWait = callTimeout + 5*time.Second

	// missedMost is how many looks may not find a claim before its run is
	// interrupted: one may have been taken just before the end was noted.
	missedMost = 2
)

// beatLoop says that this process lives, compares its claims with the rows,
// and takes over from processes that are gone.
func (e *Engine) beatLoop(ctx context.Context, s *lifetime) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	alive := time.Now() // since when every beat was written
	strays := map[stray]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := e.look(ctx, func(ctx context.Context) error { return e.beatOnce(ctx, s, strays) }); err != nil {
			if ctx.Err() == nil {
				e.log.Warn("heartbeat", "error", err)
			}
			alive = time.Now()
			continue
		}
		// Who could not speak himself must not call others silent: after an
		// outage of the database everybody's last beat is old.
		silent := time.Since(alive) >= silence
		err := e.look(ctx, func(ctx context.Context) error { return e.takeOverDead(ctx, s, false, silent) })
		if err != nil && ctx.Err() == nil {
			e.log.Warn("look for dead processes", "error", err)
		}
	}
}

// stray is a claim in the ledger of which its process does not know: the
// answer to a statement was lost.
type stray struct {
	id  ID
	run int32
}

func (e *Engine) beatOnce(ctx context.Context, s *lifetime, strays map[stray]time.Time) error {
	if err := e.beat(ctx, s); err != nil {
		return err
	}
	e.mu.Lock()
	before := make([]*Job, 0, len(e.held))
	for _, job := range e.held {
		before = append(before, job)
	}
	e.mu.Unlock()
	rows, err := e.sql.Mine(ctx, &s.instance)
	if err != nil {
		return err
	}
	lost := e.compare(rows, before, strays)
	if len(lost) == 0 {
		return nil
	}
	params := jobsdb.HandBackParams{Instance: &s.instance}
	for _, l := range lost {
		params.Ids, params.Runs = append(params.Ids, l.id), append(params.Runs, l.run)
		delete(strays, l)
	}
	e.log.Warn("handing back jobs that were claimed without our knowing", "jobs", len(lost))
	return e.handBackRows(ctx, params)
}

// compare interrupts runs that are cancelled or whose claim is gone, and
// returns claims nobody here has known of for strayWait.
func (e *Engine) compare(rows []jobsdb.MineRow, before []*Job, strays map[stray]time.Time) (lost []stray) {
	now := time.Now()
	claimed := make(map[stray]bool, len(rows))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, row := range rows {
		key := stray{row.ID, row.Run}
		claimed[key] = true
		if job := e.held[row.ID]; job != nil && job.run == row.Run {
			job.missed = 0
			if row.CancelRequested && job.interrupt != nil {
				job.interrupt(ErrCancelled)
			}
			continue
		}
		if since, ok := strays[key]; !ok {
			strays[key] = now
		} else if now.Sub(since) > e.strayWait {
			lost = append(lost, key)
		}
	}
	for key := range strays {
		if job := e.held[key.id]; !claimed[key] || job != nil && job.run == key.run {
			delete(strays, key)
		}
	}
	for _, job := range before {
		if claimed[stray{job.ID, job.run}] || job.complete.Load() {
			continue
		}
		if job.missed++; job.missed >= missedMost && job.interrupt != nil {
			job.interrupt(ErrLost)
		}
	}
	return lost
}

// takeOverDead queues what processes were running that are gone: those of this
// machine at once, with silent also those that have not been heard, and with
// sole every other one.
func (e *Engine) takeOverDead(ctx context.Context, s *lifetime, sole, silent bool) error {
	others, err := e.sql.OtherInstances(ctx, jobsdb.OtherInstancesParams{Self: s.instance, SilenceSeconds: silence.Seconds()})
	if err != nil {
		return err
	}
	var dead []uuid.UUID
	for _, o := range others {
		gone := e.self.gone(process{place: o.Place, pid: int(o.Pid), born: o.Born})
		if sole || gone || silent && o.Silent {
			dead = append(dead, o.ID)
		}
	}
	if len(dead) == 0 && !sole {
		return nil
	}
	for {
		rows, err := e.sql.Orphans(ctx, jobsdb.OrphansParams{Self: &s.instance, Sole: sole, Dead: dead, Most: page})
		if err != nil {
			return err
		}
		sends := make([]dispatch, len(rows))
		for i, row := range rows {
			sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority), run: row.Run}
		}
		if len(rows) > 0 {
			e.log.Info("taking over jobs of processes that ended", "jobs", len(rows))
			e.send(sends)
		}
		if len(rows) < page {
			break
		}
	}
	return e.sql.ForgetInstances(ctx, dead)
}
