package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

// The test binary, started again with these, does one piece of work and may
// kill itself on the way.
const (
	childWork = "SELFLINK_UPGRADE_TEST_WORK" // migrate or rollback
	childData = "SELFLINK_UPGRADE_TEST_DATA"
	childURL  = "SELFLINK_UPGRADE_TEST_URL"  // empty: managed
	childKill = "SELFLINK_UPGRADE_TEST_KILL" // step
)

func TestMain(m *testing.M) {
	if os.Getenv(childWork) != "" {
		os.Exit(runChild())
	}
	code := m.Run()
	if template.dir != "" {
		_ = os.RemoveAll(template.dir)
	}
	os.Exit(code)
}

// template is a data directory that the tests copy: making a cluster and its
// schema is most of their work.
var template struct {
	once sync.Once
	dir  string
}

// The versions of these tests: the product's migrations alone, with a step that
// works, with one that fails after it, and with that one mended.
var (
	oldBuild   = Build{Version: "v1", Commit: "aaaaaaa"}
	newBuild   = Build{Version: "v2", Commit: "bbbbbbb"}
	badBuild   = Build{Version: "v2-bad", Commit: "ccccccc"}
	fixedBuild = Build{Version: "v3", Commit: "ddddddd"}
)

// product are the migrations of the product.
var product = os.DirFS("../../migrations")

func steps(b Build) fs.FS {
	out := fstest.MapFS{}
	names, _ := fs.Glob(product, "*.sql")
	for _, name := range names {
		raw, _ := fs.ReadFile(product, name)
		out[name] = &fstest.MapFile{Data: raw}
	}
	add := func(name, sql string) {
		out[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql + "\n")}
	}
	if b != oldBuild {
		add("9001_one.sql", "CREATE TABLE one (id int); DELETE FROM mentor_purges WHERE messages < 0;")
	}
	switch b {
	case badBuild:
		add("9002_two.sql", "CREATE TABLE two (id int); SELECT nonsense;")
	case fixedBuild:
		add("9002_two.sql", "CREATE TABLE two (id int);")
	}
	return out
}

// newest is the newest step of the old version.
func newest(t testing.TB) int64 {
	t.Helper()
	names, err := fs.Glob(product, "*.sql")
	require.NoError(t, err)
	number, _, _ := strings.Cut(names[len(names)-1], "_")
	n, err := strconv.ParseInt(number, 10, 64)
	require.NoError(t, err)
	return n
}

func optionsOf(data, address string, b Build) Options {
	return Options{DataDir: data, Build: b, Executable: filepath.Join(data, "bin", "selflink"), flush: func([]string) error { return nil }, Database: database.Options{
		DataDir: data, DatabaseURL: address, Migrations: steps(b), PoolSize: 2, InitdbArgs: []string{"--wal-segsize=1"},
		Postgres: map[string]string{"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "min_wal_size": "2MB"},
	}}
}

// place is a data directory with a database.
type place struct {
	t    testing.TB
	data string
	url  string // of an external one; empty: managed
}

// newPlace makes a private database of the old version that holds a row.
func newPlace(t testing.TB) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "selflink-upgrade-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	template.once.Do(func() {
		made, err := os.MkdirTemp("", "selflink-upgrade-test-")
		require.NoError(t, err)
		template.dir = made
		(&place{t: t, data: filepath.Join(made, "data")}).begin()
	})
	p := &place{t: t, data: filepath.Join(dir, "data")}
	out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(template.dir, "data"), p.data).CombinedOutput()
	require.NoError(t, err, string(out))
	return p
}

func (p *place) begin() {
	p.serve(oldBuild, func(s *database.Server, out Outcome, err error) {
		require.NoError(p.t, err)
		require.Nil(p.t, out.Snapshot, "an empty database is no loss")
		p.write(s, 1)
	})
}

func (p *place) keeper(b Build) *Keeper {
	p.t.Helper()
	k, err := New(optionsOf(p.data, p.url, b))
	require.NoError(p.t, err)
	return k
}

// serve is the life of a server of a version: as the appliance starts, it is
// guarded, runs the database and migrates. Then f works.
func (p *place) serve(b Build, f func(s *database.Server, out Outcome, err error)) {
	p.t.Helper()
	k := p.keeper(b)
	if err := k.Guard(); err != nil {
		f(nil, Outcome{}, err)
		return
	}
	s, err := database.New(k.opts.Database)
	require.NoError(p.t, err)
	require.NoError(p.t, s.Start(p.t.Context()))
	defer func() { require.NoError(p.t, s.Stop(context.Background())) }()
	out, err := k.Migrate(p.t.Context(), s, false)
	f(s, out, err)
}

// write stores a row that can be looked for.
func (p *place) write(s *database.Server, n int) {
	p.t.Helper()
	_, err := s.Pool().Exec(p.t.Context(), "INSERT INTO mentor_purges VALUES ('2000-01-01'::date + $1::int, $1, 1)", n)
	require.NoError(p.t, err)
}

// rows are the rows that were written, in order.
func (p *place) rows(s *database.Server) (found []int) {
	p.t.Helper()
	rows, err := s.Pool().Query(p.t.Context(), "SELECT messages FROM mentor_purges ORDER BY messages")
	require.NoError(p.t, err)
	for rows.Next() {
		var n int
		require.NoError(p.t, rows.Scan(&n))
		found = append(found, n)
	}
	require.NoError(p.t, rows.Err())
	return found
}

// requireOld says that the old version starts and has these rows and no others.
func (p *place) requireOld(at string, want ...int) {
	p.t.Helper()
	p.serve(oldBuild, func(s *database.Server, out Outcome, err error) {
		require.NoError(p.t, err, at)
		require.Equal(p.t, newest(p.t), out.To, at)
		require.Equal(p.t, want, p.rows(s), at)
	})
}

func (p *place) state() State {
	p.t.Helper()
	s, err := p.keeper(oldBuild).State()
	require.NoError(p.t, err)
	return s
}

// snapshots lists the directories of snapshots, finished or not.
func (p *place) snapshots() (found []string) {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.data, dirName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(p.t, err)
	for _, e := range entries {
		if idShape.MatchString(e.Name()) {
			found = append(found, e.Name())
		}
	}
	return found
}

// runChild is the child's main.
func runChild() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := optionsOf(os.Getenv(childData), os.Getenv(childURL), newBuild)
	o.step = func(at string) {
		if at == os.Getenv(childKill) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	err := childDoes(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func childDoes(ctx context.Context, o Options) error {
	k, err := New(o)
	if err != nil {
		return err
	}
	if os.Getenv(childWork) == "rollback" {
		_, err = k.Rollback(ctx)
		return err
	}
	s, err := database.New(k.opts.Database)
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	_, err = k.Migrate(ctx, s, false)
	return errors.Join(err, s.Stop(ctx))
}

// rerun does a piece of work in a process of its own.
func (p *place) rerun(work, kill string) error {
	p.t.Helper()
	self, err := os.Executable()
	require.NoError(p.t, err)
	cmd := exec.CommandContext(p.t.Context(), self)
	cmd.Env = append(os.Environ(), childWork+"="+work, childData+"="+p.data, childURL+"="+p.url, childKill+"="+kill)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// requireKilled says that the child died of SIGKILL.
func requireKilled(t testing.TB, err error, at string) {
	t.Helper()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "it was to be killed at %s", at)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled(), "at %s: %v", at, err)
}
