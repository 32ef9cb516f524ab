package database

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/health"
	"selflink/migrations"
)

// Options says where the database is and how it is reached. The zero value of
// a field means the default in parentheses.
type Options struct {
	// DataDir is the appliance's data directory. It is locked while the
	// server runs. Required unless DatabaseURL is set.
	DataDir string
	// DatabaseURL is an external Postgres (version 15 or newer) or a PgBouncer
	// in front of one, as postgres:// URL. Empty: a private cluster is run
	// below DataDir.
	DatabaseURL string
	// DirectURL reaches the same database without a pooler. Empty:
	// DatabaseURL.
	DirectURL string
	// ManagedPooler puts a supervised PgBouncer in front of an external
	// Postgres. It needs DataDir or a runtime directory of its own.
	ManagedPooler bool

	// RunAs is the user of the supervised children when this process is root
	// (the owner of an existing cluster, else selflink, postgres or nobody,
	// whichever exists first). Ignored when this process is not root.
	RunAs string
	// BinDir holds initdb and postgres (the newest of /usr/lib/postgresql/*/bin
	// and PATH; for an existing cluster the one of its version).
	BinDir string
	// PgBouncer is the pooler's program (pgbouncer from PATH or /usr/sbin).
	PgBouncer string
	// Postgres overrides settings of the private cluster, as in
	// postgresql.conf.
	Postgres map[string]string

	// InitdbArgs are more arguments of initdb, used when a cluster is made.
	InitdbArgs []string

	// PoolSize is the most pooled connections of this process (32).
	PoolSize int
	// DirectSize is the most direct connections of this process (4).
	DirectSize int
	// ServerConns is the most server connections the managed PgBouncer opens
	// per database (PoolSize + 8, so that a second process finds room).
	ServerConns int
	// AcquireWait bounds the wait for a free connection (3 seconds).
	AcquireWait time.Duration
	// BootWait bounds the wait at start for an external database, and for
	// another holder of the data directory's lock (60 seconds and, for the
	// lock, at most 5).
	BootWait time.Duration

	// Migrations are the schema's files (the embedded ones).
	Migrations fs.FS
	// Logger receives the parts' and the children's lines (discarded).
	Logger *slog.Logger
	// Health receives the checks of the database, its pools, children and
	// schema (not registered).
	Health *health.Registry
	// Metrics receives the pools' metrics (not registered).
	Metrics prometheus.Registerer
}

const (
	defaultPoolSize    = 32 // Postgres commits 3.5 times as much with 32 writers as with one; more gain little
	defaultDirectSize  = 4
	minDirectSize      = 2 // migrating holds its lock on one connection and works on another
	spareServerConns   = 8
	defaultAcquireWait = 3 * time.Second
	defaultBootWait    = 60 * time.Second

	// lockWait is how long a start waits for a predecessor to let go of the
	// data directory: a killed one needs up to 2 s to be reaped.
	lockWait = 5 * time.Second
)

// withDefaults fills in what was left out and reports what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.DataDir == "" && (o.DatabaseURL == "" || o.ManagedPooler) {
		return o, errors.New("database: a data directory is needed when the database or the pooler is managed")
	}
	if o.DataDir != "" {
		abs, err := filepath.Abs(o.DataDir)
		if err != nil {
			return o, fmt.Errorf("database: data directory: %w", err)
		}
		o.DataDir = abs
	}
	if o.DatabaseURL == "" && o.DirectURL != "" {
		return o, errors.New("database: DATABASE_DIRECT_URL is set without DATABASE_URL")
	}
	if o.PoolSize <= 0 {
		o.PoolSize = defaultPoolSize
	}
	if o.DirectSize <= 0 {
		o.DirectSize = defaultDirectSize
	}
	o.DirectSize = max(o.DirectSize, minDirectSize)
	if o.ServerConns <= 0 {
		o.ServerConns = o.PoolSize + spareServerConns
	}
	if o.AcquireWait <= 0 {
		o.AcquireWait = defaultAcquireWait
	}
	if o.BootWait <= 0 {
		o.BootWait = defaultBootWait
	}
	if o.Migrations == nil {
		o.Migrations = migrations.Files()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
