// Package reaper buries processes that lost their parents.
//
// In a container the appliance is process 1: whatever loses its parent becomes
// its child, such as the workers of a postmaster that was killed, and stays a
// zombie until somebody waits for it. Other containers put a program such as
// tini in front for that; here the process does it itself.
//
// The trap is that waiting for any child takes away the exit status that
// os/exec waits for. So only those are waited for that are not this process's
// own: os holds a file descriptor (a pidfd) of every child that it started,
// from the moment of its birth until its Wait has returned. A dead child
// without one is an orphan.
package reaper

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// settle is how long after the news of a death it is looked who it was: by
	// then a child of our own has been waited for, in nearly all cases, and many
	// deaths are one look.
	settle = 50 * time.Millisecond

	// patrol is how often it is looked without any news: a child of our own that
	// nobody waits for becomes an orphan when its handle is dropped.
	patrol = time.Minute
)

// Reaper waits for orphans. It is safe for concurrent use.
type Reaper struct {
	log *slog.Logger

	mu     sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}
}

// New makes a reaper; nothing happens before Start.
func New(log *slog.Logger) *Reaper {
	return &Reaper{log: log.With("component", "reaper")}
}

// Start begins to reap where orphans come to this process: as process 1 of its
// container, or as a subreaper. Elsewhere it does nothing, and so does a second
// call.
func (r *Reaper) Start(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil || !inherits() {
		return nil
	}
	if !handles() {
		r.log.Warn("orphaned processes are not reaped: this kernel, or what guards the container, has no pidfds, so they cannot be told from our own. Run the container with an init, as in docker run --init")
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, unix.SIGCHLD)
	r.cancel, r.done = cancel, make(chan struct{})
	go func() { // ends with Stop
		defer close(r.done)
		defer signal.Stop(deaths)
		r.run(ctx, deaths)
	}()
	return nil
}

// Stop ends the reaping. A second call, or one before Start, does nothing.
func (r *Reaper) Stop(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil {
		r.cancel()
		<-r.done
	}
	return nil
}

func (r *Reaper) run(ctx context.Context, deaths <-chan os.Signal) {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-deaths:
			timer.Reset(settle)
			continue
		case <-timer.C:
			timer.Reset(patrol)
		}
		if n := reap(); n > 0 {
			r.log.Debug("reaped orphaned processes", "count", n)
		}
	}
}

// inherits reports whether orphans are given to this process.
func inherits() bool {
	if os.Getpid() == 1 {
		return true
	}
	var set int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&set)), 0, 0, 0)
	return err == nil && set != 0
}

// handles reports whether os holds a pidfd of every child.
func handles() bool {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return false
	}
	defer self.Release() //nolint:errcheck // there is nothing to lose
	return self.WithHandle(func(uintptr) {}) == nil
}

// reap waits for all orphans that are dead and returns how many there were.
func reap() int {
	count := 0
	for _, pid := range zombies() {
		if bury(pid) {
			count++
		}
	}
	return count
}

// bury waits for one dead child unless it is one of our own.
//
// The pidfd comes first. Whoever has the number from here on, it is either an
// orphan, or a child that os started, whose own pidfd is then there for the
// whole of the look: numbers that are used again deceive nobody.
func bury(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false // it has been waited for meanwhile
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written to it
	if known, err := held(pid, fd); known || err != nil {
		return false
	}
	var info unix.Siginfo
	for {
		err = unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return err == nil && info.Signo == int32(unix.SIGCHLD)
}

// held reports whether a descriptor other than own refers to the process.
func held(pid, own int) (bool, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return false, err
	}
	defer dir.Close() //nolint:errcheck // it was only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	line := []byte("\nPid:\t" + strconv.Itoa(pid) + "\n")
	for _, name := range names {
		if name == strconv.Itoa(own) {
			continue
		}
		// A file that is closed in between was no handle of a process that
		// nobody has waited for.
		target, err := os.Readlink("/proc/self/fd/" + name)
		if err != nil || !strings.Contains(target, "pidfd") {
			continue
		}
		text, err := os.ReadFile("/proc/self/fdinfo/" + name)
		if err == nil && bytes.Contains(text, line) {
			return true, nil
		}
	}
	return false, nil
}

// zombies lists the children of this process that are dead and not waited for.
// Looking with waitid would show the first of them alone, again and again.
func zombies() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close() //nolint:errcheck // it was only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	parent := strconv.Itoa(os.Getpid())
	var dead []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// "17 (name, which may hold anything) Z 1 …"
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 && fields[0] == "Z" && fields[1] == parent {
			dead = append(dead, pid)
		}
	}
	return dead
}
