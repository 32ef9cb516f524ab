package dashboard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/httpapi"
	"selflink/appliance/jobs"
)

// bulkMost is how many jobs one call acts on.
const bulkMost = 10_000

// bulkTime bounds such a call.
const bulkTime = 2 * time.Minute

// jobFilter narrows lists of jobs.
type jobFilter struct {
	State string `json:"state" query:"state" optional:"true" blank:"true" max:"16"`
	Kind  string `json:"kind" query:"kind" optional:"true" blank:"true" max:"128"`
	Queue string `json:"queue" query:"queue" optional:"true" blank:"true" max:"128"`
	Error string `json:"error" query:"error" optional:"true" blank:"true" max:"320" doc:"Text that the last error contains; the error of a group finds the group."`
	Since string `json:"since" query:"since" optional:"true" blank:"true" max:"64" doc:"Created at or after, RFC 3339."`
	Until string `json:"until" query:"until" optional:"true" blank:"true" max:"64" doc:"Created before, RFC 3339."`
}

var jobStates = []jobs.State{jobs.Queued, jobs.Scheduled, jobs.Retrying, jobs.Running, jobs.Succeeded, jobs.Dead, jobs.Cancelled}

func (f jobFilter) query() (jobs.Query, error) {
	q := jobs.Query{State: jobs.State(f.State), Kind: f.Kind, Queue: f.Queue, Error: f.Error}
	var bad httpapi.FieldErrors
	if f.State != "" {
		ok := false
		for _, s := range jobStates {
			ok = ok || s == q.State
		}
		if !ok {
			bad.Add("state", "There is no such state.")
		}
	}
	moment := func(name, text string) time.Time {
		if text == "" {
			return time.Time{}
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			bad.Add(name, "Write a moment like 2026-01-31T12:00:00Z.")
		}
		return t
	}
	q.Since, q.Until = moment("since", f.Since), moment("until", f.Until)
	return q, bad.Err()
}

