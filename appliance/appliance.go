// Package appliance wires the parts of the machine room and the services into
// one process. It is the only place that knows all of them, and reads like a
// table of contents.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/audit"
	"selflink/appliance/auth"
	"selflink/appliance/backup"
	"selflink/appliance/broker"
	"selflink/appliance/certificate"
	"selflink/appliance/config"
	"selflink/appliance/dashboard"
	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/health/posture"
	"selflink/appliance/history"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/ratelimit"
	"selflink/appliance/jobs"
	"selflink/appliance/llm"
	"selflink/appliance/realtime"
	"selflink/appliance/reaper"
	"selflink/appliance/schedule"
	"selflink/appliance/snowflake"
	"selflink/appliance/storage"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
	"selflink/appliance/upgrade"
	"selflink/services/accounts"
	"selflink/services/coin"
	"selflink/services/media"
	"selflink/services/mentor"
	"selflink/services/payments"
	"selflink/services/search"
	"selflink/web"
)

// Build says which build runs.
type Build struct {
	Version string
	Commit  string
}

// Appliance is the whole backend. Start and Stop may be called once each from
// one goroutine at a time; Stop is safe after a failed Start.
type Appliance struct {
	log    *slog.Logger
	tail   *telemetry.Tail
	health *health.Registry

	upgrades  *upgrade.Keeper
	gate      *upgrade.Gate
	told      func(what string) // nil: nobody listens
	orphans   *reaper.Reaper
	database  *database.Server
	ids       *snowflake.Generator
	broker    *broker.Broker
	jobs      *jobs.Engine
	schedules *schedule.Scheduler
	storage   storage.Store
	mediaDir  string // of the local one, whether it is used or not
	backups   *backup.Keeper
	events    *realtime.Publisher
	realtime  *realtime.Hub
	audit     *audit.Log
	traces    *trace.Recorder
	history   *history.Keeper
	pair      *certificate.Keeper // nil: plain HTTP
	http      *httpapi.API
	desk      *dashboard.Desk

	accounts *accounts.Service
	media    *media.Service
	coin     *coin.Service
	payments *payments.Service
	mentor   *mentor.Service
	search   *search.Service[accounts.User]

	starting atomic.Pointer[string] // name of the part that Start is busy with; nil: none
}

