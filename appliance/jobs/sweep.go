package jobs

import (
	"context"
	"errors"
	"strconv"
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

	// sweepAnyway is how often, and from which age on, the jobs that wait
	// longest are sent again while their queue is busy.
	sweepAnyway = 30 * time.Second
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
					e.publish(ids, true)
					continue
				default:
				}
				return
			}
		case ids := <-e.sends:
			e.publish(ids, true)
		}
	}
}

// publish sends ids to the stream, each under a name of its own for the state
// it is in: a repetition within the stream's window is dropped there. The
// sweeper's are unnamed, because they are meant as repetitions.
func (e *Engine) publish(ids []dispatch, named bool) {
	js, err := e.broker.JetStream()
	if err != nil {
		return
	}
	options := make([]jetstream.PublishOpt, 1, 2)
	options[0] = jetstream.WithStallWait(stallWait)
	for _, d := range ids {
		if q := e.queues[d.queue]; q != nil && q.paused.Load() {
			continue // it must not fill the stream that others need; the sweeper brings it later
		}
		text, err := d.id.MarshalText()
		if err != nil {
			continue
		}
		options = options[:1]
		if named {
			options = append(options, jetstream.WithMsgID(string(text)+"."+strconv.Itoa(int(d.run))))
		}
		if _, err := js.PublishAsync(broker.JobsSubject(d.queue, d.level), text, options...); err != nil {
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
		wait := time.Second
		err := e.look(ctx, func(ctx context.Context) (err error) {
			wait, err = e.queueDue(ctx)
			return err
		})
		if err != nil && ctx.Err() == nil {
			e.log.Warn("look for due jobs", "error", err)
			wait = time.Second
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

// queueDue queues what is due and returns how long to wait for the next.
func (e *Engine) queueDue(ctx context.Context) (time.Duration, error) {
	rows, err := e.sql.Due(ctx, page)
	if err != nil {
		return 0, err
	}
	sends := make([]dispatch, len(rows))
	for i, row := range rows {
		sends[i] = dispatch{id: row.ID, queue: row.Queue, level: int(row.Priority), run: row.Run}
	}
	if len(sends) > 0 {
		e.send(sends)
	}
	if len(rows) == page {
		return 0, nil
	}
	seconds, err := e.sql.NextDue(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return dueMost, nil
	}
	if err != nil {
		return 0, err
	}
	return min(dueMost, max(time.Millisecond, time.Duration(seconds*float64(time.Second)))), nil
}

// sweepLoop brings ids that a crash, a full stream or a lost directory kept
// from their queue.
func (e *Engine) sweepLoop(ctx context.Context) {
	// First everything that waits: the stream may be new, or hold ids that a
	// dead process fetched and will not claim.
	for _, q := range e.queues {
		e.sweepQueue(ctx, q, 0, true)
	}
	ticker := time.NewTicker(grace)
	defer ticker.Stop()
	oldest := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// A queue that is never empty would hide a lost id for ever. What
		// has waited longest is the next in turn, or was lost: sending it
		// again costs little and is harmless.
		anyway := time.Since(oldest) > sweepAnyway
		if anyway {
			oldest = time.Now()
		}
		for _, q := range e.queues {
			switch {
			case q.paused.Load():
				e.endAsked(ctx, q)
			case e.drained(ctx, q):
				e.sweepQueue(ctx, q, grace, true)
			case anyway:
				e.sweepQueue(ctx, q, sweepAnyway, false)
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

// sweepQueue sends what has waited for age, all of it or the oldest page.
func (e *Engine) sweepQueue(ctx context.Context, q *queue, age time.Duration, all bool) {
	var after uuid.UUID
	for ctx.Err() == nil {
		var rows []jobsdb.WaitingRow
		err := e.look(ctx, func(ctx context.Context) (err error) {
			rows, err = e.sql.Waiting(ctx, jobsdb.WaitingParams{Queue: q.name, After: after, GraceSeconds: age.Seconds(), Most: page})
			return err
		})
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
		e.publish(sends, false)
		if len(rows) < page || !all {
			return
		}
	}
}
