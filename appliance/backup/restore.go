package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/backup/backupdb"
	"selflink/appliance/database"
)

const (
	stopTime   = 30 * time.Second       // for the end of a restore's own database
	leaveTime  = 3 * time.Second        // for others to leave the database
	leavePause = 100 * time.Millisecond // between two looks whether they did
)

// Restorer puts archives in the place of the database, while no appliance
// runs. It is used once.
type Restorer struct {
	// Database says where the database is, as the server has it.
	Database database.Options
	// DataDir is the appliance's data directory.
	DataDir string
	// MediaDir is where uploaded files are, or would be if they were kept in a
	// directory. Empty: those of archives are left in them.
	MediaDir string
	// KeepSchema leaves the schema at the step of the archive instead of
	// bringing it up to this version's: for going back to an older one.
	KeepSchema bool
	Logger     *slog.Logger
	// Progress is called after every piece, from one goroutine (never).
	Progress func(Progress)

	// step is told where a restore stands; tests kill it there.
	step func(name string)
}

// RestoreRequest says what is to be restored.
type RestoreRequest struct {
	File string
	// DropOld drops what this and earlier restores put aside, at the end.
	DropOld bool
	// WithSecrets also puts back the secrets in the archive.
	WithSecrets bool
}

// Restored is what a restore did.
type Restored struct {
	File     string   `json:"file,omitempty"`
	Database string   `json:"database"`
	Schema   int64    `json:"schema"`
	Migrated int      `json:"migrated"` // steps of the schema that came on top
	Tables   int      `json:"tables"`
	Rows     int64    `json:"rows"`
	Aside    string   `json:"aside,omitempty"` // where the old database is now; empty: it was empty or dropped
	Dropped  []string `json:"dropped"`
	// Files are those of the archive; null: it was made before there were any.
	Files        *Files   `json:"files"`
	FilesAside   string   `json:"files_aside,omitempty"` // where the old files are now
	FilesDropped []string `json:"files_dropped,omitempty"`
	Secrets      []string `json:"secrets"`      // put back
	Kept         []string `json:"kept_secrets"` // files of the secrets of before
	Seconds      float64  `json:"seconds"`
}

// Plan is what a restore would do.
type Plan struct {
	File     string   `json:"file"`
	Manifest Manifest `json:"manifest"`
	Target   string   `json:"target"`
	Secrets  []string `json:"secrets"`
}

// Plan checks the archive's checksums and says what would be done with it. It
// touches no database.
func (r *Restorer) Plan(ctx context.Context, req RestoreRequest) (Plan, error) {
	r.defaults()
	a, err := openArchive(ctx, req.File, r.Progress)
	if err != nil {
		return Plan{}, err
	}
	defer a.close() //nolint:errcheck // it was only read
	p := Plan{File: req.File, Manifest: a.manifest, Target: r.Target(), Secrets: []string{}}
	if req.WithSecrets {
		if p.Secrets = a.manifest.Secrets(); len(p.Secrets) == 0 {
			return p, errNoSecrets
		}
	}
	return p, nil
}

var errNoSecrets = errors.New("backup: the archive holds no secrets; it was made without --with-secrets")

// Target names the database in words, without its password.
func (r *Restorer) Target() string {
	if r.Database.DatabaseURL == "" {
		return "the private database in " + filepath.Join(r.DataDir, "postgres")
	}
	u, err := url.Parse(r.address())
	if err != nil {
		return "the external database"
	}
	return "the database " + strings.TrimPrefix(u.Path, "/") + " at " + u.Host
}

// address is the external database's, past a pooler when that is known.
func (r *Restorer) address() string {
	if r.Database.DirectURL != "" {
		return r.Database.DirectURL
	}
	return r.Database.DatabaseURL
}

func (r *Restorer) defaults() {
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	if r.Progress == nil {
		r.Progress = func(Progress) {}
	}
	if r.step == nil {
		r.step = func(string) {}
	}
}

// held is the database while nobody else may use it.
type held struct {
	*Restorer
	server *database.Server
	site   *site
	schema int64  // newest migration of this version
	app    string // application_name of our own sessions
	files  sideFiles
}

// hold starts or reaches the database, and refuses when an appliance runs.
func (r *Restorer) hold(ctx context.Context) (*held, error) {
	r.defaults()
	h := &held{Restorer: r, app: fmt.Sprintf("selflink-restore-%d", os.Getpid())}
	o := r.Database
	o.DataDir, o.Logger = r.DataDir, r.Logger // its lock is what keeps a server of this machine away
	o.Health, o.Metrics, o.ManagedPooler = nil, nil, false
	o.PoolSize, o.DirectSize = 1, 1
	if o.DatabaseURL != "" {
		address, err := withParameter(r.address(), "application_name", h.app)
		if err != nil {
			return nil, err
		}
		o.DatabaseURL, o.DirectURL = address, ""
	}
	var err error
	if h.server, err = database.New(o); err != nil {
		return nil, err
	}
	if err := h.server.Start(ctx); errors.Is(err, database.ErrLocked) {
		return nil, fmt.Errorf("%w. Nothing was changed: %w", ErrServing, err)
	} else if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := h.reach(ctx); err != nil {
		return nil, errors.Join(err, h.release())
	}
	return h, nil
}

