package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/jobs/jobsdb"
)

const (
	// pauseSubject tells every node that some queue was paused or resumed.
	pauseSubject = "jobs.pauses"

	// pauseBeat is how often a process reads which queues are paused although
	// nobody told it: the news is best effort, and a command beside the server
	// tells nobody.
	pauseBeat = time.Second

	// whoMost is how much of the name of who paused is kept, in bytes.
	whoMost = 200

	// askedMost is how many cancelled jobs of a paused queue are ended at once.
	askedMost = 100
)

// ErrUnknownQueue means that there is no queue of that name.
var ErrUnknownQueue = errors.New("no such queue")

// PauseQueue lets the jobs of a queue wait on every node until [Engine.ResumeQueue];
// those that run go on to their end. It is stored and survives restarts; other
// nodes obey within about a second. by says who did it, for people. A paused
// queue stays as it is, with who paused it first. Jobs are still added, and can
// be cancelled. It returns [ErrUnknownQueue] for a queue without workers in the
// settings.
func (e *Engine) PauseQueue(ctx context.Context, name, by string) error {
	if e.queues[name] == nil {
		return fmt.Errorf("jobs: pause %s: %w", name, ErrUnknownQueue)
	}
	if err := e.sql.PauseQueue(ctx, jobsdb.PauseQueueParams{Queue: name, PausedBy: short(by, whoMost)}); err != nil {
		return fmt.Errorf("jobs: pause %s: %w", name, err)
	}
	e.log.Info("a queue was paused", "queue", name, "by", by)
	e.tellPauses(ctx)
	return nil
}

// ResumeQueue ends a pause. Resuming a queue that is not paused does nothing.
// It returns [ErrUnknownQueue] for a queue that is neither in the settings nor
// paused.
func (e *Engine) ResumeQueue(ctx context.Context, name string) error {
	n, err := e.sql.ResumeQueue(ctx, name)
	if err == nil && n == 0 && e.queues[name] == nil {
		err = ErrUnknownQueue
	}
	if err != nil {
		return fmt.Errorf("jobs: resume %s: %w", name, err)
	}
	e.log.Info("a queue was resumed", "queue", name)
	e.tellPauses(ctx)
	return nil
}

// tellPauses makes this process obey at once and tells the others, who read
// the rows anyway a moment later.
func (e *Engine) tellPauses(ctx context.Context) {
	if e.broker == nil {
		return
	}
	if err := e.readPauses(ctx); err != nil {
		e.log.Warn("read which queues are paused", "error", err)
	}
	if err := e.broker.Publish(pauseSubject, nil); err != nil {
		e.log.Debug("tell the other nodes of a pause", "error", err)
	}
}

func (e *Engine) onPause(string, []byte) {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// pauseLoop keeps up with what others pause and resume.
func (e *Engine) pauseLoop(ctx context.Context) {
	ticker := time.NewTicker(pauseBeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.news:
		case <-ticker.C:
		}
		if err := e.look(ctx, e.readPauses); err != nil && ctx.Err() == nil {
			e.log.Warn("read which queues are paused", "error", err)
		}
	}
}

// readPauses makes the queues here what the rows say.
func (e *Engine) readPauses(ctx context.Context) error {
	// One reader at a time: an older answer must not overwrite a newer one.
	e.pausing.Lock()
	defer e.pausing.Unlock()
	rows, err := e.sql.Pauses(ctx)
	if err != nil {
		return err
	}
	paused := make(map[string]bool, len(rows))
	for _, row := range rows {
		paused[row.Queue] = true
	}
	for name, q := range e.queues {
		if q.paused.Swap(paused[name]) && !paused[name] {
			q.resumedAt.Store(time.Now().UnixNano())
			select {
			case q.resumed <- struct{}{}:
			default:
			}
		}
	}
	return nil
}

// rest waits while the queue is paused and reports whether to go on; false
// means that ctx has ended. What a process without the handler has cancelled
// meanwhile still ends.
func (q *queue) rest(ctx context.Context, s *lifetime) bool {
	for ctx.Err() == nil {
		if !q.paused.Load() {
			return true
		}
		select {
		case <-q.resumed:
		case tickets := <-q.asked:
			if room := q.room(); room > 0 {
				q.claim(ctx, s, tickets[:min(room, len(tickets))]) // the sweeper brings the others again
			}
		case <-ctx.Done():
		}
	}
	return false
}

// endAsked passes the cancelled jobs of a paused queue on to be ended.
func (e *Engine) endAsked(ctx context.Context, q *queue) {
	err := e.look(ctx, func(ctx context.Context) error {
		ids, err := e.sql.AskedToEnd(ctx, jobsdb.AskedToEndParams{Queue: q.name, Most: askedMost})
		if err != nil || len(ids) == 0 {
			return err
		}
		tickets := make([]ticket, len(ids))
		for i, id := range ids {
			tickets[i] = ticket{id: id}
		}
		select {
		case q.asked <- tickets:
		default:
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		e.log.Warn("look for cancelled jobs", "queue", q.name, "error", err)
	}
}

// checkPaused names the paused queues and who paused them.
func (e *Engine) checkPaused(ctx context.Context) error {
	rows, err := e.sql.Pauses(ctx)
	if err != nil {
		return fmt.Errorf("jobs: read which queues are paused: %w", err)
	}
	var texts []error
	for _, row := range rows {
		texts = append(texts, fmt.Errorf("queue %s is paused by %s since %s", row.Queue, row.PausedBy, row.PausedAt.UTC().Format(time.RFC3339)))
	}
	return errors.Join(texts...)
}
