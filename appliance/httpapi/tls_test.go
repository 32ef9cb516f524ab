package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"selflink/appliance/certificate"
	"selflink/appliance/certificate/certificatetest"
	"selflink/appliance/httpapi"
)

// tlsWait bounds every wait of these tests.
const tlsWait = 60 * time.Second

// secureRig is a server over TLS.
type secureRig struct {
	authority *certificatetest.Authority
	dir       string
	address   string
	socket    string
	client    *http.Client
	stop      func() error
}

func newSecureRig(t *testing.T) *secureRig {
	t.Helper()
	r := &secureRig{authority: certificatetest.New(t), dir: t.TempDir()}
	r.socket = filepath.Join(r.dir, "sock")
	cert, key := r.authority.Files(t, r.dir, 7)
	keeper, err := certificate.New(certificate.Options{CertFile: cert, KeyFile: key, Every: time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, keeper.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, keeper.Stop(context.Background())) })
	api, err := httpapi.New(httpapi.Options{
		Listen: []string{"127.0.0.1:0", "127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler), TLS: keeper.Config(), Socket: r.socket,
	})
	require.NoError(t, err)
	httpapi.Handle(api, httpapi.Operation{Method: http.MethodGet, Path: "/whence", ID: "whence", Access: httpapi.AccessPublic},
		func(ctx context.Context, _ *struct{}) (map[string]any, error) {
			info := httpapi.RequestInfo(ctx)
			return map[string]any{"secure": info.Secure, "base": info.BaseURL, "local": info.Local}, nil
		})
	httpapi.Stream(api, httpapi.Operation{Method: http.MethodGet, Path: "/events", ID: "events", Access: httpapi.AccessPublic, Produces: "text/event-stream"},
		func(c *fiber.Ctx) error {
			return httpapi.ServeEvents(c, func(ctx context.Context, w *httpapi.EventWriter) error {
				if err := w.Data([]byte("hello")); err != nil {
					return err
				}
				<-ctx.Done()
				return w.Data([]byte("bye"))
			})
		})
	httpapi.Stream(api, httpapi.Operation{Method: http.MethodGet, Path: "/echo", ID: "echo", Access: httpapi.AccessPublic, Produces: "*/*"},
		func(c *fiber.Ctx) error {
			return httpapi.TakeOver(c, http.StatusSwitchingProtocols, func(conn net.Conn, head, early []byte) {
				go func() { // ends when the client hangs up
					defer conn.Close()
					_, _ = conn.Write(append(head, early...))
					_, _ = io.Copy(conn, conn)
				}()
			})
		})
	require.NoError(t, api.Start(t.Context()))
	r.stop = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), tlsWait)
		defer cancel()
		return api.Stop(ctx)
	}
	t.Cleanup(func() { require.NoError(t, r.stop()) })
	r.address = api.Addrs()[1].String()
	transport := &http.Transport{TLSClientConfig: r.authority.Client()}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport, Timeout: tlsWait}
	return r
}

func (r *secureRig) get(t *testing.T, path string) *http.Response {
	t.Helper()
	res, err := r.client.Get("https://" + r.address + path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (r *secureRig) dial(t *testing.T, change func(*tls.Config)) (*tls.Conn, error) {
	t.Helper()
	config := r.authority.Client()
	if change != nil {
		change(config)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: tlsWait}, "tcp", r.address, config)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(tlsWait)))
	}
	return conn, err
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(text)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	r := newSecureRig(t)

	res := r.get(t, "/whence")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.JSONEq(t, fmt.Sprintf(`{"secure":true,"base":"https://%s","local":false}`, r.address), bodyOf(t, res))
	require.Empty(t, res.Header.Get("Strict-Transport-Security"), "that is a promise of the name's owner")

	_, err := r.dial(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	require.ErrorContains(t, err, "protocol version")
	conn, err := r.dial(t, func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })
	require.NoError(t, err)
	require.Equal(t, "http/1.1", conn.ConnectionState().NegotiatedProtocol)
	_, err = r.dial(t, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	require.NoError(t, err)

	// The socket of this machine's tools is left alone.
	local := &http.Client{Timeout: tlsWait, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.socket)
		}}}
	res, err = local.Get("http://localhost/whence")
	require.NoError(t, err)
	defer res.Body.Close()
	require.JSONEq(t, `{"secure":false,"base":"http://localhost","local":true}`, bodyOf(t, res))
}

// A client that forgot the s is told so.
func TestTLSAnswersPlainHTTP(t *testing.T) {
	t.Parallel()
	r := newSecureRig(t)
	res, err := (&http.Client{Timeout: tlsWait, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + r.address + "/whence")
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	require.Contains(t, bodyOf(t, res), "https://")
}

func TestTLSStreams(t *testing.T) {
	t.Parallel()
	r := newSecureRig(t)
	events := bufio.NewReader(r.get(t, "/events").Body)
	line, err := events.ReadString('\n') // while the stream is still open
	require.NoError(t, err)
	require.Equal(t, "data: hello\n", line)

	// What comes with the request is not lost when the connection is given away.
	conn, err := r.dial(t, nil)
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\nearly")
	require.NoError(t, err)
	answer := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		line, err = answer.ReadString('\n')
		require.NoError(t, err)
	}
	_, err = io.WriteString(conn, " late\n")
	require.NoError(t, err)
	line, err = answer.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "early late\n", line)

	// A stop ends the stream in order, however long it has been open.
	require.NoError(t, r.stop())
	rest, err := io.ReadAll(events)
	require.NoError(t, err)
	require.NotEmpty(t, rest)
}

// A certificate is changed under open connections.
func TestTLSReload(t *testing.T) {
	t.Parallel()
	r := newSecureRig(t)
	old, err := r.dial(t, nil)
	require.NoError(t, err)
	serial := func() int64 {
		conn, err := r.dial(t, nil)
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.EqualValues(t, 7, serial())
	r.authority.Files(t, r.dir, 8)
	require.Eventually(t, func() bool { return serial() == 8 }, tlsWait, 5*time.Millisecond)
	_, err = io.WriteString(old, "GET /whence HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(old)
	require.NoError(t, err)
	require.Contains(t, string(answer), "200 OK")
}

// Connections on which no request has ever come do not hold a stop up, whether
// they have said hello or not.
func TestTLSStopWithSilentConnections(t *testing.T) {
	t.Parallel()
	r := newSecureRig(t)
	_, err := r.dial(t, nil)
	require.NoError(t, err)
	plain, err := net.DialTimeout("tcp", r.address, tlsWait)
	require.NoError(t, err)
	t.Cleanup(func() { _ = plain.Close() })
	r.get(t, "/whence") // both have been accepted before this one
	require.NoError(t, r.stop())
}
