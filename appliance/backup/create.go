package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"selflink/appliance/backup/backupdb"
	"selflink/appliance/database"
	"selflink/appliance/storage"
)

const (
	// ownPrefix and nameTime make the names of archives that were given none,
	// to the millisecond: a small database is archived in less than a second.
	// readTime reads them, with and without a fraction.
	ownPrefix = "selflink-"
	nameTime  = "20060102T150405.000Z"
	readTime  = "20060102T150405Z"

	// backupLock is the key of the advisory lock of the one backup that is made
	// of a database at a time: "backup" in ASCII.
	backupLock = 0x6261636b7570

	// recordTime bounds writing down how a backup ended.
	recordTime = 10 * time.Second
)

// Request says what archive is wanted.
type Request struct {
	// Output is the file, or a directory in which a name is made up (the
	// keeper's directory).
	Output string
	// WithSecrets puts the generated secrets of the data directory into the
	// archive. Whoever has it can then sign in as anybody.
	WithSecrets bool
}

// Result is a new archive.
type Result struct {
	File     string        `json:"file"`
	Bytes    int64         `json:"bytes"`
	SHA256   string        `json:"sha256"`
	Took     time.Duration `json:"-"`
	Seconds  float64       `json:"seconds"`
	Manifest Manifest      `json:"-"`
	Tables   int           `json:"tables"`
	Rows     int64         `json:"rows"`
	Secrets  []string      `json:"secrets"`
	Files    *Files        `json:"files"` // null: none are looked after
	// Unrecorded says why the database does not know of the archive. Empty:
	// it does.
	Unrecorded string `json:"unrecorded,omitempty"`
}

// ownName reads the time in a name that was made up here.
func ownName(name string) (time.Time, bool) {
	text, ok := strings.CutPrefix(name, ownPrefix)
	if !ok {
		return time.Time{}, false
	}
	text, ok = strings.CutSuffix(text, Suffix)
	at, err := time.Parse(readTime, text)
	return at, ok && err == nil
}

