package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/health"
)

// Codes of the checks on which those of other parts depend.
const (
	// CheckPostgres fails while Postgres does not answer.
	CheckPostgres = "database"
	// CheckPooled fails while the pooled way, which everything uses, does not.
	CheckPooled = "pooler"
)

const (
	// slowAcquire is the mean wait for a connection from which on the pool
	// counts as saturated: an idle one takes microseconds.
	slowAcquire = 100 * time.Millisecond
	// fewAcquires are too few to tell a mean.
	fewAcquires = 10

	// slowPooler is how old the pooler's oldest waiting client may be.
	slowPooler = time.Second

	// restartsMost within restartsIn are taken for a child that keeps dying.
	restartsMost = 3
	restartsIn   = 10 * time.Minute

	// clockMost is how far this machine's clock may be from the database's.
	clockMost = 2 * time.Second
)

// registerChecks tells r what may go wrong here.
func (s *Server) registerChecks(r *health.Registry) {
	remedy := "See what Postgres says: the lines of component postgres in the log. It is started again by itself."
	if s.opts.DatabaseURL != "" {
		remedy = "Start the database server, or correct DATABASE_URL and DATABASE_DIRECT_URL. The connection is made again by itself."
	}
	r.Add(health.Check{
		Code: CheckPostgres, Title: "Postgres does not answer", Severity: health.High, Visible: 3 * time.Second, Ready: true,
		Impact: "Nothing can be read or stored: requests are answered 503, jobs and events wait.", Remedy: remedy,
		Run: s.direct.check,
	})
	r.Add(health.Check{
		Code: CheckPooled, Title: "The pooled way to Postgres does not answer", Severity: health.High, Visible: 3 * time.Second, Ready: true,
		Impact:    "Nothing can be read or stored: requests are answered 503, jobs and events wait.",
		Remedy:    "See what the pooler says: the lines of component pgbouncer in the log. With an external pooler, start it or correct DATABASE_URL.",
		DependsOn: []string{CheckPostgres},
		Run:       s.pooled.check,
	})
	saturation := poolSaturation{pool: s.pooled}
	r.Add(health.Check{
		Code: "database.pool", Title: "Requests wait for database connections", Visible: 10 * time.Second,
		Impact:    "Requests are slow, and answered 503 when the wait is over.",
		Remedy:    "Raise DATABASE_POOL_SIZE, and DATABASE_SERVER_CONNECTIONS with it; look for slow queries first.",
		DependsOn: []string{CheckPostgres, CheckPooled},
		Run:       saturation.check,
	})
	for _, c := range []health.Check{{
		Code: "schema.pending", Title: "The schema is older than this version", Severity: health.High,
		Impact: "Whatever needs the missing tables or columns fails.", Remedy: "selflink migrate",
		Run: func(ctx context.Context) error { return s.checkSchema(ctx, Schema.Behind) },
	}, {
		Code: "schema.newer", Title: "The schema is newer than this version",
		Impact: "This process may fail at what the newer version changed, and will not start again.",
		Remedy: "Update this node to the newer version too.",
		Run:    func(ctx context.Context) error { return s.checkSchema(ctx, Schema.Newer) },
	}} {
		c.Every, c.DependsOn = time.Minute, []string{CheckPostgres}
		r.Add(c)
	}
	if s.opts.DatabaseURL != "" {
		r.Add(health.Check{
			Code: "clock.offset", Title: "This machine's clock differs from the database's", Visible: time.Minute, Every: time.Minute,
			Impact:    "Tokens, schedules and times of events are off by as much.",
			Remedy:    "Let both machines keep time: systemctl enable --now systemd-timesyncd (or chrony).",
			DependsOn: []string{CheckPostgres},
			Run:       s.CheckClock,
		})
	}
	s.registerChildChecks(r)
}

