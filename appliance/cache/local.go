// Package cache keeps values near the code that asks for them, on every node,
// and lets one node make all others forget.
//
// A cache is never the only place of a value: what falls out is loaded again.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

const (
	defaultSize = 10_000
	defaultTTL  = 30 * time.Second

	// flights spreads the generations of keys: an invalidation of one key
	// spoils only loads that fall on the same of these.
	flights = 256
)

// Bus carries invalidations between nodes. *broker.Broker is one.
type Bus interface {
	Publish(subject string, data []byte) error
	Subscribe(subject string, handle func(subject string, data []byte)) (cancel func(), err error)
}

// Key is what a cached value is found by; it travels between nodes as text.
type Key interface {
	comparable
	String() string
}

// Options are the choices of one cache. Zero values mean the default in
// parentheses.
type Options struct {
	Name   string        // unique among caches; required
	Size   int           // most entries (10 000)
	TTL    time.Duration // a value's longest life, the bound of staleness when a node misses an invalidation (30 s)
	Bus    Bus           // nil: a single process
	Logger *slog.Logger
}

// Local is a bounded cache with one load at a time per key. It is safe for
// concurrent use.
type Local[K Key, V any] struct {
	name    string
	entries *lru.Cache[string, kept[V]]
	ttl     time.Duration
	loads   singleflight.Group
	bus     Bus
	log     *slog.Logger

	// guards makes an invalidation win over a load that began before it: the
	// load may have read what the invalidation was about.
	guards [flights]guard

	mu     sync.Mutex
	cancel func()
}

// kept is a value and when it is too old.
type kept[V any] struct {
	value V
	until time.Time
}

type guard struct {
	mu         sync.Mutex
	generation uint64
}

// NewLocal makes a cache. [Local.Start] joins it to the bus.
func NewLocal[K Key, V any](o Options) (*Local[K, V], error) {
	if o.Name == "" {
		return nil, errors.New("cache: a name is needed")
	}
	if o.Size <= 0 {
		o.Size = defaultSize
	}
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	// Not the library's own expiry: that one keeps a goroutine for ever.
	entries, err := lru.New[string, kept[V]](o.Size)
	if err != nil {
		return nil, fmt.Errorf("cache %s: %w", o.Name, err)
	}
	return &Local[K, V]{
		name:    o.Name,
		entries: entries,
		ttl:     o.TTL,
		bus:     o.Bus,
		log:     o.Logger,
	}, nil
}

func (c *Local[K, V]) subject() string { return "cache.forget." + c.name }

// Start listens for invalidations of other nodes until Stop. Starting twice
// does nothing.
func (c *Local[K, V]) Start(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bus == nil || c.cancel != nil {
		return nil
	}
	cancel, err := c.bus.Subscribe(c.subject(), func(_ string, key []byte) { c.forget(string(key)) })
	if err != nil {
		return fmt.Errorf("cache %s: %w", c.name, err)
	}
	c.cancel = cancel
	return nil
}

// Stop stops listening. Stopping twice does nothing.
func (c *Local[K, V]) Stop(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
	}
	return nil
}

// Get returns the value of key, loading it when it is not there. Concurrent
// callers of one key share a load; an error is returned to all of them and
// not kept. A caller whose ctx ends gets its error while the load goes on for
// the others.
func (c *Local[K, V]) Get(ctx context.Context, key K, load func(ctx context.Context) (V, error)) (V, error) {
	text := key.String()
	if entry, ok := c.entries.Get(text); ok && time.Now().Before(entry.until) {
		return entry.value, nil
	}
	type outcome struct{ value V }
	result := c.loads.DoChan(text, func() (any, error) {
		g := c.guard(text)
		g.mu.Lock()
		before := g.generation
		g.mu.Unlock()

		// The load serves everyone who waits, so the first caller's
		// cancellation must not end it.
		value, err := c.call(context.WithoutCancel(ctx), load)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.generation == before {
			c.entries.Add(text, kept[V]{value, time.Now().Add(c.ttl)})
		}
		return outcome{value}, nil
	})
	var zero V
	select {
	case <-ctx.Done():
		return zero, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return zero, r.Err
		}
		return r.Val.(outcome).value, nil
	}
}

// call runs load. A panic in it is an error for those who wait: the load runs
// on a goroutine of its own, where nothing else would catch it.
func (c *Local[K, V]) call(ctx context.Context, load func(ctx context.Context) (V, error)) (value V, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			c.log.ErrorContext(ctx, "a load panicked", "component", "cache", "cache", c.name, "stack", string(debug.Stack()))
			err = fmt.Errorf("cache %s: load panicked: %v", c.name, cause)
		}
	}()
	return load(ctx)
}

// Invalidate forgets key here at once and on every other node within
// milliseconds. Call it after the commit of the write that made it stale.
func (c *Local[K, V]) Invalidate(key K) {
	text := key.String()
	c.forget(text)
	if c.bus == nil {
		return
	}
	if err := c.bus.Publish(c.subject(), []byte(text)); err != nil {
		c.log.Warn("other nodes may serve a stale value until it expires", "component", "cache", "cache", c.name, "error", err)
	}
}

// Forget forgets key on this node alone, for whoever learns on every node by
// itself that it is stale.
func (c *Local[K, V]) Forget(key K) { c.forget(key.String()) }

func (c *Local[K, V]) forget(text string) {
	g := c.guard(text)
	g.mu.Lock()
	g.generation++
	c.entries.Remove(text)
	g.mu.Unlock()
	// Whoever asks from here on must not join a load that began before.
	c.loads.Forget(text)
}

// guard finds the guard of a key (FNV-1a).
func (c *Local[K, V]) guard(text string) *guard {
	hash := uint32(2166136261)
	for i := range len(text) {
		hash = (hash ^ uint32(text[i])) * 16777619
	}
	return &c.guards[hash%flights]
}

// ID is a row's id as a key.
type ID int64

// String is the id in base 36, which is short and cheap.
func (id ID) String() string { return strconv.FormatInt(int64(id), 36) }

// Text is a string as a key.
type Text string

// String returns the text itself.
func (t Text) String() string { return string(t) }