// target decides the file's name and makes the keeper's own directory.
func (k *Keeper) target(output string) (string, error) {
	name := ownPrefix + k.now().UTC().Format(nameTime) + Suffix
	if output == "" {
		if err := k.makeDir(); err != nil {
			return "", err
		}
		return filepath.Join(k.opts.Dir, name), nil
	}
	path, err := filepath.Abs(output)
	if err != nil {
		return "", fmt.Errorf("the archive's name: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, name), nil
	}
	if strings.HasSuffix(output, "/") {
		return "", fmt.Errorf("backup: there is no directory %s: %w", output, fs.ErrNotExist)
	}
	return path, nil
}

// makeDir makes the keeper's directory, for the owner of the one above it: what
// root makes must not stand in the way of the service's own user.
func (k *Keeper) makeDir() error {
	if _, err := os.Stat(k.opts.Dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(k.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("create the directory of backups: %w", err)
	}
	return giveToOwner(filepath.Dir(k.opts.Dir), k.opts.Dir)
}

// Create makes an archive of the database as it is at one moment, while the
// appliance goes on. On an error nothing is left under the archive's name, and
// older archives are as they were.
func (k *Keeper) Create(ctx context.Context, r Request) (Result, error) {
	begin := k.now()
	path, err := k.target(r.Output)
	if err != nil {
		return Result{}, err
	}
	if r.Output == "" {
		if err := sweep(k.opts.Dir); err != nil {
			k.log.Warn("an unfinished archive is left", "error", err)
		}
	}
	secrets := map[string][]byte{}
	if r.WithSecrets {
		if secrets, err = readSecrets(k.opts.DataDir); err != nil {
			return Result{}, err
		}
	}
	out, whole := Result{File: path, Secrets: []string{}}, false
	rec := record{k: k}
	err = k.db.Direct().Tx(ctx, func(tx database.Tx) error {
		snap, err := takeSnapshot(ctx, tx)
		if err != nil {
			return err
		}
		rec.begin(ctx, path, snap.at)
		w, err := createArchive(path, k.limit)
		if err != nil {
			return err
		}
		if err := k.fill(ctx, w, snap, secrets, &out); err != nil {
			w.abort()
			return err
		}
		whole = true
		return nil
	})
	// How the transaction ends that only looked makes a whole archive no worse.
	if err != nil && !whole {
		rec.fail(ctx, err)
		return Result{}, err
	}
	if filepath.Dir(path) == k.opts.Dir {
		if err := giveToOwner(k.opts.Dir, path); err != nil {
			k.log.Warn("the archive keeps its owner", "error", err)
		}
	}
	rec.succeed(ctx, out)
	out.Unrecorded = rec.problem
	out.Took = k.now().Sub(begin)
	out.Seconds = out.Took.Seconds()
	out.Tables, out.Rows, out.Secrets = len(out.Manifest.Tables), out.Manifest.Rows(), append(out.Secrets, out.Manifest.Secrets()...)
	k.log.Info("backed up", "file", out.File, "bytes", out.Bytes, "rows", out.Rows, "took", out.Took.Round(time.Millisecond).String())
	return out, nil
}

// fill writes everything into the archive.
func (k *Keeper) fill(ctx context.Context, w *writer, snap snapshot, secrets map[string][]byte, out *Result) error {
	dump, err := findTool(ctx, k.opts.BinDir, dumpProgram, snap.major)
	if err != nil {
		return err
	}
	if err := w.begin(Header{
		Format: Format, Appliance: k.opts.Build, Schema: snap.schema, StartedAt: snap.at,
		Postgres: Postgres{Version: snap.version, Major: snap.major, Dump: dump.version},
	}); err != nil {
		return err
	}
	m := Manifest{Database: snap.database, DatabaseBytes: snap.bytes, Tables: snap.tables}
	_, direct := k.db.URLs()
	if err := pgDump(ctx, dump, direct, snap.id, func(r io.Reader) (err error) {
		m.DumpBytes, err = w.dump(r, func(bytes int64) {
			k.opts.Progress(Progress{Stage: Dumping, Bytes: bytes, Written: w.written})
		})
		return err
	}); err != nil {
		return fmt.Errorf("dump the database: %w", err)
	}
	if err := w.addSecrets(secrets); err != nil {
		return err
	}
	if m.Files, err = k.addFiles(ctx, w); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // the last moment: what comes is a whole archive
		return err
	}
	m.FinishedAt = k.now().UTC()
	out.Bytes, out.SHA256, err = w.finish(m)
	m.Header, m.Members = w.header, w.members
	out.Manifest, out.Files = m, m.Files
	return err
}

// addFiles puts the uploaded files into the archive, or says where they are
// instead.
func (k *Keeper) addFiles(ctx context.Context, w *writer) (*Files, error) {
	switch {
	case k.opts.Files == nil:
		return nil, nil //nolint:nilnil // there are none
	case k.opts.Files.Backend() != storage.BackendLocal:
		return &Files{Backend: k.opts.Files.Backend(), Place: k.opts.Files.Place()}, nil
	}
	f, err := w.addFiles(ctx, k.opts.Files, func(bytes int64) {
		k.opts.Progress(Progress{Stage: Copying, Bytes: bytes, Written: w.written})
	})
	return &f, err
}

// snapshot is the state of the database that an archive holds.
type snapshot struct {
	id       string // for pg_dump
	at       time.Time
	database string
	bytes    int64
	version  string
	major    int
	schema   int64
	tables   []Table
}

// takeSnapshot turns tx into a look at one moment and counts what it sees. The
// transaction has to stay open while pg_dump runs.
func takeSnapshot(ctx context.Context, tx database.Tx) (snapshot, error) {
	var s snapshot
	for _, statement := range []string{
		"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
		"SET LOCAL idle_in_transaction_session_timeout = 0",
		"SET LOCAL statement_timeout = 0",
	} {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return s, fmt.Errorf("take a snapshot: %w", err)
		}
	}
	var alone bool
	if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(backupLock)).Scan(&alone); err != nil {
		return s, fmt.Errorf("take a snapshot: %w", err)
	}
	if !alone {
		return s, fmt.Errorf("%w; wait until it is done", ErrRunning)
	}
	var number int
	err := tx.QueryRow(ctx, `SELECT pg_export_snapshot(), now(), current_database(), pg_database_size(current_database()),
		current_setting('server_version'), current_setting('server_version_num')::int`).Scan(&s.id, &s.at, &s.database, &s.bytes, &s.version, &number)
	if err != nil {
		return s, fmt.Errorf("take a snapshot: %w", err)
	}
	s.at, s.major = s.at.UTC(), number/10000
	if s.schema, err = schemaVersion(ctx, tx); err != nil {
		return s, err
	}
	if s.tables, err = countRows(ctx, tx); err != nil {
		return s, err
	}
	return s, nil
}

