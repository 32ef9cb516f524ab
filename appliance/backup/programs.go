package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// The programs of Postgres that do the dumping and the restoring.
const (
	dumpProgram    = "pg_dump"
	restoreProgram = "pg_restore"
)

// tool is one found program.
type tool struct {
	path    string
	version string // "15.14 (Debian 15.14-0+deb12u1)"
}

// findTool finds a program of the given major version of Postgres, where the
// database part finds its own: in dir, else in Debian's directories and PATH.
// pg_dump refuses servers that are newer than itself, and a dump of a newer
// pg_dump may not go into an older server, so the versions have to be the same.
func findTool(ctx context.Context, dir, name string, major int) (tool, error) {
	var candidates []string
	if dir != "" {
		candidates = []string{filepath.Join(dir, name)}
	} else {
		candidates = []string{filepath.Join("/usr/lib/postgresql", strconv.Itoa(major), "bin", name)}
		if found, err := exec.LookPath(name); err == nil {
			candidates = append(candidates, found)
		}
	}
	var have []string
	for _, path := range candidates {
		cmd := exec.CommandContext(ctx, path, "--version")
		cmd.Dir, cmd.Env = "/", childEnv("")
		out, err := cmd.Output()
		if err != nil {
			continue
		}
		_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "(PostgreSQL) ")
		if majorOf(version) == major {
			return tool{path: path, version: version}, nil
		}
		have = append(have, path+" is of version "+version)
	}
	why := "there is none"
	if len(have) > 0 {
		why = strings.Join(have, ", ")
	}
	return tool{}, fmt.Errorf("backup: %s of PostgreSQL %d is needed, as the server is, and %s; install it (apt-get install postgresql-client-%d), or name its directory with SELFLINK_POSTGRES_BIN", name, major, why, major)
}

// majorOf reads "15.14 (Debian …)"; 0 when it says nothing.
func majorOf(version string) int {
	digits := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, err := strconv.Atoi(digits[0])
	if err != nil {
		return 0
	}
	return n
}

// childEnv is the environment of a program: what libpq reads, as our own driver
// does, and the password, which must not be among the arguments.
func childEnv(password string) []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + os.Getenv("HOME")}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "PG") && !(name == "PGPASSWORD" && password != "") && name != "PGOPTIONS" && name != "PGDATABASE" {
			env = append(env, pair)
		}
	}
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	return env
}

// ours are parameters of a URL that our driver reads and libpq refuses.
var ours = []string{"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity"}

// libpqAddress splits an address into one without a password, as an argument,
// and the password.
func libpqAddress(address string) (argument, password string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", errors.New("backup: the database's address is no URL") // whose text may hold a password
	}
	q := u.Query()
	if u.User != nil {
		password, _ = u.User.Password()
		u.User = url.User(u.User.Username())
	}
	if p := q.Get("password"); p != "" {
		password = p
		q.Del("password")
	}
	for name := range q {
		if strings.HasPrefix(name, "pool_") || slices.Contains(ours, name) {
			q.Del(name)
		}
	}
	// libpq knows no + for a space.
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String(), password, nil
}

// withDatabase returns an address with another database's name.
func withDatabase(address, name string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("backup: the database's address is no URL")
	}
	u.Path = "/" + name
	q := u.Query()
	q.Del("dbname")
	q.Del("database")
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// withParameter returns an address with one parameter more, or another value of
// it.
func withParameter(address, name, value string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("backup: the database's address is no URL")
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// child is a running program. It dies with this process, and with ctx.
type child struct {
	name   string
	cancel context.CancelFunc
	stderr *tail
	done   chan struct{}
	err    error // of Wait; after done
}

// startTool starts a program; stdin and stdout may be nil. The kernel ties the
// death signal to the thread that forked, so that thread waits for the end.
func startTool(ctx context.Context, t tool, password string, args []string, stdin, stdout *os.File) (*child, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, t.path, args...)
	c := &child{name: filepath.Base(t.path), cancel: cancel, stderr: &tail{}, done: make(chan struct{})}
	cmd.Dir, cmd.Env = "/", childEnv(password)
	cmd.Stderr = c.stderr
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(c.done)
		defer cancel()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		c.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	return c, nil
}

// wait returns when the program has ended, with its own words when it failed.
func (c *child) wait() error {
	<-c.done
	if c.err == nil {
		return nil
	}
	if text := c.stderr.String(); text != "" {
		return fmt.Errorf("%s: %s (%w)", c.name, text, c.err)
	}
	return fmt.Errorf("%s: %w", c.name, c.err)
}

// kill ends the program and waits for it.
func (c *child) kill() {
	c.cancel()
	<-c.done
}

// tail keeps the beginning and the end of what a program says: the first
// complaint is the cause, the last one is what it died of.
type tail struct {
	mu    sync.Mutex
	first []byte
	last  []byte
}

// tailBytes is how much of either is kept.
const tailBytes = 2000

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if room := tailBytes - len(t.first); room > 0 {
		take := min(room, len(p))
		t.first, p = append(t.first, p[:take]...), p[take:]
	}
	t.last = append(t.last, p...)
	if excess := len(t.last) - tailBytes; excess > 0 {
		t.last = append(t.last[:0], t.last[excess:]...)
	}
	return n, nil
}

// String is one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(t.first)
	if len(t.last) > 0 {
		text += " … " + string(t.last)
	}
	return strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "\uFFFD")
}

// pgDump runs pg_dump on a snapshot and calls read with its output.
func pgDump(ctx context.Context, t tool, address, snapshot string, read func(io.Reader) error) error {
	argument, password, err := libpqAddress(address)
	if err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer in.Close()
	c, err := startTool(ctx, t, password, []string{
		"--dbname=" + argument, "--format=custom",
		// The archive compresses everything, better and faster than zlib.
		"--compress=0",
		// Roles are the target's own, and unlogged tables hold what a crash may
		// take.
		"--no-owner", "--no-acl", "--no-unlogged-table-data",
		"--snapshot=" + snapshot, "--no-password",
	}, nil, out)
	out.Close()
	if err != nil {
		return err
	}
	if err := read(in); err != nil {
		c.kill()
		return err
	}
	if err := c.wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// pgRestore runs pg_restore with what write gives it. An empty address restores
// nowhere: the dump is only read to its end.
func pgRestore(ctx context.Context, t tool, address string, write func(io.Writer) error) error {
	args := []string{"--format=custom", "--no-owner", "--no-acl", "--exit-on-error"}
	password := ""
	if address == "" {
		args = append(args, "--file=/dev/null")
	} else {
		argument, secret, err := libpqAddress(address)
		if err != nil {
			return err
		}
		args, password = append(args, "--dbname="+argument, "--no-password"), secret
	}
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	c, err := startTool(ctx, t, password, args, in, nil)
	in.Close()
	if err != nil {
		out.Close()
		return err
	}
	err = write(out)
	if errors.Is(err, syscall.EPIPE) {
		if c.wait() != nil {
			err = nil // it ended early, and says why
		} else {
			err = fmt.Errorf("%w: the dump ends before the archive does", ErrDamaged)
		}
	}
	if err != nil {
		// Before it could take the end of its input for the end of the dump.
		c.kill()
		out.Close()
		return err
	}
	closeErr := out.Close()
	if err := c.wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return closeErr
}
