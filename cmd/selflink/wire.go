package main

import (
	"context"
	"log/slog"

	"selflink/appliance"
	"selflink/appliance/audit"
	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/health"
	"selflink/appliance/jobs"
	"selflink/appliance/oldstack"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
	"selflink/appliance/upgrade"
	"selflink/services/accounts"
	"selflink/services/coin"
	"selflink/services/search"
)

// server is the running appliance.
type server interface {
	// Start returns when requests are answered, or why that is not possible.
	Start(ctx context.Context) error
	// Stop ends it in order and gives up when ctx ends. It is safe to call
	// twice and after a failed Start.
	Stop(ctx context.Context) error
	// Starting is the part that Start is busy with, and whether it takes as long
	// as there is data; empty: none.
	Starting() (part string, long bool)
	// Health is what it knows to be wrong with itself.
	Health() *health.Registry
	// Addrs are the addresses it listens on, after Start.
	Addrs() []string
	// FirstRunPath is the path of the link by which the first operator is made,
	// empty when there is one.
	FirstRunPath() string
	// Done delivers at most one error: the reason why it cannot go on.
	Done() <-chan error
	// Told makes f hear what a start that takes long is doing. It is called
	// before Start.
	Told(f func(what string))
}

// upgrader looks after upgrades.
type upgrader interface {
	// Check changes nothing.
	Check(ctx context.Context) (upgrade.Report, error)
	// Plan says what Rollback would do.
	Plan(ctx context.Context) (upgrade.Plan, error)
	Rollback(ctx context.Context) (upgrade.Returned, error)
	// Forget removes what is kept; dry: it only says what that would be.
	Forget(dry bool) (upgrade.Forgotten, error)
	// PlanMove says what MovePostgres would do.
	PlanMove(m upgrade.Move) (upgrade.MovePlan, error)
	MovePostgres(ctx context.Context, m upgrade.Move) (upgrade.Moved, error)
	OnProgress(f func(backup.Progress))
}

// ledger is the database for commands that run beside the server.
type ledger interface {
	Jobs() jobKeeper
	Accounts() accountKeeper
	Audit() auditTrail
	Coin() coinKeeper
	Search() searchKeeper
	// Import copies the old backend's rows, or tells what that would do.
	Import(ctx context.Context, r appliance.ImportRequest) (oldstack.Result, error)
	// Explain tells what the database knows of a request or a job.
	Explain(ctx context.Context, id string) (trace.Timeline, error)
	// Migrate brings the schema up to date and returns its version before and
	// after.
	Migrate(ctx context.Context) (from, to int64, err error)
	Close() error
}

// jobKeeper looks at jobs and acts on them.
type jobKeeper interface {
	List(ctx context.Context, f jobs.Filter) ([]jobs.Info, error)
	Show(ctx context.Context, id jobs.ID) (jobs.Info, error)
	Retry(ctx context.Context, id jobs.ID) error
	Cancel(ctx context.Context, id jobs.ID) error
	Delete(ctx context.Context, id jobs.ID) error
	ErrorGroups(ctx context.Context) ([]jobs.ErrorGroup, error)
	PauseQueue(ctx context.Context, name, by string) error
	ResumeQueue(ctx context.Context, name string) error
}

// auditTrail is read and verified.
type auditTrail interface {
	Page(ctx context.Context, q audit.Query) (audit.Page, error)
	Verify(ctx context.Context) (audit.Verification, error)
}

// accountKeeper looks at accounts and acts on them. Acts return the account's
// id.
type accountKeeper interface {
	Staff(ctx context.Context) ([]accounts.PersonSummary, error)
	CreateAdmin(ctx context.Context, email, password, name string) (int64, error)
	Promote(ctx context.Context, emailOrHandle string) (int64, error)
	Demote(ctx context.Context, emailOrHandle string) (int64, error)
	CloseAccount(ctx context.Context, emailOrHandle string) (int64, error)
	ResetPassword(ctx context.Context, emailOrHandle, password string) (int64, error)
}

