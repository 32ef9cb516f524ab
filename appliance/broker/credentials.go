package broker

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// MinToken is the shortest cluster token in characters. Whoever reaches
	// the route port is shown a certificate that is signed with a key made of
	// the token, and may try tokens against it at leisure: only chance keeps
	// it, so a token comes from [NewToken] and not from a person.
	MinToken = 32

	// tokenBytes of chance are in a new token.
	tokenBytes = 32

	// nodeName is the name in every node's certificate. It says "a node of
	// this cluster", not which one: all know the same token.
	nodeName = "selflink-cluster"

	// routeUser is the user of the routes; the password follows from the token.
	routeUser = "selflink"

	// leafYears is the life of a node's certificate. Its key never leaves the
	// process, which makes a new one at each start: the end only has to be
	// later than any process lives.
	leafYears = 10
)

// NewToken makes a random token for a new cluster.
func NewToken() (string, error) {
	raw := make([]byte, tokenBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("broker: make a token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// credentials are what a node shows others and asks of them.
type credentials struct {
	password string
	tls      *tls.Config // for both ends of a route
}

// newCredentials derives what all nodes share from the token, a certificate
// authority and a password, and makes this node's own certificate. Only the
// token has to be copied from node to node, and changing it changes everything.
func newCredentials(token string) (credentials, error) {
	if len(token) < MinToken {
		return credentials{}, fmt.Errorf("broker: the cluster token is shorter than %d characters", MinToken)
	}
	seed, err := derive(token, "authority", ed25519.SeedSize)
	if err != nil {
		return credentials{}, err
	}
	password, err := derive(token, "route password", tokenBytes)
	if err != nil {
		return credentials{}, err
	}
	authority, key, err := newAuthority(seed)
	if err != nil {
		return credentials{}, err
	}
	leaf, err := newLeaf(authority, key)
	if err != nil {
		return credentials{}, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	return credentials{
		password: base64.RawURLEncoding.EncodeToString(password),
		tls: &tls.Config{
			MinVersion:             tls.VersionTLS13,
			Certificates:           []tls.Certificate{leaf},
			ClientAuth:             tls.RequireAndVerifyClientCert,
			ClientCAs:              pool,
			RootCAs:                pool,
			ServerName:             nodeName,
			VerifyConnection:       verifyNode,
			SessionTicketsDisabled: true, // a route is opened rarely: always check in full
		},
	}, nil
}

// derive makes n bytes for one purpose out of the token.
func derive(token, purpose string, n int) ([]byte, error) {
	out, err := hkdf.Key(sha256.New, []byte(token), nil, "selflink cluster v1: "+purpose, n)
	if err != nil {
		return nil, fmt.Errorf("broker: derive the cluster's %s: %w", purpose, err)
	}
	return out, nil
}

// dawn is when every certificate begins to hold, long ago, so that nodes with
// wrong clocks still understand each other; dusk is the authority's end.
func dawn() time.Time { return time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC) }
func dusk() time.Time { return time.Date(2199, time.December, 31, 0, 0, 0, 0, time.UTC) }

// newAuthority gives the authority that belongs to the seed: the same on every
// node to the last byte, because nothing in it is left to chance.
func newAuthority(seed []byte) (*x509.Certificate, ed25519.PrivateKey, error) {
	key := ed25519.NewKeyFromSeed(seed)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: nodeName + " authority"},
		NotBefore:             dawn(),
		NotAfter:              dusk(),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs nodes, no further authorities
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("broker: make the cluster's authority: %w", err)
	}
	return cert, key, nil
}

// newLeaf makes a key and certificate of this process.
func newLeaf(authority *x509.Certificate, authorityKey ed25519.PrivateKey) (tls.Certificate, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("broker: make the node's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("broker: make the node's certificate: %w", err)
	}
	cert, err := sign(&x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: nodeName},
		DNSNames:     []string{nodeName},
		NotBefore:    dawn(),
		NotAfter:     time.Now().AddDate(leafYears, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, authority, public, authorityKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("broker: make the node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

func sign(template, parent *x509.Certificate, public any, key ed25519.PrivateKey) (*x509.Certificate, error) {
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw)
}

// verifyNode checks the name at both ends: of the dialing one the TLS library
// checks the chain alone.
func verifyNode(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer shows no certificate")
	}
	return state.PeerCertificates[0].VerifyHostname(nodeName)
}