// New puts the parts together. Nothing runs yet. tail is the end of the log that
// log writes, to be shown to operators; nil: they see none of it.
func New(cfg *config.Config, log *slog.Logger, tail *telemetry.Tail, build Build) (*Appliance, error) {
	if tail == nil {
		tail = telemetry.NewTail(0)
	}
	a := &Appliance{log: log, tail: tail, health: newHealth(cfg, log), events: realtime.NewPublisher()}
	a.orphans = reaper.New(log)
	metrics, err := telemetry.NewRegistry(build.Version, build.Commit)
	if err != nil {
		return nil, err
	}
	tap, err := history.NewTap(metrics)
	if err != nil {
		return nil, err
	}
	if err := metrics.Register(a.health); err != nil {
		return nil, fmt.Errorf("register the metrics of health: %w", err)
	}
	for _, wire := range []func() error{
		func() error { return a.machineRoom(cfg, tap, build) },
		func() error { return a.observers(cfg, tap) },
		func() error { return a.services(cfg, tap) },
		func() error { return a.routes(cfg, metrics, tap, build) },
		func() error { return a.timetable(cfg) },
	} {
		if err := wire(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// databaseOptions are shared with the commands that run beside the server.
func databaseOptions(cfg *config.Config, log *slog.Logger) database.Options {
	return database.Options{
		DataDir:       cfg.DataDir,
		DatabaseURL:   cfg.DatabaseURL.Reveal(),
		DirectURL:     cfg.DatabaseDirectURL.Reveal(),
		ManagedPooler: cfg.ManagedPooler,
		RunAs:         cfg.RunAs,
		BinDir:        cfg.PostgresBinDir,
		PgBouncer:     cfg.PgBouncerBin,
		PoolSize:      cfg.DatabasePoolSize,
		DirectSize:    cfg.DatabaseDirectSize,
		ServerConns:   cfg.DatabaseServerConns,
		AcquireWait:   cfg.DatabaseAcquireWait,
		BootWait:      cfg.DatabaseBootWait,
		Logger:        log,
	}
}

// queues are the queues of jobs and how many run at once.
func queues(cfg *config.Config) map[string]int {
	return map[string]int{"default": cfg.JobWorkers, mentor.Queue: cfg.LLMWorkers}
}

func (a *Appliance) machineRoom(cfg *config.Config, metrics prometheus.Registerer, build Build) (err error) {
	options := databaseOptions(cfg, a.log)
	options.Health, options.Metrics = a.health, metrics
	if a.database, err = database.New(options); err != nil {
		return err
	}
	a.health.Keep(a.database.Pool())
	if err = a.newUpgrades(cfg, build); err != nil {
		return err
	}
	var node *int
	if cfg.NodeID >= 0 {
		node = &cfg.NodeID
	}
	if a.ids, err = snowflake.New(snowflake.Options{DB: a.database.Pool(), Node: node, Logger: a.log, Health: a.health}); err != nil {
		return err
	}
	if a.broker, err = broker.New(broker.Options{
		Dir: filepath.Join(cfg.DataDir, "broker"), MaxMemory: cfg.BrokerMemory, MaxDisk: cfg.BrokerDisk,
		Cluster: broker.Cluster{Listen: cfg.ClusterListen, Peers: cfg.ClusterPeers, Token: cfg.ClusterToken.Reveal(), Node: cfg.Instance},
		Logger:  a.log, Health: a.health, Metrics: metrics,
	}); err != nil {
		return err
	}
	a.jobs, err = jobs.New(jobs.Options{
		DB: a.database.Pool(), Broker: a.broker, Queues: queues(cfg),
		Sole:   cfg.DatabaseURL.Reveal() == "",
		Logger: a.log, Health: a.health, Metrics: metrics,
		Context: func(ctx context.Context, id jobs.ID) context.Context { return telemetry.WithJob(ctx, id.String()) },
	})
	if err != nil {
		return err
	}
	if a.schedules, err = schedule.New(schedule.Options{DB: a.database.Pool(), Jobs: a.jobs, Logger: a.log, Health: a.health}); err != nil {
		return err
	}
	if a.storage, err = NewStorage(cfg); err != nil {
		return err
	}
	a.mediaDir = cfg.Storage.Dir
	a.health.Add(storage.HealthCheck(a.storage))
	backups := backupOptions(cfg, a.database, a.storage, a.log, build)
	if cfg.BackupSchedule != "" { // who makes none here makes them elsewhere
		backups.Health = a.health
	}
	a.backups, err = backup.New(backups)
	return err
}

// observers are the parts that remember what the others do.
func (a *Appliance) observers(cfg *config.Config, metrics prometheus.Gatherer) (err error) {
	a.audit, err = audit.New(audit.Options{DB: a.database.Pool(), Names: a.names, Logger: a.log})
	if err != nil {
		return err
	}
	if a.traces, err = trace.New(trace.Options{
		DB: a.database.Pool(), Node: cfg.Instance, Redact: telemetry.TextMask(cfg.Hidden()),
		Jobs: tracedJobs{a.jobs}, Logs: a.tail, Logger: a.log,
	}); err != nil {
		return err
	}
	a.history, err = history.New(history.Options{DB: a.database.Pool(), Node: cfg.Instance + ":" + cfg.DataDir, Gatherer: metrics, Logger: a.log})
	return err
}

func (a *Appliance) services(cfg *config.Config, metrics prometheus.Registerer) (err error) {
	if a.media, err = media.New(media.Deps{
		DB: a.database.Pool(), IDs: a.ids, Storage: a.storage, Serve: cfg.Storage.Serve, MaxUpload: cfg.Storage.Max, Log: a.log, Metrics: metrics,
	}); err != nil {
		return err
	}
	if a.coin, err = coin.New(coin.Deps{DB: a.database.Pool(), IDs: a.ids}); err != nil {
		return err
	}
	if a.accounts, err = newAccounts(cfg, accounts.Deps{
		DB: a.database.Pool(), IDs: a.ids, Bus: a.broker, Log: a.log, Avatars: avatars{a.media},
		Created: both(a.coin.Open, a.reindex), Changed: a.reindex,
		Ended: a.events.CloseSession, EndedAll: a.events.CloseUser, Audit: auditDeed(a.audit),
	}); err != nil {
		return err
	}
	if a.payments, err = a.newPayments(cfg, metrics); err != nil {
		return err
	}
	if a.search, err = newSearch(cfg, a.database, a.accounts, a.jobs, search.Deps[accounts.User]{Log: a.log, Metrics: metrics, Health: a.health, Backlog: a.jobs.Backlog}); err != nil {
		return err
	}
	a.health.Add(posture.Admin(a.accounts.AdminExists, "database"))
	for _, checks := range [][]health.Check{a.media.HealthChecks(), a.coin.HealthChecks(), a.payments.HealthChecks()} {
		for _, c := range checks {
			a.health.Add(c)
		}
	}
	if a.realtime, err = a.newRealtime(cfg, metrics); err != nil {
		return err
	}
	model, err := llm.New(llm.Options{
		Provider: cfg.LLMProvider, BaseURL: cfg.LLMBaseURL, OllamaHost: cfg.OllamaHost, Model: cfg.LLMModel,
		APIKey: cfg.OpenAIKey.Reveal(), Timeout: cfg.LLMTimeout,
		Logger: a.log, Metrics: metrics, Health: a.health,
	})
	if err != nil {
		return err
	}
	a.mentor, err = mentor.New(mentor.Deps{
		Backlog: a.mentorBacklog,
		DB:      a.database.Pool(), IDs: a.ids, Jobs: a.jobs, Model: model, People: people{a.accounts}, Events: a.events, Log: a.log,
		Clock:    func() time.Time { return time.Now().In(cfg.Location) },
		ChatWait: cfg.ChatWait, JournalAsync: cfg.AsyncDefault, Disabled: !cfg.LLMEnabled,
		Timeout: cfg.LLMTimeout, MaxTokens: cfg.LLMMaxTokens, MaxPromptChars: cfg.LLMMaxPromptChars, MaxMessages: cfg.LLMMaxMessages,
	})
	if err != nil {
		return err
	}
	return a.mentor.HandleJobs(a.jobs)
}

// newAccounts adds to deps what follows from the settings.
func newAccounts(cfg *config.Config, deps accounts.Deps) (*accounts.Service, error) {
	tokens, err := auth.NewTokens(auth.TokenOptions{Key: []byte(cfg.JWTSigningKey.Reveal()), Access: cfg.AccessLife, Refresh: cfg.RefreshLife})
	if err != nil {
		return nil, err
	}
	passwords, err := auth.NewPasswords(auth.PasswordOptions{})
	if err != nil {
		return nil, err
	}
	deps.Tokens, deps.Passwords = tokens, passwords
	return accounts.New(deps)
}

func (a *Appliance) newRealtime(cfg *config.Config, metrics prometheus.Registerer) (*realtime.Hub, error) {
	rate, err := ratelimit.ParseRate(cfg.PublishRate)
	if err != nil {
		return nil, fmt.Errorf("REALTIME_PUBLISH_RATE_LIMIT: %w", err)
	}
	return realtime.New(realtime.Options{
		DB: a.database.Pool(), Bus: a.broker, Identity: a.accounts, Secret: []byte(cfg.SecretKey.Reveal()), Publisher: a.events,
		Ended: a.accounts.Forget, Node: cfg.Instance,
		Connections: cfg.RealtimeConnections, QueueBytes: cfg.RealtimeQueue << 10,
		PublishToken: cfg.PublishToken.Reveal(), PublishRate: rate,
		Logger: a.log, Health: a.health, Metrics: metrics,
	})
}

// people tells the mentor who somebody is, as accounts knows it.
type people struct{ accounts *accounts.Service }

// Person implements [mentor.People].
func (p people) Person(ctx context.Context, user int64) (mentor.Person, error) {
	known, err := p.accounts.UserContext(ctx, user)
	if errors.Is(err, accounts.ErrNoAccount) {
		return mentor.Person{}, nil
	}
	if err != nil {
		return mentor.Person{}, err
	}
	return mentor.Person{
		Name: known.Name, Handle: known.Handle, Bio: known.Bio, Locale: known.Locale,
		BirthDate: known.BirthDate, BirthTime: known.BirthTime, BirthPlace: known.BirthPlace,
	}, nil
}

func (a *Appliance) routes(cfg *config.Config, metrics *prometheus.Registry, tap prometheus.Registerer, build Build) (err error) {
	proxies := make([]string, len(cfg.TrustedProxies))
	for i, prefix := range cfg.TrustedProxies {
		proxies[i] = prefix.String()
	}
	options := httpapi.Options{
		Listen: cfg.Listen, Log: a.log, Metrics: tap, Gatherer: metrics, MetricsToken: cfg.MetricsToken.Reveal(),
		Socket: socketPath(cfg), Requests: a.traces,
		Health: a.health, Auth: a.accounts, Title: "SelfLink", Version: build.Version,
		AllowedHosts: cfg.AllowedHosts, TrustedProxies: proxies, CORSOrigins: cfg.CORSOrigins,
		Limits: httpapi.Limits{
			IP: cfg.ThrottleIP, User: cfg.ThrottleUser, Anon: cfg.ThrottleAnon,
			Scopes: map[string]string{"mentor": cfg.ThrottleMentor},
			Bursts: cfg.RateLimits, AuthIP: cfg.AuthRPSIP, MentorUser: cfg.MentorRPSUser, MentorGlobal: cfg.MentorRPSAll,
		},
	}
	if a.pair, err = a.newPair(cfg); err != nil {
		return err
	}
	if a.pair != nil {
		options.TLS = a.pair.Config()
	}
	docs, err := web.Docs()
	if err != nil {
		return err
	}
	if docs != nil {
		options.Docs = docs
	}
	if a.http, err = httpapi.New(options); err != nil {
		return err
	}
	a.accounts.Register(a.http)
	a.media.Register(a.http)
	a.coin.Register(a.http)
	a.payments.Register(a.http)
	a.mentor.Register(a.http)
	a.search.Register(a.http)
	a.realtime.Register(a.http)
	a.audit.Register(a.http)
	if a.desk, err = a.newDesk(cfg, metrics, build); err != nil {
		return err
	}
	a.desk.Register(a.http)
	a.accounts.RegisterDashboard(a.desk)
	a.mentor.RegisterDashboard(a.desk)
	a.media.RegisterDashboard(a.desk)
	a.search.RegisterDashboard(a.desk, hit)
	a.coin.RegisterDashboard(a.desk)
	payments.RegisterDashboard(a.payments, a.desk, a.coin.Insight)
	return nil
}

// part is what Start starts and Stop stops.
type part struct {
	name  string
	start func(context.Context) error
	stop  func(context.Context) error
}

// parts are in the order of their start.
func (a *Appliance) parts() []part {
	return []part{
		{"upgrade", a.guard, nothing},
		{"orphans", a.orphans.Start, a.orphans.Stop},
		{"database", a.database.Start, a.database.Stop},
		{"schema", a.migrate, nothing},
		{"files", a.settleFiles, nothing},
		{"ids", a.ids.Start, a.ids.Stop},
		{"broker", a.broker.Start, a.broker.Stop},
		{"accounts", a.accounts.Start, a.accounts.Stop},
		{"realtime", a.realtime.Start, a.realtime.Stop},
		{"jobs", a.jobs.Start, a.jobs.Stop},
		{"mentor", a.mentor.Start, a.mentor.Stop},
		{"search", a.search.Start, a.search.Stop},
		{"schedules", a.schedules.Start, a.schedules.Stop},
		{"traces", a.traces.Start, a.traces.Stop},
		{"history", a.history.Start, a.history.Stop},
		{"dashboard", a.desk.Start, a.desk.Stop},
		{"certificate", a.watchPair, a.leavePair},
		{"http", a.http.Start, a.http.Stop},
		// Late, and so stopped early: a part that does not run yet, or any
		// more, is no problem.
		{"health", a.health.Start, a.health.Stop},
		{"upgrade gate", a.gate.Start, a.gate.Stop},
	}
}

func nothing(context.Context) error { return nil }

// Start returns when requests are answered. When a part fails, what runs
// already is left for Stop.
func (a *Appliance) Start(ctx context.Context) error {
	defer a.starting.Store(nil)
	for _, p := range a.parts() {
		a.starting.Store(&p.name)
		if err := p.start(ctx); err != nil {
			return a.upgrades.Explain(fmt.Errorf("start %s: %w", p.name, err))
		}
	}
	return nil
}

// lengthy are the parts whose start takes as long as there is data: the recovery
// of a database, a migration, a reconciliation of files.
var lengthy = map[string]bool{"database": true, "schema": true, "files": true}

// Starting is the part that Start is busy with, and whether it takes as long as
// there is data. It is empty before and after.
func (a *Appliance) Starting() (part string, long bool) {
	name := a.starting.Load()
	if name == nil {
		return "", false
	}
	return *name, lengthy[*name]
}

// tailTime is what of the deadline is kept for the parts that stop last: the
// broker and the database.
const tailTime = 3 * time.Second

// Stop ends the parts in reverse order. Requests and jobs have until shortly
// before ctx's deadline; what they leave is handed back.
func (a *Appliance) Stop(ctx context.Context) error {
	patient := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		patient, cancel = context.WithDeadline(ctx, deadline.Add(-tailTime))
		defer cancel()
	}
	parts := a.parts()
	var failed []error
	for i := len(parts) - 1; i >= 0; i-- {
		limit := patient
		if name := parts[i].name; name == "database" || name == "broker" || name == "ids" {
			limit = ctx
		}
		if err := parts[i].stop(limit); err != nil {
			failed = append(failed, fmt.Errorf("stop %s: %w", parts[i].name, err))
		}
	}
	return errors.Join(failed...)
}

// Addrs are the addresses it listens on, after Start.
func (a *Appliance) Addrs() []string {
	var list []string
	for _, address := range a.http.Addrs() {
		list = append(list, address.String())
	}
	return list
}

// FirstRunPath is the path of the link by which the first operator is made,
// empty when there is one. It is a secret.
func (a *Appliance) FirstRunPath() string { return a.desk.FirstRunPath() }

// Done delivers the reason why the appliance cannot go on: it is not reached any
// more. From everything else that is known to happen the parts recover by
// themselves.
func (a *Appliance) Done() <-chan error { return a.http.Failed() }
