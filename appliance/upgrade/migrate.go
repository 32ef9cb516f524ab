package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"selflink/appliance/database"
)

// Outcome is what [Keeper.Migrate] did.
type Outcome struct {
	From     int64     `json:"from"` // steps of the schema
	To       int64     `json:"to"`
	Applied  int       `json:"applied"`
	Snapshot *Snapshot `json:"snapshot,omitempty"` // null: none was taken now
}

// Guard refuses a start that must not be: in the middle of a rollback, and of a
// build that has failed on this data or was gone back from. It looks at one
// file, before any database is started.
func (k *Keeper) Guard() error {
	state, err := k.State()
	if err != nil {
		return err
	}
	return k.guard(state, false)
}

func (k *Keeper) guard(s State, again bool) error {
	u := s.Upgrade
	if u == nil {
		return nil
	}
	same := u.To == k.opts.Build && u.PostgresTo == 0 && !again
	switch {
	case u.Phase == RollingBack, u.Phase == Restored:
		return fmt.Errorf("%w: it goes on with:  selflink rollback", ErrUnfinished)
	case same && u.Phase == Failed:
		return fmt.Errorf("%w: from %s to %s: %s. It is not tried again by itself", ErrFailed, u.From, u.To, u.Error)
	case same && u.Phase == RolledBack:
		return fmt.Errorf("%w: %s, on %s. Install %s again, or another version", ErrWentBack, u.To, u.Ended.Format(time.DateTime), u.From)
	}
	return nil
}

// Migrate brings the schema up to date with a way back: it looks whether that
// can work, takes a snapshot, and writes down how far it is. Nobody may use db
// yet, unless another process runs the database; again is for a person who
// tries a failed upgrade once more.
//
// It returns [ErrRefused] when nothing was begun, and [ErrFailed] when a step
// failed.
func (k *Keeper) Migrate(ctx context.Context, db *database.Server, again bool) (Outcome, error) {
	state, err := k.State()
	if err != nil {
		return Outcome{}, err
	}
	if err := k.guard(state, again); err != nil {
		return Outcome{}, err
	}
	schema, err := db.Schema(ctx)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{From: schema.Current, To: schema.Current}
	if err := schema.Newer(); err != nil {
		return out, err
	}
	switch {
	case schema.Pending() == 0:
		if u := state.Upgrade; u.open() && u.Phase != Migrated && schema.Current >= u.SchemaTo { // killed right after the last step
			err = k.phase(Migrated, nil)
		}
		return out, err
	case schema.Current == 0: // there is nothing to go back to
		out.Applied, err = db.Migrate(ctx)
		out.To = schema.Target
		return out, err
	}
	report := Report{OK: true}
	if err := k.examine(ctx, &report, db, schema, state, db.Supervises()); err != nil {
		return out, err
	}
	if err := report.refusal(); err != nil {
		return out, err
	}
	return k.migrate(ctx, db, state, schema, out)
}

func (k *Keeper) migrate(ctx context.Context, db *database.Server, state State, schema database.Schema, out Outcome) (Outcome, error) {
	fresh, err := k.fresh(ctx, db, state.Upgrade, schema)
	if err != nil {
		return out, err
	}
	// A copy is taken before the lock of those who migrate, which would not
	// outlive the stop of the cluster; nobody else can reach it anyway. An
	// archive is taken under it, by the one who then migrates.
	kind, because := k.kind(db.Supervises())
	first := func(context.Context, database.Schema) error {
		k.opts.step("migrating")
		return k.phase(Migrating, nil)
	}
	switch take := fresh && !k.opts.NoSnapshot; {
	case !fresh:
		_, err = k.update(func(s *State) { s.Upgrade.To, s.Upgrade.SchemaTo = k.opts.Build, schema.Target })
	case take && kind == Archive:
		k.log.Info("the snapshot is an archive", "because", because)
		begin := first
		first = func(ctx context.Context, now database.Schema) error {
			if out.Snapshot, err = k.open(ctx, db, now, kind); err != nil {
				return err
			}
			return begin(ctx, now)
		}
	case take:
		out.Snapshot, err = k.open(ctx, db, schema, kind)
	default:
		out.Snapshot, err = k.open(ctx, db, schema, "")
	}
	if err != nil {
		return out, err
	}
	began := false
	out.Applied, err = db.MigrateAfter(ctx, func(ctx context.Context, now database.Schema) error {
		if err := first(ctx, now); err != nil {
			return err
		}
		began = true
		return nil
	})
	if err != nil {
		return out, k.failed(ctx, err, began)
	}
	k.opts.step("migrated")
	out.To = schema.Target
	if !began { // another process was faster
		return out, nil
	}
	return out, k.phase(Migrated, nil)
}

