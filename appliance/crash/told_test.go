//go:build crash

package crash

import (
	"fmt"
	"slices"
	"testing"
)

// complaints counts what went wrong and tells the first ones of each kind.
type complaints struct {
	t    *testing.T
	kind string
	n    int
}

func (c *complaints) add(format string, args ...any) {
	if c.n++; c.n <= 10 {
		c.t.Errorf("%s: %s", c.kind, fmt.Sprintf(format, args...))
	}
}

// requireTold compares what listeners were told with what was promised. An
// event without an answer may exist; if one of its listeners has it, all must.
func requireTold(t *testing.T, book *programme, crowd crowd) {
	t.Helper()
	kinds := map[string]*complaints{}
	for _, kind := range []string{"fault", "lost", "doubled", "reordered", "invented"} {
		kinds[kind] = &complaints{t: t, kind: kind}
	}
	told, resumes, hungUp := 0, 0, 0
	ends := map[string]int{}
	exists := map[string]bool{}
	for _, l := range crowd {
		told, resumes, hungUp = told+len(l.seen), resumes+l.resumes, hungUp+l.hungUp
		for why, n := range l.ends {
			ends[why] += n
		}
		if l.fault != "" {
			kinds["fault"].add("%s: %s", l, l.fault)
		}
		for _, key := range l.seen {
			exists[key] = true
		}
	}
	byChannel := map[string][]string{}
	happened := 0
	for key, event := range book.events {
		if event.promised || exists[key] {
			byChannel[event.channel] = append(byChannel[event.channel], key)
		}
		if exists[key] && !event.promised {
			happened++
		}
	}

	order := map[string][]string{} // event → those that some listener got next
	for _, l := range crowd {
		times := map[string]int{}
		turns := map[int]int{}
		last := ""
		for _, key := range l.seen {
			event := book.events[key]
			if event == nil {
				kinds["invented"].add("%s got %s", l, key)
				continue
			}
			if times[key]++; times[key] > 1 {
				kinds["doubled"].add("%s got %s of %s %d times", l, key, event.channel, times[key])
				continue
			}
			if event.turn <= turns[event.by] {
				kinds["reordered"].add("%s got %s, number %d of publisher %d, after its number %d", l, key, event.turn, event.by, turns[event.by])
			}
			turns[event.by] = event.turn
			if last != "" {
				order[last] = append(order[last], key)
			}
			last = key
		}
		for _, channel := range append([]string{l.who.channel}, l.channels...) {
			for _, key := range byChannel[channel] {
				if times[key] == 0 {
					kinds["lost"].add("%s has not got %s of %s (promised: %t)", l, key, channel, book.events[key].promised)
				}
				delete(times, key)
			}
		}
		for key := range times {
			kinds["invented"].add("%s got %s, which is not of its channels", l, key)
		}
	}
	if left := unorderable(order); len(left) > 0 {
		kinds["reordered"].add("no single order of these events fits what all listeners saw: %v", left[:min(len(left), 20)])
	}
	t.Logf("told: %d times; lost %d, doubled %d, reordered %d, invented %d; %d of the unanswered happened, for all alike",
		told, kinds["lost"].n, kinds["doubled"].n, kinds["reordered"].n, kinds["invented"].n, happened)
	t.Logf("resumes: %d, %d of them after the listener itself hung up; connections ended: %v", resumes, hungUp, ends)
}

// unorderable gives the events that lie on or behind a circle of "came before".
func unorderable(next map[string][]string) []string {
	before := map[string]int{}
	for key, followers := range next {
		before[key] += 0
		for _, f := range followers {
			before[f]++
		}
	}
	var ready []string
	for key, n := range before {
		if n == 0 {
			ready = append(ready, key)
		}
	}
	for len(ready) > 0 {
		key := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		delete(before, key)
		for _, f := range next[key] {
			if before[f]--; before[f] == 0 {
				ready = append(ready, f)
			}
		}
	}
	left := make([]string, 0, len(before))
	for key := range before {
		left = append(left, key)
	}
	slices.Sort(left)
	return left
}
