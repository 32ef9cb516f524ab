package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// secretsDir holds the generated secrets in the data directory.
const secretsDir = "secrets"

// readSecrets reads the generated secrets. The database's own passwords are not
// among them: another cluster has others.
func readSecrets(dataDir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir, secretsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the secrets: %w", err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() || !plainName(e.Name()) {
			continue // temporary files have names with a dot before them
		}
		content, err := os.ReadFile(filepath.Join(dataDir, secretsDir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the secrets: %w", err)
		}
		if len(content) > maxSecret || len(out) == maxSecrets {
			return nil, fmt.Errorf("backup: %s holds more than secrets: %s", filepath.Join(dataDir, secretsDir), e.Name())
		}
		out[e.Name()] = content
	}
	return out, nil
}

func (w *writer) addSecrets(secrets map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if err := w.add(secretsPrefix+name, secrets[name]); err != nil {
			return err
		}
	}
	return nil
}

// asideTime is in the names of what a restore puts aside.
const asideTime = "20060102t150405"

// putSecrets writes secrets into the data directory. One that is there and
// differs is kept beside it under another name.
func putSecrets(dataDir string, secrets map[string][]byte, at time.Time) (kept []string, err error) {
	dir := filepath.Join(dataDir, secretsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the directory of secrets: %w", err)
	}
	if err := giveToOwner(dataDir, dir); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		path := filepath.Join(dir, name)
		old, err := os.ReadFile(path)
		if err == nil && bytes.Equal(old, secrets[name]) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return kept, fmt.Errorf("look at the secret %s: %w", name, err)
		}
		if err == nil {
			aside := path + ".before_restore_" + at.UTC().Format(asideTime)
			if err := os.Link(path, aside); err != nil && !errors.Is(err, fs.ErrExist) {
				return kept, fmt.Errorf("keep the old secret %s: %w", name, err)
			}
			kept = append(kept, aside)
		}
		if err := writeSecret(dataDir, path, secrets[name]); err != nil {
			return kept, err
		}
	}
	return kept, nil
}

// writeSecret replaces a file as a whole.
func writeSecret(dataDir, path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".restore-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write a secret: %w", err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone after the rename
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close(), giveToOwner(dataDir, file.Name()))
	if err == nil {
		err = errors.Join(os.Rename(file.Name(), path), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("write a secret: %w", err)
	}
	return nil
}

// giveToOwner lets the owner of dir have what root made.
func giveToOwner(dir string, paths ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	for _, path := range paths {
		if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("hand %s to its owner: %w", path, err)
		}
	}
	return nil
}
