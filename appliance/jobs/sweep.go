package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"selflink/appliance/broker"
	"selflink/appliance/jobs/jobsdb"
)

const (
	// stallWait bounds how long the dispatcher waits for the stream's
	// answers when too many are open.
	stallWait = 5 * time.Second

	// dueMost is the longest time between two looks at scheduled jobs; a job
	// that another process schedules earlier than known here starts that late
	// at worst.
	dueMost = 5 * time.Second
)

// dispatchLoop sends ids to their queues. The stream's answers are not
// awaited: what is lost on the way is brought again by the sweeper.
func (e *Engine) dispatchLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			// What was committed before the stop still goes out, for others.
			for {
				select {
				case ids := <-e.sends:
					e.publish(ids)
					continue
				default:
				}
				return
			}
		case ids := <-e.sends:
			e.publish(ids)
		}
	}
}

func (e *Engine) publish(ids []dispatch) {
	js, err := e.broker.JetStream()
	if err != nil {
		return
	}
	for _, d := range ids {
		text, err := d.id.MarshalText()
		if err != nil {
			continue
		}
		if _, err := js.PublishAsync(broker.JobsSubject(d.queue, d.level), text, jetstream.WithStallWait(stallWait)); err != nil {
			e.log.Warn("dispatch a job; the sweeper will", "queue", d.queue, "error", err)
			return
		}
	}
}

// wakeDue makes the due loop look again: something may be earlier than known.
func (e *Engine) wakeDue() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// dueLoop queues scheduled and retrying jobs when their time comes.
func (e *Engine) dueLoop(ctx context.Context) {
	for ctx.Err() == nil {
		wait := dueMost
		rows, err := e.sql.Due(ctx, page)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				e.log.Warn("look for due jobs", "error", err)
				wait = time.Second
			}
		case len(rows) == page:
			wait = 0
		default:
			seconds, err := e.sql.NextDue(ctx)
			if err == nil {
				wait = min(wait, max(time.Millisecond, time.Duration(seconds*float64(time.Second))))
			} else if !errors.Is(err, pgx.ErrNoRows) && ctx.Err() == nil {
				e.log.Warn("look for the next due job", "error", err)
			}
		}
		sends := make([]dispatch, len(rows))
		for i, row := range rows {
			sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority)}
		}
		if len(sends) > 0 {
			e.send(sends)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// sweepLoop brings ids that a crash, a full stream or a lost directory kept
// from their queue.
func (e *Engine) sweepLoop(ctx context.Context) {
	// First everything that waits: the stream may be new, or hold ids that a
	// dead process fetched and will not claim.
	for _, q := range e.queues {
		e.sweepQueue(ctx, q, 0)
	}
	ticker := time.NewTicker(grace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, q := range e.queues {
			if e.drained(ctx, q) {
				e.sweepQueue(ctx, q, grace)
			}
		}
	}
}

// drained says that the stream holds no id of the queue: whatever still waits
// will not come by itself.
func (e *Engine) drained(ctx context.Context, q *queue) bool {
	for _, consumer := range q.consumers {
		info, err := consumer.Info(ctx)
		if err != nil || info.NumPending > 0 || info.NumAckPending > 0 {
			return false
		}
	}
	return true
}

func (e *Engine) sweepQueue(ctx context.Context, q *queue, age time.Duration) {
	var after uuid.UUID
	for ctx.Err() == nil {
		rows, err := e.sql.Waiting(ctx, jobsdb.WaitingParams{Queue: q.name, After: after, GraceSeconds: age.Seconds(), Most: page})
		if err != nil {
			if ctx.Err() == nil {
				e.log.Warn("look for waiting jobs", "queue", q.name, "error", err)
			}
			return
		}
		sends := make([]dispatch, len(rows))
		for i, row := range rows {
			sends[i] = dispatch{id: row.ID, queue: q.name, level: int(row.Priority)}
			after = row.ID
		}
		e.publish(sends)
		if len(rows) < page {
			return
		}
	}
}

// beatLoop says that this process lives, passes on cancellations, and takes
// over from processes that are silent.
func (e *Engine) beatLoop(ctx context.Context) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	alive := time.Now() // since when every beat was written
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := e.beatOnce(ctx); err != nil {
			if ctx.Err() == nil {
				e.log.Warn("heartbeat", "error", err)
			}
			alive = time.Now()
			continue
		}
		// Who could not speak himself must not call others silent: after an
		// outage of the database everybody's last beat is old.
		if time.Since(alive) < silence {
			continue
		}
		dead, err := e.sql.DeadInstances(ctx, jobsdb.DeadInstancesParams{Self: e.instance, SilenceSeconds: silence.Seconds()})
		if err == nil && len(dead) > 0 {
			err = e.takeOver(ctx, dead, false)
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("look for dead processes", "error", err)
		}
	}
}

func (e *Engine) beatOnce(ctx context.Context) error {
	if err := e.beat(ctx); err != nil {
		return err
	}
	ids, err := e.sql.CancelRequested(ctx, &e.instance)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e.interrupt(id)
	}
	return nil
}

// takeOver queues what dead processes were running; with sole, what any other
// process was.
func (e *Engine) takeOver(ctx context.Context, dead []uuid.UUID, sole bool) error {
	for {
		rows, err := e.sql.Orphans(ctx, jobsdb.OrphansParams{Self: &e.instance, Sole: sole, Dead: dead, Most: page})
		if err != nil {
			return err
		}
		sends := make([]dispatch, len(rows))
		for i, row := range rows {
			sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority)}
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
