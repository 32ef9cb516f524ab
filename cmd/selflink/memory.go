package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"selflink/appliance/config"
)

const (
	// memoryShare of the machine is for this process: Postgres, which runs
	// beside it, and the page cache it lives from need the other half.
	memoryShare = 2

	// leastMemory keeps the limit from making Go collect all the time; the
	// broker's budget comes on top.
	leastMemory = 256 << 20
)

// setMemoryLimit tells Go's collector from which size on to work harder and
// returns that size in bytes, 0 for none.
func setMemoryLimit(cfg *config.Config) int64 {
	limit := cfg.MemoryLimit
	if limit == 0 {
		limit = memoryLimit(availableMemory("/"), cfg.BrokerMemory)
	}
	if limit <= 0 {
		return 0
	}
	debug.SetMemoryLimit(limit)
	return limit
}

// memoryLimit chooses the limit for a machine with that much memory; 0 means
// unknown, and gives no limit.
func memoryLimit(available, broker int64) int64 {
	if available <= 0 {
		return 0
	}
	return max(available/memoryShare, leastMemory+broker)
}

// availableMemory is the memory of the machine or of the control group this
// process is in, whichever is less; 0 when unknown. root is "/" but in tests.
func availableMemory(root string) int64 {
	total := int64(0)
	if raw, err := os.ReadFile(filepath.Join(root, "proc/meminfo")); err == nil {
		for line := range bytes.Lines(raw) {
			fields := strings.Fields(string(line))
			if len(fields) >= 2 && fields[0] == "MemTotal:" {
				kib, err := strconv.ParseInt(fields[1], 10, 64)
				if err == nil {
					total = kib << 10
				}
			}
		}
	}
	for _, file := range groupLimits(root) {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64) // "max" is no number
		if err == nil && n > 0 && (total == 0 || n < total) {
			total = n
		}
	}
	return total
}

// groupLimits names the files that may hold a limit: those of the process's
// own group and of all groups above it.
func groupLimits(root string) []string {
	base := filepath.Join(root, "sys/fs/cgroup")
	files := []string{filepath.Join(base, "memory/memory.limit_in_bytes")}
	group := "/"
	if raw, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup")); err == nil {
		for line := range bytes.Lines(raw) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "0::"); ok {
				group = filepath.Clean("/" + path)
			}
		}
	}
	for {
		files = append(files, filepath.Join(base, group, "memory.max"))
		if group == "/" {
			return files
		}
		group = filepath.Dir(group)
	}
}
