package dashboard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"selflink/appliance/httpapi"
	"selflink/appliance/schedule"
)

// Schedules is the page of the schedules.
type Schedules struct {
	Items []schedule.Status `json:"items"`
}

// Begun says when something began that goes on by itself.
type Begun struct {
	StartedAt time.Time `json:"started_at"`
}

type firingsInput struct {
	nameInput
	pageInput
}

func (d *Desk) schedules(ctx context.Context) (Schedules, error) {
	items, err := d.opts.Schedules.Overview(ctx)
	return Schedules{items}, err
}

func (d *Desk) registerSchedules() {
	s := d.opts.Schedules
	Handle(d, Operation{Method: http.MethodGet, Path: "schedules", ID: "schedules", Summary: "All schedules with their last firing."},
		func(ctx context.Context, _ *struct{}) (Schedules, error) { return d.schedules(ctx) })
	d.Topic("schedules", slow, func(ctx context.Context) (any, error) { return d.schedules(ctx) })
	Handle(d, Operation{
		Method: http.MethodGet, Path: "schedules/{name}/firings", ID: "schedule_firings", Summary: "Firings of a schedule, the newest first.",
		Errors: []int{404},
	}, func(ctx context.Context, in *firingsInput) (schedule.FiringPage, error) {
		page, err := s.Page(ctx, in.Name, in.Cursor, in.Size())
		return page, scheduleError(err)
	})
	Handle(d, Operation{
		Method: http.MethodPost, Path: "schedules/{name}/run", ID: "schedule_run", Acts: true, Status: http.StatusAccepted,
		Summary: "Fire a schedule now.", Errors: []int{404, 409},
	}, func(ctx context.Context, in *nameInput) (Begun, error) {
		var out Begun
		err := d.Act(ctx, Deed{Action: "schedules.run", ObjectType: "schedule", ObjectID: in.Name}, func() (err error) {
			out.StartedAt, err = s.Trigger(ctx, in.Name)
			return err
		})
		return out, scheduleError(err)
	})
	d.scheduleAct("pause", "Fire a schedule no more until it is resumed.", func(ctx context.Context, name string) error {
		return s.Pause(ctx, name, d.actor(ctx))
	})
	d.scheduleAct("resume", "Fire a paused schedule again.", s.Resume)
}

func (d *Desk) scheduleAct(name, summary string, do func(ctx context.Context, schedule string) error) {
	Handle(d, Operation{
		Method: http.MethodPost, Path: "schedules/{name}/" + name, ID: "schedule_" + name, Acts: true, Summary: summary, Errors: []int{404},
	}, func(ctx context.Context, in *nameInput) (schedule.Status, error) {
		err := d.Act(ctx, Deed{Action: "schedules." + name, ObjectType: "schedule", ObjectID: in.Name}, func() error { return do(ctx, in.Name) })
		if err != nil {
			return schedule.Status{}, scheduleError(err)
		}
		now, err := d.opts.Schedules.Status(ctx, in.Name)
		return now, scheduleError(err)
	})
}

// scheduleError answers what the scheduler refuses.
func scheduleError(err error) error {
	switch {
	case errors.Is(err, schedule.ErrNotFound):
		return httpapi.NotFound("Schedule")
	case errors.Is(err, schedule.ErrRunning):
		return httpapi.Detail(http.StatusConflict, "It is running already.")
	case errors.Is(err, schedule.ErrBadCursor):
		return badCursor()
	}
	return err
}
