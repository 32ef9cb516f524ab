package jobs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// finishedMost is how many finished jobs are looked at to tell how many finish
// in a minute.
const finishedMost = 5000

// QueueStatus is how a queue is doing on all nodes together.
type QueueStatus struct {
	Name        string     `json:"name"`
	Concurrency int        `json:"concurrency"` // runs at once on one node; 0: the queue has no workers in the settings
	Paused      bool       `json:"paused"`
	PausedBy    *string    `json:"paused_by"`
	PausedAt    *time.Time `json:"paused_at"`
	Waiting     int64      `json:"waiting"`
	Running     int64      `json:"running"`
	Scheduled   int64      `json:"scheduled"`
	Retrying    int64      `json:"retrying"`
	Dead        int64      `json:"dead"`
	// OldestSeconds is how long the job at the head of the queue has been due;
	// nil: none waits.
	OldestSeconds   *float64 `json:"oldest_seconds"`
	DonePerMinute   float64  `json:"done_per_minute"`   // that succeeded
	FailedPerMinute float64  `json:"failed_per_minute"` // that failed for good
}

// Overview is how the jobs are doing.
type Overview struct {
	Queues []QueueStatus   `json:"queues"` // by name
	States map[State]int64 `json:"states"` // every state has its number
	Kinds  []string        `json:"kinds"`  // that have a handler here, or are seen among the counted jobs
}

// Overview counts the jobs of all nodes. It costs some milliseconds however
// long the history is: waiting jobs are counted up to 100 000 of a queue, each
// other state up to 100 000 in all, every one by an index; such a number means
// "that many or more". The rates are those of the last minute, or, when more than
// 5000 jobs finished in it, those of the time in which the last 5000 did.
func (e *Engine) Overview(ctx context.Context) (Overview, error) {
	o := overview{queues: map[string]*QueueStatus{}, states: map[State]int64{}, kinds: map[string]bool{}}
	for _, s := range States() {
		o.states[s] = 0
	}
	for name, q := range e.queues {
		o.queue(name).Concurrency = q.concurrency
	}
	for name := range e.kinds {
		o.kinds[name] = true
	}
	for what, read := range map[string]func(context.Context, *overview) error{
		"pauses": e.overviewPauses, "counts": e.overviewCounts, "rates": e.overviewRates,
	} {
		if err := read(ctx, &o); err != nil {
			return Overview{}, fmt.Errorf("jobs: read the %s of the queues: %w", what, err)
		}
	}
	if err := e.overviewAges(ctx, &o); err != nil { // of the queues found so far
		return Overview{}, fmt.Errorf("jobs: read the ages of the queues: %w", err)
	}
	out := Overview{Queues: make([]QueueStatus, 0, len(o.queues)), States: o.states, Kinds: slices.Sorted(maps.Keys(o.kinds))}
	for _, name := range slices.Sorted(maps.Keys(o.queues)) {
		out.Queues = append(out.Queues, *o.queues[name])
	}
	if out.Kinds == nil {
		out.Kinds = []string{}
	}
	return out, nil
}

// Queue is one queue of the overview, or [ErrUnknownQueue].
func (e *Engine) Queue(ctx context.Context, name string) (QueueStatus, error) {
	o, err := e.Overview(ctx)
	if err != nil {
		return QueueStatus{}, err
	}
	for _, q := range o.Queues {
		if q.Name == name {
			return q, nil
		}
	}
	return QueueStatus{}, fmt.Errorf("jobs: queue %s: %w", short(name, needleMost), ErrUnknownQueue)
}

// overview is an Overview in the making.
type overview struct {
	queues map[string]*QueueStatus
	states map[State]int64
	kinds  map[string]bool
}

func (o *overview) queue(name string) *QueueStatus {
	q := o.queues[name]
	if q == nil {
		q = &QueueStatus{Name: name}
		o.queues[name] = q
	}
	return q
}

func (e *Engine) overviewPauses(ctx context.Context, o *overview) error {
	rows, err := e.sql.Pauses(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		q, at := o.queue(row.Queue), row.PausedAt.UTC()
		q.Paused, q.PausedBy, q.PausedAt = true, &row.PausedBy, &at
	}
	return nil
}

func (e *Engine) overviewCounts(ctx context.Context, o *overview) error {
	waiting, err := e.sql.CountWaiting(ctx, countMost)
	if err != nil {
		return err
	}
	for _, row := range waiting {
		o.queue(row.Queue).Waiting += row.Jobs
		o.states[Queued] += row.Jobs
		o.kinds[row.Kind] = true
	}
	others, err := e.sql.CountUnfinished(ctx, countMost)
	if err != nil {
		return err
	}
	for _, row := range others {
		q := o.queue(row.Queue)
		switch State(row.State) {
		case Running:
			q.Running += row.Jobs
		case Scheduled:
			q.Scheduled += row.Jobs
		case Retrying:
			q.Retrying += row.Jobs
		case Dead:
			q.Dead += row.Jobs
		}
		o.states[State(row.State)] += row.Jobs
		o.kinds[row.Kind] = true
	}
	unlucky := o.states[Dead] + o.states[Cancelled]
	finished, err := e.sql.CountFinished(ctx, int32(countMost+unlucky))
	o.states[Succeeded] = max(0, finished-unlucky)
	return err
}

func (e *Engine) overviewRates(ctx context.Context, o *overview) error {
	rows, err := e.sql.RecentlyFinished(ctx, finishedMost)
	if err != nil {
		return err
	}
	total, reach := int64(0), 0.0
	for _, row := range rows {
		total += row.Jobs
		reach = max(reach, row.Seconds)
	}
	perMinute := 1.0
	if total >= finishedMost {
		perMinute = 60 / max(reach, 0.001)
	}
	for _, row := range rows {
		rate := float64(row.Jobs) * perMinute
		switch State(row.State) {
		case Succeeded:
			o.queue(row.Queue).DonePerMinute += rate
		case Dead:
			o.queue(row.Queue).FailedPerMinute += rate
		}
		o.kinds[row.Kind] = true
	}
	return nil
}

func (e *Engine) overviewAges(ctx context.Context, o *overview) error {
	rows, err := e.sql.OldestWaiting(ctx, slices.Sorted(maps.Keys(o.queues)))
	if err != nil {
		return err
	}
	for _, row := range rows {
		age := max(0, row.Seconds)
		o.queue(row.Queue).OldestSeconds = &age
	}
	return nil
}
