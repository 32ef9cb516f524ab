// Package certificate keeps the pair of files by which the appliance proves
// its name over TLS: a certificate with its chain, and the private key to it.
//
// A [Keeper] looks at the files every few seconds, as long as they are on disk
// as links, mounted secrets or plain files, and takes a new pair over as soon as
// it is whole. Connections that are open stay; new ones see the new certificate.
// A pair that does not work is never taken: the one in force stays, and health
// says what is wrong.
package certificate

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// maxFile bounds each file in bytes; chains of a dozen certificates fit.
const maxFile = 256 << 10

// Error says which of the two files is the one to look at. It tells nothing of
// what is in the key.
type Error struct {
	Path string
	Key  bool   // it is the private key's file
	Text string // what is wrong with it
	Err  error  // the cause, when there is one
}

// Error names the file and what is wrong with it.
func (e *Error) Error() string { return e.Path + ": " + e.Text }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Pair is a certificate and its key as they were read.
type Pair struct {
	TLS  *tls.Certificate
	Leaf *x509.Certificate
	// sum recognises the content of both files.
	sum [sha256.Size]byte
}

// Load reads both files and makes sure that they belong together. Every error
// is an [*Error]. Whether the certificate is still valid is not asked: one that
// has expired is better than a server that does not start.
func Load(certFile, keyFile string) (*Pair, error) {
	chain, err := read(certFile, false)
	if err != nil {
		return nil, err
	}
	key, err := read(keyFile, true)
	if err != nil {
		return nil, err
	}
	if !holds(chain, "CERTIFICATE") {
		text := "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
		if holds(chain, "PRIVATE KEY") {
			text = "holds a private key and no certificate: are the two files the other way round?"
		}
		return nil, &Error{Path: certFile, Text: text}
	}
	switch {
	case holds(key, "ENCRYPTED") || bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED")):
		return nil, &Error{Path: keyFile, Key: true, Text: "is protected by a password, which nobody can type here: write it without one (openssl pkey -in OLD -out NEW)"}
	case !holds(key, "PRIVATE KEY"):
		return nil, &Error{Path: keyFile, Key: true, Text: "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"}
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, blame(certFile, keyFile, err)
	}
	return &Pair{TLS: &pair, Leaf: pair.Leaf, sum: sha256.Sum256(append(append(bytes.Clone(chain), 0), key...))}, nil
}

// blame chooses the file that an error of crypto/tls is about.
func blame(certFile, keyFile string, err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "private key does not match"), strings.Contains(text, "private key type does not match"):
		return &Error{Path: keyFile, Key: true, Text: "is not the key to the certificate in " + certFile, Err: err}
	case strings.Contains(text, "private key"):
		return &Error{Path: keyFile, Key: true, Text: "holds a private key that cannot be read", Err: err}
	default:
		return &Error{Path: certFile, Text: "holds a certificate that cannot be read: " + strings.TrimPrefix(text, "tls: "), Err: err}
	}
}

// read takes a whole file of bounded size.
func read(path string, key bool) ([]byte, error) {
	bad := func(err error) error {
		var cause *os.PathError
		text := err.Error()
		if errors.As(err, &cause) { // the path is told already
			text = cause.Err.Error()
		}
		return &Error{Path: path, Key: key, Text: "cannot be read: " + text, Err: err}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, bad(err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, &Error{Path: path, Key: key, Text: "is a directory, not a file"}
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, bad(err)
	}
	if len(text) > maxFile {
		return nil, &Error{Path: path, Key: key, Text: fmt.Sprintf("is longer than %d KiB", maxFile>>10)}
	}
	return text, nil
}

// holds reports whether one of the PEM blocks is of a kind.
func holds(text []byte, kind string) bool {
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			return false
		}
		if strings.Contains(block.Type, kind) {
			return true
		}
	}
}

// Serial is the certificate's number as browsers and openssl show it.
func (p *Pair) Serial() string { return fmt.Sprintf("%X", p.Leaf.SerialNumber) }

// names are what the certificate is for, for people.
func (p *Pair) names() string {
	names := append([]string(nil), p.Leaf.DNSNames...)
	for _, ip := range p.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{p.Leaf.Subject.String()}
	}
	return strings.Join(names, ", ")
}

// left is how long the certificate is still valid; negative: it has expired.
func (p *Pair) left(now time.Time) time.Duration { return p.Leaf.NotAfter.Sub(now) }
