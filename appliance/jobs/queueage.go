package jobs

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// ages tells how long the head of each queue has been waiting. It is a collector
// of its own, because who watches the queues does not want all jobs counted.
type ages struct{ engine *Engine }

var queueAge = prometheus.NewDesc("selflink_job_queue_age_seconds",
	"How long the job at the head of a queue of this process has been due; 0: none waits.", []string{"queue"}, nil)

func (a *ages) Describe(ch chan<- *prometheus.Desc) { ch <- queueAge }

func (a *ages) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	queues, err := a.engine.Queues(ctx)
	if err != nil {
		return // the database's own metrics say that it is away
	}
	for _, q := range queues {
		ch <- prometheus.MustNewConstMetric(queueAge, prometheus.GaugeValue, q.OldestAge.Seconds(), q.Name)
	}
}
