package database

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout bounds the question to the pooler's console in one scrape.
const scrapeTimeout = time.Second

// collector reports both pools, the pooler and the children.
type collector struct {
	server *Server

	conns, maxConns, acquires, acquireSeconds, rejected *prometheus.Desc
	poolerClients, poolerServers, poolerWait            *prometheus.Desc
	poolerCount, poolerSeconds, poolerBytes             *prometheus.Desc
	restarts, up                                        *prometheus.Desc
}

var _ prometheus.Collector = (*collector)(nil)

func newCollector(s *Server) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("selflink_db_"+name, help, labels, nil)
	}
	return &collector{
		server:         s,
		conns:          desc("pool_connections", "Connections of this process by state.", "pool", "state"),
		maxConns:       desc("pool_max_connections", "Most connections of this process.", "pool"),
		acquires:       desc("pool_acquires_total", "Connections taken from the pool.", "pool"),
		acquireSeconds: desc("pool_acquire_seconds_total", "Time spent waiting for connections.", "pool"),
		rejected:       desc("pool_rejected_total", "Waits that ended without a connection, by reason.", "pool", "reason"),
		poolerClients:  desc("pooler_clients", "Clients of the pooler by state.", "database", "state"),
		poolerServers:  desc("pooler_servers", "Server connections of the pooler by state.", "database", "state"),
		poolerWait:     desc("pooler_max_wait_seconds", "Age of the oldest waiting client.", "database"),
		poolerCount:    desc("pooler_handled_total", "What the pooler has passed on.", "database", "what"),
		poolerSeconds:  desc("pooler_seconds_total", "Time by use.", "database", "use"),
		poolerBytes:    desc("pooler_bytes_total", "Bytes by direction.", "database", "direction"),
		restarts:       desc("child_restarts_total", "How often a supervised child was started again.", "child"),
		up:             desc("child_up", "Whether a supervised child runs.", "child"),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.conns, c.maxConns, c.acquires, c.acquireSeconds, c.rejected,
		c.poolerClients, c.poolerServers, c.poolerWait,
		c.poolerCount, c.poolerSeconds, c.poolerBytes, c.restarts, c.up,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range []*pool{c.server.pooled, c.server.direct} {
		c.collectPool(ch, p)
	}
	r := c.server.running.Load()
	if r == nil {
		return
	}
	for _, child := range []*supervisor{r.postgres, r.pooler} {
		if child == nil {
			continue
		}
		up := 0.0
		if child.pid() != 0 {
			up = 1
		}
		gauge(ch, c.up, up, child.spec.name)
		counter(ch, c.restarts, float64(child.restartCount()), child.spec.name)
	}
	if r.pooler != nil {
		c.collectPooler(ch)
	}
}

func (c *collector) collectPool(ch chan<- prometheus.Metric, p *pool) {
	counter(ch, c.rejected, float64(p.busy.Load()), p.name, "busy")
	counter(ch, c.rejected, float64(p.unavailable.Load()), p.name, "unavailable")
	inner := p.inner.Load()
	if inner == nil {
		return
	}
	st := inner.Stat()
	gauge(ch, c.conns, float64(st.AcquiredConns()), p.name, "used")
	gauge(ch, c.conns, float64(st.IdleConns()), p.name, "idle")
	gauge(ch, c.conns, float64(st.ConstructingConns()), p.name, "opening")
	gauge(ch, c.maxConns, float64(st.MaxConns()), p.name)
	counter(ch, c.acquires, float64(st.AcquireCount()), p.name)
	counter(ch, c.acquireSeconds, st.AcquireDuration().Seconds(), p.name)
}

// collectPooler asks the console. A pooler that does not answer leaves its
// metrics out of this scrape; the health check says why.
func (c *collector) collectPooler(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var pools, stats []map[string]string
	err := c.server.withConsole(ctx, func(conn *pgx.Conn) (err error) {
		if pools, err = showRows(ctx, conn, "SHOW POOLS"); err != nil {
			return err
		}
		stats, err = showRows(ctx, conn, "SHOW STATS")
		return err
	})
	if err != nil {
		return
	}
	for _, row := range mergePools(pools) {
		db := row.database
		gauge(ch, c.poolerClients, row.sum["cl_active"], db, "active")
		gauge(ch, c.poolerClients, row.sum["cl_waiting"], db, "waiting")
		gauge(ch, c.poolerServers, row.sum["sv_active"], db, "active")
		gauge(ch, c.poolerServers, row.sum["sv_idle"]+row.sum["sv_used"], db, "idle")
		gauge(ch, c.poolerServers, row.sum["sv_login"], db, "opening")
		gauge(ch, c.poolerWait, row.sum["maxwait"]+row.sum["maxwait_us"]/1e6, db)
	}
	for _, row := range stats {
		db := row["database"]
		if db == poolerConsole {
			continue
		}
		counter(ch, c.poolerCount, number(row["total_xact_count"]), db, "transactions")
		counter(ch, c.poolerCount, number(row["total_query_count"]), db, "queries")
		counter(ch, c.poolerSeconds, number(row["total_query_time"])/1e6, db, "queries")
		counter(ch, c.poolerSeconds, number(row["total_wait_time"])/1e6, db, "waiting")
		counter(ch, c.poolerBytes, number(row["total_received"]), db, "received")
		counter(ch, c.poolerBytes, number(row["total_sent"]), db, "sent")
	}
}

// poolRow is one database of SHOW POOLS, summed over its users.
type poolRow struct {
	database string
	sum      map[string]float64
}

// mergePools sums the pools of a database over users: a metric must not come
// twice in one scrape.
func mergePools(rows []map[string]string) []poolRow {
	var out []poolRow
	index := map[string]int{}
	for _, row := range rows {
		db := row["database"]
		if db == poolerConsole {
			continue
		}
		i, ok := index[db]
		if !ok {
			i = len(out)
			index[db] = i
			out = append(out, poolRow{database: db, sum: map[string]float64{}})
		}
		for name, value := range row {
			out[i].sum[name] += number(value)
		}
	}
	return out
}

// number reads a count; what is none counts as 0.
func number(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return f
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}
