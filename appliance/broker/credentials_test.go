package broker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	someToken  = "Vb1xJ8cQn0Zt5rLw3yKd7uMf2hPs9aGe"
	otherToken = "Vb1xJ8cQn0Zt5rLw3yKd7uMf2hPs9aGf"
)

// All nodes of a token make the same authority and password, each its own
// certificate; another token makes others.
func TestCredentialsFollowFromTheToken(t *testing.T) {
	t.Parallel()
	authority := func(token string) []byte {
		seed, err := derive(token, "authority", 32)
		require.NoError(t, err)
		cert, _, err := newAuthority(seed)
		require.NoError(t, err)
		return cert.Raw
	}
	require.True(t, bytes.Equal(authority(someToken), authority(someToken)))
	require.False(t, bytes.Equal(authority(someToken), authority(otherToken)))

	one, err := newCredentials(someToken)
	require.NoError(t, err)
	two, err := newCredentials(someToken)
	require.NoError(t, err)
	other, err := newCredentials(otherToken)
	require.NoError(t, err)
	require.Equal(t, one.password, two.password)
	require.NotEqual(t, one.password, other.password)
	require.NotContains(t, one.password, someToken)

	leaf := func(c credentials) *x509.Certificate { return c.tls.Certificates[0].Leaf }
	require.NotEqual(t, leaf(one).Raw, leaf(two).Raw)
	require.Greater(t, time.Until(leaf(one).NotAfter), 9*365*24*time.Hour)
	require.False(t, leaf(one).IsCA)
	for name, c := range map[string]struct {
		config *tls.Config
		cert   *x509.Certificate
		ok     bool
	}{
		"same token":    {one.tls, leaf(two), true},
		"another token": {one.tls, leaf(other), false},
	} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			_, err := c.cert.Verify(x509.VerifyOptions{Roots: c.config.RootCAs, DNSName: nodeName, KeyUsages: []x509.ExtKeyUsage{usage}})
			require.Equal(t, c.ok, err == nil, name)
		}
	}
	require.NoError(t, verifyNode(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf(one)}}))
	require.Error(t, verifyNode(tls.ConnectionState{}))
	require.Error(t, verifyNode(tls.ConnectionState{PeerCertificates: []*x509.Certificate{{DNSNames: []string{"example.com"}}}}))
	_, err = newCredentials(someToken[1:])
	require.ErrorContains(t, err, "shorter than")
}

// A line that comes every second is told once a minute, whatever its ports.
func TestRouteLogDoesNotRepeatItself(t *testing.T) {
	t.Parallel()
	var l routeLog
	now := time.Now()
	require.True(t, l.news(about("10.0.0.2:6222 - rid:5 - TLS route handshake error: %v", []any{"x"}), now))
	require.False(t, l.news(about("10.0.0.2:53122 - rid:8 - TLS route handshake error: %v", []any{"y"}), now))
	require.True(t, l.news(about("10.0.0.3:6222 - rid:5 - TLS route handshake error: %v", []any{"x"}), now))
	require.True(t, l.news(about("Error trying to connect to route (attempt %v): %v", []any{1, "refused"}), now))
	require.False(t, l.news(about("Error trying to connect to route (attempt %v): %v", []any{2, "refused"}), now))
	require.True(t, l.news(about("Error trying to connect to route (attempt %v): %v", []any{1, "no such host"}), now))
	require.True(t, l.news(about("something", nil), now))
	for i := range 2 * maxTold {
		l.news(strings.Repeat("x", i+1), now)
	}
	require.Len(t, l.told, maxTold)
	require.False(t, l.news("something else", now))
	require.True(t, l.news("something", now.Add(repeatAfter)))
}

func TestPlainName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"": "selflink", "web-1": "web-1", "web 1\n": "web-1-", "ვები": "ვები"} {
		require.Equal(t, want, plainName(name))
	}
}

func FuzzIntroduction(f *testing.F) {
	f.Add("INFO {\"server_id\":\"NABC\"}\r\n")
	f.Add("INFO {}\r\n")
	f.Add("INFO null\r\n")
	f.Add("HTTP/1.1 400 Bad Request\r\n")
	f.Fuzz(func(t *testing.T, line string) {
		id, err := introduction(line)
		if (err == nil) == (id == "") {
			t.Fatalf("%q gives %q and %v", line, id, err)
		}
	})
}
