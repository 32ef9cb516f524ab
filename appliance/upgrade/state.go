package upgrade

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dirName    = "upgrade"    // in the data directory
	stateFile  = "state.json" // in it, like what follows
	lockFile   = "lock"
	previous   = "previous" // of the program of before; the package fills it
	failedName = "failed"   // of the program that was gone back from

	format        = 1
	partialSuffix = ".partial"
	idTime        = "20060102t150405"
)

// Phase is how far an upgrade is.
type Phase string

// The phases of an upgrade, and those of going back from it.
const (
	Snapshotting Phase = "snapshot"  // nothing was changed yet
	Migrating    Phase = "migrating" // some steps may be applied
	Failed       Phase = "failed"    // a step failed
	Migrated     Phase = "migrated"  // all steps are applied, no server was ready since
	Ready        Phase = "ready"     // a server was ready, but never without a grave problem
	Done         Phase = "done"

	RollingBack Phase = "rolling-back" // the database is being put back
	Restored    Phase = "restored"     // the database is back, the program may not be
	RolledBack  Phase = "rolled-back"
)

// Kind is how a snapshot was made.
type Kind string

// The kinds of snapshots.
const (
	Cluster Kind = "cluster" // a copy of the stopped private cluster
	Archive Kind = "archive" // of package backup, of the database alone
)

// Snapshot is a database as it was before an upgrade.
type Snapshot struct {
	Kind    Kind      `json:"kind"`
	Path    string    `json:"path"`
	Bytes   int64     `json:"bytes"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"` // that it took
}

// Upgrade is one way from a version to another.
type Upgrade struct {
	ID         string     `json:"id"`
	From       Build      `json:"from"`
	To         Build      `json:"to"`
	SchemaFrom int64      `json:"schema_from"`
	SchemaTo   int64      `json:"schema_to"`
	Phase      Phase      `json:"phase"`
	Began      time.Time  `json:"began_at"`
	Ended      *time.Time `json:"ended_at,omitempty"` // when it was done, or gone back from
	Error      string     `json:"error,omitempty"`    // why it failed
	// PostgresFrom and PostgresTo are the major versions that a move was
	// between; 0: it was an upgrade of the appliance.
	PostgresFrom int `json:"postgres_from,omitempty"`
	PostgresTo   int `json:"postgres_to,omitempty"`
	// Snapshot is what can be gone back to; null: snapshots are switched off,
	// or it was removed.
	Snapshot *Snapshot `json:"snapshot"`
	// Older are the ids of upgrades whose snapshots go when this one is done.
	Older []string `json:"older,omitempty"`
}

// open reports whether the upgrade was begun and is not proven.
func (u *Upgrade) open() bool {
	return u != nil && (u.Phase == Migrating || u.Phase == Failed || u.Phase == Migrated)
}

// State is what is known of upgrades of a data directory.
type State struct {
	Format int `json:"format"`
	// Good is the last build that was ready without a grave problem.
	Good    *Build    `json:"good,omitempty"`
	Since   time.Time `json:"good_since,omitzero"`
	Upgrade *Upgrade  `json:"upgrade,omitempty"` // the last one
}

// State reads what is known. A directory without upgrades has the zero state.
func (k *Keeper) State() (State, error) {
	s := State{Format: format}
	raw, err := os.ReadFile(filepath.Join(k.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read the state of upgrades in %s: %w", k.dir, err)
	}
	if s.Format != format {
		return s, fmt.Errorf("upgrade: %s is of a newer version of selflink; nothing was changed", filepath.Join(k.dir, stateFile))
	}
	return s, nil
}

// update changes the state, as a whole and on disk or not at all; among
// processes one at a time.
func (k *Keeper) update(change func(*State)) (State, error) {
	if err := k.makeDir(); err != nil {
		return State{}, err
	}
	lock, err := os.OpenFile(filepath.Join(k.dir, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return State{}, fmt.Errorf("lock the state of upgrades: %w", err)
	}
	defer lock.Close() // and with it the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return State{}, fmt.Errorf("lock the state of upgrades: %w", err)
	}
	s, err := k.State()
	if err != nil {
		return s, err
	}
	change(&s)
	raw, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = replaceFile(filepath.Join(k.dir, stateFile), append(raw, '\n'))
	}
	if err == nil {
		err = k.giveToOwner(lock.Name(), filepath.Join(k.dir, stateFile))
	}
	if err != nil {
		return s, fmt.Errorf("write the state of upgrades: %w", err)
	}
	return s, nil
}

// phase writes down how far the last upgrade is.
func (k *Keeper) phase(p Phase, because error) error {
	_, err := k.update(func(s *State) {
		s.Upgrade.Phase, s.Upgrade.Error = p, ""
		if because != nil {
			s.Upgrade.Error = because.Error()
		}
		if p == Done || p == RolledBack {
			at := k.now().UTC()
			s.Upgrade.Ended = &at
		}
	})
	return err
}

// newID names an upgrade: unique, and in the order of time.
func (k *Keeper) newID() string {
	return k.now().UTC().Format(idTime) + "_" + strings.ToLower(rand.Text())[:4]
}

var idShape = regexp.MustCompile(`^\d{8}t\d{6}_[a-z2-7]{4}(\` + partialSuffix + `)?$`)

// makeDir makes the directory of upgrades.
func (k *Keeper) makeDir() error {
	err := os.Mkdir(k.dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create the directory of upgrades: %w", err)
	}
	return k.giveToOwner(k.dir)
}

// giveToOwner lets the owner of the data directory have what root made.
func (k *Keeper) giveToOwner(paths ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var owner unix.Stat_t
	if err := unix.Stat(k.opts.DataDir, &owner); err != nil {
		return fmt.Errorf("look at the data directory: %w", err)
	}
	for _, path := range paths {
		if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("hand %s to its owner: %w", path, err)
		}
	}
	return nil
}

// replaceFile writes a private file as a whole.
func replaceFile(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone after the rename
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// syncPath makes a file's content, or the names in a directory, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep removes the snapshots that nothing refers to: those that were never
// completed, and those whose upgrade is forgotten.
func (k *Keeper) sweep(s State) error {
	entries, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for old snapshots: %w", err)
	}
	keep := map[string]bool{}
	if s.Upgrade != nil {
		keep[s.Upgrade.ID] = true
		for _, id := range s.Upgrade.Older {
			keep[id] = true
		}
	}
	for _, e := range entries {
		if !idShape.MatchString(e.Name()) || keep[e.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(k.dir, e.Name())); err != nil {
			return fmt.Errorf("remove an old snapshot: %w", err)
		}
	}
	return nil
}
