package dashboard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// tokenBytes is the length of the first run's token before it is written as
// hexadecimal text.
const tokenBytes = 24

// firstRun is the way of the first operator into an appliance without one: a
// link with a token, which only who can read the log or the data directory
// knows.
type firstRun struct {
	path string

	mu    sync.Mutex
	token string // empty: closed
}

func firstRunPath(dir string) string { return filepath.Join(dir, "first-run-token") }

// current is the token, or nothing when the way is closed.
func (f *firstRun) current() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.token
}

// open tells whether the way is open; an operator that was made by the command
// line closes it.
func (f *firstRun) open(ctx context.Context, identity Identity) bool {
	if f.current() == "" {
		return false
	}
	there, err := identity.AdminExists(ctx)
	return err == nil && !there
}

// prepareFirstRun opens the way when there is no operator. A token that an
// earlier start left stays good, so that the link in its log does.
func (d *Desk) prepareFirstRun(ctx context.Context) error {
	there, err := d.opts.Identity.AdminExists(ctx)
	if err != nil {
		return fmt.Errorf("look for an operator: %w", err)
	}
	if there {
		d.endFirstRun()
		return nil
	}
	token, err := readToken(d.first.path)
	if err != nil {
		return err
	}
	if token == "" {
		if token, err = writeToken(d.first.path); err != nil {
			return err
		}
	}
	d.first.mu.Lock()
	defer d.first.mu.Unlock()
	d.first.token = token
	return nil
}

func (d *Desk) endFirstRun() {
	d.first.mu.Lock()
	defer d.first.mu.Unlock()
	d.first.token = ""
	if err := os.Remove(d.first.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("the used link of the first run is left in a file; it does not serve any more", "file", d.first.path, "error", err)
	}
}

// FirstRunPath is the path of the link by which the first operator is made, to
// be put behind the address of the server; empty when there is an operator. It
// is a secret: whoever has it becomes the operator. The token stands in the
// fragment, which browsers send to nobody.
func (d *Desk) FirstRunPath() string {
	token := d.first.current()
	if token == "" {
		return ""
	}
	return "/dashboard/#/first-run/" + token
}

func readToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the token of the first run: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if raw, err := hex.DecodeString(token); err != nil || len(raw) != tokenBytes {
		return "", nil // damaged: a new one is made
	}
	return token, nil
}

func writeToken(path string) (string, error) {
	raw := make([]byte, tokenBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("make the token of the first run: %w", err)
	}
	token := hex.EncodeToString(raw)
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the token of the first run: %w", err)
	}
	return token, os.Chmod(path, 0o600)
}
