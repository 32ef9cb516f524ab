package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// legacy reports once, by status, what was given and is not used.
func (l *loader) legacy(settings []Setting) {
	for _, status := range []Status{Replaced, Obsolete, Later} {
		var keys []string
		for _, s := range settings {
			if _, ok := l.given[s.Key]; ok && s.Status == status {
				keys = append(keys, s.Key)
			}
		}
		if len(keys) > 0 {
			l.note(slog.LevelInfo, "", status.note()+": "+strings.Join(keys, ", "))
		}
	}
}

// unknown reports names that look like settings and are none: SELFLINK_* of
// the environment and everything in the env file.
func (l *loader) unknown(settings []Setting) {
	var known []string
	for _, s := range settings {
		for _, name := range s.names() {
			known = append(known, name)
			if s.Secret {
				known = append(known, name+"_FILE")
			}
		}
	}
	seen := map[string]bool{}
	for i, values := range l.layers {
		for name := range values {
			fromFile := i == 2
			if slices.Contains(known, name) || !fromFile && i != 0 && !strings.HasPrefix(name, "SELFLINK_") {
				continue
			}
			seen[name] = true
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text := fmt.Sprintf("%s is not a setting", name)
		if near := nearest(name, known); near != "" {
			text += fmt.Sprintf(": did you mean %s?", near)
		}
		l.note(slog.LevelWarn, name, text)
	}
}

// nearest gives the known name that takes the fewest changes of a character,
// or nothing when none is near.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/4)+1
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the characters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
