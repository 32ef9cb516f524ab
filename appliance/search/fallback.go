package search

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/health"
)

const (
	// searchTime bounds all that one search asks of the first engine, its
	// repetitions included: somebody waits.
	searchTime = 10 * time.Second

	// rest is for how long the first engine is left alone after it failed; then
	// one search tries it again.
	rest = 5 * time.Second

	// rounds bounds how often the next page is asked for because what was found
	// may not be seen.
	rounds = 4
)

// CheckOpenSearch is the code of the check of the first engine.
const CheckOpenSearch = "search.opensearch"

// FallbackOptions are the engines and who hears of failures.
type FallbackOptions struct {
	First   *OpenSearch // nil: only Second is asked
	Second  Engine      // required
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Health  *health.Registry // receives [CheckOpenSearch] when there is a First
	Clock   func() time.Time // time.Now
}

// Fallback asks the first engine, and the second when the first fails. One that
// failed is left alone for some seconds, so that a server that is slow to fail
// slows down one search and not all. It is safe for concurrent use.
type Fallback struct {
	first  *OpenSearch
	second Engine
	log    *slog.Logger
	clock  func() time.Time

	searches  *prometheus.CounterVec   // by engine and outcome
	seconds   *prometheus.HistogramVec // by engine
	fallbacks prometheus.Counter

	mu     sync.Mutex
	failed error     // of the last search that asked the first engine
	since  time.Time // of the first failure in a row
	again  time.Time // when one may try, while failed
	told   Told
}

// Told is what searches on this node have come to since it started.
type Told struct {
	Since     time.Time `json:"since"`
	First     Answered  `json:"first"`  // the first engine
	Second    Answered  `json:"second"` // the second
	Fallbacks int64     `json:"fallbacks"`
}

// Answered counts the questions to one engine.
type Answered struct {
	OK     int64   `json:"ok"`
	Failed int64   `json:"failed"`
	Mean   float64 `json:"mean_ms"` // of all of them; 0 when there is none
}

func (a *Answered) add(took time.Duration, failed bool) {
	n := float64(a.OK + a.Failed)
	a.Mean = (a.Mean*n + float64(took.Microseconds())/1000) / (n + 1)
	if failed {
		a.Failed++
	} else {
		a.OK++
	}
}

// NewFallback puts the engines together.
func NewFallback(o FallbackOptions) (*Fallback, error) {
	if o.Second == nil {
		return nil, errors.New("search: a second engine is needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	f := &Fallback{
		first: o.First, second: o.Second, log: o.Log.With("component", "search"), clock: o.Clock,
		searches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selflink_search_requests_total", Help: "Questions to a search engine.",
		}, []string{"engine", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "selflink_search_seconds", Help: "Time of a question to a search engine.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"engine"}),
		fallbacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "selflink_search_fallbacks_total", Help: "Searches that Postgres answered because OpenSearch did not.",
		}),
	}
	f.told.Since = f.clock().UTC()
	if o.Metrics != nil {
		for _, c := range []prometheus.Collector{f.searches, f.seconds, f.fallbacks} {
			if err := o.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("search: register metrics: %w", err)
			}
		}
	}
	if o.Health != nil && o.First != nil {
		o.Health.Add(health.Check{
			Code: CheckOpenSearch, Title: "OpenSearch does not answer searches", Severity: health.Medium,
			Impact:  "Postgres answers them meanwhile, so people are found, in another order. What changes is indexed later.",
			Remedy:  "See what is wrong with:  selflink search status   Without an index, or after a long failure:  selflink search reindex   To do without OpenSearch: OPENSEARCH_ENABLED=false",
			Visible: 15 * time.Second, Every: 30 * time.Second, Timeout: 5 * time.Second, Private: true,
			Run: f.check,
		})
	}
	return f, nil
}

// Find searches page by page and hands the ids to take, which says whether that
// is enough. q.Offset is 0. When the first engine fails on the way, the second
// begins anew: take must know ids that it had before. An error of take ends the
// search.
func (f *Fallback) Find(ctx context.Context, q Query, take func(ctx context.Context, ids []int64) (enough bool, err error)) error {
	_, err := f.FindBy(ctx, q, take)
	return err
}

