package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// evictWait is how long processes that a killed predecessor left behind may
// take to end. They have had their parent-death signal already; a cluster with
// much to write needs a moment, and a killed postmaster may stay a zombie for
// two seconds.
const evictWait = 5 * time.Second

// leftover is a process of an earlier life of the appliance.
type leftover struct {
	pid        int
	postmaster bool
}

// evict waits until no process found by find is left, first asking politely
// and then not. It returns an error when some remain.
//
// The caller holds the data directory's lock, so whoever is found there has
// lost the appliance that would supervise it.
func evict(ctx context.Context, log *slog.Logger, find func() []leftover) error {
	const (
		hurry = evictWait * 3 / 5 // then SIGQUIT: Postgres stops at once and replays its log at the next start
		force = evictWait * 9 / 10
	)
	begin := time.Now()
	told := map[int]unix.Signal{}
	for {
		left := find()
		if len(left) == 0 {
			if len(told) > 0 {
				log.Info("leftover processes are gone", "after", time.Since(begin).Round(time.Millisecond).String())
			}
			return nil
		}
		age := time.Since(begin)
		if age > evictWait {
			return fmt.Errorf("database: process %d of an earlier run does not end; stop it by hand", left[0].pid)
		}
		want := unix.SIGINT
		switch {
		case age > force:
			want = unix.SIGKILL
		case age > hurry:
			want = unix.SIGQUIT
		}
		hasPostmaster := false
		for _, l := range left {
			hasPostmaster = hasPostmaster || l.postmaster
		}
		for _, l := range left {
			if told[l.pid] == want {
				continue
			}
			// The postmaster ends its backends itself. Backends without one
			// notice within a moment; they are helped only when late.
			if !l.postmaster && (hasPostmaster || want == unix.SIGINT) {
				continue
			}
			if len(told) == 0 {
				log.Warn("found a process of an earlier run; ending it", "pid", l.pid)
			}
			told[l.pid] = want
			if err := unix.Kill(l.pid, want); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d of an earlier run: %w", l.pid, err)
			}
		}
		if err := pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("wait for the processes of an earlier run: %w", err)
		}
	}
}

// inDirectory finds the processes whose working directory is dir, which is
// where Postgres and all its backends go. It compares the directory itself,
// not its name, so a moved data directory is still recognised. Zombies have no
// working directory any more and do not count.
func inDirectory(dir string) func() []leftover {
	return func() []leftover {
		var want unix.Stat_t
		if unix.Stat(dir, &want) != nil {
			return nil
		}
		postmaster := pidInFile(filepath.Join(dir, pidFile))
		var found []leftover
		for _, pid := range allPids() {
			var st unix.Stat_t
			base := "/proc/" + strconv.Itoa(pid)
			if unix.Stat(base+"/cwd", &st) != nil || st.Dev != want.Dev || st.Ino != want.Ino {
				continue
			}
			exe, err := os.Readlink(base + "/exe")
			if err != nil {
				continue
			}
			if name := filepath.Base(exe); name != "postgres" && name != "postgres (deleted)" {
				continue // an operator's shell, say
			}
			found = append(found, leftover{pid: pid, postmaster: pid == postmaster})
		}
		return found
	}
}

// withArgument finds the processes of program that were given arg.
func withArgument(program, arg string) func() []leftover {
	return func() []leftover {
		var found []leftover
		for _, pid := range allPids() {
			line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			if err != nil || len(line) == 0 {
				continue // gone, a zombie, or a kernel thread
			}
			args := bytes.Split(bytes.TrimRight(line, "\x00"), []byte{0})
			if filepath.Base(string(args[0])) != program {
				continue
			}
			for _, a := range args[1:] {
				if string(a) == arg {
					found = append(found, leftover{pid: pid, postmaster: true})
				}
			}
		}
		return found
	}
}

// allPids lists the processes of this machine but for this one.
func allPids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	self := os.Getpid()
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != self {
			pids = append(pids, pid)
		}
	}
	return pids
}
