package httpapi

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is how long a path the kernel takes for a Unix socket, less the
// zero at its end (unix(7)).
const maxSocketPath = 107

// listenLocally opens the socket of Options.Socket. One that a dead process
// left is replaced.
func (a *API) listenLocally() error {
	path := a.opts.Socket
	if path == "" {
		return nil
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("httpapi: the socket's path %s is longer than %d characters; choose a shorter data directory", path, maxSocketPath)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("httpapi: %s is in the way of the socket; move it away", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("httpapi: another process answers on %s", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("httpapi: remove an old socket: %w", err)
	}
	// It is opened under another name and moved when its mode is right, so that
	// it is never open to more people.
	draft := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	_ = os.Remove(draft)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: draft, Net: "unix"})
	if err != nil {
		return fmt.Errorf("httpapi: listen on %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(draft, 0o600), os.Rename(draft, path)); err != nil {
		_ = ln.Close()
		return fmt.Errorf("httpapi: listen on %s: %w", path, err)
	}
	a.socket = ln
	return nil
}

// dropSocket removes the socket's name.
func (a *API) dropSocket() {
	if a.socket != nil {
		_ = os.Remove(a.opts.Socket)
	}
}
