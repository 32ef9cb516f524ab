package media

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/storage"
	"selflink/services/media/mediadb"
)

const (
	// releasedFor is how long a file outlives the row that named it. It is
	// longer than a backup may take, so that an archive has every file that its
	// snapshot of the database names.
	releasedFor = 48 * time.Hour

	// orphanAge is how old a file without a row has to be: no upload takes
	// longer between its file and its row.
	orphanAge = 24 * time.Hour

	sweepBatch = 500
)

// Swept counts what a sweep removed.
type Swept struct {
	Released   int `json:"released"`   // files that nobody needed any more
	Orphans    int `json:"orphans"`    // files that never got a row
	Unfinished int `json:"unfinished"` // of uploads that were cut off
}

// errKept says that a database was put aside.
var errKept = errors.New("a restore put a database aside that may know them")

// Sweep removes files that nobody needs, and notes what it removed. Interrupted,
// it is gone on with by the next.
func (s *Service) Sweep(ctx context.Context) (Swept, error) {
	began := s.now()
	out, err := s.sweep(ctx)
	if noted := s.note(ctx, reportSweep, began, out, err); noted != nil && err == nil {
		err = noted
	}
	return out, err
}

func (s *Service) sweep(ctx context.Context) (out Swept, err error) {
	now := s.Clock()
	if out.Released, err = s.sweepReleased(ctx, now.Add(-releasedFor)); err != nil {
		return out, fmt.Errorf("sweep released files: %w", err)
	}
	if out.Unfinished, err = s.Storage.Sweep(ctx, now.Add(-orphanAge)); err != nil {
		return out, fmt.Errorf("sweep unfinished files: %w", err)
	}
	if err = s.q.LapseGrants(ctx); err != nil {
		return out, fmt.Errorf("sweep old permissions: %w", err)
	}
	out.Orphans, err = s.sweepOrphans(ctx, now.Add(-orphanAge))
	if errors.Is(err, errKept) {
		s.Log.Info("files without a row stay", "reason", errKept.Error())
		err = nil
	}
	if err != nil {
		return out, fmt.Errorf("sweep orphans: %w", err)
	}
	if out != (Swept{}) {
		s.Log.Info("swept files", "released", out.Released, "orphans", out.Orphans, "unfinished", out.Unfinished)
	}
	return out, nil
}

// sweepReleased removes the row before the file: what is left of an
// interruption is a file without a row.
func (s *Service) sweepReleased(ctx context.Context, before time.Time) (n int, err error) {
	for {
		keys, err := s.q.Released(ctx, mediadb.ReleasedParams{Before: before, Most: sweepBatch})
		if err != nil || len(keys) == 0 {
			return n, err
		}
		for _, key := range keys {
			if err := s.q.ForgetFile(ctx, key); err != nil {
				return n, err
			}
			if err := s.Storage.Delete(ctx, key); err != nil {
				return n, err
			}
			n++
		}
	}
}

// sweepOrphans removes files of our own making that no row names. The database
// that a restore put aside names files too, which --undo needs again.
func (s *Service) sweepOrphans(ctx context.Context, before time.Time) (n int, err error) {
	var kept bool
	if err := s.DB.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname LIKE '%\_before\_restore\_%')`).Scan(&kept); err != nil {
		return 0, err
	}
	if kept {
		return 0, errKept
	}
	var old []string
	flush := func() error {
		if len(old) == 0 {
			return nil
		}
		known, err := s.q.Known(ctx, old)
		if err != nil {
			return err
		}
		named := make(map[string]bool, len(known))
		for _, key := range known {
			named[key] = true
		}
		for _, key := range old {
			if named[key] {
				continue
			}
			if err := s.Storage.Delete(ctx, key); err != nil {
				return err
			}
			n++
		}
		old = old[:0]
		return nil
	}
	err = storage.Walk(ctx, s.Storage, "", "", func(info storage.Info) error {
		if !storage.Own(info.Key) || !info.Modified.Before(before) {
			return nil
		}
		if old = append(old, info.Key); len(old) == sweepBatch {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	return n, err
}