func (h *held) reach(ctx context.Context) error {
	state, err := h.server.Schema(ctx)
	if err != nil {
		return err
	}
	h.schema = state.Target
	_, direct := h.server.URLs()
	if h.site, err = openSite(ctx, direct, h.server.SuperURL()); err != nil {
		return err
	}
	if h.server.SuperURL() != "" {
		h.site.disk = h.DataDir
	} else if err := h.mayReplace(ctx); err != nil {
		return err
	}
	// The lock ends with the connection.
	if mine, err := h.site.lock(ctx, h.site.base()); err != nil {
		return err
	} else if !mine {
		return fmt.Errorf("%w: another process restores it. Nothing was changed", ErrInUse)
	}
	if err := h.alone(ctx); err != nil {
		return err
	}
	if err := h.site.clean(ctx); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	return h.settle(ctx)
}

// mayReplace asks whether an external database may be renamed.
func (h *held) mayReplace(ctx context.Context) error {
	var owner string
	var mine bool
	err := h.site.conn.QueryRow(ctx, "SELECT pg_get_userbyid(datdba), pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = $1", h.site.name).Scan(&owner, &mine)
	if err != nil {
		return fmt.Errorf("look at the database %s: %w", h.site.name, err)
	}
	if !mine {
		return fmt.Errorf("%w: %s belongs to role %s; let a superuser run:  ALTER DATABASE %s OWNER TO %s", ErrNotAllowed, h.site.name, owner, quote(h.site.name), quote(h.site.owner))
	}
	return nil
}

