package httpapi

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUnlistedProxyIsNoticed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var u unlisted
	require.NoError(t, u.check(now))
	u.note(netip.MustParseAddr("203.0.113.5"), now)
	require.NoError(t, u.check(now), "on the internet anybody may write the header")
	u.note(netip.MustParseAddr("10.0.0.7"), now)
	require.ErrorContains(t, u.check(now), "from 10.0.0.7, which TRUSTED_PROXIES does not list")
	require.NoError(t, u.check(now.Add(2*time.Hour)))
	u.note(netip.MustParseAddr("10.0.0.7"), now.Add(2*time.Hour))
	require.Error(t, u.check(now.Add(2*time.Hour)))
}
