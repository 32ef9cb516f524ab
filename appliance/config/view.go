package config

import (
	"regexp"
	"strings"
)

// dots is what a secret looks like on a page.
const dots = "••••"

// View is the configuration for people to look at. It marshals to what the
// dashboard answers, and holds no secret.
type View struct {
	Groups []ViewGroup `json:"groups"`
	Notes  []ViewNote  `json:"notes"`
}

// ViewGroup is a chapter of settings.
type ViewGroup struct {
	Title    string        `json:"title"`
	Settings []ViewSetting `json:"settings"`
}

// ViewSetting is a setting in force.
type ViewSetting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`  // secrets read "••••", also inside of a URL
	Source  string `json:"source"` // default, chosen, environment, flag, "env file …", "file …", "generated, in …"
	Default string `json:"default"`
	Secret  bool   `json:"secret"`
	Meaning string `json:"meaning"`
}

// ViewNote is a remark, see [Note].
type ViewNote struct {
	Key  string `json:"key"` // empty: several settings
	Text string `json:"text"`
}

// fromEnvFile is how a source ends that is a line of the env file.
var fromEnvFile = regexp.MustCompile(` line \d+( as \w+)?$`)

// View lists the settings in force by group, with what they mean and would be
// by default. Settings of older installations are listed only when given.
func (c *Config) View() View {
	out := View{Groups: []ViewGroup{}, Notes: []ViewNote{}}
	values := make(map[string]Value, len(c.values))
	for _, v := range c.values {
		values[v.Key] = v
	}
	settings := Settings()
	for _, group := range groups() {
		chapter := ViewGroup{Title: string(group), Settings: []ViewSetting{}}
		for _, s := range settings {
			if v, ok := values[s.Key]; ok && s.Group == group {
				chapter.Settings = append(chapter.Settings, s.view(v))
			}
		}
		if len(chapter.Settings) > 0 {
			out.Groups = append(out.Groups, chapter)
		}
	}
	for _, n := range c.notes {
		out.Notes = append(out.Notes, ViewNote{n.Key, n.Text})
	}
	return out
}

// view is one setting as it is shown; its value is masked already.
func (s Setting) view(v Value) ViewSetting {
	out := ViewSetting{
		Key: s.Key, Value: strings.ReplaceAll(v.Value, masked, dots), Source: v.Source,
		Default: s.Default, Secret: s.Secret, Meaning: s.Doc,
	}
	if out.Default == "" {
		out.Default = s.Auto
	}
	if fromEnvFile.MatchString(v.Source) {
		out.Source = "env file " + v.Source
	}
	if s.Unit != "" {
		out.Meaning += " Unit: " + s.Unit + "."
	}
	if note := s.Status.note(); note != "" {
		out.Meaning = strings.TrimSpace(out.Meaning + " " + strings.ToUpper(note[:1]) + note[1:] + ".")
	}
	return out
}