// FindBy is Find, and names the engine that answered last.
func (f *Fallback) FindBy(ctx context.Context, q Query, take func(ctx context.Context, ids []int64) (enough bool, err error)) (engine string, err error) {
	if f.mayAsk() {
		limited, cancel := context.WithTimeout(ctx, searchTime)
		taken, err := f.pages(limited, f.first, q, func(_ context.Context, ids []int64) (bool, error) { return take(ctx, ids) })
		cancel()
		switch {
		case taken != nil:
			f.worked()
			return f.first.Name(), taken
		case err == nil:
			f.worked()
			return f.first.Name(), nil
		case ctx.Err() != nil: // who asked has gone: it says nothing of the engine
			f.unknown()
			return f.first.Name(), context.Cause(ctx)
		}
		f.broke(err)
	}
	if f.first != nil {
		f.fallbacks.Inc()
		f.mu.Lock()
		f.told.Fallbacks++
		f.mu.Unlock()
	}
	taken, err := f.pages(ctx, f.second, q, take)
	return f.second.Name(), errors.Join(taken, err)
}

// pages asks e for pages. taken is an error of take, err one of e.
func (f *Fallback) pages(ctx context.Context, e Engine, q Query, take func(ctx context.Context, ids []int64) (bool, error)) (taken, err error) {
	for range rounds {
		began := f.clock()
		ids, err := e.Search(ctx, q)
		took := f.clock().Sub(began)
		f.seconds.WithLabelValues(e.Name()).Observe(took.Seconds())
		f.mu.Lock()
		if e == f.second {
			f.told.Second.add(took, err != nil)
		} else {
			f.told.First.add(took, err != nil)
		}
		f.mu.Unlock()
		if err != nil {
			f.searches.WithLabelValues(e.Name(), "failed").Inc()
			return nil, err
		}
		f.searches.WithLabelValues(e.Name(), "ok").Inc()
		enough, err := take(ctx, ids)
		if err != nil || enough || len(ids) < q.Limit {
			return err, nil
		}
		q.Offset += q.Limit
	}
	return nil, nil
}

// mayAsk reports whether the first engine is asked. While it is failing one
// search at a time tries it.
func (f *Fallback) mayAsk() bool {
	if f.first == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		return true
	}
	now := f.clock()
	if now.Before(f.again) {
		return false
	}
	f.again = now.Add(searchTime + rest) // for the others, while this one tries
	return true
}

func (f *Fallback) worked() {
	f.mu.Lock()
	before := f.failed
	f.failed = nil
	f.mu.Unlock()
	if before != nil {
		f.log.Info("OpenSearch answers searches again")
	}
}

// unknown lets the next search try when this one learned nothing.
func (f *Fallback) unknown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.again = f.clock()
}

func (f *Fallback) broke(err error) {
	f.mu.Lock()
	before, now := f.failed, f.clock()
	f.failed, f.again = err, now.Add(rest)
	if before == nil {
		f.since = now.UTC()
	}
	f.mu.Unlock()
	if before == nil { // once, not for every search
		f.log.Warn("OpenSearch does not answer searches, Postgres does", "error", err)
	}
}

// Failing is why the first engine is not asked; nil while it is.
func (f *Fallback) Failing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Fallen is since when the first engine is not asked, and why; nil while it is.
func (f *Fallback) Fallen() (since time.Time, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, f.failed
}

// Told is what searches have come to.
func (f *Fallback) Told() Told {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told
}

// check asks how the server is. While searches fail it tries one itself, so
// that the end of a failure is noticed when nobody searches.
func (f *Fallback) check(ctx context.Context) error {
	if _, err := f.first.Health(ctx); err != nil {
		return err
	}
	if f.Failing() == nil {
		return nil
	}
	if _, err := f.first.Search(ctx, Query{Text: "a", Limit: 1}); err != nil {
		return err
	}
	f.worked()
	return nil
}
