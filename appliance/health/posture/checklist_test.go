package posture_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/health"
	"selflink/appliance/health/posture"
)

func TestChecklist(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"SELFLINK_ENV_FILE=", "SELFLINK_DATA_DIR=" + t.TempDir(), "SELFLINK_LISTEN=0.0.0.0:8000", "ALLOWED_HOSTS=api.example.com", "RUNNING_IN_DOCKER=false",
	}})
	require.NoError(t, err)
	var r health.Registry
	require.Equal(t, []posture.Item{}, posture.Checklist(r.Checks()))
	for _, c := range posture.Checks(cfg) {
		r.Add(c)
	}
	there, failed := false, errors.New("the database is away")
	r.Add(posture.Admin(func(context.Context) (bool, error) { return there, failed }))
	r.Add(health.Check{Code: backup.CheckRecent, Run: func(context.Context) error { return nil }})
	r.Add(health.Check{Code: "llm", Run: func(context.Context) error { return errors.New("is no matter of going live") }})
	require.Empty(t, posture.Checklist(r.Checks()), "nothing was asked yet")

	faults := func() map[string]posture.Item {
		r.Round(t.Context())
		out := map[string]posture.Item{}
		items := posture.Checklist(r.Checks())
		require.Len(t, items, 9)
		require.Equal(t, "config.secrets", items[0].Code)
		for _, i := range items {
			require.NotEmpty(t, i.Title)
			if i.State == "fault" {
				require.NotEmpty(t, i.Text)
				require.NotEmpty(t, i.Impact)
				require.NotEmpty(t, i.Remedy)
				out[i.Code] = i
				continue
			}
			require.Equal(t, "ok", i.State)
			require.Empty(t, i.Text+i.Impact+i.Remedy)
		}
		return out
	}
	found := faults()
	require.Len(t, found, 2)
	require.Equal(t, "Bursts of requests are not limited", found["config.limits"].Title)
	require.Equal(t, "look for an administrator: the database is away", found["admin.missing"].Text)
	failed = nil
	require.Equal(t, "no active account is an administrator", faults()["admin.missing"].Text)
	there = true
	require.Len(t, faults(), 1)
	text, err := json.Marshal(found["config.limits"])
	require.NoError(t, err)
	require.Contains(t, string(text), `"severity":"medium"`)
}
