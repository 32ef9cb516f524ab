package trace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"selflink/appliance/database"
	"selflink/appliance/trace/tracedb"
)

const (
	// gatherTime is how long the writer waits for company for a record.
	gatherTime = 100 * time.Millisecond

	// batchMost is how many records are written at once.
	batchMost = 256

	// retryPause is the pause after the database was away.
	retryPause = 2 * time.Second

	// writeTimeout bounds one writing.
	writeTimeout = 5 * time.Second

	// tellEvery is the least time between two lines about lost records.
	tellEvery = 10 * time.Second

	// trimMost is how many records one statement deletes.
	trimMost = 10_000

	// errorMost is how much of an error's text is kept, in bytes.
	errorMost = 2000

	// textMost bounds every other text of a record, in bytes.
	textMost = 128
)

// statement is one of a record's slowest statements.
type statement struct {
	Name  string    `json:"name"`
	At    time.Time `json:"at"`
	US    int64     `json:"us"`
	Count int       `json:"count"`
}

// Ended keeps the request if it failed or was slow: with a status from 500 on,
// with a failure, or from Options.Slow on. It never blocks, and costs nothing
// worth naming for any other request.
func (r *Recorder) Ended(q Request) {
	failed := q.Status >= 500 || q.Failure != nil
	slow := !q.Lasting && q.Took >= r.opts.Slow
	if !failed && !slow || !r.admit() {
		return
	}
	row := r.row(q)
	row.Failed, row.Slow = failed, slow
	r.mu.Lock()
	if len(r.queue) >= r.opts.Queue {
		r.queue = r.queue[1:]
		r.lost.full++
	}
	r.queue = append(r.queue, row)
	r.mu.Unlock()
	r.poke()
}

// admit counts a record and tells whether it is one of the first of its second.
func (r *Recorder) admit() bool {
	second := r.opts.Now().Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	if second != r.second {
		r.second, r.made = second, 0
	}
	if r.made++; r.made <= r.opts.PerSecond {
		return true
	}
	r.lost.rate++
	return false
}

func (r *Recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Recorder) row(q Request) tracedb.InsertParams {
	row := tracedb.InsertParams{
		RequestID: storable(q.ID, textMost), At: q.At.UTC(), Method: storable(q.Method, textMost), Route: storable(q.Route, 4*textMost),
		Status: int16(min(max(q.Status, 0), 999)), TookUs: q.Took.Microseconds(), //nolint:gosec // bounded
		Statements: json.RawMessage("[]"), Node: storable(r.opts.Node, 2*textMost),
	}
	if q.User != 0 {
		row.UserID = &q.User
	}
	if q.Client.IsValid() {
		row.ClientIp = q.Client.WithZone("").String()
	}
	if q.Failure != nil {
		row.Error = storable(r.opts.Redact(q.Failure.Error()), errorMost)
	}
	if q.Tally == nil {
		return row
	}
	sum := q.Tally.Sum()
	row.SqlUs, row.SqlCount = sum.Took.Microseconds(), int32(min(sum.Count, 1<<30)) //nolint:gosec // bounded
	list := make([]statement, len(sum.Slowest))
	for i, s := range sum.Slowest {
		list[i] = statement{Name: s.Name, At: s.First.UTC().Truncate(time.Microsecond), US: s.Took.Microseconds(), Count: s.Count}
	}
	if b, err := json.Marshal(list); err == nil {
		row.Statements = b
	}
	return row
}

// storable bounds a text and removes what Postgres does not take.
func storable(text string, most int) string {
	if len(text) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// Start begins to write. A second call does nothing.
func (r *Recorder) Start(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil || r.ended {
		return nil
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	r.done = make(chan struct{})
	go r.run(ctx, r.done)
	return nil
}

// Stop writes what is left, as far as that works before ctx ends. A second
// call, or one before Start, does nothing.
func (r *Recorder) Stop(ctx context.Context) error {
	r.mu.Lock()
	stop, done, ended := r.stop, r.done, r.ended
	r.ended = true
	r.mu.Unlock()
	if stop == nil || ended {
		return nil
	}
	stop()
	<-done // it waits for nothing but ctx
	if err := r.drain(ctx); err != nil {
		r.log.Warn("the last records of requests are lost", "error", err, "records", r.waiting())
	}
	r.tell(true)
	return nil
}

func (r *Recorder) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue)
}

func (r *Recorder) run(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	timer := time.NewTimer(tellEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C: // what was lost last is still to be told
		case <-r.wake:
			pause := gatherTime
			if !sleep(ctx, pause) {
				return
			}
			if err := r.drain(ctx); err != nil && ctx.Err() == nil {
				r.log.Debug("records of requests cannot be written now", "error", err)
				if !sleep(ctx, retryPause) {
					return
				}
				r.poke()
			}
		}
		r.tell(false)
		timer.Reset(tellEvery)
	}
}

// sleep waits and reports whether it was not cut short.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// drain writes until nothing waits. What could not be written because the
// database was away waits on; what it refuses is lost, or it would hold up all
// others for ever.
func (r *Recorder) drain(ctx context.Context) error {
	for {
		r.mu.Lock()
		n := min(len(r.queue), batchMost)
		batch := r.queue[:n:n]
		r.queue = r.queue[n:]
		r.mu.Unlock()
		if n == 0 {
			return nil
		}
		err := r.insert(ctx, batch)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, database.ErrBusy), errors.Is(err, database.ErrUnavailable):
			r.giveBack(batch)
			return err
		}
		r.log.Warn("records of requests were refused", "error", err, "records", n)
		r.mu.Lock()
		r.lost.refused += n
		r.mu.Unlock()
	}
}

func (r *Recorder) insert(ctx context.Context, batch []tracedb.InsertParams) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if _, err := r.sql.Insert(ctx, batch); err != nil {
		return fmt.Errorf("write records of requests: %w", err)
	}
	return nil
}

// giveBack puts a batch before what came meanwhile.
func (r *Recorder) giveBack(batch []tracedb.InsertParams) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(batch, r.queue...) // batch has no spare room: it is a copy
	if over := len(all) - r.opts.Queue; over > 0 {
		all = all[over:]
		r.lost.full += over
	}
	r.queue = all
}

// tell says once in a while how many records there are not.
func (r *Recorder) tell(last bool) {
	now := r.opts.Now()
	r.mu.Lock()
	n := r.lost
	if n == (lost{}) || !last && now.Sub(r.told) < tellEvery {
		r.mu.Unlock()
		return
	}
	r.lost, r.told = lost{}, now
	r.mu.Unlock()
	r.log.Warn("more requests failed or were slow than are recorded",
		"over_the_rate", n.rate, "queue_full", n.full, "refused", n.refused, "per_second", r.opts.PerSecond)
}

// Trim deletes the records older than [Retention] and returns how many.
func (r *Recorder) Trim(ctx context.Context) (int64, error) {
	before := r.opts.Now().Add(-Retention)
	var all int64
	for {
		n, err := r.sql.Trim(ctx, tracedb.TrimParams{Before: before, Count: trimMost})
		all += n
		if err != nil {
			return all, fmt.Errorf("trace: trim the records of requests: %w", err)
		}
		if n < trimMost {
			return all, nil
		}
	}
}
