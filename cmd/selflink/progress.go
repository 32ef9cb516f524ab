package main

import (
	"fmt"
	"io"
	"time"

	"selflink/appliance/backup"
)

// progressEvery is the time between two looks of the progress line.
const progressEvery = 200 * time.Millisecond

// progressLine tells somebody who waits how far it is. A nil one, or one that
// nobody sees, tells nothing.
type progressLine struct {
	out   io.Writer // nil: nobody sits there
	stage backup.Stage
	begin time.Time // of the stage
	shown time.Time
}

// progress makes the line of a verb; it is for terminals alone.
func (p *program) progress(o *options) *progressLine {
	l := &progressLine{}
	if !o.json && terminal(p.stderr) != nil {
		l.out = p.stderr
	}
	return l
}

// show draws the line anew.
func (l *progressLine) show(at backup.Progress) {
	if l == nil || l.out == nil {
		return
	}
	now := time.Now()
	if at.Stage != l.stage {
		l.stage, l.begin, l.shown = at.Stage, now, time.Time{}
	}
	if now.Sub(l.shown) < progressEvery {
		return
	}
	l.shown = now
	text := fmt.Sprintf("%s %s", at.Stage, size(at.Bytes))
	if at.Total > 0 {
		text += fmt.Sprintf(" of %s (%d %%)", size(at.Total), at.Bytes*100/at.Total)
	}
	if at.Written > 0 {
		text += ", " + size(at.Written) + " written"
	}
	if spent := now.Sub(l.begin).Seconds(); spent > 0.5 {
		text += fmt.Sprintf(", %s/s", size(int64(float64(at.Bytes)/spent)))
	}
	fmt.Fprintf(l.out, "\r\x1b[K%s", text)
}

// clear removes the line.
func (l *progressLine) clear() {
	if l != nil && l.out != nil && !l.shown.IsZero() {
		fmt.Fprint(l.out, "\r\x1b[K")
	}
}

// size says bytes to people.
func size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, name := float64(bytes)/unit, "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, name = value/unit, next
	}
	return fmt.Sprintf("%.1f %s", value, name)
}
