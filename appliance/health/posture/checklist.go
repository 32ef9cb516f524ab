package posture

import (
	"context"
	"errors"
	"fmt"

	"selflink/appliance/health"
)

// Item is a line of the go-live checklist. It marshals to what the dashboard
// answers.
type Item struct {
	Code     string          `json:"code"`
	Title    string          `json:"title"` // of the state it is in
	State    string          `json:"state"` // ok, fault
	Severity health.Severity `json:"severity"`
	Text     string          `json:"text"`
	Impact   string          `json:"impact"`
	Remedy   string          `json:"remedy"`
}

// point is a check that one should have seen pass before others are let in.
type point struct{ code, good string }

// checklist is in the order in which one would go through it. Checks that a
// running server does not have are left out of the list: what a setting
// switches off is nobody's fault.
func checklist() []point {
	return []point{
		{"config.secrets", "The secrets are strong"},
		{"secrets.modes", "Nobody else on this machine can read the secrets"},
		{"secrets.age", "The secrets are not old"},
		{"config.debug", "DEBUG is off"},
		{"config.hosts", "Only this server's host names are answered"},
		{"config.limits", "Bursts of requests are limited"},
		{"config.proxies", "Only named proxies are trusted"},
		{"http.proxy", "No reverse proxy is mistaken for a client"},
		{"admin.missing", "There is an administrator"},
		{"backup", "There is a recent, verified backup"},
		{"schema.pending", "The schema is up to date"},
		{"clock.offset", "The clocks agree"},
		{"disk.low", "The disk has room"},
		{"cluster", "All nodes of the cluster are connected"},
	}
}

// Checklist tells which points of the go-live list the running server meets,
// from what [health.Registry.Checks] gives. A fault counts from its first
// failure, also while it may still be transient; a check that was not asked yet
// is left out.
func Checklist(components []health.Component) []Item {
	byCode := map[string]health.Status{}
	for _, c := range components {
		for _, s := range c.Checks {
			byCode[s.Code] = s
		}
	}
	items := []Item{}
	for _, p := range checklist() {
		s, ok := byCode[p.code]
		switch {
		case !ok || s.State == health.StateUnknown:
		case s.State == health.StateHealthy:
			items = append(items, Item{Code: s.Code, Title: p.good, State: "ok", Severity: s.Severity})
		default:
			items = append(items, Item{s.Code, s.Title, "fault", s.Severity, s.Text, s.Impact, s.Remedy})
		}
	}
	return items
}

// Admin is the check that somebody may administrate. exists asks whether an
// active account may.
func Admin(exists func(ctx context.Context) (bool, error), dependsOn ...string) health.Check {
	return health.Check{
		Code: "admin.missing", Title: "There is no administrator", Severity: health.Low, Private: true,
		Impact: "Nobody can do what only an administrator may.", Remedy: "selflink admin create --email you@example.com",
		DependsOn: dependsOn,
		Run: func(ctx context.Context) error {
			there, err := exists(ctx)
			if err != nil {
				return fmt.Errorf("look for an administrator: %w", err)
			}
			if !there {
				return errors.New("no active account is an administrator")
			}
			return nil
		},
	}
}
