package jobs

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"selflink/appliance/broker"
	"selflink/appliance/jobs/jobsdb"
)

const (
	// levels is how many priorities a queue tells apart.
	levels = 3

	// fetched is how many ids a queue holds in memory per level. An id that
	// lies here longer than ackWait comes a second time, which is harmless:
	// its claim finds nothing.
	fetched = 512
	ackWait = 30 * time.Second

	// maxUnacked is how many ids of a level may be on their way to claims.
	maxUnacked = 8 * fetched

	// claimMost is the most jobs of one claim.
	claimMost = 512

	// aheadTime is how much work may be claimed before a worker is free, so
	// that short jobs never wait for a round trip to Postgres. Long jobs are
	// claimed one by one, and so stay free for other nodes.
	aheadTime = 5 * time.Millisecond
)

// ticket is an id that may be claimed here. message is the stream's, or nil
// when the id was enqueued here while there was room.
type ticket struct {
	id      ID
	message jetstream.Msg
}

func (t ticket) ack() {
	if t.message != nil {
		// An ack that is lost brings the id again, whose claim finds nothing.
		_ = t.message.Ack()
	}
}

func (t ticket) nak() {
	if t.message != nil {
		_ = t.message.Nak()
	}
}

// queue fetches ids, claims their rows, and feeds its workers.
type queue struct {
	engine      *Engine
	name        string
	concurrency int

	consumers [levels]jetstream.Consumer
	ids       [levels]chan ticket
	ready     chan *Job
	freed     chan struct{} // something of inFlight has ended
	asked     chan []ticket // to be ended although the queue is paused
	resumed   chan struct{} // the pause is over

	inFlight  atomic.Int64 // claimed and not ended
	meanRun   atomic.Int64 // of recent runs, in nanoseconds
	running   atomic.Bool  // between Start and Stop
	paused    atomic.Bool  // nothing is claimed
	resumedAt atomic.Int64 // unix nanoseconds; 0: not paused since the process began
	lastFetch atomic.Int64 // unix nanoseconds
	lastClaim atomic.Int64
}

func newQueue(e *Engine, name string, concurrency int) *queue {
	q := &queue{
		engine: e, name: name, concurrency: concurrency,
		freed: make(chan struct{}, 1), asked: make(chan []ticket, 1), resumed: make(chan struct{}, 1),
	}
	q.meanRun.Store(int64(time.Second)) // unknown work is taken for long
	return q
}

// open makes the queue's consumers; those of the last run are found again.
func (q *queue) open(ctx context.Context, js jetstream.JetStream) error {
	for level := range levels {
		consumer, err := js.CreateOrUpdateConsumer(ctx, broker.JobsStream, jetstream.ConsumerConfig{
			Durable:       fmt.Sprintf("%s-%d", q.name, level),
			FilterSubject: broker.JobsSubject(q.name, level),
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       ackWait,
			MaxAckPending: maxUnacked,
		})
		if err != nil {
			return fmt.Errorf("make consumer: %w", err)
		}
		q.consumers[level] = consumer
		q.ids[level] = make(chan ticket, fetched)
	}
	q.ready = make(chan *Job, claimMost+q.concurrency)
	q.inFlight.Store(0)
	return nil
}

// run starts the queue's goroutines; ctx ends fetching and claiming.
func (q *queue) run(ctx context.Context, s *lifetime) {
	var fetchers sync.WaitGroup
	for level := range levels {
		fetchers.Add(1)
		s.feeders.Go(func() {
			defer fetchers.Done()
			q.fetch(ctx, level)
		})
	}
	q.running.Store(true)
	s.feeders.Go(func() {
		q.claimLoop(ctx, s)
		q.running.Store(false)
		fetchers.Wait()
		q.refuse()
	})
	for range q.concurrency {
		s.workers.Go(func() {
			for job := range q.ready {
				q.engine.execute(s, q, job)
				q.release(1)
			}
		})
	}
}

// close ends the workers after what is claimed but not begun is handed back.
// Nothing feeds the queue any more.
func (q *queue) close(s *lifetime) {
	var waiting []*Job
	for {
		select {
		case job := <-q.ready:
			waiting = append(waiting, job)
			continue
		default:
		}
		break
	}
	close(q.ready)
	q.engine.handBack(s, waiting, 0, false)
}

