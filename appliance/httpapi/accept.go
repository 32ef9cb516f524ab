package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"syscall"
	"time"
)

// Waits between attempts to accept a connection while the machine has no room
// for one.
const (
	shortageFirst = 5 * time.Millisecond
	shortageMost  = time.Second
)

// doorman accepts connections. Of a crowd that comes in one instant it lets
// those in first who have been let in before: each is served by a worker that
// served others already, on a stack that has grown and with a buffer that is
// there, instead of by hundreds of new ones. And it waits out a machine that has
// no file descriptor or memory left, which the server takes for the end of the
// listener.
type doorman struct {
	net.Listener
	stop context.Context // ends the waiting
	log  *slog.Logger
}

// Accept implements [net.Listener].
func (d doorman) Accept() (net.Conn, error) {
	for wait := shortageFirst; ; wait = min(2*wait, shortageMost) {
		conn, err := d.Listener.Accept()
		if !shortage(err) {
			runtime.Gosched()
			return conn, err
		}
		if wait == shortageFirst { // once, not at each attempt
			d.log.LogAttrs(d.stop, slog.LevelError, "no connection can be accepted until others end: raise the limit of open files", slog.Any("error", err))
		}
		select {
		case <-time.After(wait):
		case <-d.stop.Done():
			return nil, net.ErrClosed
		}
	}
}

// shortage tells whether accepting failed by what passes by itself.
func shortage(err error) bool {
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// serveOn serves one listener; Stop waits for it.
func (a *API) serveOn(ln net.Listener) {
	a.serving.Go(func() {
		err := a.app.Server().Serve(doorman{ln, a.streaming, a.log})
		if a.streaming.Err() != nil { // Stop closed it
			return
		}
		if err == nil { // the server does not tell why
			err = net.ErrClosed
		}
		select {
		case a.failed <- fmt.Errorf("httpapi: listen on %s: %w", ln.Addr(), err):
		default: // one is enough to end
		}
	})
}

// Failed delivers the error of a listener that ended before Stop: nobody
// reaches the server by it any more. It delivers at most one.
func (a *API) Failed() <-chan error { return a.failed }
