package snowflake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/snowflake/snowflakedb"
)

const (
	// leaseTTL is the length of an interval from each renewal on. It is how
	// long the database may be away before no id can be made, and a bound on
	// how far ids of a fixed number may run ahead of the clock after a crash.
	leaseTTL = time.Minute
	// renewEvery is the time between renewals, retryEvery after a failed one.
	renewEvery = 10 * time.Second
	retryEvery = time.Second
	// leaseTimeout bounds one statement about the lease.
	leaseTimeout = 5 * time.Second
	// acquireTries bounds the race for a free number at start: each lost round
	// means that some other process has won one.
	acquireTries = 32
)

// Options of a [Generator].
type Options struct {
	DB database.Pool // with the migrated schema
	// Node is a number chosen by the operator (NODE_ID), nil for any free one.
	// A command that runs beside the server takes any.
	Node   *int
	Logger *slog.Logger     // nil: discarded
	Health *health.Registry // receives the check "ids"; nil: not registered

	// Host names this machine (the system's host name): a chosen number is taken
	// over at once from a dead process of the same host.
	Host string
}

// Generator makes ids under a leased node number. It is safe for concurrent
// use.
type Generator struct {
	*minter
	opts   Options
	log    *slog.Logger
	holder uuid.UUID
	ttl    time.Duration
	every  time.Duration      // renewEvery
	retry  time.Duration      // retryEvery
	alive  func(pid int) bool // whether a holder on this host lives

	life    sync.Mutex
	node    int16 // of the current lease
	cancel  context.CancelFunc
	done    chan struct{}
	stopped bool
}

// New checks the options. Ids can be made after Start.
func New(o Options) (*Generator, error) {
	if o.DB == nil {
		return nil, errors.New("snowflake: a database is needed")
	}
	if o.Node != nil && (*o.Node < 0 || *o.Node > MaxNode) {
		return nil, fmt.Errorf("%w: NODE_ID is %d, and 0 to %d are possible", ErrNode, *o.Node, MaxNode)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("snowflake: name of this host: %w", err)
		}
		o.Host = host
	}
	g := &Generator{
		minter: newMinter(time.Now), opts: o, log: o.Logger.With("component", "snowflake"),
		holder: uuid.New(), ttl: leaseTTL, every: renewEvery, retry: retryEvery, alive: sameProgram,
	}
	if o.Health != nil {
		o.Health.Add(health.Check{
			Code: "ids", Title: "No row ids can be made", Severity: health.High, Ready: true,
			Impact:    "Nothing new can be stored by this node.",
			Remedy:    "The lease of the node number is renewed by itself once the database answers. With NODE_ID, see that no other process has the same.",
			DependsOn: []string{database.CheckPostgres, database.CheckPooled},
			Run:       g.check,
		})
	}
	return g, nil
}

// Fixed returns a generator without a lease, for tests and tools. Two of the
// same number in one database make duplicate ids. It needs no Start.
func Fixed(node int) (*Generator, error) {
	if node < 0 || node > MaxNode {
		return nil, fmt.Errorf("%w: %d", ErrNode, node)
	}
	g := &Generator{minter: newMinter(time.Now), stopped: true}
	g.grant(interval{node: int64(node), from: time.Now().UnixMilli(), until: math.MaxInt64})
	return g, nil
}

// Next makes an id. It panics with an error that wraps [ErrNoLease] when none
// can be made without risking a duplicate: before Start, after Stop, or when
// the lease ran out and was not renewed within three seconds. The lease runs out
// only when the database was away for a minute, and without a database there
// is no row that could want an id; so no caller has to handle it. See TryNext.
func (g *Generator) Next() int64 {
	id, err := g.mint()
	if err != nil {
		panic(err)
	}
	return id
}

// TryNext is Next with an error instead of the panic.
func (g *Generator) TryNext() (int64, error) { return g.mint() }

// check is the health check: it is red as soon as no id can be made.
func (g *Generator) check(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	if g.now() >= g.may.until {
		return fmt.Errorf("%w: it has run out", ErrNoLease)
	}
	return nil
}

// Start leases a node number and keeps the lease. A second call does nothing.
func (g *Generator) Start(ctx context.Context) error {
	g.life.Lock()
	defer g.life.Unlock()
	if g.cancel != nil || g.stopped {
		return nil
	}
	if err := g.acquire(ctx); err != nil {
		return err
	}
	keep, cancel := context.WithCancel(context.Background())
	g.cancel, g.done = cancel, make(chan struct{})
	go g.keep(keep)
	return nil
}

// Stop ends minting and gives the rest of the lease back. A second call does
// nothing.
func (g *Generator) Stop(ctx context.Context) error {
	g.life.Lock()
	defer g.life.Unlock()
	if g.stopped {
		return nil
	}
	g.stopped = true
	if g.cancel == nil {
		return nil
	}
	g.cancel()
	<-g.done
	unused := g.revoke(fmt.Errorf("%w: stopped", ErrNoLease), true)
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	err := g.queries().ReleaseNode(ctx, snowflakedb.ReleaseNodeParams{
		Node: g.node, Holder: g.holder, Unused: time.UnixMilli(unused),
	})
	if err != nil { // it ends by itself
		return fmt.Errorf("give back node number %d: %w", g.node, err)
	}
	return nil
}

