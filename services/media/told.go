package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/dashboard"
	"selflink/appliance/storage"
	"selflink/services/media/mediadb"
)

// errBusy means that too many uploads are under way.
var errBusy = errors.New("media: too many uploads at once")

// What becomes of uploads.
const (
	outcomeTaken       = "taken"
	outcomeBusy        = "busy"
	outcomeFull        = "full"
	outcomeUnavailable = "unavailable"
	outcomeInterrupted = "interrupted"
	outcomeFailed      = "failed"
)

// told remembers what became of uploads on this node.
type told struct {
	day   *dashboard.Tally
	total *prometheus.CounterVec
}

func newTold(clock func() time.Time, metrics prometheus.Registerer) (*told, error) {
	t := &told{dashboard.NewTally(clock), prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "selflink_media_uploads_total", Help: "Files that were taken in or refused.",
	}, []string{"outcome"})}
	if metrics != nil {
		if err := metrics.Register(t.total); err != nil {
			return nil, fmt.Errorf("media: register metrics: %w", err)
		}
	}
	return t, nil
}

func (t *told) upload(ctx context.Context, err error) {
	name := outcome(ctx, err)
	t.day.Note(name)
	t.total.WithLabelValues(name).Inc()
}

// outcome names what became of an upload.
func outcome(ctx context.Context, err error) string {
	var refused Refusal
	switch {
	case err == nil:
		return outcomeTaken
	case errors.As(err, &refused):
		switch refused {
		case ErrType:
			return "type"
		case ErrImage:
			return "image"
		case ErrPixels:
			return "pixels"
		case ErrTooBig:
			return "too_big"
		case ErrEmpty:
			return "empty"
		}
		return "refused"
	case errors.Is(err, errBusy):
		return outcomeBusy
	case errors.Is(err, storage.ErrFull):
		return outcomeFull
	case ctx.Err() != nil:
		return outcomeInterrupted
	case errors.Is(err, storage.ErrUnavailable):
		return outcomeUnavailable
	}
	// What is left is a body that did not come to its end, or a fault here.
	return outcomeFailed
}

// The reports that are kept, the last of each.
const (
	reportSweep = "sweep"
	reportCheck = "check"
)

// noteTime bounds the note of a report, which is made also when who asked for
// the work has gone.
const noteTime = 5 * time.Second

// note keeps a report in place of the one before.
func (s *Service) note(ctx context.Context, kind string, began time.Time, found any, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	raw, err := json.Marshal(found)
	if err != nil {
		return fmt.Errorf("encode the report of a %s: %w", kind, err)
	}
	p := mediadb.PutReportParams{Kind: kind, StartedAt: began, FinishedAt: s.now(), Found: raw}
	if failure != nil {
		p.Error = failure.Error()
	}
	if err := s.q.PutReport(ctx, p); err != nil {
		return fmt.Errorf("keep the report of a %s: %w", kind, err)
	}
	return nil
}

// Reported is when something was done last and how it ended.
type Reported struct {
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	Error      string    `json:"error" doc:"Why it did not come to its end; empty: it did."`
}

// report reads the last report of a kind into found; nil: there is none.
func (s *Service) report(ctx context.Context, kind string, found any) (*Reported, error) {
	r, err := s.q.Report(ctx, kind)
	if noRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the report of a %s: %w", kind, err)
	}
	if err := json.Unmarshal(r.Found, found); err != nil {
		return nil, fmt.Errorf("decode the report of a %s: %w", kind, err)
	}
	return &Reported{r.StartedAt.UTC(), r.FinishedAt.UTC(), r.Error}, nil
}
