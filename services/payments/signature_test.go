package payments_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85/webhook"

	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

func TestSignature(t *testing.T) {
	t.Parallel()
	now := time.Now()
	body := `{"id":"evt_1"}`
	good := paymentstest.Sign(body, secret, now)
	require.NoError(t, webhook.ValidatePayload([]byte(body), good, secret), "the fake signs as Stripe does")
	theirs := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: now})
	stamp, rest, _ := strings.Cut(good, ",")
	for name, c := range map[string]struct {
		header  string
		secrets []string
		want    bool
	}{
		"good":                  {good, []string{secret}, true},
		"by Stripe's library":   {theirs.Header, []string{secret}, true},
		"the new of two":        {good, []string{secret, oldSecret}, true},
		"the old of two":        {paymentstest.Sign(body, oldSecret, now), []string{secret, oldSecret}, true},
		"several signatures":    {stamp + ",v1=" + strings.Repeat("0", 64) + "," + rest, []string{secret}, true},
		"just in time":          {paymentstest.Sign(body, secret, now.Add(-299*time.Second)), []string{secret}, true},
		"old":                   {paymentstest.Sign(body, secret, now.Add(-302*time.Second)), []string{secret}, false},
		"another secret":        {paymentstest.Sign(body, "whsec_of_somebody", now), []string{secret, oldSecret}, false},
		"another body":          {paymentstest.Sign(body+" ", secret, now), []string{secret}, false},
		"another moment":        {"t=" + "1" + strings.TrimPrefix(good, stamp), []string{secret}, false},
		"moved by a second":     {strings.Replace(good, stamp, paymentstest.Sign("", secret, now.Add(time.Second))[:len(stamp)], 1), []string{secret}, false},
		"no secret":             {good, nil, false},
		"an empty secret":       {paymentstest.Sign(body, "", now), []string{""}, false},
		"nothing":               {"", []string{secret}, false},
		"something else in it":  {good + ",0", []string{secret}, false},
		"no time":               {rest, []string{secret}, false},
		"no signature":          {stamp, []string{secret}, false},
		"two times":             {good + "," + stamp, []string{secret}, false},
		"an older version only": {strings.ReplaceAll(good, "v1=", "v0="), []string{secret}, false},
		"half a signature":      {good[:len(stamp)+36], []string{secret}, false},
		"too long":              {good + "," + strings.Repeat("x", 5000), []string{secret}, false},
	} {
		require.Equal(t, c.want, payments.Signed(c.header, []byte(body), c.secrets, now), name)
	}
}
