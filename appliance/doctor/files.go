package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/health/posture"
)

// Codes of the checks that explain others.
const (
	checkDirectory = "data.directory"
	checkAbsent    = "data.absent"
)

// strangers is what nobody but the owner's group may do with the data
// directory, and the group only look.
const strangers = 0o027

// files are the data directory, the secrets in it, and what a dead process
// left.
func (d *Doctor) files() {
	dir := d.opts.Config.DataDir
	d.add(health.Check{
		Code: checkDirectory, Title: "The data directory cannot be used", Severity: health.High,
		Impact: "The server does not start.",
		Remedy: "Give it to the user of the server: chown -R USER " + dir + "; or choose another SELFLINK_DATA_DIR.",
		Run:    func(context.Context) error { return usable(dir) },
	})
	d.add(health.Check{
		Code: checkAbsent, Title: "The data directory is not there yet", Severity: health.Low,
		Impact: "None: the first start makes it.", Remedy: "selflink doctor --fix",
		DependsOn: []string{checkDirectory},
		Run: func(context.Context) error {
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s does not exist", dir)
			}
			return nil
		},
	})
	d.fixes[checkAbsent] = fix{
		plan:  func() ([]string, error) { return []string{"mkdir -m 0700 -p " + dir}, nil },
		apply: func(context.Context) error { return os.MkdirAll(dir, 0o700) },
	}
	d.add(health.Check{
		Code: "data.mode", Title: "Others can get into the data directory",
		Impact: "Every user of this machine can look around in it, or change it.", Remedy: "selflink doctor --fix",
		DependsOn: []string{checkDirectory, checkAbsent},
		Run: func(context.Context) error {
			mode, err := modeOf(dir)
			if err == nil && mode&strangers != 0 {
				err = fmt.Errorf("%s has mode %04o", dir, mode)
			}
			return err
		},
	})
	d.fixes["data.mode"] = closing(func() ([]change, error) { return without(strangers, dir) })
	d.fixes["secrets.modes"] = closing(func() ([]change, error) { return without(0o077, posture.Files(dir)...) })
	d.keys()
	d.leftovers()
}

// usable reports why a server of this user could not use dir.
func usable(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(dir); err == nil {
			return fmt.Errorf("%s is a link to nowhere", dir)
		}
		return makeable(dir)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() != 0 && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, and this is user %d", dir, owner.Uid, os.Geteuid())
	}
	if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s cannot be written: %w", dir, err)
	}
	return nil
}

// makeable reports why dir could not be made.
func makeable(dir string) error {
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		info, err := os.Stat(above)
		if errors.Is(err, fs.ErrNotExist) && above != filepath.Dir(above) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s cannot be made: %s is no directory", dir, above)
		}
		if err := unix.Access(above, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("%s cannot be made in %s: %w", dir, above, err)
		}
		return nil
	}
}

func modeOf(path string) (fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}

// change is a mode that is taken away from.
type change struct {
	path     string
	old, new fs.FileMode
}

// without plans to take bits from the modes of paths. Links are left alone.
func without(bits fs.FileMode, paths ...string) ([]change, error) {
	var list []change
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		old := info.Mode().Perm()
		if info.Mode()&fs.ModeSymlink == 0 && old&bits != 0 {
			list = append(list, change{path, old, old &^ bits})
		}
	}
	return list, nil
}

// closing is a fix that makes changes of modes.
func closing(changes func() ([]change, error)) fix {
	return fix{
		plan: func() ([]string, error) {
			list, err := changes()
			var steps []string
			for _, c := range list {
				steps = append(steps, fmt.Sprintf("chmod %04o %s  (it is %04o)", c.new, c.path, c.old))
			}
			return steps, err
		},
		apply: func(context.Context) error {
			list, err := changes()
			for _, c := range list {
				err = errors.Join(err, chmod(c.path, c.new))
			}
			return err
		},
	}
}

// chmod changes the mode of what is at path itself: whoever may write in the
// directory must not point root at another file in between.
func chmod(path string, mode fs.FileMode) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written to it
	if err := unix.Fchmod(fd, uint32(mode)); err != nil {
		return fmt.Errorf("chmod %s: %w", path, err)
	}
	return nil
}

// keys is about the generated key. In an installation that has data its loss
// is felt.
func (d *Doctor) keys() {
	c := d.opts.Config
	severity, impact := health.Low, "None: the first start makes one."
	if d.opts.Held || database.HasCluster(d.opts.Database) {
		severity, impact = health.Medium, "The next start makes a new one, and everybody has to sign in again."
	}
	path := filepath.Join(c.DataDir, "secrets", "secret_key")
	d.add(health.Check{
		Code: "secrets.missing", Title: "There is no key yet", Severity: severity, Impact: impact,
		Remedy:    "Put the old key back into " + path + ", or set SECRET_KEY; a new one: selflink doctor --fix",
		DependsOn: []string{checkDirectory, checkAbsent, settingCode("SECRET_KEY")},
		Run: func(context.Context) error {
			if !c.SecretKey.IsZero() {
				return nil
			}
			if _, err := os.Stat(path); err == nil { // made since the settings were read
				return nil
			}
			return fmt.Errorf("SECRET_KEY is not set and %s does not exist", path)
		},
	})
	if d.opts.MakeSecrets != nil {
		d.fixes["secrets.missing"] = fix{
			plan:  func() ([]string, error) { return []string{"make " + path}, nil },
			apply: func(context.Context) error { return d.opts.MakeSecrets() },
		}
	}
}

// leftovers are files of processes that were killed.
func (d *Doctor) leftovers() {
	d.add(health.Check{
		Code: "data.leftovers", Title: "A dead process left files", Severity: health.Low,
		Impact: "None: the next start removes them.", Remedy: "selflink doctor --fix",
		DependsOn: []string{checkDirectory, checkAbsent},
		Run: func(context.Context) error {
			found, err := database.Leftovers(d.opts.Database)
			if err == nil && len(found) > 0 {
				err = errors.New(strings.Join(found, ", "))
			}
			return err
		},
	})
	d.fixes["data.leftovers"] = fix{
		plan: func() ([]string, error) {
			found, err := database.Leftovers(d.opts.Database)
			for i := range found {
				found[i] = "rm " + found[i]
			}
			return found, err
		},
		apply: func(ctx context.Context) error {
			_, err := database.RemoveLeftovers(ctx, d.opts.Database)
			return err
		},
	}
}
