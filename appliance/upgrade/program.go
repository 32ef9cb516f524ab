package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// programName is the kept program, beside a file "version" that names it.
const programName = "selflink"

// Program is what a rollback does with the program.
type Program struct {
	// Replace is set when the kept program takes the place of the installed one.
	Replace bool   `json:"replace"`
	Path    string `json:"path"`           // of the installed one
	Version string `json:"version"`        // that is to run afterwards; empty: not known
	Why     string `json:"why,omitempty"`  // it is not replaced
	Kept    string `json:"kept,omitempty"` // where the replaced one is
}

func (k *Keeper) kept(name string) string { return filepath.Join(k.dir, previous, name) }

// program decides what is done with the program when u is gone back from.
func (k *Keeper) program(ctx context.Context, u *Upgrade) Program {
	p := Program{Path: k.opts.Executable, Version: u.From.Version}
	if u.From != (Build{}) && u.From == k.opts.Build {
		p.Why = "this is the version of before already"
		return p
	}
	file, why := k.openKept()
	if file == nil {
		p.Why = why
		return p
	}
	defer file.Close()
	build, err := ask(ctx, file)
	switch {
	case err != nil:
		p.Why = err.Error()
	case u.From.Version != "" && u.From.Commit != "" && build != u.From:
		p.Why = fmt.Sprintf("the kept program is of version %s", build.Version)
	case unix.Access(filepath.Dir(p.Path), unix.W_OK) != nil:
		p.Why = "this user may not write to " + filepath.Dir(p.Path)
	default:
		p.Replace, p.Version = true, build.Version
	}
	if p.Version == "" {
		p.Version = build.Version
	}
	return p
}

// openKept opens the kept program, or says why it is not to be used. The
// directory belongs to the service's user, and root may run this: only what
// the owner of the installed program has put there is trusted.
func (k *Keeper) openKept() (*os.File, string) {
	if k.opts.Executable == "" {
		return nil, "it is not known where the program is installed"
	}
	file, err := os.OpenFile(k.kept(programName), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "no program of before is kept"
	}
	if err != nil {
		return nil, err.Error()
	}
	var mine, installed unix.Stat_t
	err = errors.Join(unix.Fstat(int(file.Fd()), &mine), unix.Stat(k.opts.Executable, &installed))
	switch {
	case err != nil:
		file.Close()
		return nil, err.Error()
	case mine.Mode&unix.S_IFMT != unix.S_IFREG, mine.Uid != installed.Uid, mine.Mode&0o022 != 0, mine.Mode&0o100 == 0:
		file.Close()
		return nil, fmt.Sprintf("%s is no program that the owner of %s alone could have put there", k.kept(programName), k.opts.Executable)
	}
	return file, ""
}

// askTime bounds the question to a program for its version.
const askTime = 10 * time.Second

// ask runs a program and has it say its build.
func ask(ctx context.Context, file *os.File) (b Build, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	const fd = 3 // the number that the first of ExtraFiles gets
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", fd), "version", "--json")
	cmd.ExtraFiles, cmd.Dir, cmd.Env = []*os.File{file}, "/", []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &b)
	}
	if err != nil {
		return b, fmt.Errorf("ask the kept program for its version: %w", err)
	}
	return b, nil
}

// putProgram puts the kept program in the place of the installed one, which
// stays in failed/. At every moment there is a whole program under the name.
func (k *Keeper) putProgram(p *Program) error {
	if !p.Replace {
		return nil
	}
	kept, why := k.openKept()
	if kept == nil {
		p.Replace, p.Why = false, why
		return nil
	}
	defer kept.Close()
	dir := filepath.Join(k.dir, failedName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the program that is replaced: %w", err)
	}
	installed, err := os.Open(p.Path)
	if err != nil {
		return fmt.Errorf("keep the program that is replaced: %w", err)
	}
	defer installed.Close()
	p.Kept = filepath.Join(dir, programName)
	if err := placeProgram(installed, p.Kept); err != nil {
		return fmt.Errorf("keep the program that is replaced: %w", err)
	}
	k.opts.step("program kept")
	if err := placeProgram(kept, p.Path); err != nil {
		return fmt.Errorf("put the program of before in its place: %w", err)
	}
	return nil
}

// placeProgram copies a program to a path, as a whole.
func placeProgram(from *os.File, to string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone after the rename
	_, err = io.Copy(file, from)
	err = errors.Join(err, file.Chmod(0o755), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(file.Name(), to), syncPath(filepath.Dir(to)))
}

// Install is what a person runs to have a version of the package again.
func (p Program) Install() string {
	if p.Version == "" {
		return "apt-get install selflink=<the version of before>"
	}
	return "apt-get install selflink=" + strings.TrimPrefix(p.Version, "v")
}