// schemaVersion reads the newest applied migration; 0 when there is none.
func schemaVersion(ctx context.Context, q database.Querier) (version int64, err error) {
	var there bool
	if err = q.QueryRow(ctx, "SELECT to_regclass('goose_db_version') IS NOT NULL").Scan(&there); err == nil && there {
		err = q.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
	}
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return version, nil
}

// tablesSQL lists the tables whose rows are dumped: not those of extensions,
// and not the unlogged ones.
const tablesSQL = `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1`

// countRows counts all tables.
func countRows(ctx context.Context, q database.Querier) ([]Table, error) {
	rows, err := q.Query(ctx, tablesSQL)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	tables := make([]Table, len(names))
	for i, name := range names {
		tables[i].Name = name
		if err := q.QueryRow(ctx, "SELECT count(*) FROM "+name).Scan(&tables[i].Rows); err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", name, err)
		}
	}
	return tables, nil
}

// record is the row of one backup. Backing up has to work also where the table
// is not there yet (before an upgrade), so a failure to write it down is told
// and is not one of the backup.
type record struct {
	k       *Keeper
	id      int64
	problem string
}

// begin writes the row after the snapshot was taken: the archive does not hold
// the row of itself, which would say for ever that it is being made.
func (r *record) begin(ctx context.Context, path string, at time.Time) {
	if _, err := r.k.sql.Abandoned(ctx); err != nil {
		r.note(err)
		return
	}
	id, err := r.k.sql.Begin(ctx, backupdb.BeginParams{Host: r.k.host, File: path, StartedAt: at})
	r.id = id
	r.note(err)
}

func (r *record) succeed(ctx context.Context, out Result) {
	if r.id != 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
		defer cancel()
		r.note(r.k.sql.Succeed(ctx, backupdb.SucceedParams{ID: r.id, Bytes: out.Bytes, Sha256: out.SHA256}))
	}
}

func (r *record) fail(ctx context.Context, err error) {
	if r.id != 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
		defer cancel()
		r.note(r.k.sql.Fail(ctx, backupdb.FailParams{ID: r.id, Error: keepable(err)}))
	}
}

// undefinedTable is Postgres's code for a table that is not there.
const undefinedTable = "42P01"

func (r *record) note(err error) {
	var pg *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &pg) && pg.Code == undefinedTable:
		r.problem = "the schema is older than the list of backups"
	default:
		r.problem = err.Error()
		r.k.log.Warn("a backup is not written down", "error", err)
	}
}

// maxError is how much of an error's text is kept, in bytes.
const maxError = 2000

// keepable bounds a text and removes what Postgres does not store.
func keepable(err error) string {
	text := err.Error()
	if len(text) > maxError {
		text = text[:maxError] + " …"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
