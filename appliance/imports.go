package appliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"selflink/appliance/audit"
	"selflink/appliance/oldstack"
	"selflink/services/accounts"
	"selflink/services/mentor"
)

// ErrNotMigrated means that the schema is older than this program.
var ErrNotMigrated = errors.New("the schema is not up to date")

// undefinedTable is the SQLSTATE of a table that is not there.
const undefinedTable = "42P01"

// ImportRequest says what to copy from the old backend.
type ImportRequest struct {
	From      string // the address of its database, a secret
	MediaURL  string // where it served its files, see [accounts.ImportOptions]
	DryRun    bool
	MissingOK bool
	Batch     int           // rows (500)
	KeptFor   time.Duration // how long conversations are kept here; 0: for ever
	Progress  func(oldstack.Progress)
	Fault     func(oldstack.Fault) error // every row that is not copied
}

// Import copies what the services take over from the old backend's database,
// see [oldstack.Run]. A running server goes on meanwhile: what others see of new
// accounts is there at once, and of changed ones after half a minute. The run is
// in the audit trail, unless it was dry.
func (l *Ledger) Import(ctx context.Context, r ImportRequest) (oldstack.Result, error) {
	source, err := oldstack.Open(ctx, r.From)
	if err != nil {
		return oldstack.Result{}, err
	}
	defer source.Close()
	if !r.DryRun {
		if _, _, err := l.Migrate(ctx); err != nil {
			return oldstack.Result{}, fmt.Errorf("bring the schema up to date: %w", err)
		}
	}
	steps := l.accounts.Imports(accounts.ImportOptions{MediaURL: r.MediaURL})
	steps = append(steps, mentor.Imports(mentor.ImportOptions{Accounts: accounts.ImportedAccounts, KeptFor: r.KeptFor, Now: time.Now()})...)
	result, err := oldstack.Run(ctx, oldstack.Options{
		DB: l.database.Pool(), Source: source, Steps: steps, DryRun: r.DryRun, MissingOK: r.MissingOK, Batch: r.Batch,
		Progress: r.Progress, Fault: r.Fault,
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == undefinedTable {
		return result, fmt.Errorf("%w: %w", ErrNotMigrated, err)
	}
	if r.DryRun || len(result.Kinds) == 0 {
		return result, err
	}
	return result, errors.Join(err, l.recordImport(ctx, result, err))
}

// recordImport tells the audit trail of a run, also of one that failed.
func (l *Ledger) recordImport(ctx context.Context, result oldstack.Result, failure error) error {
	total := result.Total()
	e := audit.Entry{
		Action: "import.ran", ObjectType: "database", ObjectID: "old backend",
		Metadata: map[string]any{
			"by": "command", "snapshot": result.Snapshot.UTC().Format(time.RFC3339), "rows": total.Rows, "copied": total.Copied,
			"changed": total.Changed, "kept": total.Kept, "refused": total.Refused,
		},
	}
	if failure != nil {
		e.Action = "import.ran.failed"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if err := l.audit.Record(ctx, e); err != nil {
		return fmt.Errorf("record the import: %w", err)
	}
	return nil
}
