package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// connections are those that are open, so that Stop can cut what does not end
// by itself.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
	// stopping closes those that come while the listeners are being closed.
	stopping bool
}

// changed follows the state of a connection; it is called for each request, so
// it only locks when one opens or closes.
func (c *connections) changed(conn net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		c.mu.Lock()
		if c.open == nil {
			c.open = make(map[net.Conn]struct{})
		}
		c.open[conn] = struct{}{}
		late := c.stopping
		c.mu.Unlock()
		if late {
			_ = conn.Close()
		}
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		c.mu.Lock()
		delete(c.open, conn)
		c.mu.Unlock()
	}
}

// hush closes the connections on which nothing has ever come. Browsers and pools
// open some in advance, and nobody loses anything when they end; fasthttp, which
// closes idle ones when it stops, would wait for them.
func (c *connections) hush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	for conn := range c.open {
		if silent(conn) {
			_ = conn.Close()
		}
	}
}

// silent asks the kernel whether the client has not sent a single byte.
func silent(conn net.Conn) bool {
	if secure, ok := conn.(*secureConn); ok {
		return secure.silent()
	}
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		quiet = err == nil && info.Bytes_received == 0
	})
	return err == nil && quiet
}

func (c *connections) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		_ = conn.Close()
	}
	return len(c.open)
}

// Start listens on every address of Options.Listen and serves until Stop. It
// returns all mistakes made in registering, or the first address that cannot
// be had. A second call does nothing.
func (a *API) Start(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started {
		return nil
	}
	if err := a.Check(); err != nil {
		return err
	}
	var lc net.ListenConfig
	for _, addr := range a.opts.Listen {
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			for _, open := range a.listeners {
				_ = open.Close()
			}
			a.listeners = nil
			return fmt.Errorf("httpapi: listen on %s: %w", addr, err)
		}
		if a.opts.TLS != nil {
			ln = secured{ln, a.opts.TLS}
		}
		a.listeners = append(a.listeners, ln)
	}
	if err := a.listenLocally(); err != nil {
		for _, open := range a.listeners {
			_ = open.Close()
		}
		a.listeners = nil
		return err
	}
	for _, ln := range a.listeners {
		a.serveOn(ln)
	}
	if a.socket != nil {
		a.serveOn(a.socket)
	}
	a.started = true
	return nil
}

// Check reports the mistakes made in registering operations.
func (a *API) Check() error {
	if err := errors.Join(a.failures...); err != nil {
		return err
	}
	return a.document.build(a)
}

// Addrs gives the addresses that the server listens on, after Start.
func (a *API) Addrs() []net.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	addrs := make([]net.Addr, len(a.listeners))
	for i, ln := range a.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}

// Stop stops accepting, tells streams to end and waits for requests under way
// until ctx is done; then it ends their contexts and cuts their connections.
// It returns an error when it had to. A second call, or one before Start, does
// nothing.
func (a *API) Stop(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.started || a.stopped {
		return nil
	}
	a.stopped = true
	a.endStream()
	a.conns.hush()
	err := errors.Join(a.app.Server().ShutdownWithContext(ctx), a.streams.wait(ctx))
	a.end()
	cut := 0
	if err != nil {
		cut = a.conns.cut() + a.streams.cut()
	}
	// fasthttp closes the listeners that it knows of: one whose goroutine had not
	// begun to serve is not among them.
	for _, ln := range a.listeners {
		_ = ln.Close()
	}
	if a.socket != nil {
		_ = a.socket.Close()
	}
	a.serving.Wait()
	a.dropSocket()
	if err != nil {
		return fmt.Errorf("httpapi: %d connections were cut: %w", cut, err)
	}
	return nil
}

// StreamContext gives the context that ends when the server begins to stop,
// for streams and sockets that do not use [ServeEvents].
func (a *API) StreamContext() context.Context { return a.streaming }
