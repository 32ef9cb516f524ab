package media

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/storage"
	"selflink/services/media/mediadb"
)

const (
	// sampleSize is how many files one look takes from the newest, and as many
	// from somewhere among all.
	sampleSize = 25

	// examineTime bounds one look: fifty questions to a slow server.
	examineTime = 30 * time.Second

	// faultsMost is how many faults are named.
	faultsMost = 10
)

// CheckMissing is the code of the health check that fails when the last look at
// a sample found a file missing.
const CheckMissing = "storage.missing"

// ErrExamining means that a look is under way on this node.
var ErrExamining = errors.New("media: the storage is being checked")

func noRows(err error) bool { return database.IsNoRows(err) }

// Examined is what a look at a sample of files found.
type Examined struct {
	Looked    int         `json:"looked"`
	Missing   int         `json:"missing"`    // there is a row and no file
	WrongSize int         `json:"wrong_size"` // the file has another size than its row says
	Faults    []FileFault `json:"faults"`     // the first ten
}

// FileFault is one file that is not as it should be.
type FileFault struct {
	Key  string `json:"key"`
	What string `json:"what"`
}

// Examine tries the storage, and looks whether a sample of the files that the
// database names is there: the newest, and as many from a moment that chance
// chooses. It reads no contents. What it found is kept for the dashboard, and
// told by the check [CheckMissing]. The error says why it did not come to its
// end.
func (s *Service) Examine(ctx context.Context) (Examined, error) {
	if !s.examining.TryLock() {
		return Examined{Faults: []FileFault{}}, ErrExamining
	}
	defer s.examining.Unlock()
	began := s.now()
	limited, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	out, err := s.examine(limited)
	if noted := s.note(ctx, reportCheck, began, out, err); noted != nil && err == nil {
		err = noted
	}
	return out, err
}

func (s *Service) examine(ctx context.Context) (Examined, error) {
	out := Examined{Faults: []FileFault{}}
	if err := s.Storage.Check(ctx); err != nil {
		return out, err
	}
	sample, err := s.sample(ctx)
	if err != nil {
		return out, fmt.Errorf("choose files: %w", err)
	}
	for key, size := range sample {
		out.Looked++
		info, err := s.Storage.Stat(ctx, key)
		missing := errors.Is(err, storage.ErrNotFound)
		if err != nil && !missing {
			return out, err
		}
		if !missing && info.Size == size {
			continue
		}
		// It may have been given up since it was chosen.
		needed, err := s.q.StillNeeded(ctx, key)
		if err != nil {
			return out, fmt.Errorf("look for a file's row: %w", err)
		}
		if !needed {
			continue
		}
		fault := FileFault{key, "missing"}
		if missing {
			out.Missing++
		} else {
			out.WrongSize++
			fault.What = fmt.Sprintf("has %d bytes instead of %d", info.Size, size)
		}
		if len(out.Faults) < faultsMost {
			out.Faults = append(out.Faults, fault)
		}
	}
	return out, nil
}

// sample gives some files with the sizes that the database knows.
func (s *Service) sample(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	newest, err := s.q.Latest(ctx, sampleSize)
	if err != nil {
		return nil, err
	}
	for _, f := range newest {
		out[f.Key] = f.Size
	}
	first, err := s.q.FirstFile(ctx)
	if noRows(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	since := first
	if span := s.Clock().Sub(first); span > 0 {
		since = first.Add(rand.N(span)) //nolint:gosec // chance, not a secret
	}
	older, err := s.q.Sample(ctx, mediadb.SampleParams{Since: since, Most: sampleSize})
	if err != nil {
		return nil, err
	}
	for _, f := range older {
		out[f.Key] = f.Size
	}
	return out, nil
}

// HealthChecks watch what was found of the files.
func (s *Service) HealthChecks() []health.Check {
	return []health.Check{{
		Code: CheckMissing, Title: "Files are missing", Severity: health.High, Private: true,
		Impact:    "People see pictures and videos that do not load.",
		Remedy:    "See which on the dashboard's page Storage, and put them back from a backup or from the bucket's older versions. Then look again there, or: selflink schedule run media.check",
		DependsOn: []string{"database", storage.CheckCode}, Every: time.Minute,
		Run: func(ctx context.Context) error {
			var found Examined
			if r, err := s.report(ctx, reportCheck, &found); r == nil || err != nil {
				return err
			}
			if found.Missing+found.WrongSize == 0 {
				return nil
			}
			return fmt.Errorf("of %d files that were looked at, %d are missing and %d have a wrong size", found.Looked, found.Missing, found.WrongSize)
		},
	}}
}
