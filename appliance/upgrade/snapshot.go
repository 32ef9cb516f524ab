package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"selflink/appliance/backup"
	"selflink/appliance/database"
)

const (
	clusterName = "cluster" // in the directory of an upgrade
	archiveName = "database" + backup.Suffix
	// markPrefix begins the name of the file that tells a copy from its
	// original; the id of the upgrade follows. Postgres takes no notice of it.
	markPrefix = "selflink_snapshot_"

	// headroom is what stays free on the disk beside a snapshot, for what the
	// migrations write.
	headroom = 256 << 20

	// syncWorkers flush files at the same time: the file system's journal then
	// commits many at once.
	syncWorkers = 32
	// piece is copied between two looks whether to go on.
	piece = 8 << 20
)

// copying is the stage that progress is told of.
const copying backup.Stage = "copying the database"

// take makes the snapshot of u. An archive is made by the caller's own server,
// a copy while that server is stopped.
func (k *Keeper) take(ctx context.Context, db *database.Server, id string, kind Kind) (Snapshot, error) {
	begin := k.now()
	partial, whole := filepath.Join(k.dir, id+partialSuffix), filepath.Join(k.dir, id)
	if err := os.Mkdir(partial, 0o700); err != nil {
		return Snapshot{}, fmt.Errorf("make room for the snapshot: %w", err)
	}
	if err := k.giveToOwner(partial); err != nil {
		return Snapshot{}, err
	}
	out := Snapshot{Kind: kind, At: begin.UTC()}
	var name string
	var err error
	if kind == Cluster {
		name = clusterName
		err = db.WhileStopped(ctx, func(cluster string) (err error) {
			out.Bytes, err = k.copyCluster(ctx, cluster, filepath.Join(partial, name), id)
			return err
		})
	} else {
		name = archiveName
		out.Bytes, err = k.archive(ctx, db, filepath.Join(partial, name))
	}
	if err != nil {
		return out, errors.Join(fmt.Errorf("take a snapshot: %w", err), os.RemoveAll(partial))
	}
	k.opts.step("copied")
	if err := errors.Join(os.Rename(partial, whole), syncPath(k.dir)); err != nil {
		return out, fmt.Errorf("take a snapshot: %w", err)
	}
	out.Path, out.Seconds = filepath.Join(whole, name), k.now().Sub(begin).Seconds()
	k.log.Info("a snapshot is made", "path", out.Path, "kind", out.Kind, "bytes", out.Bytes, "took", k.now().Sub(begin).Round(time.Millisecond).String())
	return out, nil
}

// archive makes an archive of the database alone.
func (k *Keeper) archive(ctx context.Context, db *database.Server, path string) (int64, error) {
	keeper, err := backup.New(backup.Options{
		Database: db, BinDir: k.opts.Database.BinDir, DataDir: k.opts.DataDir, Build: backup.Build(k.opts.Build),
		Logger: k.opts.Logger, Progress: k.opts.Progress,
	})
	if err != nil {
		return 0, err
	}
	made, err := keeper.Create(ctx, backup.Request{Output: path})
	if err != nil {
		return 0, err
	}
	return made.Bytes, k.giveToOwner(path)
}

// kind chooses how a snapshot is made, and says why it is no copy.
func (k *Keeper) kind(supervised bool) (kind Kind, because string) {
	switch {
	case k.external():
		return Archive, "the database is an external one"
	case !supervised:
		return Archive, "the server is running"
	}
	cluster := database.ClusterDir(k.opts.DataDir)
	var data, root unix.Stat_t
	if err := errors.Join(unix.Stat(k.opts.DataDir, &data), unix.Lstat(cluster, &root)); err != nil {
		return Archive, err.Error()
	}
	if data.Dev != root.Dev {
		return Archive, cluster + " is on a file system of its own"
	}
	if link, err := oddFile(cluster); err != nil {
		return Archive, err.Error()
	} else if link != "" {
		return Archive, link + " is neither a file nor a directory"
	}
	if err := k.tryExchange(); err != nil {
		return Archive, "two names cannot be exchanged: " + err.Error()
	}
	return Cluster, ""
}

// oddFile names something in a cluster that a copy would not hold: a tablespace
// or a log elsewhere.
func oddFile(cluster string) (odd string, err error) {
	err = filepath.WalkDir(cluster, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			odd = path
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("look at the cluster: %w", err)
	}
	return odd, nil
}

// tryExchange finds out whether this file system can exchange two names in one
// step. Without that, a rollback would have a moment without a database.
func (k *Keeper) tryExchange() error {
	if err := k.makeDir(); err != nil {
		return err
	}
	var names [2]string
	for i := range names {
		dir, err := os.MkdirTemp(k.dir, ".try-*")
		if err != nil {
			return err
		}
		defer os.Remove(dir) //nolint:errcheck // an empty directory
		names[i] = dir
	}
	return exchange(names[0], names[1])
}

// exchange swaps two names in one step.
func exchange(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("exchange %s and %s: %w", a, b, err)
	}
	return errors.Join(syncPath(filepath.Dir(a)), syncPath(filepath.Dir(b)))
}

// treeSize is the space that the files below a directory take.
func treeSize(root string) (bytes int64, err error) {
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a running Postgres removes files
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", root, err)
	}
	return bytes, nil
}

// freeSpace is what may be written to the disk of a directory.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:gosec // a disk's size
}

// copyCluster copies a stopped cluster with owners and modes, marks the copy
// and flushes it. Blocks are shared where the file system can.
func (k *Keeper) copyCluster(ctx context.Context, from, to, id string) (int64, error) {
	total, err := treeSize(from)
	if err != nil {
		return 0, err
	}
	k.log.Info("copying the database before the upgrade", "bytes", total)
	var done int64
	said := k.now()
	progress := func(n int64) error {
		done += n
		k.opts.Progress(backup.Progress{Stage: copying, Bytes: done, Total: total})
		if now := k.now(); now.Sub(said) >= logEvery {
			said = now
			k.log.Info("copying the database", "bytes", done, "of", total)
		}
		return ctx.Err()
	}
	var made []string
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		info, err := d.Info()
		if err != nil {
			return err
		}
		made = append(made, target)
		if d.IsDir() {
			return errors.Join(os.Mkdir(target, 0o700), ownLike(target, info))
		}
		k.opts.step("file")
		return copyFile(path, target, info, progress)
	})
	if err != nil {
		return done, fmt.Errorf("copy the database: %w", err)
	}
	if err := k.mark(to, id); err != nil {
		return done, err
	}
	return done, k.opts.flush(append(made, filepath.Join(to, markPrefix+id), filepath.Dir(to)))
}

// logEvery is the time between two lines of the log about a copy.
const logEvery = 5 * time.Second

// ownLike gives path the mode and, for root, the owner of info.
func ownLike(path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("hand %s to its owner: %w", path, err)
		}
	}
	mode := info.Mode().Perm()
	if !info.IsDir() {
		mode &^= 0o111
	}
	return os.Chmod(path, mode)
}

// copyFile copies one file; progress may end it.
func copyFile(from, to string, info fs.FileInfo, progress func(int64) error) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return errors.Join(ownLike(to, info), progress(info.Size()))
	}
	for {
		n, err := io.CopyN(out, in, piece) // in the kernel, where it can
		if stop := progress(n); stop != nil {
			return stop
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return ownLike(to, info)
}

// flush makes files and directories durable.
func flush(paths []string) error {
	var group errgroup.Group
	group.SetLimit(syncWorkers)
	for _, path := range paths {
		group.Go(func() error { return syncPath(path) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("flush the copy: %w", err)
	}
	return nil
}
