package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"selflink/appliance/backup"
	"selflink/appliance/database"
)

// Move asks for another major version of PostgreSQL.
type Move struct {
	To  int
	Bin string // directory of its programs; empty: where they are installed
}

// MovePlan is what a move would do.
type MovePlan struct {
	From     int       `json:"from"`
	To       int       `json:"to"`
	OK       bool      `json:"ok"`
	Bytes    int64     `json:"bytes"`             // of the cluster
	Estimate float64   `json:"estimated_seconds"` // without service
	Findings []Finding `json:"findings"`
}

// Moved is what a move did.
type Moved struct {
	From    int     `json:"from"`
	To      int     `json:"to"`
	Tables  int     `json:"tables"`
	Rows    int64   `json:"rows"`
	Aside   string  `json:"aside"` // the old cluster
	Seconds float64 `json:"seconds"`
}

const (
	nextName = "next" // data directory of the new cluster, in that of the upgrade
	// moveRate and moveBase estimate how long a move takes: bytes a second of
	// the cluster for dumping, restoring and its indexes, on a small machine.
	moveRate = 10 << 20
	moveBase = 10 * time.Second
)

// errSwapped ends the hold on the old cluster without starting it again.
var errSwapped = errors.New("upgrade: the clusters are exchanged")

// PlanMove says what a move to another major version would do. It changes
// nothing.
func (k *Keeper) PlanMove(m Move) (MovePlan, error) {
	p := MovePlan{To: m.To, Findings: []Finding{}}
	r := Report{OK: true}
	if k.external() {
		return p, errors.New("upgrade: the database is an external one; whoever runs it moves it")
	}
	var err error
	cluster := database.ClusterDir(k.opts.DataDir)
	if p.From, err = database.ClusterMajor(cluster); err != nil {
		return p, err
	}
	switch {
	case p.From == 0:
		return p, fmt.Errorf("upgrade: there is no database in %s yet; a new one is made with the newest PostgreSQL", k.opts.DataDir)
	case m.To < p.From || m.To == p.From && !k.opts.sameMajor:
		r.add("version", Fail, fmt.Sprintf("the data is of PostgreSQL %d already", p.From), "name a newer one with --to")
	}
	for _, major := range []int{p.From, m.To} {
		o := k.opts.Database
		if major == m.To && m.Bin != "" {
			o.BinDir = m.Bin
		}
		if dir, err := database.FindMajor(o, major); err != nil {
			r.add("programs", Fail, fmt.Sprintf("PostgreSQL %d is not installed", major), fmt.Sprintf("apt-get install postgresql-%d; or name their directory with --bin", major))
		} else {
			r.add("programs", Good, fmt.Sprintf("PostgreSQL %d is in %s", major, dir), "")
		}
	}
	if kind, because := k.kind(true); kind != Cluster {
		r.add("cluster", Fail, "it cannot be exchanged with another: "+because, "restore an archive into a new data directory instead: docs/UPGRADE.md")
	}
	if info, err := os.Stat(filepath.Join(cluster, "postgresql.auto.conf")); err == nil && info.Size() > emptyAutoConf {
		r.add("settings", Warn, "those made with ALTER SYSTEM are not taken along", "make them again afterwards")
	}
	state, err := k.State()
	if err != nil {
		return p, err
	}
	switch u := state.Upgrade; {
	case u.open() || u != nil && (u.Phase == RollingBack || u.Phase == Restored):
		r.add("earlier upgrade", Fail, "it is not over", "start the server until it is, or:  selflink rollback")
	case u != nil && u.Snapshot != nil && u.Phase != RolledBack:
		r.add("earlier upgrade", Warn, "its snapshot goes: the way back is to the PostgreSQL of before", "")
	}
	if p.Bytes, err = treeSize(cluster); err != nil {
		return p, err
	}
	free, err := k.opts.free(k.opts.DataDir)
	if err != nil {
		return p, err
	}
	// The archive is at most as large as the cluster, and so is the new one.
	text := fmt.Sprintf("an archive and a new cluster take at most %s, and %s are free", mib(2*p.Bytes), mib(free))
	if free < 2*p.Bytes+headroom {
		r.add("disk", Fail, text, "free some space: "+k.freeable(state))
	} else {
		r.add("disk", Good, text, "")
	}
	p.OK, p.Findings = r.OK, r.Findings
	p.Estimate = moveBase.Seconds() + float64(p.Bytes)/moveRate
	return p, nil
}

