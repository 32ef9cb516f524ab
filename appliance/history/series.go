package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"selflink/appliance/history/historydb"
)

// ErrRange means that there are no [Series] over such a time.
var ErrRange = errors.New("history: the range is 1h, 24h or 7d")

// Places in a point and in a row's array; new ones are added at the end. The
// query Steps says how each is folded.
const (
	requestsPerSecond = iota
	errorsPerSecond
	p50
	p95
	p99
	sockets
	deliveriesPerSecond
	jobsPerSecond
	queueAge
	poolWait
	memoryBytes
	places
)

// point is all that is measured, of one stretch of time. What is not a number
// was not.
type point [places]float64

// curves names the places.
func curves() [places]Curve {
	return [places]Curve{
		requestsPerSecond:   {Key: "requests_per_second", Label: "Requests", Unit: "per_second"},
		errorsPerSecond:     {Key: "errors_per_second", Label: "Failed requests", Unit: "per_second"},
		p50:                 {Key: "p50_ms", Label: "Half of the answers within", Unit: "ms"},
		p95:                 {Key: "p95_ms", Label: "95 % of the answers within", Unit: "ms"},
		p99:                 {Key: "p99_ms", Label: "99 % of the answers within", Unit: "ms"},
		sockets:             {Key: "sockets", Label: "Open connections", Unit: "count"},
		deliveriesPerSecond: {Key: "deliveries_per_second", Label: "Deliveries", Unit: "per_second"},
		jobsPerSecond:       {Key: "jobs_per_second", Label: "Job runs", Unit: "per_second"},
		queueAge:            {Key: "queue_age_seconds", Label: "Oldest waiting job", Unit: "seconds"},
		poolWait:            {Key: "pool_wait_ms", Label: "Wait for a database connection", Unit: "ms"},
		memoryBytes:         {Key: "memory_bytes", Label: "Memory", Unit: "bytes"},
	}
}

// Series are curves over the same time: point i is of the step that begins at
// Start + i·StepSeconds.
type Series struct {
	Range       string    `json:"range"`
	StepSeconds int       `json:"step_seconds"`
	Start       time.Time `json:"start"`
	Series      []Curve   `json:"series"`
}

// Curve is one number over time.
type Curve struct {
	Key    string `json:"key"`
	Label  string `json:"label"`
	Unit   string `json:"unit"` // per_second, ms, seconds, bytes or count
	Points Points `json:"points"`
}

// Points are values; what is not a number was not measured.
type Points []float64

// MarshalJSON implements [json.Marshaler]; what was not measured is null.
func (p Points) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2+8*len(p))
	b = append(b, '[')
	for i, v := range p {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			b = append(b, "null"...)
			continue
		}
		const digits = 6
		b = strconv.AppendFloat(b, v, 'g', digits, 64)
	}
	return append(b, ']'), nil
}

// Series gives the curves over the last 1h, 24h or 7d; anything else is
// [ErrRange]. Several nodes are added up; of what people wait for, the worst
// counts, over the nodes and over the time of a step.
//
// The last hour is told in steps of 10 seconds from memory, and in minutes
// when other nodes are there. While the database is away, it is told as far as
// memory goes.
func (k *Keeper) Series(ctx context.Context, span string) (Series, error) {
	now := k.opts.Now().UTC()
	switch span {
	case "1h":
		return k.hour(ctx, now)
	case "24h":
		const step = 10 * time.Minute
		return k.stored(ctx, span, step, now.Truncate(step).Add(step), int(24*time.Hour/step))
	case "7d":
		const step = time.Hour
		return k.stored(ctx, span, step, now.Truncate(step).Add(step), int(7*24*time.Hour/step))
	}
	return Series{}, ErrRange
}

func blank(span string, step time.Duration, start time.Time, n int) Series {
	s := Series{Range: span, StepSeconds: int(step / time.Second), Start: start}
	for _, c := range curves() {
		c.Points = make(Points, n)
		for i := range c.Points {
			c.Points[i] = math.NaN()
		}
		s.Series = append(s.Series, c)
	}
	return s
}

// set sets point i of every curve; outside of the series it does nothing.
func (s *Series) set(i int, values []float64) {
	if i < 0 || i >= len(s.Series[0].Points) {
		return
	}
	for place, v := range values[:min(len(values), places)] {
		s.Series[place].Points[i] = v
	}
}

func (k *Keeper) steps(ctx context.Context, step time.Duration, start, until time.Time) ([]historydb.StepsRow, error) {
	rows, err := k.sql.Steps(ctx, historydb.StepsParams{StepSeconds: step.Seconds(), Start: start, Until: until, Node: k.opts.Node})
	if err != nil {
		return nil, fmt.Errorf("history: read the minutes: %w", err)
	}
	return rows, nil
}

// stored are series from the rows alone.
func (k *Keeper) stored(ctx context.Context, span string, step time.Duration, until time.Time, n int) (Series, error) {
	start := until.Add(-time.Duration(n) * step)
	s := blank(span, step, start, n)
	rows, err := k.steps(ctx, step, start, until)
	if err != nil {
		return Series{}, err
	}
	for _, row := range rows {
		s.set(int(row.Step.Sub(start)/step), row.Points)
	}
	return s, nil
}

// hour is the last hour. Where memory does not go back far enough, the minute's
// row stands in for its six points.
func (k *Keeper) hour(ctx context.Context, now time.Time) (Series, error) {
	const minutes = int(time.Hour / time.Minute)
	until := now.Truncate(time.Minute)
	from := until.Add(-time.Hour)
	rows, err := k.steps(ctx, time.Minute, from, until)
	if err != nil && ctx.Err() != nil {
		return Series{}, err
	}
	for _, row := range rows {
		if row.Others {
			s := blank("1h", time.Minute, from, minutes)
			for _, row := range rows {
				s.set(int(row.Step.Sub(from)/time.Minute), row.Points)
			}
			return s, nil
		}
	}
	end := now.Truncate(Interval)
	start := end.Add(-time.Hour)
	s := blank("1h", Interval, start, slots)
	for _, row := range rows {
		at := int(row.Step.Sub(start) / Interval)
		for i := range int(time.Minute / Interval) {
			s.set(at+i, row.Points)
		}
	}
	first := start.UnixNano() / int64(Interval)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, held := range k.ring {
		if held.number > 0 {
			s.set(int(held.number-first), held.point[:])
		}
	}
	return s, nil
}
