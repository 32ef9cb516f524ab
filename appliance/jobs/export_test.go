package jobs

import "time"

// Fetched is how many ids of a priority level a queue holds in memory.
func Fetched(e *Engine, queue string, level int) int { return len(e.queues[queue].ids[level]) }

// QuietSince sets when a queue last claimed something.
func QuietSince(e *Engine, queue string, at time.Time) {
	e.queues[queue].lastClaim.Store(at.UnixNano())
}

// Gone reports whether this process knows that another one has ended.
func Gone(place string, pid int, born int64) bool {
	return thisProcess().gone(process{place: place, pid: pid, born: born})
}

// Here names this process.
func Here() (place string, pid int, born int64) {
	p := thisProcess()
	return p.place, p.pid, p.born
}

// Keepable is what is kept of an error's text.
func Keepable(text string) string { return keepable(text) }

// ParseStat is for its fuzz target.
func ParseStat(line string) (int64, error) { return parseStat(line) }

// SetStrayWait makes an engine that is not started hand strays back sooner.
func SetStrayWait(e *Engine, d time.Duration) { e.strayWait = d }

// Normal is what an error has in common with others of its sort.
func Normal(text string) string { return normal(text) }

// ParseCursor is for its fuzz target.
func ParseCursor(text string) (ID, error) { return parseCursor(text) }

// CursorOf makes a cursor.
func CursorOf(id ID) string { return cursorOf(id) }
