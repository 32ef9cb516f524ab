package backup

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/storage"
)

func TestMain(m *testing.M) {
	if os.Getenv(childWork) != "" {
		os.Exit(runChild())
	}
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the test cluster:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// quick are the settings of clusters that need not outlive a power failure.
func quick() map[string]string {
	return map[string]string{"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "max_connections": "200"}
}

// cluster is the one Postgres that the tests share. Its databases are external
// ones to the code under test.
type cluster struct {
	once   sync.Once
	err    error
	dir    string
	server *database.Server
	super  *pgx.Conn
	mu     sync.Mutex // guards what follows, and super
	count  int
	direct string
}

var shared cluster

// Roles of the shared cluster: one may make databases, the other may not.
const (
	mayCreate = "may_create"
	mayNot    = "may_not"
)

func (c *cluster) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "selflink-backup-test-")
	if err != nil {
		return err
	}
	c.dir = dir
	if c.server, err = database.New(database.Options{DataDir: dir, PoolSize: 1, Postgres: quick(), InitdbArgs: []string{"--wal-segsize=1"}}); err != nil {
		return err
	}
	if err := c.server.Start(ctx); err != nil {
		return err
	}
	_, c.direct = c.server.URLs()
	if c.super, err = pgx.Connect(ctx, c.server.SuperURL()); err != nil {
		return err
	}
	_, err = c.super.Exec(ctx, "CREATE ROLE "+mayCreate+" LOGIN PASSWORD 'x' CREATEDB; CREATE ROLE "+mayNot+" LOGIN PASSWORD 'x'")
	return err
}

func (c *cluster) stop() error {
	if c.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if c.super != nil {
		_ = c.super.Close(ctx)
	}
	if err := c.server.Stop(ctx); err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}

// exec runs a statement as superuser.
func (c *cluster) exec(t testing.TB, sql string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.super.Exec(context.Background(), sql)
	require.NoError(t, err)
}

// place is one database with a data directory beside it.
type place struct {
	t    testing.TB
	name string
	url  string
	data string
}

// newPlace makes an empty database of a role.
func newPlace(t testing.TB, role string) *place {
	t.Helper()
	shared.once.Do(func() { shared.err = shared.start() })
	require.NoError(t, shared.err)
	shared.mu.Lock()
	shared.count++
	name := "place_" + strconv.Itoa(shared.count)
	shared.mu.Unlock()
	shared.exec(t, "CREATE DATABASE "+name+" OWNER "+role)
	address, err := withDatabase(shared.direct, name)
	require.NoError(t, err)
	cfg, err := pgx.ParseConfig(address)
	require.NoError(t, err)
	p := &place{t: t, name: name, data: t.TempDir()}
	p.url = fmt.Sprintf("postgres://%s:x@/%s?host=%s&port=%d", role, name, cfg.Host, cfg.Port)
	return p
}

// open reaches the database, migrated by steps (nil: all).
func (p *place) open(o database.Options) *database.Server {
	p.t.Helper()
	o.DatabaseURL, o.PoolSize = p.url, 4
	server, err := database.New(o)
	require.NoError(p.t, err)
	require.NoError(p.t, server.Start(p.t.Context()))
	p.t.Cleanup(func() { require.NoError(p.t, server.Stop(context.Background())) })
	return server
}

// migrated is open with the schema in place.
func (p *place) migrated() *database.Server {
	p.t.Helper()
	server := p.open(database.Options{})
	_, err := server.Migrate(p.t.Context())
	require.NoError(p.t, err)
	return server
}

// keeper makes a keeper over a server.
func (p *place) keeper(server *database.Server) *Keeper {
	p.t.Helper()
	k, err := New(Options{Database: server, DataDir: p.data, Files: storage.NewLocal(p.media()), Build: Build{Version: "v1.2.3", Commit: "abc"}})
	require.NoError(p.t, err)
	return k
}

// media is the place's directory of files.
func (p *place) media() string { return filepath.Join(p.data, "media") }

func (p *place) restorer() *Restorer {
	return &Restorer{Database: database.Options{DatabaseURL: p.url}, DataDir: p.data, MediaDir: p.media()}
}

// archive makes an archive of the place and stops what was opened for it.
func (p *place) archive(rows int) string {
	p.t.Helper()
	server := p.migrated()
	fill(p.t, server, rows)
	made, err := p.keeper(server).Create(p.t.Context(), Request{})
	require.NoError(p.t, err)
	require.NoError(p.t, server.Stop(p.t.Context()))
	return made.File
}

// names lists the databases of the shared cluster that belong to the place.
func (p *place) names(purpose string) []string {
	p.t.Helper()
	s, err := openSite(p.t.Context(), p.url, "")
	require.NoError(p.t, err)
	defer s.close()
	names, err := s.named(p.t.Context(), purpose)
	require.NoError(p.t, err)
	return names
}

