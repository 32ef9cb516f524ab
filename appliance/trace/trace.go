// Package trace remembers the requests that failed or were slow, for a day,
// and explains what happened to a request or a job: what it asked of the
// database, which jobs it led to, and what was logged about it.
//
// A request is never held up: its record goes into a bounded queue, from where
// one goroutine writes it to Postgres. While the database is away the queue
// loses its oldest records, and what was lost is counted and logged.
package trace

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace/tracedb"
)

const (
	// Retention is how long records are kept.
	Retention = 24 * time.Hour

	// DefaultSlow is the duration from which a request is slow by default.
	DefaultSlow = 500 * time.Millisecond

	// DefaultPerSecond is how many records a process makes in a second by
	// default: an outage makes every request fail, and the hundredth record of
	// it tells nothing new.
	DefaultPerSecond = 50

	// DefaultQueue is how many records wait for the database by default.
	DefaultQueue = 1024
)

// Errors that callers branch on.
var (
	// ErrUnknown means that nothing is known of an id, or that it is none.
	ErrUnknown = errors.New("trace: nothing is known of that id")
	// ErrQuery means that a [Query] asks for something that there is not.
	ErrQuery = errors.New("trace: not a query for requests")
)

// Request is a request that has ended, as the HTTP server saw it.
type Request struct {
	ID      string
	At      time.Time // when it came
	Method  string
	Route   string // the pattern, never the path
	Status  int
	Took    time.Duration
	Lasting bool  // an event stream or a socket: lasting is what it is for
	User    int64 // 0: nobody was signed in
	Client  netip.Addr
	Failure error           // why, if anybody said
	Tally   *database.Tally // of its statements; nil: not counted
}

// Jobs is what is asked of the job engine.
type Jobs interface {
	// ByRequest gives the jobs that a request has led to, some of them when
	// there are many.
	ByRequest(ctx context.Context, requestID string) ([]JobTrace, error)
	// ByID gives one job, or [ErrUnknown].
	ByID(ctx context.Context, id uuid.UUID) (JobTrace, error)
}

// JobTrace is what a job has gone through.
type JobTrace struct {
	ID         uuid.UUID
	Kind       string
	State      string
	RequestID  string // that led to it; empty: none is known
	CreatedAt  time.Time
	StartedAt  *time.Time // of the last attempt
	FinishedAt *time.Time
	Failures   []JobFailure
}

// JobFailure is one failed attempt.
type JobFailure struct {
	Attempt int
	At      time.Time // of its end
	Error   string
	Took    time.Duration
}

// Logs is what is asked of the log.
type Logs interface {
	Page(q telemetry.LineQuery) (telemetry.LinePage, error)
}

var _ Logs = (*telemetry.Tail)(nil)

// Options configure [New]. DB is required.
type Options struct {
	DB   database.Pool
	Node string // this process among others
	// Slow is the duration from which a request is slow (DefaultSlow).
	Slow time.Duration
	// PerSecond is how many records are made in one second at most
	// (DefaultPerSecond).
	PerSecond int
	// Queue is how many records wait for the database at most; then the oldest
	// are lost (DefaultQueue).
	Queue int
	// Redact masks secrets in the texts of errors (the log's patterns, without
	// any configured secret).
	Redact func(text string) string
	Jobs   Jobs         // without it nothing is known of jobs
	Logs   Logs         // without it nothing is known of the log
	Logger *slog.Logger // (discarded)
	Now    func() time.Time
}

// Recorder keeps the records and explains. It is safe for concurrent use.
type Recorder struct {
	opts Options
	log  *slog.Logger
	sql  *tracedb.Queries
	wake chan struct{}

	mu     sync.Mutex
	queue  []tracedb.InsertParams
	second int64 // in which made were made
	made   int
	lost   lost
	told   time.Time
	stop   context.CancelFunc
	done   chan struct{}
	ended  bool
}

// lost counts the records that there are not, by reason.
type lost struct{ rate, full, refused int }

// New makes a recorder; it takes records at once and writes them after Start.
func New(o Options) (*Recorder, error) {
	if o.DB == nil {
		return nil, errors.New("trace: Options.DB is required")
	}
	if o.Slow <= 0 {
		o.Slow = DefaultSlow
	}
	if o.PerSecond <= 0 {
		o.PerSecond = DefaultPerSecond
	}
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.Redact == nil {
		o.Redact = telemetry.TextMask(nil)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Recorder{
		opts: o, log: o.Logger.With("component", "trace"), sql: tracedb.New(o.DB), wake: make(chan struct{}, 1),
	}, nil
}