// told is the filter as the audit trail keeps it.
func (f jobFilter) told() map[string]any {
	out := map[string]any{}
	for name, value := range map[string]string{
		"state": f.State, "kind": f.Kind, "queue": f.Queue, "error": f.Error, "since": f.Since, "until": f.Until,
	} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

type jobsInput struct {
	pageInput
	State string `query:"state" max:"16"`
	Kind  string `query:"kind" max:"128"`
	Queue string `query:"queue" max:"128"`
	Error string `query:"error" max:"320" doc:"Text that the last error contains; the error of a group finds the group."`
	Since string `query:"since" max:"64" doc:"Created at or after, RFC 3339."`
	Until string `query:"until" max:"64" doc:"Created before, RFC 3339."`
}

type jobInput struct {
	ID string `path:"id"`
}

type bulkInput struct {
	Body struct {
		Action string    `json:"action" enum:"retry,cancel,delete"`
		Filter jobFilter `json:"filter"`
		DryRun bool      `json:"dry_run" optional:"true"`
	}
}

type nameInput struct {
	Name string `path:"name"`
}

// JobErrors are the dead jobs by what killed them.
type JobErrors struct {
	Groups []jobs.ErrorGroup `json:"groups"`
}

func (d *Desk) registerJobs() {
	e := d.opts.Jobs
	Handle(d, Operation{Method: http.MethodGet, Path: "jobs", ID: "jobs", Summary: "Queues and counts."},
		func(ctx context.Context, _ *struct{}) (jobs.Overview, error) { return e.Overview(ctx) })
	d.Topic("jobs", fast, func(ctx context.Context) (any, error) { return e.Overview(ctx) })
	Handle(d, Operation{Method: http.MethodGet, Path: "jobs/list", ID: "jobs_list", Summary: "Jobs, the newest first."},
		func(ctx context.Context, in *jobsInput) (jobs.Page, error) {
			q, err := jobFilter{in.State, in.Kind, in.Queue, in.Error, in.Since, in.Until}.query()
			if err != nil {
				return jobs.Page{}, err
			}
			q.Cursor, q.Limit = in.Cursor, in.Size()
			page, err := e.Search(ctx, q)
			return page, jobError(err)
		})
	Handle(d, Operation{Method: http.MethodGet, Path: "jobs/errors", ID: "jobs_errors", Summary: "Dead jobs by what killed them, the most first."},
		func(ctx context.Context, _ *struct{}) (JobErrors, error) {
			groups, err := e.ErrorGroups(ctx)
			return JobErrors{groups}, err
		})
	Handle(d, Operation{Method: http.MethodGet, Path: "jobs/{id}", ID: "job", Summary: "One job, with its attempts and what may be done.", Errors: []int{404}},
		func(ctx context.Context, in *jobInput) (jobs.Detail, error) { return d.job(ctx, in.ID) })
	d.registerJobActs()
}

func (d *Desk) registerJobActs() {
	e := d.opts.Jobs
	act := func(name, summary string, do func(ctx context.Context, id jobs.ID) error) {
		op := Operation{
			Method: http.MethodPost, Path: "jobs/{id}/" + name, ID: "job_" + name, Acts: true, Summary: summary, Errors: []int{404, 409},
		}
		one := func(ctx context.Context, in *jobInput) error {
			id, err := uuid.Parse(in.ID)
			if err != nil {
				return httpapi.NotFound("Job")
			}
			return jobError(d.Act(ctx, Deed{Action: "jobs." + name, ObjectType: "job", ObjectID: id.String()}, func() error { return do(ctx, id) }))
		}
		if name == "delete" {
			Handle(d, op, func(ctx context.Context, in *jobInput) (httpapi.NoContent, error) {
				return httpapi.NoContent{}, one(ctx, in)
			})
			return
		}
		Handle(d, op, func(ctx context.Context, in *jobInput) (jobs.Detail, error) {
			if err := one(ctx, in); err != nil {
				return jobs.Detail{}, err
			}
			return d.job(ctx, in.ID)
		})
	}
	act("retry", "Queue a job again, with all its attempts anew.", e.Retry)
	act("cancel", "End a job that waits or runs.", e.Cancel)
	act("delete", "Delete a job that does not run.", e.Delete)

	Handle(d, Operation{
		Method: http.MethodPost, Path: "jobs/bulk", ID: "jobs_bulk", Acts: true, Timeout: bulkTime,
		Summary: "Act on all jobs that match a filter, at most 10 000 at once; a dry run only counts them.",
	}, d.bulk)
	queue := func(name, summary string, do func(ctx context.Context, queue string) error) {
		Handle(d, Operation{
			Method: http.MethodPost, Path: "queues/{name}/" + name, ID: "queue_" + name, Acts: true, Summary: summary, Errors: []int{404},
		}, func(ctx context.Context, in *nameInput) (jobs.QueueStatus, error) {
			err := d.Act(ctx, Deed{Action: "queues." + name, ObjectType: "queue", ObjectID: in.Name}, func() error { return do(ctx, in.Name) })
			if err != nil {
				return jobs.QueueStatus{}, jobError(err)
			}
			now, err := e.Queue(ctx, in.Name)
			return now, jobError(err)
		})
	}
	queue("pause", "Begin no more jobs of a queue, on any node, until it is resumed.", func(ctx context.Context, name string) error {
		return e.PauseQueue(ctx, name, d.actor(ctx))
	})
	queue("resume", "Go on with a paused queue.", e.ResumeQueue)
}

func (d *Desk) job(ctx context.Context, text string) (jobs.Detail, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return jobs.Detail{}, httpapi.NotFound("Job")
	}
	job, err := d.opts.Jobs.Detail(ctx, id)
	return job, jobError(err)
}

func (d *Desk) bulk(ctx context.Context, in *bulkInput) (jobs.BulkResult, error) {
	q, err := in.Body.Filter.query()
	if err != nil {
		return jobs.BulkResult{}, err
	}
	action := jobs.Action(in.Body.Action)
	if in.Body.DryRun {
		out, err := d.opts.Jobs.Bulk(ctx, action, q, 0)
		return out, jobError(err)
	}
	var out jobs.BulkResult
	err = d.Act(ctx, Deed{Action: "jobs.bulk_" + in.Body.Action, ObjectType: "jobs", Metadata: in.Body.Filter.told()}, func() (err error) {
		out, err = d.opts.Jobs.Bulk(ctx, action, q, bulkMost)
		return err
	})
	return out, jobError(err)
}

// jobError answers what the engine refuses.
func jobError(err error) error {
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return httpapi.NotFound("Job")
	case errors.Is(err, jobs.ErrUnknownQueue):
		return httpapi.NotFound("Queue")
	case errors.Is(err, jobs.ErrWrongState):
		return httpapi.Detail(http.StatusConflict, "Its state does not allow that any more.")
	case errors.Is(err, jobs.ErrBadCursor):
		return badCursor()
	case errors.Is(err, jobs.ErrBadQuery):
		return httpapi.Detail(http.StatusBadRequest, "These filters do not go together: "+err.Error())
	}
	return err
}