// fill puts rows into all tables but those that only processes write.
func fill(t testing.TB, server *database.Server, n int) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO users (id, email, email_fold, handle, password, name, flags, created_at, updated_at)
			SELECT i, 'U'||i||'@example.com', 'u'||i||'@example.com', 'user'||i, 'x', 'Näme '||i||E'\n\t"\\', '{"a":[1,null]}', now(), now() FROM generate_series(1, $1) i`,
		`INSERT INTO user_settings (user_id) SELECT i FROM generate_series(1, $1) i`,
		`INSERT INTO user_pii (user_id, email, birth_date, birth_time) SELECT i, 'e', '1990-01-01', '12:34:56' FROM generate_series(1, $1) i`,
		`INSERT INTO auth_sessions (id, user_id, created_at, expires_at) SELECT gen_random_uuid(), i, now(), now() FROM generate_series(1, $1) i`,
		`INSERT INTO auth_refresh_tokens (jti, session_id, issued_at, expires_at) SELECT gen_random_uuid(), id, now(), now() FROM auth_sessions LIMIT $1`,
		`INSERT INTO follows (follower_id, followee_id, created_at) SELECT i, 1, now() FROM generate_series(2, $1) i`,
		`INSERT INTO user_blocks (user_id, target_id) SELECT i, 1 FROM generate_series(2, $1) i`,
		`INSERT INTO user_mutes (user_id, target_id) SELECT 1, i FROM generate_series(2, $1) i`,
		`INSERT INTO devices (id, user_id, device_type, push_token, last_seen, created_at) SELECT i, i, 'ios', 't'||i, now(), now() FROM generate_series(1, $1) i`,
		`INSERT INTO personal_maps (user_id, created_at, updated_at) SELECT i, now(), now() FROM generate_series(1, $1) i`,
		`INSERT INTO profiles (user_id, "values", birth_latitude, created_at, updated_at) SELECT i, '{a,"b c"}', 0.1::float8 * i, now(), now() FROM generate_series(1, $1) i`,
		`INSERT INTO mentor_sessions (id, user_id, origin, language) SELECT i, i, 'chat', 'en' FROM generate_series(1, $1) i`,
		`INSERT INTO mentor_messages (id, session_id, user_id, role, content, meta) SELECT i, i, i, 'user', md5(i::text)||repeat(' woords', 20), '{"x":1.50}' FROM generate_series(1, $1) i`,
		`INSERT INTO mentor_streams (user_id, fingerprint, question_id, session_id) SELECT i, decode(md5(i::text), 'hex'), i, i FROM generate_series(1, $1) i`,
		`INSERT INTO mentor_tasks (id, user_id, task, due_date) SELECT i, i, 't', '2026-01-01' FROM generate_series(1, $1) i`,
		`INSERT INTO mentor_profiles (id, user_id) SELECT i, i FROM generate_series(1, $1) i`,
		`INSERT INTO mentor_memories (user_id) SELECT i FROM generate_series(1, $1) i`,
		`INSERT INTO mentor_purges (day, messages, sessions) SELECT '2020-01-01'::date + i, i, i FROM generate_series(1, $1) i`,
		`INSERT INTO jobs (id, kind, queue, state, priority, args, retain, run_at) SELECT gen_random_uuid(), 'k', 'q', 'queued', 1, '{}', '1 day', now() FROM generate_series(1, $1) i`,
		`INSERT INTO job_instances (id, host, pid, place, born) SELECT gen_random_uuid(), 'h', i, 'p', i FROM generate_series(1, $1) i`,
		`INSERT INTO schedules (name, cron, next_at) SELECT 's'||i, '* * * * *', now() FROM generate_series(1, $1) i`,
		`INSERT INTO schedule_firings (schedule, fire_at, outcome, host) SELECT 's', now() + make_interval(secs => i), 'succeeded', 'h' FROM generate_series(1, $1) i`,
		`INSERT INTO realtime_events (seq, channel, payload, expires_at) SELECT i, 'user:1', '{}', now() FROM generate_series(1, $1) i`,
		`INSERT INTO realtime_trimmed (channel, seq) SELECT 'user:'||i, i FROM generate_series(1, $1) i`,
		`INSERT INTO realtime_tickets (digest, user_id, session_id, issued_at, ends_at, expires_at) SELECT decode(md5(i::text), 'hex'), 1, 's', now(), now(), now() FROM generate_series(1, $1) i`,
		`INSERT INTO snowflake_node_lease (node, holder, host, pid, acquired_at, expires_at) SELECT i, gen_random_uuid(), 'h', 1, now(), now() FROM generate_series(0, least($1, 1000)) i`,
	} {
		_, err := server.Direct().Exec(t.Context(), sql, n)
		require.NoError(t, err, sql)
	}
}

// contents are the rows and a checksum of the text of every table.
func contents(t testing.TB, q database.Querier) map[string]string {
	t.Helper()
	tables, err := countRows(t.Context(), q)
	require.NoError(t, err)
	out := map[string]string{}
	for _, table := range tables {
		var sum string
		require.NoError(t, q.QueryRow(t.Context(), "SELECT coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') FROM "+table.Name+" t").Scan(&sum))
		out[table.Name] = fmt.Sprintf("%d %s", table.Rows, sum)
	}
	return out
}

// look opens the place for the time of a function.
func (p *place) look(f func(q database.Querier)) {
	p.t.Helper()
	server, err := database.New(database.Options{DatabaseURL: p.url, PoolSize: 1})
	require.NoError(p.t, err)
	require.NoError(p.t, server.Start(p.t.Context()))
	defer func() { require.NoError(p.t, server.Stop(context.Background())) }()
	f(server.Direct())
}

// without drops the tables that a restore may change, or that had no row of the
// backup itself yet.
func without(m map[string]string, names ...string) map[string]string {
	m = maps.Clone(m)
	for _, name := range names {
		delete(m, "public."+name)
	}
	return m
}

// privateDir is a directory that Postgres's own user can reach when the tests
// run as root.
func privateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "selflink-backup-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "data")
}

// mountSmall mounts a file system of some MiB, where that is permitted.
func mountSmall(t testing.TB, mib int) (dir string, ok bool) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(mib)+"m"); err != nil {
		return "", false
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, true
}