// coinKeeper looks at the ledger of coins.
type coinKeeper interface {
	Check(ctx context.Context) (coin.Report, error)
}

// searchKeeper looks after what people are found by.
type searchKeeper interface {
	// Rebuild builds an index anew; an empty engine is the one asked first.
	Rebuild(ctx context.Context, engine string, progress func(search.Progress)) (search.Rebuilt, error)
	Status(ctx context.Context) (search.Status, error)
}

// backupKeeper makes, proves and lists archives.
type backupKeeper interface {
	Create(ctx context.Context, r backup.Request) (backup.Result, error)
	Verify(ctx context.Context, path string) (backup.Verification, error)
	List(ctx context.Context, most int) ([]backup.Entry, error)
	Close() error
}

// restorer puts archives in the place of the database while no server runs.
type restorer interface {
	// Target names the database in words.
	Target() string
	// Plan checks the archive and touches no database.
	Plan(ctx context.Context, r backup.RestoreRequest) (backup.Plan, error)
	Restore(ctx context.Context, r backup.RestoreRequest) (backup.Restored, error)
	// Undo swaps the database with what the last restore put aside.
	Undo(ctx context.Context) (backup.Restored, error)
	// DropOld drops all that restores put aside.
	DropOld(ctx context.Context) (backup.Restored, error)
}

// parts are what the verbs are made of.
type parts struct {
	newServer  func(ctx context.Context, cfg *config.Config, log *slog.Logger, tail *telemetry.Tail, version, commit string) (server, error)
	openLedger func(ctx context.Context, cfg *config.Config, log *slog.Logger, version, commit string) (ledger, error)
	// progress may be nil in both.
	openBackups func(ctx context.Context, cfg *config.Config, log *slog.Logger, version, commit string, progress func(backup.Progress)) (backupKeeper, error)
	newRestorer func(cfg *config.Config, log *slog.Logger, progress func(backup.Progress)) restorer
	newUpgrader func(cfg *config.Config, log *slog.Logger, version, commit string) (upgrader, error)
}

// production links the verbs to the appliance.
func production() parts {
	return parts{
		newServer: func(_ context.Context, cfg *config.Config, log *slog.Logger, tail *telemetry.Tail, version, commit string) (server, error) {
			return appliance.New(cfg, log, tail, appliance.Build{Version: version, Commit: commit})
		},
		openLedger: func(ctx context.Context, cfg *config.Config, log *slog.Logger, version, commit string) (ledger, error) {
			led, err := appliance.OpenLedger(ctx, cfg, log, appliance.Build{Version: version, Commit: commit})
			if err != nil {
				return nil, err
			}
			return linkedLedger{led}, nil
		},
		openBackups: func(ctx context.Context, cfg *config.Config, log *slog.Logger, version, commit string, progress func(backup.Progress)) (backupKeeper, error) {
			return appliance.OpenBackups(ctx, cfg, log, appliance.Build{Version: version, Commit: commit}, progress)
		},
		newRestorer: func(cfg *config.Config, log *slog.Logger, progress func(backup.Progress)) restorer {
			return appliance.NewRestorer(cfg, log, progress)
		},
		newUpgrader: func(cfg *config.Config, log *slog.Logger, version, commit string) (upgrader, error) {
			return appliance.NewUpgrader(cfg, log, appliance.Build{Version: version, Commit: commit})
		},
	}
}

// linkedLedger narrows the appliance's ledger to what the verbs use.
type linkedLedger struct{ *appliance.Ledger }

func (l linkedLedger) Jobs() jobKeeper         { return l.Ledger.Jobs() }
func (l linkedLedger) Audit() auditTrail       { return l.Ledger.Audit() }
func (l linkedLedger) Accounts() accountKeeper { return l.Ledger.Accounts() }
func (l linkedLedger) Coin() coinKeeper        { return l.Ledger.Coin() }
func (l linkedLedger) Search() searchKeeper    { return l.Ledger.Search() }
