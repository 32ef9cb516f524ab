package dashboard

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/health"
)

func TestVerdict(t *testing.T) {
	t.Parallel()
	low := health.Problem{Title: "No administrator", Severity: health.Low}
	medium := health.Problem{Title: "Jobs failed", Severity: health.Medium}
	high := health.Problem{Title: "Stream is full", Severity: health.High}
	required := health.Problem{Title: "Postgres does not answer", Severity: health.High, Required: true}
	for _, c := range []struct {
		problems    []health.Problem
		state, text string
	}{
		{nil, "well", "All is well."},
		{[]health.Problem{low}, "well", "All works. Worth knowing: No administrator."},
		{[]health.Problem{low, low}, "well", "All works. 2 things are worth knowing."},
		{[]health.Problem{medium}, "degraded", "Jobs failed."},
		{[]health.Problem{medium, low}, "degraded", "Jobs failed, and one more warning."},
		{[]health.Problem{high, required, low}, "down", "Postgres does not answer, and 2 more warnings."},
	} {
		require.Equal(t, Verdict{State: c.state, Text: c.text, Problems: len(c.problems)}, verdict(c.problems))
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"":                                       "",
		"selflink_dashboard=a.b":                 "a.b",
		"x=1; selflink_dashboard=a=b; y":         "a=b",
		"not_selflink_dashboard=a":               "",
		"selflink_dashboard":                     "",
		" selflink_dashboard=a;selflink_other=b": "a",
	} {
		require.Equal(t, want, cookie(header), header)
	}
	require.NotEqual(t, csrfToken("a"), csrfToken("b"))
	require.NotContains(t, csrfToken("selflink"), "selflink")
}

// Who was let in a moment ago stays known for reading, until the grace or the
// session is over, or it was refused.
func TestKnown(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var k known
	k.put("a", auth.Principal{UserID: 1, ExpiresAt: now.Add(time.Hour)}, now)
	k.put("b", auth.Principal{UserID: 2, ExpiresAt: now.Add(time.Minute)}, now)
	p, ok := k.get("a", now.Add(grace))
	require.True(t, ok)
	require.EqualValues(t, 1, p.UserID)
	_, ok = k.get("a", now.Add(grace+time.Second))
	require.False(t, ok, "the grace is over")
	_, ok = k.get("b", now.Add(2*time.Minute))
	require.False(t, ok, "the session is over")
	k.forget("a")
	_, ok = k.get("a", now)
	require.False(t, ok)
	for i := range 2 * maxKnown {
		k.put(string(rune(i)), auth.Principal{ExpiresAt: now.Add(time.Hour)}, now)
	}
	require.LessOrEqual(t, len(k.byKey), maxKnown)
}

func TestFirstRunToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	none, err := readToken(path)
	require.NoError(t, err)
	require.Empty(t, none)
	token, err := writeToken(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	again, err := readToken(path)
	require.NoError(t, err)
	require.Equal(t, token, again, "the link in an earlier log stays good")
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	none, err = readToken(path)
	require.NoError(t, err)
	require.Empty(t, none)
}
