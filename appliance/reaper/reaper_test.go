package reaper_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"selflink/appliance/reaper"
)

// patience bounds every wait.
const patience = 60 * time.Second

// TestMain makes this process one that orphans are given to, as process 1 of a
// container is.
func TestMain(m *testing.M) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become a subreaper:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func start(t *testing.T) {
	t.Helper()
	r := reaper.New(slog.New(slog.DiscardHandler))
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Start(t.Context()), "a second start does nothing")
	t.Cleanup(func() {
		require.NoError(t, r.Stop(context.Background()))
		require.NoError(t, r.Stop(context.Background()), "a second stop does nothing")
	})
}

// state is the letter of a process's state and its parent; none when it is gone.
func state(pid int) (letter string, parent int) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

// orphan starts a process whose parent is gone, which runs script, and returns
// its number.
func orphan(script string) (int, error) {
	out, err := exec.Command("sh", "-c", "("+script+") >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// TestOrphansAreReaped also sees that the status of our own children is left to
// those who wait, at once or late, however many come and go meanwhile.
func TestOrphansAreReaped(t *testing.T) {
	start(t)

	// It is dead long before anybody waits for it.
	late := exec.Command("sh", "-c", "exit 42")
	require.NoError(t, late.Start())

	const crowds, each = 6, 12
	pids := make(chan int, crowds*each)
	var wg sync.WaitGroup
	for crowd := range crowds {
		wg.Go(func() {
			for i := range each {
				code := (crowd*each + i) % 200
				pid, err := orphan("exit " + strconv.Itoa(code))
				if err != nil {
					t.Errorf("make an orphan: %v", err)
					return
				}
				pids <- pid
				err = exec.Command("sh", "-c", "exit "+strconv.Itoa(code)).Run()
				got := 0
				if err != nil {
					exit, ok := err.(*exec.ExitError) //nolint:errorlint // any other is what is looked for
					if !ok {
						t.Errorf("the status of a child was taken away: %v", err)
						return
					}
					got = exit.ExitCode()
				}
				if got != code {
					t.Errorf("exit code %d, not %d", got, code)
				}
			}
		})
	}
	wg.Wait()
	close(pids)
	for pid := range pids {
		require.Eventually(t, func() bool {
			letter, parent := state(pid)
			return letter == "" || parent != os.Getpid() // another process may have its number by now
		}, patience, time.Millisecond, "process %d stays a zombie", pid)
	}

	letter, parent := state(late.Process.Pid)
	require.Equal(t, "Z", letter, "our own child is left to whoever waits for it")
	require.Equal(t, os.Getpid(), parent)
	require.EqualError(t, late.Wait(), "exit status 42")
}

// A signal is a status too.
func TestSignalledChild(t *testing.T) {
	start(t)
	child := exec.Command("sleep", "1000")
	require.NoError(t, child.Start())
	pid, err := orphan("exec sleep 1000")
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, parent := state(pid); return parent == os.Getpid() }, patience, time.Millisecond)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { letter, _ := state(pid); return letter == "" }, patience, time.Millisecond)
	require.NoError(t, child.Process.Kill())
	require.EqualError(t, child.Wait(), "signal: killed")
}
