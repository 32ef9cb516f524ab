package appliance_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/config"
)

// life starts a whole appliance on dir and returns its address and its end.
func life(t *testing.T, dir string) (base string, stop func()) {
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"SELFLINK_DATA_DIR=" + filepath.Join(dir, "data"), "SELFLINK_LISTEN=127.0.0.1:0", "SELFLINK_ENV_FILE=", "PATH=" + os.Getenv("PATH"),
	}})
	require.NoError(t, err)
	a, err := appliance.New(cfg, slog.New(slog.DiscardHandler), appliance.Build{Version: "test"})
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, a.Stop(ctx))
	}
	t.Cleanup(stop)
	return "http://" + a.Addrs()[0], stop
}

func call(t *testing.T, method, url, token, body string, status int) map[string]any {
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, status, response.StatusCode, string(text))
	var answer map[string]any
	require.NoError(t, json.Unmarshal(text, &answer), string(text))
	return answer
}

// A person registers, asks, and finds the answer again after a restart.
func TestWholeAppliance(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "selflink-appliance-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))

	base, stop := life(t, dir)
	require.Equal(t, "ready", call(t, "GET", base+"/ready", "", "", 200)["status"])
	call(t, "GET", base+"/api/v1/users/me/", "", "", 401)
	token := call(t, "POST", base+"/api/v1/auth/register/", "", `{"email":"ann@example.com","password":"correct-horse","name":"Ann"}`, 201)["token"].(string)
	accepted := call(t, "POST", base+"/api/v1/mentor/chat/", token, `{"message":"How do I begin?"}`, 202)
	require.NotEmpty(t, accepted["reply"], "the built-in model answers within the wait")
	schema := call(t, "GET", base+"/api/schema/", "", "", 200)
	require.Equal(t, "3.1.0", schema["openapi"])
	stop()

	base, _ = life(t, dir)
	status := call(t, "GET", base+accepted["task_status_url"].(string), token, "", 200)
	require.Equal(t, "ready", status["status"])
	other := call(t, "POST", base+"/api/v1/auth/register/", "", `{"email":"bob@example.com","password":"correct-horse","name":"Bob"}`, 201)["token"].(string)
	call(t, "GET", base+accepted["task_status_url"].(string), other, "", 404)
}
