package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"selflink/appliance/database"
	"selflink/appliance/jobs/jobsdb"
	"selflink/appliance/telemetry"
)

var _ Enqueuer = (*Engine)(nil)

// uniqueTries bounds the race between an insert that meets a rival and the
// rival's end.
const uniqueTries = 5

// requestMost is how much of a request's id is kept, in bytes.
const requestMost = 200

// dispatch is a job's id on its way to a queue.
type dispatch struct {
	id    ID
	queue string
	level int
	run   int32 // claims so far; with the id it names this dispatch in the stream
}

// NewID makes an id, for a caller that must know it before it enqueues.
// Ids grow with time.
func NewID() (ID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return ID{}, fmt.Errorf("jobs: make an id: %w", err)
	}
	return id, nil
}

// Enqueue implements [Enqueuer]. The kind needs a handler here, because the
// handler's policy names queue and priority.
func (e *Engine) Enqueue(ctx context.Context, tx database.Tx, args Args, opts EnqueueOptions) (ID, error) {
	k, err := e.kind(args)
	if err != nil {
		return ID{}, err
	}
	encoded, err := json.Marshal(args)
	if err != nil {
		return ID{}, fmt.Errorf("jobs: encode %s: %w", args.Kind(), err)
	}
	id := opts.ID
	if id == (ID{}) {
		if id, err = NewID(); err != nil {
			return ID{}, err
		}
	}
	params := jobsdb.InsertParams{
		ID: id, Kind: args.Kind(), Queue: k.policy.Queue, State: string(Queued), Priority: int16(k.policy.level()),
		Args: encoded, RetainSeconds: k.policy.Retain.Seconds(), RequestID: causeOf(ctx),
	}
	if opts.RunAt.After(time.Now()) {
		params.State, params.RunAt = string(Scheduled), &opts.RunAt
	}
	if opts.Unique != "" {
		params.UniqueKey = &opts.Unique
	}
	sql := jobsdb.New(tx)
	for range uniqueTries {
		added, err := sql.Insert(ctx, params)
		if err != nil {
			return ID{}, fmt.Errorf("jobs: store %s: %w", args.Kind(), err)
		}
		if added == 1 {
			e.afterCommit(tx, params)
			return id, nil
		}
		rival, err := sql.FindUnique(ctx, jobsdb.FindUniqueParams{Kind: params.Kind, UniqueKey: opts.Unique})
		if err == nil {
			return rival, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return ID{}, fmt.Errorf("jobs: find the unfinished %s: %w", args.Kind(), err)
		}
	}
	return ID{}, fmt.Errorf("jobs: %s with its unique key keeps ending while it is added", args.Kind())
}

// causeOf is the id of the request that ctx belongs to; nil: none.
func causeOf(ctx context.Context) *string {
	return optional(short(telemetry.RequestID(ctx), requestMost))
}

func (e *Engine) afterCommit(tx database.Tx, p jobsdb.InsertParams) {
	if p.State == string(Scheduled) {
		tx.AfterCommit(e.wakeDue)
		return
	}
	tx.AfterCommit(func() {
		e.send([]dispatch{{id: p.ID, queue: p.Queue, level: int(p.Priority)}})
	})
}

// EnqueueMany stores many jobs of one kind in one statement. None has a unique
// key or a time.
func (e *Engine) EnqueueMany(ctx context.Context, tx database.Tx, args []Args) ([]ID, error) {
	if len(args) == 0 {
		return nil, nil
	}
	k, err := e.kind(args[0])
	if err != nil {
		return nil, err
	}
	params := jobsdb.InsertManyParams{
		Kind: args[0].Kind(), Queue: k.policy.Queue, Priority: int16(k.policy.level()), RetainSeconds: k.policy.Retain.Seconds(),
		RequestID: causeOf(ctx), Ids: make([]uuid.UUID, len(args)), Args: make([]json.RawMessage, len(args)),
	}
	sends := make([]dispatch, len(args))
	for i, a := range args {
		if a.Kind() != params.Kind {
			return nil, fmt.Errorf("jobs: %s among jobs of %s", a.Kind(), params.Kind)
		}
		if params.Args[i], err = json.Marshal(a); err != nil {
			return nil, fmt.Errorf("jobs: encode %s: %w", a.Kind(), err)
		}
		if params.Ids[i], err = NewID(); err != nil {
			return nil, err
		}
		sends[i] = dispatch{id: params.Ids[i], queue: params.Queue, level: int(params.Priority)}
	}
	if err := jobsdb.New(tx).InsertMany(ctx, params); err != nil {
		return nil, fmt.Errorf("jobs: store %d of %s: %w", len(args), params.Kind, err)
	}
	tx.AfterCommit(func() { e.send(sends) })
	return params.Ids, nil
}

func (e *Engine) kind(args Args) (*kind, error) {
	k, ok := e.kinds[args.Kind()]
	if !ok {
		return nil, fmt.Errorf("jobs: %s has no handler", args.Kind())
	}
	return k, nil
}

// send passes an id to a free worker here, or ids to the dispatcher. It never
// blocks a commit: when the dispatcher is behind, the sweeper brings them later.
func (e *Engine) send(ids []dispatch) {
	if e.broker == nil {
		return // the sweeper of a process that runs jobs brings them
	}
	if len(ids) == 1 {
		if q := e.queues[ids[0].queue]; q != nil && q.offer(ids[0].id, ids[0].level) {
			return
		}
	}
	select {
	case e.sends <- ids:
	default:
	}
}