// failed writes down that a step failed. One that was interrupted has not: the
// next start goes on with it.
func (k *Keeper) failed(ctx context.Context, err error, began bool) error {
	if !began || ctx.Err() != nil {
		return err
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	var u Upgrade
	if state, writeErr := k.update(func(s *State) { s.Upgrade.Phase, s.Upgrade.Error = Failed, text }); writeErr != nil {
		return errors.Join(err, writeErr)
	} else if state.Upgrade != nil {
		u = *state.Upgrade
	}
	return fmt.Errorf("%w: from %s to %s: %w", ErrFailed, u.From, u.To, err)
}

// fresh reports whether this is an upgrade of its own, not one more try of the
// last one. What is left of the last one decides: its snapshot is the good one
// for as long as no version has worked on the data since.
func (k *Keeper) fresh(ctx context.Context, db *database.Server, last *Upgrade, schema database.Schema) (bool, error) {
	if !last.open() {
		return true, nil
	}
	if last.Snapshot == nil || schema.Current != last.SchemaFrom {
		return false, nil
	}
	// The version of before may have been started again, and people have
	// written since.
	served, err := servedSince(ctx, db, last.Snapshot.At)
	if served {
		k.log.Info("the version of before has served since the last try; taking another snapshot", "failed", last.Began)
	}
	return served, err
}

// servedSince reports whether a server has begun to serve since a moment: each
// takes a number for its ids.
func servedSince(ctx context.Context, db *database.Server, at time.Time) (served bool, err error) {
	var there bool
	if err = db.Direct().QueryRow(ctx, "SELECT to_regclass('snowflake_node_lease') IS NOT NULL").Scan(&there); err == nil && there {
		err = db.Direct().QueryRow(ctx, "SELECT coalesce(max(acquired_at) > $1, false) FROM snowflake_node_lease", at).Scan(&served)
	}
	if err != nil {
		return false, fmt.Errorf("look whether a server ran since the snapshot: %w", err)
	}
	return served, nil
}

// open begins an upgrade: it takes the snapshot, of no kind none, and writes
// both down. Earlier snapshots stay until this upgrade is done.
func (k *Keeper) open(ctx context.Context, db *database.Server, schema database.Schema, kind Kind) (*Snapshot, error) {
	id := k.newID()
	state, err := k.State()
	if err != nil {
		return nil, err
	}
	if err := k.makeDir(); err != nil {
		return nil, err
	}
	if err := k.sweep(state); err != nil {
		return nil, err
	}
	next := Upgrade{
		ID: id, From: k.from(state), To: k.opts.Build, SchemaFrom: schema.Current, SchemaTo: schema.Target,
		Phase: Snapshotting, Began: k.now().UTC(),
	}
	if last := state.Upgrade; last != nil {
		next.Older = append(last.Older, last.ID)
	}
	if kind != "" {
		k.opts.step("snapshot")
		made, err := k.take(ctx, db, id, kind)
		if err != nil {
			return nil, err
		}
		next.Snapshot = &made
		k.opts.step("taken")
	}
	_, err = k.update(func(s *State) { s.Upgrade = &next })
	return next.Snapshot, err
}

// from is the build that the data was used with so far.
func (k *Keeper) from(s State) Build {
	if s.Good != nil {
		return *s.Good
	}
	if raw, err := os.ReadFile(k.kept("version")); err == nil {
		return Build{Version: strings.TrimSpace(string(raw))}
	}
	return Build{}
}
