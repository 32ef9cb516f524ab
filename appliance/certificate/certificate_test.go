package certificate_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/certificate"
	"selflink/appliance/certificate/certificatetest"
	"selflink/appliance/health"
)

// patience bounds every wait.
const patience = 60 * time.Second

func TestLoadNamesTheFileAtFault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority := certificatetest.New(t)
	cert, key := authority.Files(t, dir, 7)
	_, otherKey := authority.Issue(t, 8, time.Now().Add(time.Hour))
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, c := range []struct {
		name, cert, key string
		path            string
		ofKey           bool
		text            string
	}{
		{"no certificate", filepath.Join(dir, "none"), key, "none", false, "no such file"},
		{"no key", cert, filepath.Join(dir, "none"), "none", true, "no such file"},
		{"a directory", dir, key, "", false, "is a directory"},
		{"an empty certificate", write("empty", ""), key, "empty", false, "holds no certificate in PEM form"},
		{"a certificate of nonsense", write("nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "nonsense", false, "cannot be read"},
		{"the two are swapped", key, cert, "key.pem", false, "the other way round"},
		{"a key of another certificate", cert, write("other", string(otherKey)), "other", true, "is not the key to the certificate in " + cert},
		{"a key with a password", cert, write("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), "locked", true, "protected by a password"},
		{"a key of nonsense", cert, write("bad", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "bad", true, "cannot be read"},
		{"too long", write("long", strings.Repeat("x", 300<<10)), key, "long", false, "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := certificate.Load(c.cert, c.key)
			var bad *certificate.Error
			require.ErrorAs(t, err, &bad)
			require.Equal(t, filepath.Join(dir, c.path), bad.Path)
			require.Equal(t, c.ofKey, bad.Key)
			require.Contains(t, err.Error(), c.text)
		})
	}
	pair, err := certificate.Load(cert, key)
	require.NoError(t, err)
	require.Equal(t, "7", pair.Serial())
}

// rig is a keeper that looks often, behind a listener.
type rig struct {
	*certificate.Keeper
	authority *certificatetest.Authority
	dir       string
	address   string
	health    *health.Registry
}

func newRig(t *testing.T, now func() time.Time) *rig {
	t.Helper()
	r := &rig{authority: certificatetest.New(t), dir: t.TempDir(), health: health.New(health.Options{})}
	cert, key := r.authority.Files(t, r.dir, 7)
	var err error
	r.Keeper, err = certificate.New(certificate.Options{CertFile: cert, KeyFile: key, Every: time.Millisecond, Health: r.health, Now: now})
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Start(t.Context()), "a second start does nothing")
	ln, err := tls.Listen("tcp", "127.0.0.1:0", r.Config())
	require.NoError(t, err)
	r.address = ln.Addr().String()
	go func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // echoes until its client hangs up
				defer conn.Close()
				buf := make([]byte, 64)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		require.NoError(t, r.Stop(context.Background()))
		require.NoError(t, r.Stop(context.Background()), "a second stop does nothing")
	})
	return r
}

// dial connects as somebody who trusts the authority.
func (r *rig) dial(t *testing.T) *tls.Conn {
	t.Helper()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: r.authority.Client()}
	conn, err := dialer.DialContext(t.Context(), "tcp", r.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	secure, ok := conn.(*tls.Conn)
	require.True(t, ok)
	return secure
}

// serial is the number of the certificate that a new connection sees.
func (r *rig) serial(t *testing.T) int64 {
	conn := r.dial(t)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func (r *rig) awaitSerial(t *testing.T, want int64) {
	t.Helper()
	require.Eventually(t, func() bool { return r.serial(t) == want }, patience, 5*time.Millisecond)
}

// fault is what the check of a code says.
func (r *rig) fault(t *testing.T, code string) string {
	t.Helper()
	results, _ := r.health.Run(t.Context())
	for _, result := range results {
		if result.Name == code {
			return result.Error
		}
	}
	require.Fail(t, "there is no check "+code)
	return ""
}

func TestReloadKeepsConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	open := r.dial(t)
	require.EqualValues(t, 7, open.ConnectionState().PeerCertificates[0].SerialNumber.Int64())
	r.authority.Files(t, r.dir, 8)
	r.awaitSerial(t, 8)
	_, err := open.Write([]byte("still here"))
	require.NoError(t, err)
	require.NoError(t, open.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 64)
	n, err := open.Read(buf)
	require.NoError(t, err, "the connection from before the change stays")
	require.Equal(t, "still here", string(buf[:n]))
}

func TestReloadThroughLinks(t *testing.T) {
	t.Parallel()
	// As certbot does it, and Kubernetes with its secrets.
	authority, dir := certificatetest.New(t), t.TempDir()
	for i, name := range []string{"first", "second"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		authority.Files(t, filepath.Join(dir, name), int64(7+i))
	}
	live := filepath.Join(dir, "live")
	require.NoError(t, os.Symlink("first", live))
	k, err := certificate.New(certificate.Options{CertFile: filepath.Join(live, "cert.pem"), KeyFile: filepath.Join(live, "key.pem"), Every: time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, k.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	require.NoError(t, os.Symlink("second", live+".new"))
	require.NoError(t, os.Rename(live+".new", live))
	require.Eventually(t, func() bool { return k.Pair().Serial() == "8" }, patience, time.Millisecond)
}

func TestBrokenPairKeepsTheOldOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.Empty(t, r.fault(t, "tls.reload"))

	// Half of a new pair: the key does not belong to it yet.
	cert, key := r.authority.Issue(t, 8, time.Now().Add(30*24*time.Hour))
	certificatetest.Replace(t, filepath.Join(r.dir, "cert.pem"), cert)
	require.Eventually(t, func() bool { return strings.Contains(r.fault(t, "tls.reload"), "is not the key to the certificate") }, patience, 5*time.Millisecond)
	require.EqualValues(t, 7, r.serial(t))

	require.NoError(t, os.Remove(filepath.Join(r.dir, "key.pem")))
	require.Eventually(t, func() bool { return strings.Contains(r.fault(t, "tls.reload"), "key.pem: cannot be read") }, patience, 5*time.Millisecond)
	require.EqualValues(t, 7, r.serial(t))

	certificatetest.Replace(t, filepath.Join(r.dir, "key.pem"), key)
	r.awaitSerial(t, 8)
	require.Eventually(t, func() bool { return r.fault(t, "tls.reload") == "" }, patience, 5*time.Millisecond)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(30 * 24 * time.Hour) // as Files has it
	for _, c := range []struct {
		name                string
		now                 time.Time
		expires, notInForce string
	}{
		{"fresh", until.Add(-20 * 24 * time.Hour), "", ""},
		{"soon", until.Add(-13 * 24 * time.Hour), "localhost, 127.0.0.1, ::1 expires on", ""},
		{"expired", until.Add(time.Hour), "expires on", "expired on"},
		{"not yet", until.Add(-40 * 24 * time.Hour), "", "valid only from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func() time.Time { return c.now })
			says := func(text, want string) {
				if want == "" {
					require.Empty(t, text)
				}
				require.Contains(t, text, want)
			}
			says(r.fault(t, "tls.expires"), c.expires)
			says(r.fault(t, "tls.expired"), c.notInForce)
		})
	}
}