// alone refuses while others are connected. Nobody can be to a managed
// database whose directory is locked, but for an operator's own session.
func (h *held) alone(ctx context.Context) error {
	if h.server.SuperURL() != "" {
		return nil
	}
	// Sessions of a process that has just ended take a moment to go.
	for deadline := time.Now().Add(leaveTime); ; {
		others, err := h.others(ctx)
		if err != nil || len(others) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: %s. Nothing was changed. Stop every node that uses it (a pooler in front keeps connections for a while: RECONNECT in its console ends them), then run this again", ErrInUse, strings.Join(others, ", "))
		}
		select {
		case <-time.After(leavePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// others names some sessions of others in the database.
func (h *held) others(ctx context.Context) ([]string, error) {
	rows, err := h.site.conn.Query(ctx, `SELECT coalesce(nullif(application_name, ''), 'a session') || coalesce(' from ' || host(client_addr), '')
		FROM pg_stat_activity WHERE datname = $1 AND coalesce(application_name, '') <> $2 AND pid <> pg_backend_pid() LIMIT 5`, h.site.name, h.app)
	if err != nil {
		return nil, fmt.Errorf("look for other sessions: %w", err)
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for other sessions: %w", err)
	}
	return others, nil
}

// release ends what hold began.
func (h *held) release() error {
	if h.site != nil {
		h.site.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return h.server.Stop(ctx)
}

// Restore puts the archive in the place of the database. It fills a new one
// beside it, counts, migrates, and swaps the names in one transaction; what was
// there stays under another name unless it was empty. On an error before the
// swap nothing has changed.
func (r *Restorer) Restore(ctx context.Context, req RestoreRequest) (out Restored, err error) {
	begin := time.Now()
	r.defaults()
	a, err := openArchive(ctx, req.File, r.Progress)
	if err != nil {
		return out, err
	}
	defer a.close() //nolint:errcheck // it was only read
	if req.WithSecrets && len(a.secrets) == 0 {
		return out, errNoSecrets
	}
	r.step("checked")
	h, err := r.hold(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, h.release()) }()
	r.step("held")
	out = Restored{File: req.File, Database: h.site.name, Dropped: []string{}, Secrets: []string{}, Kept: []string{}}
	if err := h.restore(ctx, a, &out); err != nil {
		return out, err
	}
	if req.WithSecrets {
		out.Secrets = a.manifest.Secrets()
		if out.Kept, err = putSecrets(r.DataDir, a.secrets, time.Now()); err != nil {
			return out, fmt.Errorf("the database is restored, its secrets are not: %w", err)
		}
	}
	if req.DropOld {
		if err = h.dropAside(ctx, &out); err != nil {
			return out, fmt.Errorf("the database is restored, what it replaced is still there: %w", err)
		}
		out.Aside, out.FilesAside = "", ""
	}
	out.Seconds = time.Since(begin).Seconds()
	return out, nil
}

func (h *held) restore(ctx context.Context, a *archive, out *Restored) (err error) {
	if err := a.fits(h.site.major, h.schema); err != nil {
		return fmt.Errorf("%w. Nothing was changed", err)
	}
	if err := h.site.room(a.manifest); err != nil {
		return err
	}
	if err := h.roomForFiles(a.manifest); err != nil {
		return err
	}
	program, err := findTool(ctx, h.Database.BinDir, restoreProgram, h.site.major)
	if err != nil {
		return err
	}
	fresh, err := h.site.make(ctx, forRestore)
	if err != nil {
		return err
	}
	swapped := false
	defer func() {
		if !swapped {
			err = errors.Join(err, h.site.drop(ctx, fresh))
		}
	}()
	h.step("made")
	if err := h.site.fill(ctx, a, program, fresh, func(p Progress) {
		h.step("piece")
		h.Progress(p)
	}); err != nil {
		return fmt.Errorf("%w. Nothing was changed", err)
	}
	h.step("filled")
	if err := h.complete(ctx, a, fresh, out); err != nil {
		return fmt.Errorf("%w. Nothing was changed", err)
	}
	h.step("completed")
	files, err := h.fillFiles(ctx, a)
	if err != nil {
		return errors.Join(fmt.Errorf("%w. Nothing was changed", err), h.files.clean())
	}
	empty, err := h.isEmpty(ctx)
	if err != nil {
		return err
	}
	if err := h.forgetBroker(); err != nil {
		return err
	}
	h.step("broker")
	if out.Aside, err = h.swap(ctx, fresh, files); err != nil {
		return errors.Join(fmt.Errorf("%w. Nothing was changed", err), h.giveUp(ctx, files))
	}
	swapped = true
	h.step("swapped")
	if err := h.swapFiles(files, out); err != nil {
		return err
	}
	out.Tables, out.Rows, out.Files = len(a.manifest.Tables), a.manifest.Rows(), a.manifest.Files
	if empty { // there is nothing in it to go back to
		old := out.Aside
		out.Aside = ""
		if out.FilesAside != "" && os.Remove(out.FilesAside) == nil {
			out.FilesAside = ""
		}
		return h.site.drop(ctx, old)
	}
	return nil
}

// complete brings the restored database up to this version's schema and makes
// it one that goes its own way from here.
func (h *held) complete(ctx context.Context, a *archive, fresh string, out *Restored) (err error) {
	address, err := withDatabase(h.site.direct, fresh)
	if err != nil {
		return err
	}
	server, err := database.New(database.Options{DatabaseURL: address, PoolSize: 1, Logger: h.Logger})
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return fmt.Errorf("reach the restored database: %w", err)
	}
	defer func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		err = errors.Join(err, server.Stop(limit))
	}()
	if !h.KeepSchema {
		if out.Migrated, err = server.Migrate(ctx); err != nil {
			return fmt.Errorf("migrate what was restored: %w", err)
		}
	}
	state, err := server.Schema(ctx)
	if err != nil {
		return err
	}
	out.Schema = state.Current
	// Events get numbers that the other life of this log has given to others.
	// An epoch by chance, because the archive may be restored more than once.
	if _, err := server.Direct().Exec(ctx, `UPDATE realtime_log SET epoch = ('x' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 15))::bit(60)::bigint`); err != nil {
		return fmt.Errorf("begin a new epoch of events: %w", err)
	}
	// The archive cannot hold its own row; it is proven by now.
	host, path := hostName(), out.File
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if err := backupdb.New(server.Direct()).Known(ctx, backupdb.KnownParams{Host: host, File: path, StartedAt: a.manifest.StartedAt, FinishedAt: a.manifest.FinishedAt, Bytes: a.bytes, Sha256: a.sha256}); err != nil {
		return fmt.Errorf("write down the archive: %w", err)
	}
	// Without statistics the first hours' plans would be bad ones.
	if _, err := server.Direct().Exec(ctx, "ANALYZE"); err != nil {
		return fmt.Errorf("gather statistics: %w", err)
	}
	return nil
}

// forgetBroker removes the broker's streams. They are rebuilt from the ledger,
// whichever it is, so they go before the swap: no start can meet those of the
// other one.
func (h *held) forgetBroker() error {
	if err := os.RemoveAll(filepath.Join(h.DataDir, "broker")); err != nil {
		return fmt.Errorf("remove the broker's streams: %w", err)
	}
	return nil
}
