package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/backup/backupdb"
)

const (
	// staleAge is the age of the newest good backup at which the health check
	// warns: one night was missed and half a day has passed.
	staleAge = 36 * time.Hour

	// historyAge is how long rows of backups are kept.
	historyAge = 400 * 24 * time.Hour

	// NightlyTimeout bounds one night's work.
	NightlyTimeout = 6 * time.Hour
)

// Nightly makes an archive in the keeper's directory, verifies it, and removes
// old ones. Old archives go only when the new one was made, and never the
// newest of those that were found good.
func (k *Keeper) Nightly(ctx context.Context) error {
	made, err := k.Create(ctx, Request{})
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	_, err = k.Verify(ctx, made.File)
	if err != nil {
		err = fmt.Errorf("verify %s: %w", made.File, err)
	}
	return errors.Join(err, k.Retain(ctx))
}

// Retain removes the oldest archives of the keeper's directory until the
// wanted number is left. Only files whose names were made up here count.
func (k *Keeper) Retain(ctx context.Context) error {
	entries, err := os.ReadDir(k.opts.Dir)
	if err != nil {
		return fmt.Errorf("look for old archives: %w", err)
	}
	var files []string
	for _, e := range entries {
		if _, ok := ownName(e.Name()); ok && e.Type().IsRegular() {
			files = append(files, filepath.Join(k.opts.Dir, e.Name()))
		}
	}
	if len(files) > k.opts.Keep {
		slices.Sort(files) // by time, which is all that differs
		good, err := k.sql.NewestVerified(ctx, backupdb.NewestVerifiedParams{Host: k.host, Files: files})
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("look for the newest good archive: %w", err)
		}
		for _, path := range files[:len(files)-k.opts.Keep] {
			if path == good {
				continue
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove an old archive: %w", err)
			}
			k.log.Info("removed an old backup", "file", path)
		}
	}
	if _, err := k.sql.Forget(ctx, k.now().Add(-historyAge)); err != nil {
		return fmt.Errorf("forget old backups: %w", err)
	}
	return nil
}

// check is the health check: a good backup is not older than staleAge.
func (k *Keeper) check(ctx context.Context) error {
	newest, err := k.sql.NewestGood(ctx)
	if err == nil {
		if age := k.now().Sub(newest); age > staleAge {
			return fmt.Errorf("the newest verified backup is %d hours old; see why with:  selflink backup list", int(age.Hours()))
		}
		return nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	// Since the schema last changed there could have been one.
	var since time.Time
	if err := k.db.Pool().QueryRow(ctx, "SELECT max(tstamp)::timestamptz FROM goose_db_version").Scan(&since); err != nil {
		return err
	}
	if k.now().Sub(since) > staleAge {
		return errors.New("there is no verified backup; see why with:  selflink backup list, or make one:  selflink backup")
	}
	return nil
}

// Entry is one backup that was made or tried.
type Entry struct {
	Host          string     `json:"host"`
	File          string     `json:"file"`
	Missing       bool       `json:"missing"` // made on this host and gone from here
	StartedAt     time.Time  `json:"started_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	Outcome       string     `json:"outcome"` // running, succeeded or failed
	Error         string     `json:"error,omitempty"`
	Bytes         int64      `json:"bytes"`
	SHA256        string     `json:"sha256,omitempty"`
	VerifiedAt    *time.Time `json:"verified_at"`
	VerifyOutcome string     `json:"verify_outcome,omitempty"` // verified, checked or failed
	VerifyError   string     `json:"verify_error,omitempty"`
}

// List returns up to most backups, the newest first.
func (k *Keeper) List(ctx context.Context, most int) ([]Entry, error) {
	rows, err := k.sql.List(ctx, int32(min(most, 1000))) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list the backups: %w", err)
	}
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	out := make([]Entry, len(rows))
	for i, r := range rows {
		out[i] = Entry{
			Host: r.Host, File: r.File, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Outcome: r.Outcome, Error: text(r.Error),
			SHA256: text(r.Sha256), VerifiedAt: r.VerifiedAt, VerifyOutcome: text(r.VerifyOutcome), VerifyError: text(r.VerifyError),
		}
		if r.Bytes != nil {
			out[i].Bytes = *r.Bytes
		}
		if r.Host == k.host && r.Outcome == "succeeded" {
			_, err := os.Stat(r.File)
			out[i].Missing = errors.Is(err, fs.ErrNotExist)
		}
	}
	return out, nil
}