// emptyAutoConf is more than the two lines that initdb writes.
const emptyAutoConf = 100

// MovePostgres moves the private database to another major version while no
// server runs: an archive of it is restored into a new cluster beside the old
// one and counted, then the two are exchanged in one step and the new one is
// started. The old one is kept, and [Keeper.Rollback] brings it back. On an
// error, and when it is killed before the exchange, the old one is in its place.
func (k *Keeper) MovePostgres(ctx context.Context, m Move) (out Moved, err error) {
	begin := k.now()
	plan, err := k.PlanMove(m)
	if err != nil {
		return out, err
	}
	if err := (&Report{OK: plan.OK, Findings: plan.Findings}).refusal(); err != nil {
		return out, err
	}
	out.From, out.To = plan.From, m.To
	held, err := database.Hold(ctx, k.opts.Database)
	if errors.Is(err, database.ErrLocked) {
		return out, fmt.Errorf("%w. Nothing was changed: %w", ErrServing, err)
	}
	if err != nil {
		return out, err
	}
	old, err := held.Start(ctx)
	if err != nil {
		return out, err
	}
	u, err := k.moveFrom(ctx, old, m, plan, &out)
	if err = errors.Join(err, stop(old)); err != nil {
		return out, err
	}
	if err := k.proveMove(ctx, u, m); err != nil {
		return out, err
	}
	if _, err := k.update(func(s *State) {
		now := k.now().UTC()
		s.Upgrade.Phase, s.Upgrade.Ended = Done, &now
	}); err != nil {
		return out, err
	}
	out.Aside, out.Seconds = u.Snapshot.Path, k.now().Sub(begin).Seconds()
	k.log.Info("moved to another PostgreSQL", "from", out.From, "to", out.To, "rows", out.Rows, "took", k.now().Sub(begin).Round(time.Millisecond).String())
	state, err := k.State()
	return out, errors.Join(err, k.sweep(state))
}

// moveFrom archives the old cluster, fills the new one and exchanges them.
func (k *Keeper) moveFrom(ctx context.Context, old *database.Server, m Move, plan MovePlan, out *Moved) (u Upgrade, err error) {
	schema, err := old.Schema(ctx)
	if err != nil {
		return u, err
	}
	if err := k.makeDir(); err != nil {
		return u, err
	}
	id := k.newID()
	partial, whole := filepath.Join(k.dir, id+partialSuffix), filepath.Join(k.dir, id)
	next := filepath.Join(partial, nextName)
	if err := os.MkdirAll(next, 0o700); err != nil {
		return u, fmt.Errorf("make room for the new cluster: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	if err := k.giveToOwner(partial, next); err != nil {
		return u, err
	}
	archive := filepath.Join(partial, archiveName)
	at := k.now().UTC()
	if _, err := k.archive(ctx, old, archive); err != nil {
		return u, fmt.Errorf("archive the old cluster: %w", err)
	}
	k.opts.step("archived")
	err = old.WhileStopped(ctx, func(cluster string) error {
		if err := k.fillNext(ctx, cluster, next, archive, m, out); err != nil {
			return err
		}
		if err := errors.Join(os.Remove(archive), os.Rename(partial, whole), syncPath(k.dir)); err != nil {
			return fmt.Errorf("complete the new cluster: %w", err)
		}
		ready := filepath.Join(whole, nextName, filepath.Base(cluster))
		u = Upgrade{
			ID: id, From: k.opts.Build, To: k.opts.Build, SchemaFrom: schema.Current, SchemaTo: schema.Current, Phase: Migrating, Began: at,
			PostgresFrom: plan.From, PostgresTo: m.To, Snapshot: &Snapshot{Kind: Cluster, Path: ready, Bytes: plan.Bytes, At: at},
		}
		// The old cluster is the snapshot; its mark says so on either side of
		// the exchange.
		if err := k.mark(cluster, id); err != nil {
			return err
		}
		if _, err := k.update(func(s *State) { s.Upgrade = &u }); err != nil {
			return err
		}
		k.opts.step("filled")
		if err := exchange(cluster, ready); err != nil {
			return err
		}
		k.opts.step("moved")
		if err := os.RemoveAll(filepath.Join(k.opts.DataDir, "broker")); err != nil { // rebuilt from the ledger
			return fmt.Errorf("remove the broker's streams: %w", err)
		}
		return errSwapped
	})
	if errors.Is(err, errSwapped) {
		err = nil
	}
	return u, err
}

// mark leaves the file in a cluster that tells a snapshot from what replaced it.
func (k *Keeper) mark(cluster, id string) error {
	info, err := os.Stat(cluster)
	if err != nil {
		return fmt.Errorf("mark the cluster: %w", err)
	}
	path := filepath.Join(cluster, markPrefix+id)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("mark the cluster: %w", err)
	}
	if err := ownLike(path, info); err != nil {
		return err
	}
	return errors.Join(os.Chmod(path, 0o600), syncPath(cluster))
}

