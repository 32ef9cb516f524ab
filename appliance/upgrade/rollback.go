package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"selflink/appliance/backup"
	"selflink/appliance/database"
)

// Plan is what a rollback would do.
type Plan struct {
	From     Build `json:"from"` // what is gone back from
	To       Build `json:"to"`
	SchemaTo int64 `json:"schema_to"`
	// PostgresFrom and PostgresTo are set when only PostgreSQL changes.
	PostgresFrom int       `json:"postgres_from,omitempty"`
	PostgresTo   int       `json:"postgres_to,omitempty"`
	Phase        Phase     `json:"phase"`
	Snapshot     *Snapshot `json:"snapshot"`
	Lost         float64   `json:"lost_seconds"` // what was written in this time is lost
	Program      Program   `json:"program"`
	Restored     bool      `json:"restored"` // the database is back already
}

// Returned is what a rollback did.
type Returned struct {
	Plan
	Aside   string  `json:"aside"` // where the database that was gone back from is
	Seconds float64 `json:"seconds"`
}

// Plan says what a rollback would do. It returns [ErrNothing] when there is
// nothing to go back to.
func (k *Keeper) Plan(ctx context.Context) (Plan, error) {
	state, err := k.State()
	if err != nil {
		return Plan{}, err
	}
	u := state.Upgrade
	switch {
	case u == nil:
		return Plan{}, fmt.Errorf("%w: no upgrade of this data has been made, or it was forgotten. Archives there are:  selflink backup list", ErrNothing)
	case u.Phase == RolledBack:
		return Plan{}, fmt.Errorf("%w: %s was gone back from on %s", ErrNothing, u.To, u.Ended.Format(time.DateTime))
	case u.Phase == Snapshotting:
		return Plan{}, fmt.Errorf("%w: the upgrade to %s was not begun, and the data is as it was", ErrNothing, u.To)
	case u.Snapshot == nil:
		return Plan{}, fmt.Errorf("%w: no snapshot was taken (SELFLINK_UPGRADE_SNAPSHOT=false). Restore an archive:  selflink backup list", ErrNothing)
	}
	p := Plan{From: u.To, To: u.From, SchemaTo: u.SchemaFrom, Phase: u.Phase, PostgresFrom: u.PostgresTo, PostgresTo: u.PostgresFrom, Snapshot: u.Snapshot, Restored: u.Phase == Restored}
	p.Lost = k.now().Sub(u.Snapshot.At).Seconds()
	p.Program = k.program(ctx, u)
	return p, nil
}

// Rollback puts the snapshot in the place of the database, while no server runs,
// and the program of before in the place of this one where it is kept. Killed
// at any step it goes on when it is called again; the database's name is always
// that of a whole database.
func (k *Keeper) Rollback(ctx context.Context) (out Returned, err error) {
	begin := k.now()
	if out.Plan, err = k.Plan(ctx); err != nil {
		return out, err
	}
	state, err := k.State()
	if err != nil {
		return out, err
	}
	u := *state.Upgrade
	if u.Phase != Restored {
		if u.Snapshot.Kind == Cluster {
			err = k.swapCluster(ctx, u)
		} else {
			out.Aside, err = k.restoreArchive(ctx, u)
		}
		if err != nil {
			return out, err
		}
	}
	if u.Snapshot.Kind == Cluster {
		out.Aside = u.Snapshot.Path
		// Its work is done: from here the phase says that the database is back.
		_ = os.Remove(filepath.Join(database.ClusterDir(k.opts.DataDir), markPrefix+u.ID)) //nolint:errcheck // it harms nobody
	}
	k.opts.step("unmarked")
	if err := k.putProgram(&out.Program); err != nil {
		return out, fmt.Errorf("the database is back, the program is not: %w", err)
	}
	k.opts.step("program")
	if err := k.phase(RolledBack, nil); err != nil {
		return out, err
	}
	out.Seconds = k.now().Sub(begin).Seconds()
	k.log.Info("went back", "from", u.To.String(), "to", u.From.String(), "schema", u.SchemaFrom)
	return out, nil
}

