package realtime_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/require"

	"selflink/appliance/certificate"
	"selflink/appliance/certificate/certificatetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/realtime"
)

// TestSocketOverTLS publishes enough to a WebSocket over TLS that it has to
// wait in the queue, and ends it with a code.
func TestSocketOverTLS(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	authority := certificatetest.New(t)
	cert, key := authority.Files(t, t.TempDir(), 7)
	pair, err := certificate.New(certificate.Options{CertFile: cert, KeyFile: key})
	require.NoError(t, err)
	n := r.node(r.bus())
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: discard(), Auth: r.identity, TLS: pair.Config()})
	require.NoError(t, err)
	n.hub.Register(api)
	require.NoError(t, api.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, api.Stop(ctx))
	})

	ann := r.person(1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: authority.Client()}}
	conn, _, err := websocket.Dial(ctx, "wss://"+api.Addrs()[0].String()+"/ws", &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Authorization": {"Bearer " + ann.token}},
	})
	require.NoError(t, err)
	defer conn.CloseNow() //nolint:errcheck // it is closed by the server
	var f frame
	require.NoError(t, wsjson.Read(ctx, conn, &f))
	const count = 200
	numbers := make([]int, count)
	for i := range numbers {
		numbers[i] = i + 1
	}
	n.publish(realtime.User(ann.id), numbers...)
	for got := 0; got < count; {
		f = frame{}
		require.NoError(t, wsjson.Read(ctx, conn, &f))
		if f.Type == "test" {
			got++
			require.Equal(t, got, f.N)
		}
	}
	require.NoError(t, n.hub.Stop(ctx))
	_, _, err = conn.Read(ctx)
	require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(err))
}
