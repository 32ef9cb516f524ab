package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Restoring files. Those of the archive go into a hidden folder of the
// directory of files, and on the disk. Before the databases are swapped a
// journal says which folders are to be swapped with them, and what the old
// database will be called then: whether there is a database of that name says
// ever after whether the swap took place. After it the entries of the directory
// move into one hidden folder and those of the other move out. [Settle] goes on
// with that after an interruption, or forgets what did not come to a swap. No
// key begins with a dot, so nobody takes what is hidden for files.
const (
	sidePrefix  = ".restoring_"
	asidePrefix = "." + aside + "_"
	journalName = ".restore.json"
	maxJournal  = 4 << 10
)

// journal is a swap of files that goes with one of databases.
type journal struct {
	Database string `json:"database"` // the name that the old one gets
	From     string `json:"from"`     // folder that becomes the current one
	To       string `json:"to"`       // folder for what is current
	Moved    bool   `json:"moved"`    // everything is in To; what else is there came from From
}

// sideFiles is the directory of files of an installation that does not run.
type sideFiles struct {
	dir  string
	step func(name string)
}

// asideFolder belongs to a database that was put aside: it has the same time
// and chance in its name.
func asideFolder(database string) string {
	i := strings.LastIndex(database, "_"+aside+"_")
	return asidePrefix + database[i+len("_"+aside+"_"):]
}

// make makes an empty folder for the files of an archive.
func (f sideFiles) make(name string) (string, error) {
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return "", fmt.Errorf("make the directory of files: %w", err)
	}
	if err := giveToOwner(filepath.Dir(f.dir), f.dir); err != nil {
		return "", err
	}
	folder := sidePrefix + name
	if err := os.Mkdir(filepath.Join(f.dir, folder), 0o750); err != nil {
		return "", fmt.Errorf("make a folder for the files: %w", err)
	}
	return folder, giveToOwner(f.dir, filepath.Join(f.dir, folder))
}

// fill writes the archive's files into a folder, and onto the disk.
func (f sideFiles) fill(ctx context.Context, a *archive, folder string, progress func(Progress)) error {
	root, err := os.OpenRoot(filepath.Join(f.dir, folder))
	if err != nil {
		return fmt.Errorf("open a folder for the files: %w", err)
	}
	defer root.Close()
	w := filler{root: root, owner: f.dir, made: map[string]bool{".": true}}
	total := a.manifest.Files.Bytes
	var done int64
	if err := a.files(ctx, func(m member) error {
		if err := w.write(m); err != nil {
			return fmt.Errorf("restore the file %s: %w", m.key, err)
		}
		done += m.Bytes
		progress(Progress{Stage: Copying, Bytes: done, Total: total})
		return nil
	}); err != nil {
		return err
	}
	// All at once: a sync for each of many small files takes far longer.
	d, err := root.Open(".")
	if err == nil {
		err = errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
	}
	if err != nil {
		return fmt.Errorf("bring the files onto the disk: %w", err)
	}
	return nil
}

// filler writes files below a folder.
type filler struct {
	root  *os.Root
	owner string // whose owner gets what is made
	made  map[string]bool
}

func (w *filler) write(m member) error {
	if err := w.dirs(path.Dir(m.key)); err != nil {
		return err
	}
	file, err := w.root.OpenFile(m.key, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, m.file)
	err = errors.Join(err, file.Close(), w.root.Chtimes(m.key, m.modified, m.modified))
	return errors.Join(err, giveToOwner(w.owner, filepath.Join(w.root.Name(), filepath.FromSlash(m.key))))
}

func (w *filler) dirs(dir string) error {
	if w.made[dir] {
		return nil
	}
	if err := w.dirs(path.Dir(dir)); err != nil {
		return err
	}
	if err := w.root.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	w.made[dir] = true
	return giveToOwner(w.owner, filepath.Join(w.root.Name(), filepath.FromSlash(dir)))
}

// movable refuses a directory whose entries cannot be renamed into a folder of
// it, before anything is swapped.
func (f sideFiles) movable() error {
	device := func(path string) (uint64, error) {
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		return st.Dev, err
	}
	home, err := device(f.dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", f.dir, err)
	}
	entries, err := f.entries(f.dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		if on, err := device(filepath.Join(f.dir, name)); err != nil || on != home {
			return fmt.Errorf("backup: %s is a disk of its own and cannot be moved aside; mount the disk at %s, or set MEDIA_ROOT to an empty directory", filepath.Join(f.dir, name), f.dir)
		}
	}
	return nil
}

