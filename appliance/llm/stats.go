package llm

import (
	"math"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// hourMinutes is how long the window of [Stats] is.
	hourMinutes = 60

	// keptFailures is how many failures are remembered, in maxFailure
	// characters each.
	keptFailures = 20
	maxFailure   = 300

	// Latencies are counted in steps of 12 % from a millisecond to five
	// minutes, which is closer than they repeat.
	latencySteps  = 112
	latencyFirst  = time.Millisecond
	latencyGrowth = 1.12

	// bytesPerToken is what models make of text on average.
	bytesPerToken = 4
)

// Stats are how generations went, kept in memory since the client was made.
// What callers broke off themselves is in none of it.
type Stats struct {
	Hour     Period // the last 60 minutes
	Total    Period // since the start; without latencies
	Failures []Failure
}

// Period sums up the generations of some time.
type Period struct {
	Answers   int64
	Failures  int64
	Fallbacks int64 // see [Client.NoteFallback]
	// Tokens are the provider's count; where it gives none, a guess of a token
	// for four bytes of text.
	TokensIn, TokensOut int64
	// Latencies of answers, 0 when there were none: of whole ones, and until
	// the first piece. They are exact to 6 %.
	P50, P95, FirstP50 time.Duration
}

// Failure is one generation that the model failed. Text carries no key, prompt
// or answer.
type Failure struct {
	At   time.Time
	Kind string // timeout, refused, down
	Text string
}

// About says which model is asked, and where.
type About struct {
	Provider string
	Model    string
	Endpoint string // host, and port where one is named; empty for the mock
}

// About tells what the options have come to.
func (c *Client) About() About { return c.about }

// Stats tells how generations went. Failures are the last 20, newest first.
func (c *Client) Stats() Stats { return c.tally.stats(time.Now()) }

// NoteFallback counts an answer that the model failed and that was given all
// the same: a built-in text, or by another model than the one asked for.
func (c *Client) NoteFallback() { c.tally.fallback(time.Now()) }

// OrGuess fills in the tokens that the provider did not count, by the size of
// the prompt and of the answer: one for four bytes.
func (u Usage) OrGuess(p Prompt, answerBytes int) Usage {
	if u.InputTokens == 0 {
		size := len(p.System) + len(p.Text)
		for _, m := range p.Messages {
			size += len(m.Content)
		}
		u.InputTokens = (size + bytesPerToken - 1) / bytesPerToken
	}
	if u.OutputTokens == 0 {
		u.OutputTokens = (answerBytes + bytesPerToken - 1) / bytesPerToken
	}
	return u
}

// tally keeps [Stats]. Its memory is bounded: about 55 KiB.
type tally struct {
	mu       sync.Mutex
	minutes  [hourMinutes]minute // by unix minute, modulo
	total    Period
	failures [keptFailures]Failure
	failed   int // of all failures ever noted
}

type minute struct {
	number int64 // unix minute that it holds
	sum    Period
	whole  latencies
	first  latencies
}

type latencies [latencySteps]uint32

func (l *latencies) note(d time.Duration) {
	step := 0
	if d > latencyFirst {
		step = int(math.Log(float64(d)/float64(latencyFirst)) / math.Log(latencyGrowth))
	}
	l[min(step, latencySteps-1)]++
}

func (l *latencies) add(o *latencies) {
	for i, n := range o {
		l[i] += n
	}
}

// quantile gives the middle of the step that holds it; 0 when nothing is noted.
func (l *latencies) quantile(q float64) time.Duration {
	all := uint64(0)
	for _, n := range l {
		all += uint64(n)
	}
	if all == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(all)))
	seen := uint64(0)
	for i, n := range l {
		if seen += uint64(n); seen >= rank {
			return time.Duration(float64(latencyFirst) * math.Pow(latencyGrowth, float64(i)+0.5)).Round(time.Microsecond)
		}
	}
	return 0
}

// at gives the minute of now, emptied when it held another one.
func (t *tally) at(now time.Time) *minute {
	number := now.Unix() / 60
	m := &t.minutes[number%hourMinutes]
	if m.number != number {
		*m = minute{number: number}
	}
	return m
}

// answer notes a generation that went well.
func (t *tally) answer(now time.Time, whole, first time.Duration, u Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.at(now)
	for _, p := range []*Period{&m.sum, &t.total} {
		p.Answers++
		p.TokensIn += int64(u.InputTokens)
		p.TokensOut += int64(u.OutputTokens)
	}
	m.whole.note(whole)
	m.first.note(first)
}

// failure notes one that the model failed.
func (t *tally) failure(now time.Time, kind string, err error, u Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.at(now)
	for _, p := range []*Period{&m.sum, &t.total} {
		p.Failures++
		p.TokensIn += int64(u.InputTokens)
		p.TokensOut += int64(u.OutputTokens)
	}
	text := err.Error()
	if utf8.RuneCountInString(text) > maxFailure {
		text = string([]rune(text)[:maxFailure-1]) + "…"
	}
	t.failures[t.failed%keptFailures] = Failure{now.UTC(), kind, text}
	t.failed++
}

func (t *tally) fallback(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at(now).sum.Fallbacks++
	t.total.Fallbacks++
}

func (t *tally) stats(now time.Time) Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := Stats{Total: t.total, Failures: []Failure{}}
	var whole, first latencies
	oldest := now.Unix()/60 - hourMinutes
	for i := range t.minutes {
		m := &t.minutes[i]
		if m.number <= oldest {
			continue
		}
		out.Hour.Answers += m.sum.Answers
		out.Hour.Failures += m.sum.Failures
		out.Hour.Fallbacks += m.sum.Fallbacks
		out.Hour.TokensIn += m.sum.TokensIn
		out.Hour.TokensOut += m.sum.TokensOut
		whole.add(&m.whole)
		first.add(&m.first)
	}
	out.Hour.P50, out.Hour.P95, out.Hour.FirstP50 = whole.quantile(0.5), whole.quantile(0.95), first.quantile(0.5)
	for i := t.failed - 1; i >= max(0, t.failed-keptFailures); i-- {
		out.Failures = append(out.Failures, t.failures[i%keptFailures])
	}
	return out
}
