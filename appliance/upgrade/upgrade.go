// Package upgrade makes the way from one version to the next one that can be
// gone back.
//
// Before the first migration of a database that holds something it looks
// whether the upgrade can work and takes a snapshot; what was done and where
// the snapshot is stands in <data dir>/upgrade/state.json from then on. An
// upgrade is over when the new version has been ready and had no grave problem
// once. Until then, and for as long as the snapshot is kept, [Keeper.Rollback]
// brings back the database of before, and the program of before where it was
// kept.
//
// The snapshot of a private database is a copy of the stopped cluster, which
// one rename puts back. Where that cannot be (an external database, a cluster
// that another process runs, a file system that cannot exchange two names), it
// is an archive of package backup.
//
// Whatever is killed at whatever moment: the next start, or the same command
// again, goes on from there, and there is always a whole database under the
// database's name.
package upgrade

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"selflink/appliance/backup"
	"selflink/appliance/database"
)

// Errors that callers branch on. Their texts say what to do.
var (
	// ErrFailed means that an upgrade went wrong and can be gone back from.
	ErrFailed = errors.New("upgrade: it failed")
	// ErrRefused means that an upgrade would fail and was not begun.
	ErrRefused = errors.New("upgrade: it would fail, so it was not begun")
	// ErrWentBack means that the same build was gone back from.
	ErrWentBack = errors.New("upgrade: this version was gone back from")
	// ErrUnfinished means that a rollback was interrupted.
	ErrUnfinished = errors.New("upgrade: a rollback was interrupted")
	// ErrNothing means that there is nothing to go back to.
	ErrNothing = errors.New("upgrade: there is nothing to go back to")
	// ErrServing means that the appliance runs where it has to be stopped.
	ErrServing = errors.New("upgrade: the appliance is running, and this needs it stopped")
)

// Build says which build it is. Empty fields: not known.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
}

// String is the version, or words for one that is not known.
func (b Build) String() string {
	if b.Version == "" {
		return "the version of before"
	}
	return b.Version
}

// Options are the parts of a [Keeper].
type Options struct {
	// DataDir is the appliance's data directory. Required.
	DataDir string
	// Database says where the database is, as the server has it.
	Database database.Options
	// NoSnapshot leaves out the snapshots, and so the way back.
	NoSnapshot bool
	Build      Build
	// Executable is the installed program, which a rollback replaces (that of
	// this process).
	Executable string
	Logger     *slog.Logger
	// Progress is called while something takes long, from one goroutine
	// (never).
	Progress func(backup.Progress)

	// sameMajor lets a test move to the version that there is.
	sameMajor bool
	// free is the room on the disk of a directory; tests make it scarce.
	free func(dir string) (int64, error)
	// flush makes files durable; tests need not outlive a power failure.
	flush func(paths []string) error
	// step is told where an operation stands; tests kill it there.
	step func(name string)
}

// Keeper does upgrades and goes back. It is for one goroutine at a time, but
// several processes may have one on the same directory.
type Keeper struct {
	opts Options
	log  *slog.Logger
	dir  string
	now  func() time.Time
}

// New makes a keeper. It touches nothing yet.
func New(o Options) (*Keeper, error) {
	if o.DataDir == "" {
		return nil, errors.New("upgrade: a data directory is needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(backup.Progress) {}
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	if o.flush == nil {
		o.flush = flush
	}
	if o.free == nil {
		o.free = freeSpace
	}
	if o.Executable == "" {
		path, err := os.Executable()
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err == nil { // else a rollback says which version to install
			o.Executable = path
		}
	}
	o.Database.DataDir = o.DataDir
	o.Database.Health, o.Database.Metrics = nil, nil
	return &Keeper{opts: o, log: o.Logger.With("component", "upgrade"), dir: filepath.Join(o.DataDir, dirName), now: time.Now}, nil
}

// OnProgress replaces the function that is told how far a snapshot is.
func (k *Keeper) OnProgress(f func(backup.Progress)) { k.opts.Progress = f }

// external reports whether the database is somebody else's to run.
func (k *Keeper) external() bool { return k.opts.Database.DatabaseURL != "" }

// stopTime bounds the end of a database that was started for a command.
const stopTime = 30 * time.Second

// stop ends a database that was started for a command.
func stop(server *database.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return server.Stop(ctx)
}
