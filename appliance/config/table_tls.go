package config

import (
	"errors"
	"log/slog"
	"os"

	"selflink/appliance/certificate"
)

// Names of the two settings, which only make sense together.
const (
	tlsCertFile = "TLS_CERT_FILE"
	tlsKeyFile  = "TLS_KEY_FILE"
)

// tlsTable is about serving without a proxy in front.
func tlsTable() []Setting {
	return []Setting{
		{Key: tlsCertFile, Group: Core, Auto: "plain HTTP",
			Doc: "File of the certificate for TLS on all addresses of SELFLINK_LISTEN, in PEM form, the certificates between it and the root after it. Needs TLS_KEY_FILE. A new file is taken over within seconds, without a restart.",
			set: into(func(c *Config) *string { return &c.TLSCertFile }, parsePath)},
		{Key: tlsKeyFile, Group: Core, Auto: "plain HTTP",
			Doc: "File of the private key to TLS_CERT_FILE, in PEM form and without a password.",
			set: into(func(c *Config) *string { return &c.TLSKeyFile }, parsePath)},
	}
}

// TLS reports whether the addresses of Listen speak TLS.
func (c *Config) TLS() bool { return c.TLSCertFile != "" && c.TLSKeyFile != "" }

// guardTLS refuses half of a pair, and where files are looked at a pair that
// does not work.
func (l *loader) guardTLS() {
	c := l.cfg
	switch {
	case c.TLSCertFile == "" && c.TLSKeyFile == "":
		return
	case c.TLSKeyFile == "":
		l.problem(tlsCertFile, "is given without "+tlsKeyFile, "Set "+tlsKeyFile+" to the file of its private key, or leave both out for plain HTTP.")
		return
	case c.TLSCertFile == "":
		l.problem(tlsKeyFile, "is given without "+tlsCertFile, "Set "+tlsCertFile+" to the file of the certificate, or leave both out for plain HTTP.")
		return
	}
	if !l.src.Files && l.src.ReadOnly {
		return
	}
	_, err := certificate.Load(c.TLSCertFile, c.TLSKeyFile)
	if err == nil {
		l.guardKeyMode()
		return
	}
	key := tlsCertFile
	var bad *certificate.Error
	if errors.As(err, &bad) && bad.Key {
		key = tlsKeyFile
	}
	l.problem(key, err.Error(), "Correct the path or the file, and let the user of the server read it; or leave both settings out for plain HTTP.")
}

// guardKeyMode warns of a key that strangers can read.
func (l *loader) guardKeyMode() {
	if info, err := os.Stat(l.cfg.TLSKeyFile); err == nil && info.Mode().Perm()&0o004 != 0 {
		l.note(slog.LevelWarn, tlsKeyFile, "everybody on this machine can read "+l.cfg.TLSKeyFile+": chmod 640 it, with the server's group")
	}
}
