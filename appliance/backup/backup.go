// Package backup makes archives of the database and of the files beside it,
// proves that they can be restored, and restores them.
//
// An archive is one file, a tar compressed with zstd: what made it, the dump in
// numbered pieces, the uploaded files, and a manifest with the size and checksum of every member
// and the number of rows of every table, all of one snapshot. It appears under
// its name when it is complete and on disk, never before.
//
// Verifying reads every byte, restores into a scratch database and counts.
// Restoring fills a database beside the current one and swaps the two names in
// one transaction, so whatever kills it leaves the old state or the new one.
package backup

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"selflink/appliance/backup/backupdb"
	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/storage"
)

// Errors that callers branch on. Their texts say what to do.
var (
	// ErrDamaged means that an archive is truncated or was changed.
	ErrDamaged = errors.New("backup: the archive is damaged")
	// ErrNotArchive means that a file is something else.
	ErrNotArchive = errors.New("backup: this is not an archive of selflink")
	// ErrNewer means that an archive was made by a newer version of the
	// appliance or of Postgres than would have to read it.
	ErrNewer = errors.New("backup: the archive is newer than what is here")
	// ErrMismatch means that what was restored is not what was dumped.
	ErrMismatch = errors.New("backup: the restored rows are not those of the manifest")
	// ErrRefused means that pg_restore failed; its words are in the text.
	ErrRefused = errors.New("backup: the archive could not be restored")
	// ErrExists means that the name of an archive is taken.
	ErrExists = errors.New("backup: there is a file of that name")
	// ErrRunning means that another process is at the same work.
	ErrRunning = errors.New("backup: another backup of this database is being made")
	// ErrServing means that the appliance runs where it has to be stopped.
	ErrServing = errors.New("backup: the appliance is running, and this needs it stopped")
	// ErrInUse means that others are connected to the database that would be
	// replaced.
	ErrInUse = errors.New("backup: the database is in use")
	// ErrNotAllowed means that the database's role may not make databases.
	ErrNotAllowed = errors.New("backup: the database's role may not do this")
	// ErrNothingAside means that no earlier restore put a database aside.
	ErrNothingAside = errors.New("backup: no database was put aside by a restore")
)

// Stage is what an operation is doing.
type Stage string

// The stages, in the order in which they come.
const (
	Dumping   Stage = "dumping"
	Copying   Stage = "copying files"
	Checking  Stage = "checking"
	Restoring Stage = "restoring"
)

// Progress is how far an operation is.
type Progress struct {
	Stage   Stage
	Bytes   int64 // of the dump or the files so far, or read of the archive
	Total   int64 // 0: not known
	Written int64 // of the archive so far; only while it is made
}

// Build says which build makes the archives.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// Options are the parts of a [Keeper].
type Options struct {
	// Database is started or attached before the keeper is used. Required.
	Database *database.Server
	// BinDir holds pg_dump and pg_restore (/usr/lib/postgresql/*/bin and PATH,
	// those of the server's version).
	BinDir string
	// DataDir is the appliance's data directory. Required.
	DataDir string
	// Dir is where archives without a name of their own go (<DataDir>/backups).
	Dir string
	// Files are the uploaded files, which go into the archives when they are in
	// a local directory (none).
	Files storage.Store
	// Keep is how many archives retention leaves in Dir (7).
	Keep   int
	Build  Build
	Logger *slog.Logger
	// Health receives the check "backup" (not registered).
	Health *health.Registry
	// Progress is called after every piece, from one goroutine (never).
	Progress func(Progress)
}

// CheckRecent is the code of the health check.
const CheckRecent = "backup"

// defaultKeep is a week of nights.
const defaultKeep = 7

// Keeper makes and verifies archives and knows which there are. It is safe for
// concurrent use; one backup of a database runs at a time.
type Keeper struct {
	opts Options
	db   *database.Server
	sql  *backupdb.Queries
	log  *slog.Logger
	host string
	now  func() time.Time
	// limit wraps the archive's file in tests, to let a disk run full.
	limit func(file sink) sink
}

// New makes a keeper. It touches nothing yet.
func New(o Options) (*Keeper, error) {
	if o.Database == nil || o.DataDir == "" {
		return nil, errors.New("backup: a database and a data directory are needed")
	}
	if o.Dir == "" {
		o.Dir = DefaultDir(o.DataDir)
	}
	if o.Keep <= 0 {
		o.Keep = defaultKeep
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	k := &Keeper{
		opts: o, db: o.Database, sql: backupdb.New(o.Database.Pool()), log: o.Logger.With("component", "backup"),
		host: hostName(), now: time.Now, limit: func(s sink) sink { return s },
	}
	if o.Health != nil {
		o.Health.Add(health.Check{
			Code: CheckRecent, Title: "There is no recent backup", Every: time.Minute,
			Impact:    "If the disk is lost now, so is what was stored since the last one.",
			Remedy:    "See why: selflink backup list. Make one: selflink backup",
			DependsOn: []string{database.CheckPostgres, database.CheckPooled, "schema.pending"},
			Run:       k.check,
		})
	}
	return k, nil
}

// DefaultDir is where archives go when nothing else is said.
func DefaultDir(dataDir string) string { return filepath.Join(dataDir, "backups") }

// hostName says where an archive is.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