// refuse gives ids that were fetched but not claimed back to the stream.
func (q *queue) refuse() {
	for level := range levels {
		for {
			select {
			case t := <-q.ids[level]:
				t.nak()
				continue
			default:
			}
			break
		}
	}
}

// claimLoop turns ids into running jobs, as many at once as there is room for.
func (q *queue) claimLoop(ctx context.Context, s *lifetime) {
	tickets := make([]ticket, 0, claimMost)
	for q.rest(ctx, s) {
		room := q.room()
		if room <= 0 {
			select {
			case <-q.freed:
			case <-ctx.Done():
			}
			continue
		}
		tickets = q.collect(ctx, tickets[:0], min(room, claimMost))
		if len(tickets) == 0 {
			continue
		}
		if !q.rest(ctx, s) {
			for _, t := range tickets {
				t.nak()
			}
			return
		}
		q.claim(ctx, s, tickets)
	}
}

// room is how many more jobs may be claimed: the free workers, and what recent
// runs say will be done within aheadTime.
func (q *queue) room() int {
	mean := max(q.meanRun.Load(), int64(time.Microsecond))
	ahead := min(int64(aheadTime)/mean*int64(q.concurrency), claimMost)
	return int(int64(q.concurrency) + ahead - q.inFlight.Load())
}

func (q *queue) release(n int64) {
	q.inFlight.Add(-n)
	select {
	case q.freed <- struct{}{}:
	default:
	}
}

// collect waits for one id and takes what else lies there, urgent ones first.
func (q *queue) collect(ctx context.Context, into []ticket, most int) []ticket {
	for level := levels - 1; level >= 0; level-- {
		into = takeSome(q.ids[level], into, most)
	}
	if len(into) > 0 {
		return into
	}
	select {
	case m := <-q.ids[2]:
		into = append(into, m)
	case m := <-q.ids[1]:
		into = append(into, m)
	case m := <-q.ids[0]:
		into = append(into, m)
	case <-ctx.Done():
		return into
	}
	for level := levels - 1; level >= 0; level-- {
		into = takeSome(q.ids[level], into, most)
	}
	return into
}

func takeSome(from chan ticket, into []ticket, most int) []ticket {
	for len(into) < most {
		select {
		case m := <-from:
			into = append(into, m)
		default:
			return into
		}
	}
	return into
}

// claim takes the rows behind tickets. Only the row decides: an id whose job
// runs, ended or never was finds nothing. Then the messages have served.
func (q *queue) claim(ctx context.Context, s *lifetime, tickets []ticket) {
	e := q.engine
	ids := make([]uuid.UUID, len(tickets))
	for i, t := range tickets {
		ids[i] = t.id
	}
	var rows []jobsdb.ClaimRow
	unsure := false // an earlier try may have claimed, and its answer got lost
	err := e.insist(ctx, "claim jobs", func(ctx context.Context) (err error) {
		if unsure {
			if rows, err = e.recall(ctx, s, ids); err != nil {
				return err
			}
		}
		unsure = true
		more, err := e.sql.Claim(ctx, jobsdb.ClaimParams{Instance: &s.instance, Node: e.host, Ids: ids})
		rows = append(rows, more...)
		return err
	})
	if err != nil {
		for _, t := range tickets {
			t.nak()
		}
		return
	}
	q.lastClaim.Store(time.Now().UnixNano())
	q.inFlight.Add(int64(len(rows)))
	claimed := make([]*Job, len(rows))
	for i, row := range rows {
		claimed[i] = &Job{
			ID: row.ID, Kind: row.Kind, Attempt: int(row.Attempt),
			engine: e, life: s, run: row.Run, args: row.Args, kind: e.kinds[row.Kind],
			crashes: int(row.Crashes), cancelled: row.CancelRequested, runAt: row.RunAt,
		}
	}
	e.hold(claimed)
	for _, job := range claimed {
		q.ready <- job
	}
	for _, t := range tickets {
		t.ack()
	}
}

// offer passes an id straight to the queue's own workers when one is free,
// which saves an idle job the way through the stream. It reports whether it
// did. If this process dies before the claim, the row still waits and the
// sweeper finds it, as with any lost id.
func (q *queue) offer(id ID, level int) bool {
	if !q.running.Load() || q.paused.Load() || q.inFlight.Load() >= int64(q.concurrency) {
		return false
	}
	select {
	case q.ids[level] <- ticket{id: id}:
		return true
	default:
		return false
	}
}
