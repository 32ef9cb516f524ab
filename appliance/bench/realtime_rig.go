package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/auth"
	"selflink/appliance/database"
)

const (
	realtimeUsers = 250
	publishToken  = "a token of the benchmark alone"
	signingKey    = "a key of the benchmark alone, 32 bytes"
)

// rig is a server, or the plain gateway in its place, and a load client beside
// it.
type rig struct {
	pid    int // of the server
	open   int // connections
	note   func(figure)
	load   *child
	finish []func() error
}

// newRealtimeRig starts a server with accounts and a load client that has
// their tokens.
func newRealtimeRig(ctx context.Context, bin string) (r *rig, err error) {
	r = &rig{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	s, err := newServer(bin, "JWT_SIGNING_KEY="+signingKey, "REALTIME_PUBLISH_TOKEN="+publishToken, "REALTIME_PUBLISH_RATE_LIMIT=0")
	if err != nil {
		return r, err
	}
	r.finish = append(r.finish, s.remove, func() error {
		if s.cmd == nil || s.cmd.Process == nil {
			return nil // it could not be started
		}
		return s.stop()
	})
	if _, err := s.start(ctx); err != nil {
		return r, err
	}
	r.pid = s.cmd.Process.Pid
	tokens, err := signIn(ctx, filepath.Join(s.dir, "data"), realtimeUsers)
	if err != nil {
		return r, fmt.Errorf("make accounts: %w", err)
	}
	return r, r.attach(ctx, s.addr, tokens)
}

// newBareRig is the plain gateway with a load client.
func newBareRig(ctx context.Context) (r *rig, err error) {
	r = &rig{}
	bare, err := newChild(ctx, bareCommand)
	if err != nil {
		return r, err
	}
	r.finish = append(r.finish, bare.close)
	r.pid = bare.cmd.Process.Pid
	addr, err := bare.out.ReadString('\n')
	if err != nil {
		return r, errors.Join(err, r.close())
	}
	if err := r.attach(ctx, strings.TrimSpace(addr), []string{"none"}); err != nil {
		return r, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rig) attach(ctx context.Context, addr string, tokens []string) (err error) {
	if r.load, err = newChild(ctx, loadCommand); err != nil {
		return err
	}
	r.finish = append(r.finish, r.load.close)
	_, err = r.load.order(order{Do: "setup", Addr: addr, Tokens: tokens, Publish: publishToken})
	return err
}

// close ends the processes, the last started first.
func (r *rig) close() error {
	var all []error
	for i := len(r.finish) - 1; i >= 0; i-- {
		all = append(all, r.finish[i]())
	}
	r.finish = nil
	return errors.Join(all...)
}

// signIn makes accounts with a session each, straight in the database, and
// returns access tokens of them.
func signIn(ctx context.Context, dataDir string, n int) ([]string, error) {
	db, err := database.Join(ctx, database.Options{DataDir: dataDir})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Stop(context.WithoutCancel(ctx)) }()
	signer, err := auth.NewTokens(auth.TokenOptions{Key: []byte(signingKey)})
	if err != nil {
		return nil, err
	}
	now := time.Now().Truncate(time.Second)
	end := now.Add(time.Hour)
	var (
		tokens   = make([]string, n)
		ids      = make([]int64, n)
		sessions = make([]uuid.UUID, n)
	)
	for i := range n {
		ids[i], sessions[i] = int64(i+1), uuid.New()
		tokens[i], err = signer.Sign(auth.Claims{
			Type: auth.Access, ID: uuid.New(), UserID: ids[i], Session: sessions[i], IssuedAt: now, ExpiresAt: end,
		})
		if err != nil {
			return nil, err
		}
	}
	return tokens, db.Pool().Tx(ctx, func(tx database.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO users (id, email, email_fold, handle, password, created_at, updated_at)
			SELECT n, 'rt' || n || '@example.com', 'rt' || n || '@example.com', 'rt' || n, '!', now(), now() FROM unnest($1::bigint[]) n`, ids); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO user_settings (user_id) SELECT unnest($1::bigint[])", ids); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO auth_sessions (id, user_id, created_at, expires_at)
			SELECT unnest($1::uuid[]), unnest($2::bigint[]), now(), $3`, sessions, ids, end)
		return err
	})
}

// child is this program, started again with another word.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newChild(ctx context.Context, word string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, word)}
	c.cmd.Stderr = os.Stderr
	c.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1") // the load client is one thread
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, 64<<10)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, nil
}

// order has the load client do something and returns its report.
func (c *child) order(o order) (report, error) {
	var r report
	line, err := json.Marshal(o)
	if err != nil {
		return r, err
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return r, fmt.Errorf("order %s: %w", o.Do, err)
	}
	if line, err = c.out.ReadBytes('\n'); err != nil {
		return r, fmt.Errorf("order %s: %w", o.Do, err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("order %s: %w", o.Do, err)
	}
	if len(r.Closed) > 0 && r.Error == "" && o.Churn == 0 && !o.UntilCut {
		r.Error = fmt.Sprintf("connections were closed: %v", r.Closed)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s (closed: %v)", o.Do, r.Error, r.Closed)
	}
	return r, nil
}

// close ends the child by closing its input.
func (c *child) close() error {
	_ = c.in.Close()
	return c.cmd.Wait()
}

// ticksPerSecond is USER_HZ, which is 100 wherever Linux runs.
const ticksPerSecond = 100

// cpuOf is the time that a process has used so far, of the process alone and of
// its tree.
func cpuOf(pid int) (alone, tree time.Duration, err error) {
	if alone, err = cpuOfOne(pid); err != nil {
		return 0, 0, err
	}
	tree = alone
	for _, child := range childrenOf(pid) {
		if used, err := cpuOfOne(child); err == nil { // it may have ended meanwhile
			tree += used
		}
	}
	return alone, tree, nil
}

func cpuOfOne(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name before may have spaces and brackets.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("unreadable /proc/pid/stat")
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/pid/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// quietPSS is the memory of a process in KiB when it is first looked at and
// when two looks, a second apart, differ by less than a percent; after 12 s it
// is what it is.
func quietPSS(pid int) (first, quiet float64, err error) {
	if first, err = pssOf(pid); err != nil {
		return 0, 0, err
	}
	before := first
	for range 12 {
		time.Sleep(time.Second)
		if quiet, err = pssOf(pid); err != nil {
			return 0, 0, err
		}
		if diff := quiet - before; max(diff, -diff) < before/100 {
			break
		}
		before = quiet
	}
	return first, quiet, nil
}

// raiseFiles allows this process and those that it starts all the files that
// the system lets it have.
func raiseFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of files: %w", err)
	}
	if limit.Cur < 12_000 {
		return fmt.Errorf("%d files may be open, the connections of this bench need 12000 (ulimit -Hn)", limit.Cur)
	}
	return nil
}
