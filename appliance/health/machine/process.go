package machine

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// memoryMost is the share of Go's memory limit, in percent, that may be in
	// use for good. Above it nothing is left for garbage, so Go collects all
	// the time.
	memoryMost = 85

	// descriptorsMost is the share of the limit, in percent, that may be open.
	descriptorsMost = 85

	// jumpMost is how far the clock may be moved at once, and jumpNews how
	// long a jump is told.
	jumpMost = 5 * time.Second
	jumpNews = 10 * time.Minute
)

// usage is the memory that Go cannot give back.
type usage struct {
	used, limit uint64 // bytes; a limit of MaxInt64 is none
}

// memory reads what is live on the heap, and all that is no heap.
func memory() usage {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(samples)
	value := func(i int) uint64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return samples[i].Value.Uint64()
	}
	used := value(0)
	if total, heap := value(1), value(2)+value(3)+value(4)+value(5); total > heap {
		used += total - heap
	}
	return usage{used: used, limit: uint64(debug.SetMemoryLimit(-1))} //nolint:gosec // never negative
}

func (u usage) tight() error {
	if u.limit >= math.MaxInt64 || u.limit == 0 || u.used < u.limit/100*memoryMost {
		return nil
	}
	return fmt.Errorf("%s of the limit of %s are in use and cannot be given back", size(u.used), size(u.limit))
}

// checkDescriptors counts the open ones.
func checkDescriptors() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	dir, err := os.Open("/proc/self/fd")
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("all of %d are open", limit.Cur)
	}
	if err != nil {
		return fmt.Errorf("count open files: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("count open files: %w", err)
	}
	return tooMany(uint64(len(names)), limit.Cur)
}

func tooMany(open, limit uint64) error {
	if open < limit/100*descriptorsMost {
		return nil
	}
	return fmt.Errorf("%d of %d are open", open, limit)
}

// jumpWatch compares the wall clock with the one that only goes on.
type jumpWatch struct {
	wall   func() time.Time     // without the monotonic reading
	steady func() time.Duration // since some moment
	lastW  time.Time
	lastS  time.Duration
	when   time.Duration // of the last jump, by the steady clock
	by     time.Duration // 0: none
}

func newJumpWatch() *jumpWatch {
	began := time.Now()
	return &jumpWatch{
		wall:   func() time.Time { return time.Now().Round(0) },
		steady: func() time.Duration { return time.Since(began) },
	}
}

func (w *jumpWatch) check() error {
	wall, steady := w.wall(), w.steady()
	if !w.lastW.IsZero() {
		if by := wall.Sub(w.lastW) - (steady - w.lastS); by.Abs() > jumpMost {
			w.by, w.when = by, steady
		}
	}
	w.lastW, w.lastS = wall, steady
	if w.by == 0 || steady-w.when > jumpNews {
		return nil
	}
	way := "forward"
	if w.by < 0 {
		way = "back"
	}
	return fmt.Errorf("it went %s by %s, %s ago", way, w.by.Abs().Round(time.Second), (steady - w.when).Round(time.Second))
}
