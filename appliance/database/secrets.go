package database

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// secretsName is the file of generated passwords in the data directory.
const secretsName = "postgres.json"

// access is what it takes to reach the managed database. It is stored in the
// data directory with mode 0600: whoever may read it is root or the owner.
type access struct {
	Runtime   string `json:"runtime"` // directory of the sockets
	Superuser string `json:"superuser_password"`
	App       string `json:"app_password"`
	Pooler    string `json:"pooler_password"`

	fresh bool // made in this process: an existing cluster does not know them yet
}

// loadAccess reads the file; ok is false when there is none.
func loadAccess(dataDir string) (a access, ok bool, err error) {
	path := filepath.Join(dataDir, secretsName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return access{}, false, nil
	}
	if err != nil {
		return access{}, false, fmt.Errorf("read the database's passwords: %w", err)
	}
	if err := json.Unmarshal(raw, &a); err != nil || a.Superuser == "" || a.App == "" || a.Pooler == "" {
		return access{}, false, fmt.Errorf("database: %s is damaged; move it away and start again, new passwords are made then", path)
	}
	return a, true, nil
}

// store writes the file for the owner of the data directory.
func (a access) store(dataDir string) error {
	raw, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the database's passwords: %w", err)
	}
	info, err := os.Stat(dataDir)
	if err != nil {
		return fmt.Errorf("store the database's passwords: %w", err)
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		uid, gid = int(st.Uid), int(st.Gid)
	}
	if err := writePrivate(filepath.Join(dataDir, secretsName), append(raw, '\n'), uid, gid); err != nil {
		return err
	}
	return syncPath(dataDir)
}

// newAccess makes fresh passwords.
func newAccess(runtimeDir string) access {
	return access{Runtime: runtimeDir, Superuser: rand.Text(), App: rand.Text(), Pooler: rand.Text()}
}

// socketURL names a database behind a Unix socket.
func socketURL(user, password, dir string, port int, name string) string {
	q := url.Values{"host": {dir}, "port": {strconv.Itoa(port)}}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Path: "/" + name, RawQuery: q.Encode()}
	return u.String()
}

func (a access) pooledURL() string {
	return socketURL(appUser, a.App, a.Runtime, poolerPort, appDatabase)
}
func (a access) directURL() string {
	return socketURL(appUser, a.App, a.Runtime, postgresPort, appDatabase)
}
func (a access) superURL() string {
	return socketURL(superuser, a.Superuser, a.Runtime, postgresPort, "postgres")
}
func (a access) consoleURL() string {
	return socketURL(poolerAdmin, a.Pooler, a.Runtime, poolerPort, poolerConsole)
}