func (g *Generator) queries() *snowflakedb.Queries { return snowflakedb.New(g.opts.DB) }

// keep renews the lease until ctx is done.
func (g *Generator) keep(ctx context.Context) {
	defer close(g.done)
	wait := g.every
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		wait = g.every
		if err := g.renew(ctx); err != nil && ctx.Err() == nil {
			wait = g.retry
			g.log.Warn("the lease of the node number cannot be renewed", "node", g.node, "error", err)
		}
	}
}

// renew extends the lease, or gets another one when this one is lost.
func (g *Generator) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	rows, err := g.queries().RenewNode(ctx, snowflakedb.RenewNodeParams{
		Node: g.node, Holder: g.holder, IDTime: time.UnixMilli(g.time()), TtlMs: g.ttl.Milliseconds(),
	})
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	if len(rows) == 1 {
		g.catchUp(rows[0].At.UnixMilli())
		g.grant(interval{node: int64(g.node), until: rows[0].ExpiresAt.UnixMilli()})
		return nil
	}
	g.revoke(fmt.Errorf("%w: another process took number %d", ErrNoLease, g.node), false)
	g.log.Error("another process took the node number; leasing again", "node", g.node)
	return g.acquire(ctx)
}

// acquire gets a lease.
func (g *Generator) acquire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	if g.opts.Node != nil {
		return g.acquireChosen(ctx, int16(*g.opts.Node)) //nolint:gosec // checked by New
	}
	for range acquireTries {
		rows, err := g.queries().AcquireNode(ctx, snowflakedb.AcquireNodeParams{
			Holder: g.holder, Host: g.opts.Host, Pid: int32(os.Getpid()), TtlMs: g.ttl.Milliseconds(), //nolint:gosec // pids fit
		})
		if err != nil {
			return fmt.Errorf("lease a node number: %w", err)
		}
		if len(rows) == 1 {
			g.begin(rows[0].Node, rows[0].AcquiredAt, rows[0].ExpiresAt)
			return nil
		}
	}
	// All numbers are taken, by more than a thousand starts within a minute.
	// The one that ends first is continued from its end on.
	oldest, err := g.queries().OldestNode(ctx)
	if err != nil {
		return fmt.Errorf("lease a node number: %w", err)
	}
	ok, err := g.take(ctx, oldest.Node, oldest.Holder)
	if err == nil && !ok {
		err = fmt.Errorf("%w: all node numbers are taken", ErrNoLease)
	}
	return err
}

// acquireChosen leases the operator's number. A process of this host that died
// is succeeded at once; a living holder keeps it.
func (g *Generator) acquireChosen(ctx context.Context, node int16) error {
	holders, err := g.queries().NodeHolder(ctx, node)
	if err != nil {
		return fmt.Errorf("lease node number %d: %w", node, err)
	}
	successorOf := uuid.Nil
	if len(holders) == 1 && holders[0].Host == g.opts.Host && !g.alive(int(holders[0].Pid)) {
		successorOf = holders[0].Holder
	}
	ok, err := g.take(ctx, node, successorOf)
	if err != nil || ok {
		return err
	}
	if len(holders) == 0 { // somebody was faster
		return fmt.Errorf("%w: node number %d was just taken; give each process its own NODE_ID, or none", ErrNoLease, node)
	}
	other := holders[0]
	return fmt.Errorf("%w: node number %d is used by process %d on host %s until %s; give each process its own NODE_ID, or none", ErrNoLease, node, other.Pid, other.Host, other.ExpiresAt.UTC().Format(time.RFC3339))
}

// take leases one number that is free, or that successorOf has, from the end
// of its last interval on.
func (g *Generator) take(ctx context.Context, node int16, successorOf uuid.UUID) (bool, error) {
	rows, err := g.queries().TakeNode(ctx, snowflakedb.TakeNodeParams{
		Node: node, Holder: g.holder, Host: g.opts.Host, Pid: int32(os.Getpid()), //nolint:gosec // pids fit
		TtlMs: g.ttl.Milliseconds(), SuccessorOf: successorOf,
	})
	if err != nil {
		return false, fmt.Errorf("lease node number %d: %w", node, err)
	}
	if len(rows) == 0 {
		return false, nil
	}
	g.begin(rows[0].Node, rows[0].AcquiredAt, rows[0].ExpiresAt)
	return true, nil
}

// sameProgram reports whether the process pid runs this program. A number that
// belongs to another program by now is a dead holder's; so is this process's
// own, which a restarted container hands out again.
func sameProgram(pid int) bool {
	if pid == os.Getpid() {
		return false
	}
	theirs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return errors.Is(err, fs.ErrPermission) // it exists, and we may not look
	}
	ours, err := os.Stat("/proc/self/exe")
	return err != nil || os.SameFile(theirs, ours)
}

// begin mints under a new lease.
func (g *Generator) begin(node int16, from, until time.Time) {
	g.node = node
	g.grant(interval{node: int64(node), from: from.UnixMilli(), until: until.UnixMilli()})
	g.log.Info("leased a node number for ids", "node", node)
}