// registerChildChecks is for what this process supervises.
func (s *Server) registerChildChecks(r *health.Registry) {
	if s.opts.DatabaseURL != "" && !s.opts.ManagedPooler {
		return
	}
	r.Add(health.Check{
		Code: "pooler.waiting", Title: "Clients of the pooler wait for Postgres", Visible: 10 * time.Second, Every: 15 * time.Second,
		Impact:    "Requests are slow, and answered 503 when the wait is over.",
		Remedy:    "Raise DATABASE_SERVER_CONNECTIONS; look for slow queries first.",
		DependsOn: []string{CheckPostgres, CheckPooled},
		Run:       s.checkPoolerWait,
	})
	restarts := restartWatch{server: s, now: time.Now}
	r.Add(health.Check{
		Code: "database.restarts", Title: "A process of the database keeps ending",
		Impact:    "Each time, what runs in that moment is answered 503 and tried again.",
		Remedy:    "See why: the lines of component postgres and pgbouncer in the log, and whether the kernel kills them: dmesg | grep -i oom",
		DependsOn: []string{CheckPostgres, CheckPooled},
		Run:       restarts.check,
	})
}

// poolSaturation compares the pool's counters with those of the last look.
type poolSaturation struct {
	pool     *pool
	acquires int64
	waited   time.Duration
	busy     int64
}

func (w *poolSaturation) check(context.Context) error {
	inner := w.pool.inner.Load()
	if inner == nil {
		return fmt.Errorf("%w: the pool is not running", ErrUnavailable)
	}
	st, busy := inner.Stat(), w.pool.busy.Load()
	acquires, waited, refused := st.AcquireCount()-w.acquires, st.AcquireDuration()-w.waited, busy-w.busy
	w.acquires, w.waited, w.busy = st.AcquireCount(), st.AcquireDuration(), busy
	switch {
	case refused > 0:
		return fmt.Errorf("%d waits ended without a connection since the last look; %d of %d are in use", refused, st.AcquiredConns(), st.MaxConns())
	case acquires >= fewAcquires && waited/time.Duration(acquires) > slowAcquire:
		return fmt.Errorf("the last %d waits took %s each; %d of %d connections are in use",
			acquires, (waited / time.Duration(acquires)).Round(time.Millisecond), st.AcquiredConns(), st.MaxConns())
	}
	return nil
}

// checkPoolerWait asks the pooler how long its clients wait.
func (s *Server) checkPoolerWait(ctx context.Context) error {
	var late []error
	err := s.withConsole(ctx, func(conn *pgx.Conn) error {
		rows, err := showRows(ctx, conn, "SHOW POOLS")
		if err != nil {
			return err
		}
		for _, row := range mergePools(rows) {
			wait := time.Duration((row.sum["maxwait"] + row.sum["maxwait_us"]/1e6) * float64(time.Second))
			if waiting := row.sum["cl_waiting"]; waiting > 0 && wait >= slowPooler {
				late = append(late, fmt.Errorf("%.0f clients of %s wait, the oldest for %s; %.0f connections to Postgres are in use",
					waiting, row.database, wait.Round(time.Millisecond), row.sum["sv_active"]))
			}
		}
		return nil
	})
	return errors.Join(err, errors.Join(late...))
}

// checkSchema reads the schema's state and asks it a question.
func (s *Server) checkSchema(ctx context.Context, ask func(Schema) error) error {
	state, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	return ask(state)
}

// Behind returns an error that names the steps that are not applied, if there
// are any.
func (s Schema) Behind() error {
	var names []string
	for _, step := range s.Steps {
		if step.AppliedAt == nil {
			names = append(names, step.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%d steps are not applied: %s", len(names), strings.Join(names, ", "))
}

// restartWatch remembers when supervised children had to be started again.
type restartWatch struct {
	server *Server
	now    func() time.Time
	seen   map[string]int
	times  map[string][]time.Time
}

func (w *restartWatch) check(context.Context) error {
	r := w.server.running.Load()
	if r == nil {
		return nil
	}
	if w.seen == nil {
		w.seen, w.times = map[string]int{}, map[string][]time.Time{}
	}
	now := w.now()
	var failed []error
	for _, child := range []*supervisor{r.postgres, r.pooler} {
		if child == nil {
			continue
		}
		name, count := child.spec.name, child.restartCount()
		for ; w.seen[name] < count; w.seen[name]++ {
			w.times[name] = append(w.times[name], now)
		}
		for len(w.times[name]) > 0 && now.Sub(w.times[name][0]) > restartsIn {
			w.times[name] = w.times[name][1:]
		}
		if n := len(w.times[name]); n >= restartsMost {
			failed = append(failed, fmt.Errorf("%s was started again %d times within %s", name, n, restartsIn))
		}
	}
	return errors.Join(failed...)
}
