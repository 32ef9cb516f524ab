package posture_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/config"
	"selflink/appliance/health"
	"selflink/appliance/health/posture"
)

// judged are the codes of the problems of a set-up.
func judged(t *testing.T, dir string, environ ...string) map[string]health.Problem {
	t.Helper()
	cfg, _, err := config.Load(config.Sources{Environ: append([]string{"SELFLINK_ENV_FILE=", "SELFLINK_DATA_DIR=" + dir, "RUNNING_IN_DOCKER=false"}, environ...)})
	require.NoError(t, err)
	var r health.Registry
	for _, c := range posture.Checks(cfg) {
		require.True(t, c.Private, c.Code)
		r.Add(c)
	}
	r.Round(t.Context())
	found := map[string]health.Problem{}
	for _, p := range r.Problems() {
		found[p.Code] = p
	}
	return found
}

func TestPosture(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		environ []string
		codes   []string
	}{
		"as it comes":        {nil, nil},
		"in order":           {[]string{"SELFLINK_LISTEN=0.0.0.0:8000", "ALLOWED_HOSTS=api.example.com", "RATE_LIMITS_ENABLED=true"}, nil},
		"development":        {[]string{"DEBUG=true"}, []string{"config.debug"}},
		"open":               {[]string{"SELFLINK_LISTEN=0.0.0.0:8000", "ALLOWED_HOSTS=api.example.com"}, []string{"config.limits"}},
		"behind a proxy":     {[]string{"TRUSTED_PROXIES=127.0.0.1"}, []string{"config.hosts", "config.limits"}},
		"trusts everybody":   {[]string{"TRUSTED_PROXIES=0.0.0.0/0", "ALLOWED_HOSTS=a.example", "RATE_LIMITS_ENABLED=true"}, []string{"config.proxies"}},
		"everything at once": {[]string{"DEBUG=true", "SECRET_KEY=change-me", "SELFLINK_LISTEN=0.0.0.0:8000"}, []string{"config.debug", "config.hosts", "config.limits", "config.secrets"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := judged(t, t.TempDir(), c.environ...)
			require.Len(t, found, len(c.codes), "%v", found)
			for _, code := range c.codes {
				require.Contains(t, found, code)
				require.NotEmpty(t, found[code].Remedy)
				require.NotEmpty(t, found[code].Impact)
			}
			if name == "everything at once" {
				require.Equal(t, health.High, found["config.debug"].Severity)
				require.Contains(t, found["config.secrets"].Text, "published example")
				require.NotContains(t, found["config.secrets"].Text, "change-me")
			}
		})
	}
}

func TestSecretsOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Empty(t, judged(t, dir))
	key := filepath.Join(dir, "secrets", "secret_key")
	require.FileExists(t, key)
	require.NoError(t, os.Chmod(key, 0o640))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres.json"), []byte("{}"), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(dir, "postgres.json"), 0o604))
	found := judged(t, dir)
	require.Contains(t, found["secrets.modes"].Text, key+" has mode 0640")
	require.Contains(t, found["secrets.modes"].Text, "postgres.json has mode 0604")

	require.NoError(t, os.Chmod(key, 0o600))
	require.NoError(t, os.Remove(filepath.Join(dir, "postgres.json")))
	old := time.Now().Add(-400 * 24 * time.Hour)
	require.NoError(t, os.Chtimes(key, old, old))
	found = judged(t, dir)
	require.Len(t, found, 1)
	require.Contains(t, found["secrets.age"].Text, "is 400 days old")
	require.Equal(t, health.Low, found["secrets.age"].Severity)
}