// swapCluster exchanges the cluster with its copy and proves that it is the one
// of before.
func (k *Keeper) swapCluster(ctx context.Context, u Upgrade) error {
	held, err := database.Hold(ctx, k.opts.Database)
	if errors.Is(err, database.ErrLocked) {
		return fmt.Errorf("%w. Nothing was changed: %w", ErrServing, err)
	}
	if err != nil {
		return err
	}
	defer held.Release() //nolint:errcheck // after Start it is the server's
	k.opts.step("held")
	if _, err := os.Stat(u.Snapshot.Path); err != nil {
		return fmt.Errorf("the snapshot is not there. Nothing was changed: %w", err)
	}
	// Of a move: the other programs may be gone by now.
	if u.PostgresFrom != 0 {
		if _, err := database.FindMajor(k.opts.Database, u.PostgresFrom); err != nil {
			return fmt.Errorf("the programs of PostgreSQL %d are needed. Nothing was changed: %w", u.PostgresFrom, err)
		}
	}
	if err := k.phase(RollingBack, nil); err != nil {
		return err
	}
	k.opts.step("begun")
	// The mark moves with the copy, so it tells on which side of the exchange
	// a killed rollback was.
	mark := markPrefix + u.ID
	_, here := os.Stat(filepath.Join(held.Cluster(), mark))
	_, there := os.Stat(filepath.Join(u.Snapshot.Path, mark))
	switch {
	case here == nil:
	case there == nil:
		if err := exchange(held.Cluster(), u.Snapshot.Path); err != nil {
			return err
		}
	default:
		return fmt.Errorf("upgrade: neither %s nor %s is the snapshot of this upgrade. Nothing was changed", held.Cluster(), u.Snapshot.Path)
	}
	k.opts.step("exchanged")
	// The broker's streams are of the other database; they are rebuilt.
	if err := os.RemoveAll(filepath.Join(k.opts.DataDir, "broker")); err != nil {
		return fmt.Errorf("remove the broker's streams: %w", err)
	}
	k.opts.step("broker")
	db, err := held.Start(ctx)
	if err != nil {
		return err
	}
	k.opts.step("started")
	return errors.Join(k.settle(ctx, db, u), stop(db))
}

// settle proves that a database is the one of before an upgrade and makes it
// go its own way from here.
func (k *Keeper) settle(ctx context.Context, db *database.Server, u Upgrade) error {
	schema, err := db.Schema(ctx)
	if err != nil {
		return err
	}
	if schema.Current != u.SchemaFrom {
		return fmt.Errorf("upgrade: the database that was put back is at step %d, and the one of before was at %d", schema.Current, u.SchemaFrom)
	}
	// Events get numbers that the life that ends here has given to others.
	if _, err := db.Direct().Exec(ctx, `DO $$ BEGIN IF to_regclass('realtime_log') IS NOT NULL THEN
		UPDATE realtime_log SET epoch = ('x' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 15))::bit(60)::bigint;
		END IF; END $$`); err != nil {
		return fmt.Errorf("begin a new epoch of events: %w", err)
	}
	k.opts.step("settled")
	// Under the lock, so that no start comes in between.
	return k.phase(Restored, nil)
}

// restoreArchive restores the snapshot beside the database and swaps the two.
func (k *Keeper) restoreArchive(ctx context.Context, u Upgrade) (aside string, err error) {
	r := &backup.Restorer{Database: k.opts.Database, DataDir: k.opts.DataDir, KeepSchema: true, Logger: k.opts.Logger, Progress: k.opts.Progress}
	if err := k.phase(RollingBack, nil); err != nil {
		return "", err
	}
	k.opts.step("begun")
	done, err := r.Restore(ctx, backup.RestoreRequest{File: u.Snapshot.Path})
	if err != nil {
		if done.Aside == "" && u.Phase != RollingBack { // nothing was changed
			_, phaseErr := k.update(func(s *State) { s.Upgrade.Phase, s.Upgrade.Error = u.Phase, u.Error })
			err = errors.Join(err, phaseErr)
		}
		return "", fmt.Errorf("put the snapshot back: %w", err)
	}
	k.opts.step("exchanged")
	return "database " + done.Aside, k.phase(Restored, nil)
}
