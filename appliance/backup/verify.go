package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"selflink/appliance/backup/backupdb"
)

// Verification is what is known of an archive that was found good.
type Verification struct {
	File     string   `json:"file"`
	Bytes    int64    `json:"bytes"`
	SHA256   string   `json:"sha256"`
	Manifest Manifest `json:"manifest"`
	// Restored is whether it was restored and counted. Where the database's
	// role may not make databases it was only read to its end.
	Restored bool    `json:"restored"`
	Reason   string  `json:"reason,omitempty"` // why it was not restored
	Seconds  float64 `json:"seconds"`
}

// How a verification ended, as it is written down.
const (
	outcomeVerified = "verified"
	outcomeChecked  = "checked"
)

// Verify proves an archive: all checksums, then a restore into a scratch
// database, whose rows are counted. The scratch database goes afterwards; one
// that a killed run left is removed by the next. A failure wraps one of this
// package's errors and names what is wrong.
func (k *Keeper) Verify(ctx context.Context, path string) (Verification, error) {
	begin := k.now()
	path, err := filepath.Abs(path)
	if err != nil {
		return Verification{}, fmt.Errorf("the archive's name: %w", err)
	}
	v, err := k.verify(ctx, path)
	v.Seconds = k.now().Sub(begin).Seconds()
	k.recordVerification(ctx, path, v, err)
	if err != nil {
		return v, err
	}
	k.log.Info("verified a backup", "file", path, "restored", v.Restored, "took", k.now().Sub(begin).Round(time.Millisecond).String())
	return v, nil
}

func (k *Keeper) verify(ctx context.Context, path string) (Verification, error) {
	a, err := openArchive(ctx, path, k.opts.Progress)
	if err != nil {
		return Verification{File: path}, err
	}
	defer a.close() //nolint:errcheck // it was only read
	v := Verification{File: path, Bytes: a.bytes, SHA256: a.sha256, Manifest: a.manifest}
	schema, err := k.db.Schema(ctx)
	if err != nil {
		return v, fmt.Errorf("look at this version's schema: %w", err)
	}
	_, direct := k.db.URLs()
	s, err := openSite(ctx, direct, k.db.SuperURL())
	if errors.Is(err, ErrNotAllowed) {
		v.Reason = err.Error()
		return v, k.readOnly(ctx, a, schema.Target)
	}
	if err != nil {
		return v, err
	}
	defer s.close()
	if k.db.SuperURL() != "" {
		s.disk = k.opts.DataDir
	}
	if err := k.trial(ctx, s, a, schema.Target); err != nil {
		return v, err
	}
	v.Restored = true
	return v, nil
}

// trial restores into a scratch database.
func (k *Keeper) trial(ctx context.Context, s *site, a *archive, schema int64) (err error) {
	if err := a.fits(s.major, schema); err != nil {
		return err
	}
	if err := s.clean(ctx); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	if err := s.room(a.manifest); err != nil {
		return err
	}
	restore, err := findTool(ctx, k.opts.BinDir, restoreProgram, s.major)
	if err != nil {
		return err
	}
	name, err := s.make(ctx, forVerify)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.drop(ctx, name)) }()
	return s.fill(ctx, a, restore, name, k.opts.Progress)
}

// readOnly lets pg_restore read the dump to its end without a database.
func (k *Keeper) readOnly(ctx context.Context, a *archive, schema int64) error {
	var number int
	if err := k.db.Direct().QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&number); err != nil {
		return fmt.Errorf("ask the server for its version: %w", err)
	}
	if err := a.fits(number/10000, schema); err != nil {
		return err
	}
	restore, err := findTool(ctx, k.opts.BinDir, restoreProgram, number/10000)
	if err != nil {
		return err
	}
	return pgRestore(ctx, restore, "", func(w io.Writer) error { return a.dump(ctx, w, k.opts.Progress) })
}

// recordVerification writes down how it went, when the archive is one of those
// that the database knows. A failure that says nothing about the archive (an
// interruption, a full disk) is not held against it.
func (k *Keeper) recordVerification(ctx context.Context, path string, v Verification, failed error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	var err error
	switch {
	case failed == nil && v.Restored:
		_, err = k.sql.Verified(ctx, backupdb.VerifiedParams{Outcome: outcomeVerified, Sha256: v.SHA256})
	case failed == nil:
		_, err = k.sql.Verified(ctx, backupdb.VerifiedParams{Outcome: outcomeChecked, Sha256: v.SHA256})
	case errors.Is(failed, ErrDamaged), errors.Is(failed, ErrNotArchive), errors.Is(failed, ErrMismatch), errors.Is(failed, ErrRefused):
		_, err = k.sql.VerifyFailed(ctx, backupdb.VerifyFailedParams{Host: k.host, File: path, Error: keepable(failed)})
	}
	(&record{k: k}).note(err)
}
