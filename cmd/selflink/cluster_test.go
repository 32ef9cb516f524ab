package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the verb prints is what the settings accept.
func TestClusterToken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.Equal(t, exitOK, b.run([]string{"cluster", "token"}))
	token := strings.TrimSpace(b.out.String())

	joined := newBench(t, "CLUSTER_LISTEN=127.0.0.1:6222", "CLUSTER_TOKEN="+token,
		"DATABASE_URL=postgres://u:p@db.example.com/selflink", "SECRET_KEY=pV8r2Qy7mW1zK5xT9sLc")
	require.Equal(t, exitOK, joined.run([]string{"config", "check"}), joined.err)

	again := newBench(t)
	require.Equal(t, exitOK, again.run([]string{"cluster", "token", "--json"}))
	var body struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(again.out.String()), &body))
	require.Len(t, body.Token, len(token))
	require.NotEqual(t, token, body.Token)
}
