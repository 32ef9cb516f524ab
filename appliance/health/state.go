package health

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Problem is a failure that lasts and is nobody's effect.
type Problem struct {
	Code     string    `json:"code"`
	Title    string    `json:"title"`
	Severity Severity  `json:"severity"`
	Text     string    `json:"text"` // what the check said
	Impact   string    `json:"impact,omitempty"`
	Remedy   string    `json:"remedy,omitempty"`
	Required bool      `json:"required"`               // /ready fails for it
	Since    time.Time `json:"failing_since,omitzero"` // the first failure in a row
	Visible  time.Time `json:"visible_since,omitzero"` // when it became a problem
	Effects  []string  `json:"effects,omitempty"`      // codes of the failures that it hides
}

// Problems are the current ones, the worst first, of one severity the oldest
// first.
func (r *Registry) Problems() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sort(r.now())
	problems := []Problem{}
	for _, e := range r.entries {
		if !e.visible.IsZero() {
			problems = append(problems, r.problem(e))
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), a.Since.Compare(b.Since))
	})
	return problems
}

// problem describes a visible entry. mu is held.
func (r *Registry) problem(e *entry) Problem {
	p := Problem{
		Code: e.Code, Title: e.Title, Severity: e.Severity, Text: e.err.Error(), Impact: e.Impact, Remedy: e.Remedy,
		Required: e.Ready, Since: e.since, Visible: e.visible,
	}
	for _, other := range r.entries {
		if other.err != nil && other.behind == e.Code {
			p.Effects = append(p.Effects, other.Code)
		}
	}
	return p
}

// State is where a check stands.
type State string

// States of a check.
const (
	StateUnknown   State = "unknown"   // not asked yet
	StateHealthy   State = "healthy"   // said that all is well
	StateTransient State = "transient" // fails, for less than its time to visible
	StateHidden    State = "hidden"    // fails, and so does one of its causes
	StateProblem   State = "problem"   // fails, and is a [Problem]
)

// Status is one check as it stands.
type Status struct {
	Code         string        `json:"code"`
	Title        string        `json:"title"`
	State        State         `json:"state"`
	Severity     Severity      `json:"severity"` // of its failure
	Required     bool          `json:"required"`
	Text         string        `json:"text,omitempty"` // what it said when it fails
	Impact       string        `json:"impact,omitempty"`
	Remedy       string        `json:"remedy,omitempty"`
	DependsOn    []string      `json:"depends_on,omitempty"`
	HiddenBehind string        `json:"hidden_behind,omitempty"`
	Since        time.Time     `json:"failing_since,omitzero"`
	Visible      time.Time     `json:"visible_since,omitzero"`
	Asked        time.Time     `json:"asked_at,omitzero"` // when it last answered
	ToVisible    time.Duration `json:"time_to_visible_ns,omitempty"`
}

// Component is a part with its checks.
type Component struct {
	Name   string   `json:"name"`
	Worst  Severity `json:"worst"` // of its problems; [Healthy] without any
	Checks []Status `json:"checks"`
}

// Checks are all checks by component, both in the order of registration.
func (r *Registry) Checks() []Component {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sort(r.now())
	var list []Component
	index := map[string]int{}
	for _, e := range r.entries {
		name, _, _ := strings.Cut(e.Code, ".")
		i, ok := index[name]
		if !ok {
			i = len(list)
			index[name] = i
			list = append(list, Component{Name: name})
		}
		s := e.status()
		if s.State == StateProblem {
			list[i].Worst = max(list[i].Worst, e.Severity)
		}
		list[i].Checks = append(list[i].Checks, s)
	}
	return list
}

// status describes the entry. The registry's mu is held.
func (e *entry) status() Status {
	s := Status{
		Code: e.Code, Title: e.Title, State: StateHealthy, Severity: e.Severity, Required: e.Ready, Impact: e.Impact, Remedy: e.Remedy,
		DependsOn: e.DependsOn, Asked: e.asked, ToVisible: e.Check.Visible,
	}
	switch {
	case e.asked.IsZero():
		s.State = StateUnknown
	case e.err == nil:
	case e.behind != "":
		s.State, s.HiddenBehind = StateHidden, e.behind
	case e.visible.IsZero():
		s.State = StateTransient
	default:
		s.State = StateProblem
	}
	if e.err != nil {
		s.Text, s.Since, s.Visible = e.err.Error(), e.since, e.visible
	}
	return s
}

// sort decides for every failure whether it is hidden, transient or a problem.
// mu is held.
func (r *Registry) sort(now time.Time) {
	for _, e := range r.entries {
		if e.err == nil {
			e.behind, e.visible = "", time.Time{}
			continue
		}
		if e.behind = r.cause(e, map[*entry]bool{e: true}); e.behind != "" {
			e.hidden, e.visible = now, time.Time{}
			continue
		}
		from, wait := e.since, e.Check.Visible
		if e.hidden.After(from) {
			from, wait = e.hidden, max(wait, settle)
		}
		if e.visible.IsZero() && !now.Before(from.Add(wait)) {
			e.visible = now
		}
	}
}

// cause finds the failure that explains e's: the first cause that fails and
// has no failing cause itself. It returns nothing when there is none.
func (r *Registry) cause(e *entry, seen map[*entry]bool) string {
	for _, code := range e.DependsOn {
		c := r.byCode[code]
		if c == nil || seen[c] {
			continue
		}
		seen[c] = true
		if root := r.cause(c, seen); root != "" {
			return root
		}
		if c.err != nil {
			return c.Code
		}
	}
	return ""
}

// worst is the severity of the worst problem. mu is held and sort was called.
func (r *Registry) worst() Severity {
	worst := Healthy
	for _, e := range r.entries {
		if !e.visible.IsZero() {
			worst = max(worst, e.Severity)
		}
	}
	return worst
}
