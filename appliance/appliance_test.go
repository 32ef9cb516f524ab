package appliance_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/config"
	"selflink/appliance/telemetry"
)

// life starts a whole appliance on dir and returns its address and its end.
func life(t *testing.T, dir string) (base string, stop func()) {
	a, stop := begin(t, dir)
	return "http://" + a.Addrs()[0], stop
}

// deskLife starts one for the tests of the dashboard.
func deskLife(t *testing.T) (a *appliance.Appliance, base string) {
	dir, err := os.MkdirTemp("", "selflink-desk-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) // Postgres runs as a user of its own
	a, _ = begin(t, dir)
	return a, "http://" + a.Addrs()[0]
}

// begin starts a whole appliance on dir.
func begin(t *testing.T, dir string) (a *appliance.Appliance, stop func()) {
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"SELFLINK_DATA_DIR=" + filepath.Join(dir, "data"), "SELFLINK_LISTEN=127.0.0.1:0", "SELFLINK_ENV_FILE=", "PATH=" + os.Getenv("PATH"),
	}})
	require.NoError(t, err)
	tail := telemetry.NewTail(0)
	log, err := telemetry.NewLogger(telemetry.Options{Out: io.Discard, Tail: tail})
	require.NoError(t, err)
	a, err = appliance.New(cfg, log, tail, appliance.Build{Version: "test"})
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, a.Stop(ctx))
	}
	t.Cleanup(stop)
	return a, stop
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

// told reads the next frame of a connection.
func told(t *testing.T, socket *websocket.Conn) map[string]any {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, data, err := socket.Read(ctx)
	require.NoError(t, err)
	var frame map[string]any
	require.NoError(t, json.Unmarshal(data, &frame))
	return frame
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
	ticket := call(t, "POST", base+"/api/v1/realtime/ticket/", token, "", 201)["ticket"].(string)
	socket, _, err := websocket.Dial(t.Context(), base+"/ws?ticket="+ticket, nil)
	require.NoError(t, err)
	defer func() { _ = socket.CloseNow() }()
	require.Equal(t, "connected", told(t, socket)["message"])
	accepted := call(t, "POST", base+"/api/v1/mentor/chat/", token, `{"message":"How do I begin?"}`, 202)
	require.NotEmpty(t, accepted["reply"], "the built-in model answers within the wait")
	event := told(t, socket)
	require.Equal(t, "mentor.reply", event["type"])
	require.Equal(t, accepted["task_id"], event["task_id"])
	require.Equal(t, accepted["reply"], event["reply"])

	// Signing out elsewhere ends what this session has open.
	leaver := call(t, "POST", base+"/api/v1/auth/login/", "", `{"email":"ann@example.com","password":"correct-horse"}`, 200)["token"].(string)
	left, _, err := websocket.Dial(t.Context(), base+"/ws?token="+leaver, nil)
	require.NoError(t, err)
	require.Equal(t, "connected", told(t, left)["message"])
	call(t, "POST", base+"/api/v1/auth/logout/", leaver, `{}`, 200)
	require.Equal(t, "session.revoked", told(t, socket)["type"])
	require.Equal(t, "session.revoked", told(t, left)["type"])
	_, _, err = left.Read(t.Context())
	require.EqualValues(t, 4401, websocket.CloseStatus(err))

	schema := call(t, "GET", base+"/api/schema/", "", "", 200)
	require.Equal(t, "3.1.0", schema["openapi"])
	stop()

	base, _ = life(t, dir)
	status := call(t, "GET", base+accepted["task_status_url"].(string), token, "", 200)
	require.Equal(t, "ready", status["status"])
	other := call(t, "POST", base+"/api/v1/auth/register/", "", `{"email":"bob@example.com","password":"correct-horse","name":"Bob"}`, 201)["token"].(string)
	call(t, "GET", base+accepted["task_status_url"].(string), other, "", 404)
}
