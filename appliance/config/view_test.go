package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestView(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "my.env")
	require.NoError(t, os.WriteFile(file, []byte("LOG_LEVEL=info\nCELERY_BROKER_URL=redis://:hunter3@cache:6379/0\n"), 0o600))
	c, _, err := Load(Sources{Root: root, Environ: []string{
		"SELFLINK_ENV_FILE=" + file, "SELFLINK_DATA_DIR=" + filepath.Join(root, "data"), "RUNNING_IN_DOCKER=false",
		"DATABASE_URL=postgres://me:hunter2@db.example/app?sslmode=disable", "METRICS_TOKEN=" + goodKey,
	}})
	require.NoError(t, err)
	view := c.View()
	text, err := json.Marshal(view)
	require.NoError(t, err)
	for _, secret := range append(c.Hidden(), "hunter2", "hunter3", goodKey, c.SecretKey.Reveal()) {
		require.NotContains(t, string(text), secret)
	}
	settings := map[string]ViewSetting{}
	groups := map[string]string{}
	for _, g := range view.Groups {
		require.NotEmpty(t, g.Settings, g.Title)
		for _, s := range g.Settings {
			require.NotContains(t, settings, s.Key)
			settings[s.Key], groups[s.Key] = s, g.Title
			require.NotEmpty(t, s.Meaning, s.Key)
			require.NotEmpty(t, s.Source, s.Key)
		}
	}
	require.Len(t, settings, len(c.Effective()))
	require.Equal(t, "Database", groups["DATABASE_URL"])
	url := settings["DATABASE_URL"]
	require.Equal(t, "postgres://me:••••@db.example/app?sslmode=disable", url.Value)
	require.Equal(t, "environment", url.Source)
	require.True(t, url.Secret)
	require.Equal(t, "a private database in the data directory", url.Default)
	require.Equal(t, "••••", settings["METRICS_TOKEN"].Value)
	require.Contains(t, settings["SECRET_KEY"].Source, "generated")
	require.Equal(t, "••••", settings["SECRET_KEY"].Value)
	require.Equal(t, "env file "+file+" line 1", settings["LOG_LEVEL"].Source)
	require.Equal(t, "default", settings["DEBUG"].Source)
	require.Equal(t, "false", settings["DEBUG"].Default)
	require.Contains(t, settings["CELERY_BROKER_URL"].Meaning, "Replaced by the embedded broker.")
	require.Empty(t, settings["OPENAI_API_KEY"].Value)
	require.Len(t, view.Notes, len(c.Notes()))
	require.NotEmpty(t, view.Notes)
}
