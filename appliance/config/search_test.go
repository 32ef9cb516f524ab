package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSearchSettings(t *testing.T) {
	t.Parallel()
	load := func(environ ...string) (*Config, Report, error) {
		return Load(Sources{Environ: append(environ, "SELFLINK_DATA_DIR="+t.TempDir()), Root: t.TempDir()})
	}
	c, _, err := load()
	require.NoError(t, err)
	require.False(t, c.OpenSearch, "off until a host is named")
	c, _, err = load("OPENSEARCH_HOST=search.example.com", "OPENSEARCH_USER=app", "OPENSEARCH_PASSWORD=correct horse")
	require.NoError(t, err)
	require.True(t, c.OpenSearch)
	require.Equal(t, "app", c.OpenSearchUser)
	require.Equal(t, 9200, c.OpenSearchPort)
	require.Equal(t, "http", c.OpenSearchScheme)
	warned := false
	for _, n := range c.Notes() {
		warned = warned || n.Key == "OPENSEARCH_SCHEME"
	}
	require.True(t, warned, "a password in the clear")
	require.Contains(t, c.Hidden(), "correct horse")
	c, _, err = load("OPENSEARCH_HOST=::1", "OPENSEARCH_ENABLED=false")
	require.NoError(t, err)
	require.False(t, c.OpenSearch)
	require.Equal(t, "::1", c.OpenSearchHost)
	for _, bad := range []string{"OPENSEARCH_HOST=http://x", "OPENSEARCH_HOST=x:9200", "OPENSEARCH_HOST=a b", "OPENSEARCH_PORT=0", "OPENSEARCH_SCHEME=ftp", "OPENSEARCH_ENABLED=perhaps"} {
		_, r, err := load(bad)
		require.Error(t, err, bad)
		require.Len(t, r.Problems, 1, bad)
	}
}
