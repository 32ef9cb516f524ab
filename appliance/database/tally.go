package database

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// tallyKept is how many different statements a [Tally] remembers: those that
// took longest.
const tallyKept = 4

// TallyKey is the key under which a context carries its *[Tally]. It is
// exported for contexts that look their values up by themselves; all others
// come from [WithTally].
type TallyKey struct{}

// Tally adds up what the statements run under one context have taken. The zero
// value is ready, and safe for concurrent use. It never sees an argument.
type Tally struct {
	mu    sync.Mutex
	count int
	took  time.Duration
	kept  [tallyKept]tallied
}

// tallied is one statement with its repetitions.
type tallied struct {
	sql   string
	first time.Time
	took  time.Duration
	count int
}

// Statement is one statement of a [TallySum].
type Statement struct {
	// Name is that of the query as its file says, or the first word of a
	// statement without one ("begin").
	Name  string
	First time.Time     // when it ran first
	Took  time.Duration // all times together
	Count int
}

// TallySum is what a [Tally] has come to.
type TallySum struct {
	Count   int           // statements
	Took    time.Duration // from the sending of each to its last row, as the process saw it
	Slowest []Statement   // some, the longest first; of many different ones others may be missing
}

// WithTally returns a context whose statements are added to t.
func WithTally(ctx context.Context, t *Tally) context.Context {
	return context.WithValue(ctx, TallyKey{}, t)
}

// Sum gives what has been added so far.
func (t *Tally) Sum() TallySum {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := TallySum{Count: t.count, Took: t.took}
	for _, k := range t.kept {
		if k.count == 0 {
			continue
		}
		s := Statement{Name: statementName(k.sql), First: k.first, Took: k.took, Count: k.count}
		at := len(sum.Slowest)
		for at > 0 && sum.Slowest[at-1].Took < s.Took {
			at--
		}
		sum.Slowest = append(sum.Slowest[:at], append([]Statement{s}, sum.Slowest[at:]...)...)
	}
	return sum
}

func (t *Tally) add(sql string, start time.Time, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	t.took += took
	least := 0
	for i := range t.kept {
		k := &t.kept[i]
		if k.count > 0 && k.sql == sql {
			k.count++
			k.took += took
			return
		}
		if k.took < t.kept[least].took {
			least = i
		}
	}
	if k := &t.kept[least]; k.count == 0 || took > k.took {
		*k = tallied{sql: sql, first: start, took: took, count: 1}
	}
}

// statementName is the name that the queries' files give ("-- name: X :one"),
// or the first word. Nothing else of the text: it may have been put together.
func statementName(sql string) string {
	const longest = 64
	named := false
	if rest, ok := strings.CutPrefix(sql, "-- name: "); ok {
		sql, named = rest, true
	}
	sql = strings.TrimLeft(sql, " \t\r\n(")
	end := strings.IndexFunc(sql, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && (!named || r < '0' || r > '9')
	})
	if end < 0 {
		end = len(sql)
	}
	switch {
	case end == 0:
		return "statement"
	case named:
		return sql[:min(end, longest)]
	}
	return strings.ToLower(sql[:min(end, longest)])
}

// tallier adds each statement to the tally of its context, if there is one.
type tallier struct{}

var (
	_ pgx.QueryTracer    = tallier{}
	_ pgx.BatchTracer    = tallier{}
	_ pgx.CopyFromTracer = tallier{}
)

// tallying is a statement under way: the context from its start to its end.
type tallying struct {
	context.Context
	tally *Tally
	sql   string
	start time.Time
}

func startTally(ctx context.Context, sql string) context.Context {
	t, ok := ctx.Value(TallyKey{}).(*Tally)
	if !ok {
		return ctx
	}
	return &tallying{Context: ctx, tally: t, sql: sql, start: time.Now()}
}

func endTally(ctx context.Context) {
	if r, ok := ctx.(*tallying); ok {
		r.tally.add(r.sql, r.start, time.Since(r.start))
	}
}

// TraceQueryStart implements [pgx.QueryTracer].
func (tallier) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return startTally(ctx, data.SQL)
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (tallier) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	endTally(ctx)
}

// TraceBatchStart implements [pgx.BatchTracer]. The queries are added one by
// one, each with the time of reading its answer.
func (tallier) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (tallier) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	t, ok := ctx.Value(TallyKey{}).(*Tally)
	if !ok {
		return
	}
	now := time.Now()
	start := data.ReadStartTime
	if start.IsZero() || start.After(now) {
		start = now
	}
	t.add(data.SQL, start, now.Sub(start))
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (tallier) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceCopyFromStart implements [pgx.CopyFromTracer].
func (tallier) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	return startTally(ctx, "copy")
}

// TraceCopyFromEnd implements [pgx.CopyFromTracer].
func (tallier) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromEndData) {
	endTally(ctx)
}
