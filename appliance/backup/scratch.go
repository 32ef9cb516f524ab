package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// What databases beside the appliance's own are for. Their names are
// <own>_<purpose>_<time>_<chance>.
const (
	forVerify  = "verify"         // a trial restore; goes when it is done
	forRestore = "restoring"      // being filled; goes, or becomes the current one
	aside      = "before_restore" // what a restore replaced; stays until somebody says otherwise
)

const (
	connectTime = 10 * time.Second
	dropTime    = 30 * time.Second

	// maxBase is the longest own name that leaves room for the longest purpose,
	// time and chance in the 63 bytes of a name.
	maxBase = 63 - len("_"+aside+"_20060102t150405_abcd")

	// headroom is what stays free on the disk beside a restored database.
	headroom = 512 << 20
)

// site is a connection beside the appliance's database: to make, drop and
// rename databases.
type site struct {
	conn   *pgx.Conn
	direct string // address of the appliance's database and role
	name   string // of the appliance's database
	owner  string // its role
	major  int    // of the server
	disk   string // a directory on the disk of the databases; empty: not known
}

// openSite connects. super is the address of a managed cluster's superuser;
// where it is empty the role of direct does it itself, and has to be allowed to.
func openSite(ctx context.Context, direct, super string) (*site, error) {
	cfg, err := pgx.ParseConfig(direct)
	if err != nil {
		return nil, errors.New("backup: the database's address makes no sense")
	}
	s := &site{direct: direct, name: cfg.Database, owner: cfg.User}
	addresses := []string{super}
	if super == "" {
		addresses = nil
		// The lock on a scratch database belongs to the database that the
		// connection is to, so everybody has to take the first that answers.
		for _, name := range []string{"postgres", "template1"} {
			address, err := withDatabase(direct, name)
			if err != nil {
				return nil, err
			}
			addresses = append(addresses, address)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	for _, address := range addresses {
		if s.conn, err = pgx.Connect(ctx, address); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("connect beside the appliance's database: %w", err)
	}
	if err := s.probe(ctx, super != ""); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// probe asks whether the connection can do what it is for.
func (s *site) probe(ctx context.Context, super bool) error {
	var pid uint32
	var may bool
	var number int
	err := s.conn.QueryRow(ctx, `SELECT pg_backend_pid(), rolcreatedb OR rolsuper, current_setting('server_version_num')::int
		FROM pg_roles WHERE rolname = current_user`).Scan(&pid, &may, &number)
	switch {
	case err != nil:
		return fmt.Errorf("look at the database's role: %w", err)
	case !super && pid != s.conn.PgConn().PID():
		return fmt.Errorf("%w: a connection pooler answers at the database's address; set DATABASE_DIRECT_URL to Postgres itself", ErrNotAllowed)
	case !may:
		return fmt.Errorf("%w: role %s may not make databases; let a superuser run:  ALTER ROLE %s CREATEDB", ErrNotAllowed, s.owner, pgx.Identifier{s.owner}.Sanitize())
	}
	s.major = number / 10000
	return nil
}

// close ends the connection, and with it the locks on its scratch databases.
func (s *site) close() {
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	_ = s.conn.Close(ctx) //nolint:errcheck // nothing is pending on it
}

// base is the part of a name that says whose database it is.
func (s *site) base() string {
	if len(s.name) <= maxBase {
		return s.name
	}
	sum := sha256.Sum256([]byte(s.name))
	const digits = 8
	return s.name[:maxBase-digits-1] + "_" + hex.EncodeToString(sum[:])[:digits]
}

// newName makes a name for a purpose.
func (s *site) newName(purpose string) string {
	chance := strings.ToLower(rand.Text())[:4]
	return s.base() + "_" + purpose + "_" + time.Now().UTC().Format(asideTime) + "_" + chance
}

// named lists the databases of a purpose, the oldest first.
func (s *site) named(ctx context.Context, purpose string) ([]string, error) {
	rows, err := s.conn.Query(ctx, "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname")
	if err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(s.base()+"_"+purpose) + `_\d{8}t\d{6}_[a-z2-7]{4}$`)
	var out []string
	for _, name := range all {
		if ours.MatchString(name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// make creates an empty database like the appliance's own. It is locked for as
// long as this connection lives, so that nobody takes it for a leftover.
func (s *site) make(ctx context.Context, purpose string) (string, error) {
	name := s.newName(purpose)
	if ok, err := s.lock(ctx, name); err != nil {
		return "", err
	} else if !ok {
		return "", fmt.Errorf("backup: the name %s is locked by somebody else; try again", name)
	}
	var encoding, collate, ctype, provider, locale string
	err := s.conn.QueryRow(ctx, `SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider::text,
		coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '') FROM pg_database d WHERE datname = $1`, s.name).
		Scan(&encoding, &collate, &ctype, &provider, &locale)
	if err != nil {
		return "", fmt.Errorf("look at the database %s: %w", s.name, err)
	}
	sql := "CREATE DATABASE " + quote(name) + " OWNER " + quote(s.owner) + " TEMPLATE template0 ENCODING " + literal(encoding) +
		" LC_COLLATE " + literal(collate) + " LC_CTYPE " + literal(ctype)
	switch provider {
	case "i":
		sql += " LOCALE_PROVIDER icu ICU_LOCALE " + literal(locale)
	case "b":
		sql += " LOCALE_PROVIDER builtin BUILTIN_LOCALE " + literal(locale)
	default:
		sql += " LOCALE_PROVIDER libc"
	}
	if _, err := s.conn.Exec(ctx, sql); err != nil {
		return "", fmt.Errorf("create the database %s: %w", name, err)
	}
	return name, nil
}

func (s *site) lock(ctx context.Context, name string) (ok bool, err error) {
	err = s.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, hashtext($2))", int32(lockSpace), name).Scan(&ok)
	if err != nil {
		return false, fmt.Errorf("lock the database %s: %w", name, err)
	}
	return ok, nil
}

// lockSpace keeps the locks on scratch databases apart from others.
const lockSpace = 0x62616b

// drop removes a database with whoever is connected to it, also when ctx has
// ended.
func (s *site) drop(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTime)
	defer cancel()
	if s.conn.IsClosed() { // a cancelled statement takes the connection with it
		conn, err := pgx.ConnectConfig(ctx, s.conn.Config())
		if err != nil {
			return fmt.Errorf("drop the database %s: %w", name, err)
		}
		s.conn = conn
	}
	if _, err := s.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop the database %s: %w", name, err)
	}
	return nil
}

// clean drops the scratch databases of processes that were killed.
func (s *site) clean(ctx context.Context) error {
	for _, purpose := range []string{forVerify, forRestore} {
		names, err := s.named(ctx, purpose)
		if err != nil {
			return err
		}
		for _, name := range names {
			if mine, err := s.lock(ctx, name); err != nil {
				return err
			} else if !mine {
				continue
			}
			if err := s.drop(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// room refuses a restore that would fill the disk on which Postgres writes.
func (s *site) room(m Manifest) error {
	if s.disk == "" {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.disk, &st); err != nil {
		return nil //nolint:nilerr // a file system that does not tell
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // a disk's size
	if need := m.DatabaseBytes + headroom; free < need {
		return fmt.Errorf("backup: restoring beside the current database takes about %d MiB, and %d MiB are free: %w", need>>20, free>>20, syscall.ENOSPC)
	}
	return nil
}

// fill restores the archive's dump into a new database and counts its rows.
func (s *site) fill(ctx context.Context, a *archive, restore tool, name string, progress func(Progress)) error {
	address, err := withDatabase(s.direct, name)
	if err != nil {
		return err
	}
	if err := pgRestore(ctx, restore, address, func(w io.Writer) error { return a.dump(ctx, w, progress) }); err != nil {
		return fmt.Errorf("restore into %s: %w", name, err)
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("look at what was restored: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is pending on it
	restored, err := countRows(ctx, conn)
	if err != nil {
		return err
	}
	return a.manifest.differences(restored)
}

// fits refuses an archive that this server or this version cannot take.
func (a *archive) fits(major int, schema int64) error {
	m := a.manifest
	if m.Postgres.Major > major {
		return fmt.Errorf("%w: it was dumped from PostgreSQL %d, and the server here is %d. Install PostgreSQL %d, or a newer one", ErrNewer, m.Postgres.Major, major, m.Postgres.Major)
	}
	if m.Schema > schema {
		return fmt.Errorf("%w: its schema is at step %d, this version knows steps up to %d. It was made by selflink %s; use that version, or a newer one", ErrNewer, m.Schema, schema, m.Appliance.Version)
	}
	return nil
}

func quote(name string) string   { return pgx.Identifier{name}.Sanitize() }
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