// fillNext makes a cluster of the new version with the passwords of the old one
// and restores the archive into it.
func (k *Keeper) fillNext(ctx context.Context, cluster, next, archive string, m Move, out *Moved) error {
	if err := database.CopyAccess(k.opts.DataDir, next); err != nil {
		return fmt.Errorf("take the passwords along: %w", err)
	}
	o := k.opts.Database
	who, err := database.FindAccount(o)
	if err != nil {
		return err
	}
	o.DataDir, o.RunAs = next, who
	if m.Bin != "" {
		o.BinDir = m.Bin
	}
	if o.BinDir, err = database.FindMajor(o, m.To); err != nil {
		return err
	}
	r := &backup.Restorer{Database: o, DataDir: next, KeepSchema: true, Logger: k.opts.Logger, Progress: k.opts.Progress}
	done, err := r.Restore(ctx, backup.RestoreRequest{File: archive})
	if err != nil {
		return fmt.Errorf("fill the new cluster: %w", err)
	}
	out.Tables, out.Rows = done.Tables, done.Rows
	// An operator's own settings stay in force.
	own := filepath.Join(cluster, database.LocalConf)
	info, err := os.Stat(own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = copyFile(own, filepath.Join(database.ClusterDir(next), database.LocalConf), info, func(int64) error { return ctx.Err() })
	}
	if err != nil {
		return fmt.Errorf("take the settings along: %w", err)
	}
	return nil
}

// proveMove starts the new cluster in its place; when that fails the old one
// comes back.
func (k *Keeper) proveMove(ctx context.Context, u Upgrade, m Move) error {
	o := k.opts.Database
	if m.Bin != "" {
		o.BinDir = m.Bin
	}
	held, err := database.Hold(ctx, o)
	if err != nil {
		return fmt.Errorf("start the new cluster: %w", err)
	}
	db, err := held.Start(ctx)
	if err == nil {
		var schema database.Schema
		if schema, err = db.Schema(ctx); err == nil && schema.Current != u.SchemaTo {
			err = fmt.Errorf("upgrade: the new cluster is at step %d of the schema, the old one at %d", schema.Current, u.SchemaTo)
		}
		err = errors.Join(err, stop(db))
	}
	if err == nil {
		return nil
	}
	_, back := k.Rollback(context.WithoutCancel(ctx))
	if back == nil {
		return fmt.Errorf("the new cluster does not work, the old one is in its place again: %w", err)
	}
	return fmt.Errorf("%w: the new cluster does not work: %w", ErrFailed, errors.Join(err, back))
}
