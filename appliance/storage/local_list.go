package storage

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// List implements [Store]. Directories that hold nothing of the page are not
// read.
func (l *Local) List(ctx context.Context, prefix, after string, limit int) ([]Info, error) {
	root, err := l.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, diskError("list the files", err)
	}
	w := lister{ctx: ctx, files: root.FS(), prefix: prefix, after: after, limit: limit}
	if err := w.walk("."); err != nil && !errors.Is(err, errEnough) {
		return nil, diskError("list the files", err)
	}
	return w.found, nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

type lister struct {
	ctx           context.Context
	files         fs.FS
	prefix, after string
	limit         int
	found         []Info
}

// walk visits a directory in the order of the keys' bytes, in which "a-b"
// comes before "a/b".
func (w *lister) walk(dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := fs.ReadDir(w.files, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // just gone
	}
	if err != nil {
		return err
	}
	order := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(order(a), order(b)) })
	for _, e := range entries {
		key := path.Join(dir, e.Name())
		switch {
		case CheckKey(key) != nil:
		case e.IsDir():
			below := key + "/"
			// All keys below come before after when it lies beyond them.
			if (below < w.after && !strings.HasPrefix(w.after, below)) || (!strings.HasPrefix(below, w.prefix) && !strings.HasPrefix(w.prefix, below)) {
				continue
			}
			if err := w.walk(key); err != nil {
				return err
			}
		case e.Type().IsRegular() && key > w.after && strings.HasPrefix(key, w.prefix):
			if len(w.found) >= w.limit {
				return errEnough
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			w.found = append(w.found, Info{Key: key, Size: info.Size(), Modified: info.ModTime().UTC()})
		}
	}
	return nil
}
