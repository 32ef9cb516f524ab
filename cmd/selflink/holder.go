package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile is held by the process that uses a data directory, with its pid in
// it. The database part makes it.
const lockFile = "selflink.lock"

// holder tells whether a process holds the lock file, and which. A file that
// is not there or may not be read counts as not held.
func holder(path string) (pid int, held bool) {
	file, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer file.Close() // and with it the lock, if it was free
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, false
	}
	text, err := io.ReadAll(io.LimitReader(file, 32))
	if err != nil {
		return 0, true
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, true
	}
	return pid, true
}
