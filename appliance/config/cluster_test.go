package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	goodToken = "Vb1xJ8cQn0Zt5rLw3yKd7uMf2hPs9aGe"
	sharedURL = "DATABASE_URL=postgres://u:p@db.example.com/selflink"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, "CLUSTER_LISTEN=0.0.0.0:6222", "CLUSTER_PEERS=10.0.0.1:6222, node2:6222,[fd00::3]:6222", "CLUSTER_TOKEN="+goodToken,
		sharedURL, "SECRET_KEY="+goodKey)
	require.NoError(t, err)
	require.Equal(t, "0.0.0.0:6222", c.ClusterListen)
	require.Equal(t, []string{"10.0.0.1:6222", "node2:6222", "[fd00::3]:6222"}, c.ClusterPeers)
	require.Equal(t, goodToken, c.ClusterToken.Reveal())
	require.Contains(t, c.Hidden(), goodToken)

	off, r, err := load(t, "CLUSTER_TOKEN="+goodToken)
	require.NoError(t, err)
	require.Empty(t, off.ClusterListen)
	require.Contains(t, notesOf(r), "WARN CLUSTER_TOKEN")
}

// Half of a cluster is refused, in development too.
func TestClusterGuardrails(t *testing.T) {
	t.Parallel()
	const listen, token, key = "CLUSTER_LISTEN=127.0.0.1:6222", "CLUSTER_TOKEN=" + goodToken, "SECRET_KEY=" + goodKey
	for name, c := range map[string]struct {
		environ []string
		problem map[string]string // setting → part of the text
	}{
		"in order":         {[]string{listen, token, key, sharedURL}, nil},
		"only a key":       {[]string{listen, token, "JWT_SIGNING_KEY=" + goodKey, sharedURL}, nil},
		"no token":         {[]string{listen, key, sharedURL}, map[string]string{"CLUSTER_TOKEN": "is missing"}},
		"private database": {[]string{listen, token, key}, map[string]string{"CLUSTER_LISTEN": "without DATABASE_URL"}},
		"generated key":    {[]string{listen, token, sharedURL}, map[string]string{"SECRET_KEY": "generated on each node"}},
		"nothing else": {[]string{listen}, map[string]string{
			"CLUSTER_TOKEN": "is missing", "CLUSTER_LISTEN": "without DATABASE_URL", "SECRET_KEY": "generated"}},
		"peers only":      {[]string{"CLUSTER_PEERS=10.0.0.1:6222"}, map[string]string{"CLUSTER_PEERS": "without CLUSTER_LISTEN"}},
		"short token":     {[]string{listen, "CLUSTER_TOKEN=" + goodToken[1:], key, sharedURL}, map[string]string{"CLUSTER_TOKEN": "shorter than 32"}},
		"short, not used": {[]string{"CLUSTER_TOKEN=" + goodToken[1:]}, map[string]string{"CLUSTER_TOKEN": "shorter than 32"}},
		"poor token":      {[]string{listen, "CLUSTER_TOKEN=abcabcabcabcabcabcabcabcabcabcabcabc", key, sharedURL}, map[string]string{"CLUSTER_TOKEN": "repeats"}},
		"sample token":    {[]string{listen, "CLUSTER_TOKEN=change-me-" + goodToken, key, sharedURL}, map[string]string{"CLUSTER_TOKEN": "published example"}},
		"same address":    {[]string{listen, token, key, sharedURL, "SELFLINK_LISTEN=127.0.0.1:6222"}, map[string]string{"CLUSTER_LISTEN": "SELFLINK_LISTEN too"}},
		"no port":         {[]string{"CLUSTER_LISTEN=127.0.0.1", token, key, sharedURL}, map[string]string{"CLUSTER_LISTEN": "not host:port"}},
		"any port":        {[]string{"CLUSTER_LISTEN=127.0.0.1:0", token, key, sharedURL}, map[string]string{"CLUSTER_LISTEN": "1 to 65535"}},
		"no host":         {[]string{listen, token, key, sharedURL, "CLUSTER_PEERS=:6222"}, map[string]string{"CLUSTER_PEERS": "names no host"}},
		"url":             {[]string{listen, token, key, sharedURL, "CLUSTER_PEERS=nats://10.0.0.1:6222"}, map[string]string{"CLUSTER_PEERS": "not host:port"}},
		"twice":           {[]string{listen, token, key, sharedURL, "CLUSTER_PEERS=a:1,a:1"}, map[string]string{"CLUSTER_PEERS": "twice"}},
		"commas":          {[]string{listen, token, key, sharedURL, "CLUSTER_PEERS=,"}, map[string]string{"CLUSTER_PEERS": "lists no address"}},
	} {
		for _, debug := range []string{"DEBUG=false", "DEBUG=true"} {
			_, _, err := load(t, append(c.environ, debug)...)
			got := problemsOf(t, err)
			require.Len(t, got, len(c.problem), "%s: %v", name, got)
			for key, text := range c.problem {
				require.Contains(t, got[key], text, name)
			}
		}
	}
}
