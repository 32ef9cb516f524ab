package jobs

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process names one process of one running system, so that another on the same
// machine can tell whether it is still there.
type process struct {
	place string // boot and pid namespace; empty when the system does not say
	pid   int
	born  int64 // start in clock ticks since boot: a pid comes again, this does not
}

func thisProcess() process {
	p := process{pid: os.Getpid()}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return p
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return p
	}
	if p.born, err = bornAt(p.pid); err != nil {
		return p
	}
	p.place = strings.TrimSpace(string(boot)) + " " + space
	return p
}

// gone reports that p is known to have ended. It is false for a process of
// another machine or one that cannot be seen, of which nothing is known.
func (here process) gone(p process) bool {
	if here.place == "" || here.place != p.place {
		return false
	}
	if errors.Is(unix.Kill(p.pid, 0), unix.ESRCH) {
		return true
	}
	born, err := bornAt(p.pid)
	if errors.Is(err, errDead) {
		return true
	}
	return err == nil && born != p.born
}

// errDead means that of a process only its exit status is left.
var errDead = errors.New("the process has ended")

// bornAt reads when a process began.
func bornAt(pid int) (int64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStat(string(data))
}

// parseStat reads a line of /proc/PID/stat. The second field is the command in
// parentheses, which may itself contain both spaces and parentheses.
func parseStat(line string) (born int64, err error) {
	const state, start = 0, 19 // fields after the command
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) <= start {
		return 0, errors.New("not a line of /proc/PID/stat")
	}
	if fields[state] == "Z" || fields[state] == "X" {
		return 0, errDead
	}
	return strconv.ParseInt(fields[start], 10, 64)
}
