package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// objectInUse is Postgres's code for a database that somebody is connected
	// to. It says so after having waited for five seconds.
	objectInUse = "55006"

	// swapTries is how often a swap is tried: a session that just came may be
	// one of our own.
	swapTries = 3
)

// isEmpty reports whether the current database holds nothing at all.
func (h *held) isEmpty(ctx context.Context) (empty bool, err error) {
	err = h.server.Direct().QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%')`).Scan(&empty)
	if err != nil {
		return false, fmt.Errorf("look whether the database is empty: %w", err)
	}
	return empty, nil
}

// swap gives the current database another name and its own to fresh. Both
// renames are one transaction, so there is always a database of that name.
// files, if there are any, are written down to be swapped with them.
func (h *held) swap(ctx context.Context, fresh string, files *journal) (old string, err error) {
	old = h.site.newName(aside)
	if files != nil {
		files.Database, files.To = old, asideFolder(old)
		if err := h.files.write(*files); err != nil {
			return "", err
		}
		h.step("journal")
	}
	for range swapTries {
		if err := h.alone(ctx); err != nil {
			return "", err
		}
		if err := h.endOwn(ctx, h.site.name, fresh); err != nil {
			return "", err
		}
		err = pgx.BeginFunc(ctx, h.site.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "ALTER DATABASE "+quote(h.site.name)+" RENAME TO "+quote(old)); err != nil {
				return err
			}
			h.step("renaming")
			_, err := tx.Exec(ctx, "ALTER DATABASE "+quote(fresh)+" RENAME TO "+quote(h.site.name))
			return err
		})
		if err == nil {
			return old, nil
		}
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != objectInUse {
			return "", fmt.Errorf("swap the databases: %w", err)
		}
	}
	return "", fmt.Errorf("%w: %w", ErrInUse, err)
}

// endOwn ends the sessions in some databases: of a managed cluster all, of an
// external one those of this process.
func (h *held) endOwn(ctx context.Context, names ...string) error {
	_, err := h.site.conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = ANY ($1) AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND ($2 OR application_name = $3)`,
		names, h.server.SuperURL() != "", h.app)
	if err != nil {
		return fmt.Errorf("end our own sessions: %w", err)
	}
	return nil
}

// giveUp forgets a swap of files that did not come about. When the connection
// broke it may have; then the journal stays, and the next start finds out.
func (h *held) giveUp(ctx context.Context, files *journal) error {
	if files == nil || h.site.conn.IsClosed() {
		return nil
	}
	return h.settle(ctx)
}

// dropAside drops all databases and files that restores put aside.
func (h *held) dropAside(ctx context.Context, out *Restored) error {
	names, err := h.site.named(ctx, aside)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := h.site.drop(ctx, name); err != nil {
			return err
		}
		out.Dropped = append(out.Dropped, name)
	}
	if h.MediaDir != "" {
		out.FilesDropped, err = h.files.dropAside()
	}
	return err
}

// Undo swaps the database with the one that the last restore put aside. Doing
// it again swaps them back.
func (r *Restorer) Undo(ctx context.Context) (out Restored, err error) {
	begin := time.Now()
	h, err := r.hold(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, h.release()) }()
	out = Restored{Database: h.site.name, Dropped: []string{}, Secrets: []string{}, Kept: []string{}}
	names, err := h.site.named(ctx, aside)
	if err != nil {
		return out, err
	}
	if len(names) == 0 {
		return out, ErrNothingAside
	}
	if err := h.forgetBroker(); err != nil {
		return out, err
	}
	// The files that went aside with it come back with it.
	last := names[len(names)-1]
	var files *journal
	if h.MediaDir != "" && slices.Contains(h.files.hidden(asidePrefix), asideFolder(last)) {
		files = &journal{From: asideFolder(last)}
		if err := h.files.movable(); err != nil {
			return out, err
		}
	}
	if out.Aside, err = h.swap(ctx, last, files); err != nil {
		return out, errors.Join(err, h.giveUp(ctx, files))
	}
	h.step("swapped")
	if err := h.swapFiles(files, &out); err != nil {
		return out, err
	}
	out.Seconds = time.Since(begin).Seconds()
	return out, nil
}

// DropOld drops everything that restores put aside.
func (r *Restorer) DropOld(ctx context.Context) (out Restored, err error) {
	h, err := r.hold(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, h.release()) }()
	out = Restored{Database: h.site.name, Dropped: []string{}, Secrets: []string{}, Kept: []string{}}
	return out, h.dropAside(ctx, &out)
}
