package history

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
)

// Tap passes on what is registered with it, and remembers the collectors of
// the metrics that the history reads: it gathers those alone. A scrape may
// count rows and ask the broker about every stream, which is too much to be
// done every ten seconds for curves that show none of it.
type Tap struct {
	to  prometheus.Registerer
	own *prometheus.Registry

	mu   sync.Mutex
	seen map[string]bool // names of metrics that were registered
}

var (
	_ prometheus.Registerer = (*Tap)(nil)
	_ prometheus.Gatherer   = (*Tap)(nil)
)

// NewTap returns a tap before to. The numbers of the process itself it reads
// without having seen their collector.
func NewTap(to prometheus.Registerer) (*Tap, error) {
	own := prometheus.NewRegistry()
	if err := own.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})); err != nil {
		return nil, errors.Join(errors.New("history: register the process's numbers"), err)
	}
	return &Tap{to: to, own: own, seen: map[string]bool{}}, nil
}

// Gather implements [prometheus.Gatherer]. A vector in which nothing has been
// counted yet is there too, and empty: that is nothing, and not unknown.
func (t *Tap) Gather() ([]*dto.MetricFamily, error) {
	families, err := t.own.Gather()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range []string{metricRequests, metricConnections, metricRuns} {
		there := slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name })
		if t.seen[name] && !there {
			families = append(families, &dto.MetricFamily{Name: &name})
		}
	}
	return families, err //nolint:wrapcheck // it is that registry's
}

// Register implements [prometheus.Registerer].
func (t *Tap) Register(c prometheus.Collector) error {
	if err := t.to.Register(c); err != nil {
		return err //nolint:wrapcheck // callers look for its type
	}
	names := shown(c)
	if len(names) == 0 {
		return nil
	}
	t.mu.Lock()
	for _, name := range names {
		t.seen[name] = true
	}
	t.mu.Unlock()
	return t.own.Register(c) //nolint:wrapcheck // as above
}

// MustRegister implements [prometheus.Registerer]; like any, it panics.
func (t *Tap) MustRegister(list ...prometheus.Collector) {
	for _, c := range list {
		if err := t.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister implements [prometheus.Registerer].
func (t *Tap) Unregister(c prometheus.Collector) bool {
	t.own.Unregister(c)
	return t.to.Unregister(c)
}

// shown gives the names of a collector's metrics that the history reads. The
// name of a description can only be had from its text.
func shown(c prometheus.Collector) (names []string) {
	descriptions := make(chan *prometheus.Desc)
	go func() { // ends with what c describes
		c.Describe(descriptions)
		close(descriptions)
	}()
	for d := range descriptions {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		if slices.Contains(wanted(), name) {
			names = append(names, name)
		}
	}
	return names
}

// wanted are the metrics that are read.
func wanted() []string {
	return []string{
		metricRequests, metricConnections, metricDeliveries, metricRuns,
		metricQueueAge, metricAcquires, metricAcquireTime, metricMemory,
	}
}
