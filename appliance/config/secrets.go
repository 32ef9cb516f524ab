package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// secretsDirName holds the generated secrets in the data directory.
	secretsDirName = "secrets"

	// secretKeyFile holds SECRET_KEY.
	secretKeyFile = "secret_key"

	// secretBytes of chance make a key that nobody finds by trying.
	secretBytes = 32
)

// secrets completes the keys: SECRET_KEY from the data directory, made there
// when missing, and JWT_SIGNING_KEY from SECRET_KEY.
func (l *loader) secrets() {
	c := l.cfg
	if c.SecretKey.IsZero() {
		path := filepath.Join(c.DataDir, secretsDirName, secretKeyFile)
		text, err := readSmall(path)
		if errors.Is(err, fs.ErrNotExist) {
			switch {
			case l.src.ReadOnly:
				l.given["SECRET_KEY"] = found{"", "generated at the first start"}
				err = nil
			case len(l.problems) == 0: // a refused configuration leaves nothing behind
				text, err = makeSecret(c.DataDir, secretKeyFile)
			default:
				err = nil
			}
		} else if err == nil && len(text) < minSecret {
			err = fmt.Errorf("%s is damaged", path)
		}
		switch {
		case err != nil:
			l.problem("SECRET_KEY", "the generated key cannot be used: "+err.Error(),
				"Give "+c.DataDir+" to the user of this process, choose another SELFLINK_DATA_DIR, or set SECRET_KEY.")
		case text != "":
			c.SecretKey = NewSecret(text)
			l.given["SECRET_KEY"] = found{text, fromGenerated + ", in " + path}
		}
	}
	if c.JWTSigningKey.IsZero() {
		c.JWTSigningKey = c.SecretKey
		l.given["JWT_SIGNING_KEY"] = found{c.SecretKey.Reveal(), "SECRET_KEY"}
	}
}

// makeSecret creates a secret in the data directory and returns it. Of several
// processes that try at once, one succeeds and all return its text.
func makeSecret(dataDir, name string) (string, error) {
	dir := filepath.Join(dataDir, secretsDirName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create the directory of secrets: %w", err)
	}
	raw := make([]byte, secretBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("make a secret: %w", err)
	}
	file, err := os.CreateTemp(dir, "."+name+"-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("store a secret: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(base64.RawURLEncoding.EncodeToString(raw) + "\n")
	if err := errors.Join(err, file.Sync(), giveToOwner(dataDir, dir, file.Name()), file.Close()); err != nil {
		return "", fmt.Errorf("store a secret: %w", err)
	}
	// Unlike a rename, a link never replaces what another process has made.
	final := filepath.Join(dir, name)
	if err := os.Link(file.Name(), final); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("store a secret: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return "", fmt.Errorf("store a secret: %w", err)
	}
	return readSmall(final)
}

// giveToOwner lets the owner of the data directory read what root made in it.
func giveToOwner(dataDir string, paths ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dataDir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	for _, path := range paths {
		if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return nil
}

// syncDir makes a new name in a directory survive a power failure.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
