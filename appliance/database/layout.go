package database

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	clusterName = "postgres"        // the cluster, in the data directory
	initName    = "postgres.initdb" // a cluster being made; never used, so it may be thrown away
	localConf   = "selflink.conf"   // an operator's own settings, in the cluster

	postgresPort = 5432 // names the socket only: nothing listens on TCP
	poolerPort   = 6432

	// socketLimit is the most bytes of a Unix socket's path, the final zero
	// byte not counted.
	socketLimit = 107
)

// layout is where the managed parts keep their files and whom they run as.
type layout struct {
	data    string // the appliance's data directory
	cluster string
	runtime string // sockets and generated files: short, owned by account
	account account
}

// account is the unprivileged user of the children.
type account struct {
	name     string
	uid, gid int
	switched bool // this process is root and hands over to account
}

func newLayout(o Options) (layout, error) {
	l := layout{data: o.DataDir, cluster: filepath.Join(o.DataDir, clusterName)}
	var err error
	if l.account, err = findAccount(o.RunAs, l.cluster); err != nil {
		return l, err
	}
	if l.runtime, err = makeRuntime(o.DataDir, l.account); err != nil {
		return l, err
	}
	if socket := postgresSocket(l.runtime); len(socket) > socketLimit {
		return l, fmt.Errorf("database: the socket's path %s is longer than %d bytes; set XDG_RUNTIME_DIR to a shorter directory", socket, socketLimit)
	}
	return l, nil
}

func postgresSocket(dir string) string {
	return filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(postgresPort))
}

func poolerSocket(dir string) string {
	return filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(poolerPort))
}

// findAccount decides whom the children run as. Postgres and PgBouncer refuse
// root, so root hands over to somebody; everybody else stays himself.
func findAccount(runAs, cluster string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: strconv.Itoa(uid), uid: uid, gid: os.Getegid()}, nil
	}
	var owner *account
	var st unix.Stat_t
	if unix.Stat(cluster, &st) == nil && st.Uid != 0 {
		owner = &account{name: strconv.Itoa(int(st.Uid)), uid: int(st.Uid), gid: int(st.Gid), switched: true}
	}
	if runAs == "" && owner != nil {
		return *owner, nil
	}
	names := []string{"selflink", "postgres", "nobody"}
	if runAs != "" {
		names = []string{runAs}
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			if u, err = user.LookupId(name); err != nil {
				continue
			}
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return account{}, fmt.Errorf("database: user %s: %w", name, err)
		}
		if uid == 0 {
			return account{}, errors.New("database: Postgres and PgBouncer refuse to run as root; choose another user for them (SELFLINK_RUN_AS)")
		}
		if owner != nil && owner.uid != uid {
			return account{}, fmt.Errorf("database: %s belongs to user %d, not to %s; set SELFLINK_RUN_AS to its owner, or hand it over with chown -R", cluster, owner.uid, name)
		}
		return account{name: u.Username, uid: uid, gid: gid, switched: true}, nil
	}
	return account{}, fmt.Errorf("database: Postgres and PgBouncer refuse root and there is no user %s; create one or set SELFLINK_RUN_AS", strings.Join(names, ", "))
}

// makeRuntime creates the directory of sockets and generated files. Its path
// depends on the data directory alone, so that a second command finds it.
func makeRuntime(dataDir string, who account) (string, error) {
	real, err := filepath.EvalSymlinks(dataDir)
	if err != nil {
		return "", fmt.Errorf("resolve the data directory: %w", err)
	}
	sum := sha256.Sum256([]byte(real))
	name := "selflink-" + hex.EncodeToString(sum[:6])
	var bases []string
	if os.Geteuid() == 0 {
		bases = append(bases, "/run")
	} else {
		if own, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); own != "" {
			bases = append(bases, own) // systemd made it for this unit
		}
		if xdg := os.Getenv("XDG_RUNTIME_DIR"); xdg != "" {
			bases = append(bases, xdg)
		}
	}
	bases = append(bases, "/tmp")
	var last error
	for _, base := range bases {
		dir := filepath.Join(base, name)
		if base == "/tmp" {
			dir = filepath.Join(base, name+"-"+strconv.Itoa(who.uid))
		}
		if last = claimDir(dir, who); last == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("database: no directory for sockets: %w", last)
}

// claimDir creates dir for who alone, or checks that it is just that: below
// /tmp somebody else may have been faster.
func claimDir(dir string, who account) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create %s: %w", dir, err)
		}
		info, err := os.Lstat(dir)
		if err != nil {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !info.IsDir() || !ok || (int(st.Uid) != who.uid && int(st.Uid) != os.Geteuid()) {
			return fmt.Errorf("%s exists and belongs to somebody else; remove it", dir)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("close %s to others: %w", dir, err)
		}
	}
	if who.switched {
		if err := os.Lchown(dir, who.uid, who.gid); err != nil {
			return fmt.Errorf("hand %s to %s: %w", dir, who.name, err)
		}
	}
	return nil
}

// writeOwned writes a file that only the children's user can read, replacing
// an earlier one as a whole.
func (l layout) writeOwned(path string, content []byte) error {
	return writePrivate(path, content, l.account.uid, l.account.gid)
}

// writePrivate writes content to path with mode 0600, as a whole or not at
// all, for uid and gid.
func writePrivate(path string, content []byte, uid, gid int) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone after the rename
	_, err = file.Write(content)
	if err == nil && os.Geteuid() == 0 {
		err = file.Chown(uid, gid)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// command returns a command that runs as the account, in a process group of
// its own (so that a terminal's Ctrl-C reaches the appliance alone, which then
// stops its children in order) and dies with this process.
func (l layout) attributes(deathSignal syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: deathSignal}
	if l.account.switched {
		attr.Credential = &syscall.Credential{Uid: uint32(l.account.uid), Gid: uint32(l.account.gid)} //nolint:gosec // ids of the system
	}
	return attr
}

// childEnv is all the environment the children get: their settings come from
// files, and secrets of this process are none of their business.
func childEnv() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
}
