package dashboard

import (
	"slices"
	"time"

	"selflink/appliance/health"
)

// OverviewProblem is a failure that lasts, with every field: pages count on
// them.
type OverviewProblem struct {
	Code     string          `json:"code"`
	Title    string          `json:"title"`
	Severity health.Severity `json:"severity"`
	Text     string          `json:"text"`
	Impact   string          `json:"impact"`
	Remedy   string          `json:"remedy"`
	Required bool            `json:"required" doc:"The appliance cannot serve without it."`
	Since    *time.Time      `json:"failing_since"`
	Visible  *time.Time      `json:"visible_since"`
	Effects  []string        `json:"effects" doc:"Codes of the failures that it hides."`
}

// OverviewComponent is a part with its checks.
type OverviewComponent struct {
	Name   string          `json:"name"`
	Worst  health.Severity `json:"worst"`
	Checks []OverviewCheck `json:"checks"`
}

// OverviewCheck is one check as it stands.
type OverviewCheck struct {
	Code         string          `json:"code"`
	Title        string          `json:"title"`
	State        health.State    `json:"state" enum:"unknown,healthy,transient,hidden,problem"`
	Severity     health.Severity `json:"severity"`
	Text         string          `json:"text"`
	Impact       string          `json:"impact"`
	Remedy       string          `json:"remedy"`
	DependsOn    []string        `json:"depends_on"`
	HiddenBehind string          `json:"hidden_behind"`
	Since        *time.Time      `json:"failing_since"`
	Asked        *time.Time      `json:"asked_at"`
}

func overviewProblems(from []health.Problem) []OverviewProblem {
	out := make([]OverviewProblem, 0, len(from))
	for _, p := range from {
		out = append(out, OverviewProblem{
			p.Code, p.Title, p.Severity, p.Text, p.Impact, p.Remedy, p.Required, moment(p.Since), moment(p.Visible), list(p.Effects),
		})
	}
	return out
}

func overviewComponents(from []health.Component) []OverviewComponent {
	out := make([]OverviewComponent, 0, len(from))
	for _, c := range from {
		to := OverviewComponent{c.Name, c.Worst, make([]OverviewCheck, 0, len(c.Checks))}
		for _, s := range c.Checks {
			to.Checks = append(to.Checks, OverviewCheck{
				s.Code, s.Title, s.State, s.Severity, s.Text, s.Impact, s.Remedy, list(s.DependsOn), s.HiddenBehind, moment(s.Since), moment(s.Asked),
			})
		}
		out = append(out, to)
	}
	return out
}

// moment is nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// list is never nil.
func list(from []string) []string {
	if from == nil {
		return []string{}
	}
	return from
}

// Checks are the checks of some components as they stand, for the pages of
// services.
func (d *Desk) Checks(components ...string) []OverviewCheck {
	out := []OverviewCheck{}
	for _, c := range overviewComponents(d.opts.Health.Checks()) {
		if slices.Contains(components, c.Name) {
			out = append(out, c.Checks...)
		}
	}
	return out
}
