package media

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"selflink/appliance/dashboard"
	"selflink/appliance/httpapi"
	"selflink/appliance/storage"
	"selflink/services/media/mediadb"
)

const (
	// dashboardPeriod is how often the page of the storage is looked at while
	// somebody watches it.
	dashboardPeriod = 5 * time.Second

	// sweepSchedule is the schedule that the page may fire.
	sweepSchedule = "media.sweep"
)

// counts are what takes long to count.
type counts struct {
	files      dashboard.Counted[FileCounts]
	unfinished dashboard.Counted[storage.Unfinished]
}

// FileCounts are all files and assets that the database knows.
type FileCounts struct {
	Files  int64         `json:"files"`
	Bytes  int64         `json:"bytes"`
	Kinds  []KindCount   `json:"kinds"`  // the largest first, at most 100
	Assets []StatusCount `json:"assets"` // by status
}

// KindCount counts the files of a folder and a media type.
type KindCount struct {
	Folder   string `json:"folder"`
	Mime     string `json:"mime"`
	Files    int64  `json:"files"`
	Bytes    int64  `json:"bytes"`
	Released int64  `json:"released" doc:"Of them nobody needs any more: the sweep takes them two days later."`
}

// StatusCount counts assets.
type StatusCount struct {
	Status    string `json:"status"`
	Elsewhere bool   `json:"elsewhere" doc:"They describe files that are not kept here."`
	Assets    int64  `json:"assets"`
}

// Uploads is what became of uploads on this node.
type Uploads struct {
	Since    time.Time           `json:"since" doc:"Since when it counts: the start of this process. Older than a day is left out."`
	UnderWay int                 `json:"under_way"`
	AtOnce   int                 `json:"at_once" doc:"More are refused, to come again."`
	Day      []dashboard.Tallied `json:"day" doc:"By what became of them: taken, or why not."`
}

// SweepReport is what the last sweep removed.
type SweepReport struct {
	Reported
	Swept
}

// CheckReport is what the last look at a sample found.
type CheckReport struct {
	Reported
	Examined
}

// Insight is what people see of the storage. It marshals to what the dashboard
// answers. What is nil is not known.
type Insight struct {
	Backend    string                    `json:"backend" enum:"local,s3"`
	Place      string                    `json:"place" doc:"The directory, or the address and the bucket."`
	Served     bool                      `json:"served" doc:"This process answers /media/."`
	MaxUpload  int64                     `json:"max_upload_bytes"`
	Checks     []dashboard.OverviewCheck `json:"checks"`
	Disk       *storage.Space            `json:"disk" doc:"Null for a bucket."`
	Counts     *FileCounts               `json:"counts" doc:"Null when there are too many to count in time."`
	CountedAt  *time.Time                `json:"counted_at"`
	Estimated  *int64                    `json:"estimated_files" doc:"About how many files there are, where they are not counted."`
	Unfinished *storage.Unfinished       `json:"unfinished"`
	Granted    int64                     `json:"granted" doc:"Uploads that clients may make into the bucket by themselves and have not reported; at most 1000 are counted."`
	Uploads    Uploads                   `json:"uploads"`
	Sweep      *SweepReport              `json:"last_sweep"`
	Check      *CheckReport              `json:"last_check"`
	Schedule   string                    `json:"sweep_schedule" doc:"Name of the schedule that sweeps."`
}

// Insight tells how the storage is. It fails when the database cannot be asked;
// of a storage that does not answer the checks tell.
func (s *Service) Insight(ctx context.Context) (out Insight, err error) {
	out = Insight{
		Backend: s.Storage.Backend(), Place: s.Storage.Place(), Served: s.Serve, MaxUpload: s.MaxUpload,
		Checks: []dashboard.OverviewCheck{}, Schedule: sweepSchedule,
		Uploads: Uploads{s.told.day.Began(), len(s.slots), cap(s.slots), s.told.day.Day()},
	}
	if local, ok := s.Storage.(interface {
		Space() (*storage.Space, error)
	}); ok {
		if out.Disk, err = local.Space(); err != nil {
			out.Disk = nil // the check of the storage says why
		}
	}
	if out.Counts, out.CountedAt, err = s.counts.files.Get(ctx, s.countFiles); err != nil {
		return out, err
	}
	if out.Counts == nil {
		if out.Estimated, err = dashboard.Estimate(ctx, s.DB, "media_files"); err != nil {
			return out, err
		}
	}
	if some, ok := s.Storage.(interface {
		Unfinished(ctx context.Context) (storage.Unfinished, error)
	}); ok {
		if out.Unfinished, _, err = s.counts.unfinished.Get(ctx, some.Unfinished); err != nil {
			if ctx.Err() != nil {
				return out, err
			}
			out.Unfinished = nil // as above
		}
	}
	if out.Granted, err = s.q.OpenGrants(ctx); err != nil {
		return out, fmt.Errorf("count permissions: %w", err)
	}
	return out, s.reports(ctx, &out)
}