// entries lists what is not hidden.
func (f sideFiles) entries(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of files: %w", err)
	}
	var names []string
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// write makes the journal durable.
func (f sideFiles) write(j journal) error {
	raw, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode the journal: %w", err)
	}
	file, err := os.CreateTemp(f.dir, ".restore-*")
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone after the rename
	_, err = file.Write(raw)
	err = errors.Join(err, file.Sync(), file.Close(), giveToOwner(f.dir, file.Name()))
	if err == nil {
		err = errors.Join(os.Rename(file.Name(), filepath.Join(f.dir, journalName)), syncDir(f.dir))
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// read gives the journal of an interrupted swap, if there is one.
func (f sideFiles) read() (j journal, there bool, err error) {
	file, err := os.Open(filepath.Join(f.dir, journalName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return j, false, nil
	}
	if err != nil {
		return j, false, fmt.Errorf("read the journal of a restore: %w", err)
	}
	defer file.Close()
	if err := json.NewDecoder(io.LimitReader(file, maxJournal)).Decode(&j); err != nil {
		return j, false, fmt.Errorf("read the journal of a restore, %s: %w", file.Name(), err)
	}
	if !strings.HasPrefix(j.To, asidePrefix) || (!strings.HasPrefix(j.From, sidePrefix) && !strings.HasPrefix(j.From, asidePrefix)) || strings.ContainsAny(j.To+j.From, "/\\") {
		return j, false, fmt.Errorf("backup: %s makes no sense", file.Name())
	}
	return j, true, nil
}

// forget drops a journal whose swap did not take place, or is done.
func (f sideFiles) forget() error {
	if err := os.Remove(filepath.Join(f.dir, journalName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the journal: %w", err)
	}
	return syncDir(f.dir)
}

// swap moves the current files into j.To and those of j.From to their place.
// It may be begun again at any point.
func (f sideFiles) swap(j journal) error {
	to, from := filepath.Join(f.dir, j.To), filepath.Join(f.dir, j.From)
	if !j.Moved {
		if err := os.Mkdir(to, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("put the old files aside: %w", err)
		}
		if err := errors.Join(giveToOwner(f.dir, to), f.move(f.dir, to)); err != nil {
			return fmt.Errorf("put the old files aside: %w", err)
		}
		j.Moved = true
		if err := f.write(j); err != nil {
			return err
		}
	}
	f.step("files aside")
	if err := f.move(from, f.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put the restored files in their place: %w", err)
	}
	if err := os.RemoveAll(from); err != nil {
		return fmt.Errorf("put the restored files in their place: %w", err)
	}
	return f.forget()
}

// move renames what is not hidden.
func (f sideFiles) move(from, to string) error {
	names, err := f.entries(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
		f.step("file moved")
	}
	return errors.Join(syncDir(to), syncDir(from))
}

// settle ends an interrupted swap: swapped tells whether the databases were.
func (f sideFiles) settle(swapped func(database string) (bool, error)) (done bool, err error) {
	j, there, err := f.read()
	if err != nil || !there {
		return false, err
	}
	yes, err := swapped(j.Database)
	if err != nil {
		return false, err
	}
	if yes {
		return true, f.swap(j)
	}
	return false, f.forget()
}

// clean removes the folders of restores that were killed.
func (f sideFiles) clean() error {
	for _, name := range f.hidden(sidePrefix) {
		if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
			return fmt.Errorf("remove what an earlier restore left: %w", err)
		}
	}
	return nil
}

// hidden lists the folders of a purpose, the oldest first.
func (f sideFiles) hidden(prefix string) []string {
	all, err := os.ReadDir(f.dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range all {
		if strings.HasPrefix(e.Name(), prefix) && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// dropAside removes all files that restores put aside.
func (f sideFiles) dropAside() ([]string, error) {
	dropped := []string{}
	for _, name := range f.hidden(asidePrefix) {
		path := filepath.Join(f.dir, name)
		if err := os.RemoveAll(path); err != nil {
			return dropped, fmt.Errorf("remove the old files: %w", err)
		}
		dropped = append(dropped, path)
	}
	return dropped, nil
}
