package posture_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/config"
	"selflink/appliance/health/posture"
)

func TestPayments(t *testing.T) {
	t.Parallel()
	const key, secret = "STRIPE_API_KEY=sk_test_x", "STRIPE_WEBHOOK_SECRET=whsec_x"
	for name, c := range map[string]struct {
		settings []string
		fails    []string
	}{
		"not set up":            {nil, nil},
		"both":                  {[]string{key, secret}, nil},
		"a key alone":           {[]string{key}, []string{posture.CheckWebhookSecret}},
		"a secret alone":        {[]string{secret}, []string{posture.CheckStripeKey}},
		"a key, switched off":   {[]string{key, "PAYMENTS_PROVIDER_ENABLED_STRIPE=false"}, nil},
		"a key, all turned off": {[]string{key, "FEATURE_PAYMENTS=false"}, nil},
	} {
		cfg, _, err := config.Load(config.Sources{Environ: append([]string{
			"SELFLINK_ENV_FILE=", "SELFLINK_DATA_DIR=" + t.TempDir(), "RUNNING_IN_DOCKER=false",
		}, c.settings...)})
		require.NoError(t, err, name)
		var fails []string
		for _, check := range posture.Checks(cfg) {
			if err := check.Run(t.Context()); err != nil && check.Code != "config.debug" {
				require.NotEmpty(t, check.Impact)
				require.NotEmpty(t, check.Remedy)
				require.NotContains(t, err.Error(), "_x")
				fails = append(fails, check.Code)
			}
		}
		require.Equal(t, c.fails, fails, name)
	}
}
