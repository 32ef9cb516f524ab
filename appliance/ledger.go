package appliance

import (
	"context"
	"log/slog"
	"time"

	"selflink/appliance/audit"
	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/appliance/realtime"
	"selflink/appliance/snowflake"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
	"selflink/appliance/upgrade"
	"selflink/services/accounts"
	"selflink/services/coin"
	"selflink/services/search"
)

// closeTime bounds the end of a command's database.
const closeTime = 10 * time.Second

// Ledger is the database for commands that run beside the server: that of the
// running one, or one that is started for the time of the command.
type Ledger struct {
	database *database.Server
	ids      *snowflake.Generator
	jobs     *jobs.Engine
	audit    *audit.Log
	traces   *trace.Recorder
	accounts *accounts.Service
	coin     *coin.Service
	search   *search.Service[accounts.User]
	upgrades *upgrade.Keeper
}

// OpenLedger reaches the database. The schema must be current, or brought up
// to date by [Ledger.Migrate], before anything else is asked of it.
func OpenLedger(ctx context.Context, cfg *config.Config, log *slog.Logger, build Build) (*Ledger, error) {
	l := &Ledger{}
	var err error
	if l.upgrades, err = NewUpgrader(cfg, log, build); err != nil {
		return nil, err
	}
	if l.database, err = database.Attach(ctx, databaseOptions(cfg, log)); err != nil {
		return nil, err
	}
	if err := l.open(cfg, log); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Ledger) open(cfg *config.Config, log *slog.Logger) (err error) {
	if l.ids, err = snowflake.New(snowflake.Options{DB: l.database.Pool(), Logger: log}); err != nil {
		return err
	}
	if l.jobs, err = jobs.New(jobs.Options{DB: l.database.Pool(), Queues: queues(cfg), Logger: log}); err != nil {
		return err
	}
	if l.audit, err = audit.New(audit.Options{DB: l.database.Pool(), Names: l.names, Logger: log}); err != nil {
		return err
	}
	if l.traces, err = trace.New(trace.Options{DB: l.database.Pool(), Node: cfg.Instance, Redact: telemetry.TextMask(cfg.Hidden()), Jobs: tracedJobs{l.jobs}, Logger: log}); err != nil {
		return err
	}
	if l.coin, err = coin.New(coin.Deps{DB: l.database.Pool(), IDs: lazyIDs{l.ids}}); err != nil {
		return err
	}
	events := realtime.NewPublisher() // the server follows by itself
	if l.accounts, err = newAccounts(cfg, accounts.Deps{
		DB: l.database.Pool(), IDs: lazyIDs{l.ids}, Log: log, Created: both(l.coin.Open, l.reindex), Changed: l.reindex,
		Ended: events.CloseSession, EndedAll: events.CloseUser, Audit: auditDeed(l.audit),
	}); err != nil {
		return err
	}
	l.search, err = newSearch(cfg, l.database, l.accounts, l.jobs, search.Deps[accounts.User]{Log: log})
	return err
}

// lazyIDs leases a node number when the first id is needed: most commands
// need none.
type lazyIDs struct{ generator *snowflake.Generator }

// Next implements accounts.IDs.
func (l lazyIDs) Next() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	// A failed start shows in Next, which says why it cannot mint.
	_ = l.generator.Start(ctx)
	return l.generator.Next()
}

// Jobs looks at jobs and acts on them; acts are recorded.
func (l *Ledger) Jobs() RecordedJobs { return RecordedJobs{l.jobs, l.audit} }

func (l *Ledger) names(ctx context.Context, ids []int64) (map[int64]string, error) {
	return l.accounts.Names(ctx, ids)
}

// Audit is the audit trail.
func (l *Ledger) Audit() *audit.Log { return l.audit }

// Explain tells what the database knows of a request or a job, see
// [trace.Recorder.Explain].
func (l *Ledger) Explain(ctx context.Context, id string) (trace.Timeline, error) {
	return l.traces.Explain(ctx, id)
}

// Accounts acts on accounts.
func (l *Ledger) Accounts() *accounts.Service { return l.accounts }

// Coin looks at the ledger of coins.
func (l *Ledger) Coin() *coin.Service { return l.coin }

// ShowProgress lets f hear how far the snapshot before a migration is.
func (l *Ledger) ShowProgress(f func(backup.Progress)) { l.upgrades.OnProgress(f) }

// Migrate brings the schema up to date, with a way back, and returns its version
// before and after. An upgrade that failed is tried again.
func (l *Ledger) Migrate(ctx context.Context) (from, to int64, err error) {
	done, err := l.upgrades.Migrate(ctx, l.database, true)
	return done.From, done.To, err
}

// Close ends the connection, and the database if it was started for it.
func (l *Ledger) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if l.search != nil {
		if err := l.search.Stop(ctx); err != nil {
			return err
		}
	}
	if l.ids != nil {
		if err := l.ids.Stop(ctx); err != nil {
			return err
		}
	}
	return l.database.Stop(ctx)
}