func (s *Service) reports(ctx context.Context, out *Insight) error {
	var swept Swept
	at, err := s.report(ctx, reportSweep, &swept)
	if err != nil {
		return err
	}
	if at != nil {
		out.Sweep = &SweepReport{*at, swept}
	}
	found := Examined{Faults: []FileFault{}}
	if at, err = s.report(ctx, reportCheck, &found); err != nil {
		return err
	}
	if at != nil {
		out.Check = &CheckReport{*at, found}
	}
	return nil
}

func (s *Service) countFiles(ctx context.Context) (out FileCounts, err error) {
	files, err := s.q.CountFiles(ctx)
	if err != nil {
		return out, fmt.Errorf("count files: %w", err)
	}
	out.Kinds, out.Assets = make([]KindCount, 0, len(files)), []StatusCount{}
	for _, f := range files {
		out.Files += f.Files
		out.Bytes += f.Bytes
		out.Kinds = append(out.Kinds, KindCount(f))
	}
	assets, err := s.q.CountAssets(ctx)
	if err != nil {
		return out, fmt.Errorf("count assets: %w", err)
	}
	for _, a := range assets {
		out.Assets = append(out.Assets, StatusCount(a))
	}
	return out, nil
}

// KeptFile is one file of the list.
type KeptFile struct {
	Key       string     `json:"key"`
	Owner     *string    `json:"owner_id"`
	Mime      string     `json:"mime"`
	Size      int64      `json:"bytes"`
	Width     *int32     `json:"width"`
	Height    *int32     `json:"height"`
	CreatedAt time.Time  `json:"created_at"`
	Released  *time.Time `json:"released_at" doc:"When nobody needed it any more."`
}

// Newest lists the files, the newest first.
func (s *Service) Newest(ctx context.Context, in dashboard.PageInput) (dashboard.List[KeptFile], error) {
	place, err := in.Place()
	if err != nil {
		return dashboard.List[KeptFile]{}, err
	}
	rows, err := s.q.NewestFiles(ctx, mediadb.NewestFilesParams{At: place.At, AfterKey: place.Key, Most: int32(in.Size()) + 1}) //nolint:gosec // at most 200
	if err != nil {
		return dashboard.List[KeptFile]{}, fmt.Errorf("list files: %w", err)
	}
	return dashboard.ListOf(rows, in.Size(), func(r mediadb.NewestFilesRow) string { return dashboard.Place{At: r.CreatedAt, Key: r.Key}.Cursor() },
		func(r mediadb.NewestFilesRow) KeptFile {
			f := KeptFile{Key: r.Key, Mime: r.Mime, Size: r.Size, Width: r.Width, Height: r.Height, CreatedAt: r.CreatedAt.UTC()}
			if r.ReleasedAt != nil {
				at := r.ReleasedAt.UTC()
				f.Released = &at
			}
			if r.OwnerID != nil {
				id := strconv.FormatInt(*r.OwnerID, 10)
				f.Owner = &id
			}
			return f
		}), nil
}

// RegisterDashboard adds the page of the storage to the dashboard.
func (s *Service) RegisterDashboard(d *dashboard.Desk) {
	look := func(ctx context.Context) (Insight, error) {
		out, err := s.Insight(ctx)
		out.Checks = d.Checks("storage")
		return out, err
	}
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "storage", ID: "storage", Summary: "Where files are kept, how many, and whether that works."},
		func(ctx context.Context, _ *struct{}) (Insight, error) { return look(ctx) })
	d.Topic("storage", dashboardPeriod, func(ctx context.Context) (any, error) { return look(ctx) })
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "storage/files", ID: "storage_files", Summary: "Files that were uploaded, the newest first."},
		func(ctx context.Context, in *dashboard.PageInput) (dashboard.List[KeptFile], error) {
			return s.Newest(ctx, *in)
		})
	dashboard.Handle(d, dashboard.Operation{
		Method: http.MethodPost, Path: "storage/check", ID: "storage_check", Acts: true, Timeout: examineTime + dashboardPeriod,
		Summary: "Try the storage, and look whether a sample of files is there.", Errors: []int{409, 502},
	}, func(ctx context.Context, _ *struct{}) (Examined, error) {
		var out Examined
		err := d.Act(ctx, dashboard.Deed{Action: "storage.check", ObjectType: "storage", ObjectID: s.Storage.Backend()}, func() (err error) {
			out, err = s.Examine(ctx)
			return err
		})
		switch {
		case errors.Is(err, ErrExamining):
			return out, httpapi.Detail(http.StatusConflict, "It is being checked already.")
		case errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrFull), errors.Is(err, context.DeadlineExceeded):
			return out, httpapi.Detail(http.StatusBadGateway, "The storage did not work: "+err.Error())
		}
		return out, err
	})
}
