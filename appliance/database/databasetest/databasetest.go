// Package databasetest gives each test a migrated database of its own, on a
// real Postgres and through a real PgBouncer.
//
// The first [New] of a test binary starts one private cluster in a temporary
// directory, without flushing to disk; every further one is a copy of a
// migrated template. The cluster ends with the test binary, however it ends.
// A package that uses it says
//
//	func TestMain(m *testing.M) { databasetest.Main(m) }
package databasetest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/database"
)

// DB is one test's database.
type DB struct {
	// Server reaches the database from outside, as with DATABASE_URL and
	// DATABASE_DIRECT_URL.
	Server *database.Server
	Pool   database.Pool // through PgBouncer
	Direct database.Pool // Postgres itself

	URL       string // as DATABASE_URL: through PgBouncer
	DirectURL string // as DATABASE_DIRECT_URL
}

const (
	startTimeout = time.Minute // for the shared cluster, on a busy machine
	poolSize     = 16          // connections of one test's pooled way
	// acquireWait is long, so that a crowd on a busy machine is served and not
	// refused: tests do not judge how fast it is.
	acquireWait = 20 * time.Second
	serverConns = 20  // PgBouncer's server connections per test database
	maxConns    = 500 // of the cluster: many tests at once
	template    = "selflink_template"
)

// cluster is what a test binary shares. It is the one thing here that outlives
// a test, which is why it is a variable of the package.
type cluster struct {
	once   sync.Once
	err    error
	dir    string
	server *database.Server
	pooled string // URL through PgBouncer
	direct string
	super  *pgx.Conn

	mu     sync.Mutex // guards super: Postgres copies a template for one at a time
	count  int
	copies chan copied // one made ahead of the test that will want it
	quit   chan struct{}
	done   chan struct{}
}

// copied is a new database, or why there is none.
type copied struct {
	name string
	err  error
}

var shared cluster

// Main runs the tests of a binary and ends the shared cluster. It does not
// return.
func Main(m *testing.M) {
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "databasetest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// New returns a fresh migrated database. It is closed when the test ends.
func New(t testing.TB) *DB {
	t.Helper()
	shared.once.Do(shared.start)
	if shared.err != nil {
		t.Fatalf("start the test database: %v", shared.err)
	}
	fresh := <-shared.copies
	if fresh.err != nil {
		t.Fatalf("make a test database: %v", fresh.err)
	}
	name := fresh.name
	db := &DB{URL: withDatabase(shared.pooled, name), DirectURL: withDatabase(shared.direct, name)}
	var err error
	db.Server, err = database.New(database.Options{
		DatabaseURL: db.URL, DirectURL: db.DirectURL, PoolSize: poolSize, AcquireWait: acquireWait,
	})
	if err != nil {
		t.Fatalf("open the test database: %v", err)
	}
	if err := db.Server.Start(t.Context()); err != nil {
		t.Fatalf("open the test database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Server.Stop(context.Background()); err != nil {
			t.Errorf("close the test database: %v", err)
		}
		if err := shared.drop(name); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	db.Pool, db.Direct = db.Server.Pool(), db.Server.Direct()
	return db
}

// start brings up the cluster and migrates the template.
func (c *cluster) start() { c.err = c.bring() }

func (c *cluster) bring() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	dir, err := claimTemp()
	if err != nil {
		return err
	}
	c.dir = dir
	c.server, err = database.New(database.Options{
		DataDir: dir, PoolSize: 1, ServerConns: serverConns, DirectSize: 2, AcquireWait: acquireWait,
		InitdbArgs: []string{"--wal-segsize=1"},
		Postgres: map[string]string{
			"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
			"max_connections": strconv.Itoa(maxConns), "autovacuum": "off",
			"min_wal_size": "8MB", "max_wal_size": "1GB", "wal_level": "minimal", "max_wal_senders": "0",
		},
	})
	if err != nil {
		return err
	}
	if err := c.server.Start(ctx); err != nil {
		return err
	}
	c.pooled, c.direct = c.server.URLs()
	if c.super, err = pgx.Connect(ctx, c.server.SuperURL()); err != nil {
		return fmt.Errorf("log in as superuser: %w", err)
	}
	if _, err := c.super.Exec(ctx, "CREATE DATABASE "+template+" OWNER selflink"); err != nil {
		return fmt.Errorf("make the template: %w", err)
	}
	direct := withDatabase(c.direct, template)
	migrator, err := database.New(database.Options{DatabaseURL: direct, PoolSize: 1})
	if err != nil {
		return err
	}
	if err := migrator.Start(ctx); err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx)
	if stopErr := migrator.Stop(ctx); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	c.copies, c.quit, c.done = make(chan copied), make(chan struct{}), make(chan struct{})
	go c.supply()
	return nil
}

// supply makes copies, one ahead of who wants it, until stop.
func (c *cluster) supply() {
	defer close(c.done)
	for {
		next := c.copyTemplate()
		select {
		case c.copies <- next:
		case <-c.quit:
			return
		}
	}
}

// copyTemplate makes a new database. Copying files takes half the time of the
// default, which writes every page to the log.
func (c *cluster) copyTemplate() copied {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	name := "test_" + strconv.Itoa(c.count)
	_, err := c.super.Exec(context.Background(), "CREATE DATABASE "+name+" TEMPLATE "+template+" OWNER selflink STRATEGY FILE_COPY")
	if err != nil {
		return copied{err: fmt.Errorf("copy the template: %w", err)}
	}
	return copied{name: name}
}

// drop removes a test's database, with whatever is still connected to it.
func (c *cluster) drop(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.super.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
	return err
}

// stop ends the cluster and removes its files.
func (c *cluster) stop() error {
	if c.dir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if c.quit != nil {
		close(c.quit)
		<-c.done
	}
	if c.super != nil {
		_ = c.super.Close(ctx) //nolint:errcheck // the server goes next
	}
	if c.server != nil {
		if err := c.server.Stop(ctx); err != nil {
			return err
		}
	}
	err := os.RemoveAll(c.dir)
	_ = os.Remove(filepath.Dir(c.dir)) //nolint:errcheck // others may have theirs in it
	return err
}

// withDatabase returns address with another database's name.
func withDatabase(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic("databasetest: an address of our own making is no URL: " + err.Error())
	}
	u.Path = "/" + name
	return u.String()
}
