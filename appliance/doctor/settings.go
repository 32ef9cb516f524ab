package doctor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"selflink/appliance/config"
	"selflink/appliance/health"
	"selflink/appliance/health/posture"
)

// settings are what "config check" says, and what is fine on a desk only.
func (d *Doctor) settings() {
	c := d.opts.Config
	for _, n := range c.Notes() {
		if n.Level < slog.LevelWarn || slices.Contains(posture.Keys(), n.Key) {
			continue
		}
		d.add(health.Check{
			Code: settingCode(n.Key), Title: "A setting is not as it seems", Severity: health.Low,
			Impact: "The server starts, and does not do what the setting says.", Remedy: "selflink config check",
			Run: fails(n.Text),
		})
	}
	byKey := map[string][]string{}
	remedies := map[string]string{}
	for _, p := range d.opts.Problems {
		text := p.Text
		if p.Key != "" && !strings.HasPrefix(text, p.Key) {
			text = p.Key + " " + text
		}
		byKey[p.Key] = append(byKey[p.Key], text)
		remedies[p.Key] = strings.TrimSpace(remedies[p.Key] + " " + p.Fix)
	}
	for key, texts := range byKey {
		var causes []string
		if key == "SECRET_KEY" && !given(c, key) { // it lies in the data directory
			causes = []string{checkDirectory}
		}
		d.add(health.Check{
			DependsOn: causes,
			Code:      settingCode(key), Title: "A setting is refused", Severity: health.High,
			Impact: "The server does not start.", Remedy: remedies[key],
			Run: fails(strings.Join(texts, "; ")),
		})
	}
	// What is refused already need not be told again.
	causes := map[string][]string{"config.hosts": {settingCode("ALLOWED_HOSTS")}}
	for _, check := range posture.Checks(c) {
		check.DependsOn = append(check.DependsOn, causes[check.Code]...)
		if strings.HasPrefix(check.Code, "secrets.") {
			check.DependsOn = append(check.DependsOn, checkDirectory)
		}
		d.add(check)
	}
}

// given reports whether a setting was given a value.
func given(c *config.Config, key string) bool {
	return slices.ContainsFunc(c.Effective(), func(v config.Value) bool {
		return v.Key == key && v.Source != "default" && !strings.HasPrefix(v.Source, "generated")
	})
}

// fails is a check that was answered before.
func fails(text string) func(context.Context) error {
	return func(context.Context) error { return errors.New(text) }
}
