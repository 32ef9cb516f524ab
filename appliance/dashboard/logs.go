package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/httpapi"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
)

type linesInput struct {
	pageInput
	Level     string `query:"level" max:"16" doc:"Least level: debug, info, warning or error."`
	Component string `query:"component" max:"64"`
	RequestID string `query:"request_id" max:"128"`
	JobID     string `query:"job_id" max:"64"`
	Q         string `query:"q" max:"200" doc:"Text that the line contains."`
	After     string `query:"after" max:"64" doc:"For live lines: begin after this one."`
}

func (in linesInput) query() telemetry.LineQuery {
	return telemetry.LineQuery{
		Level: in.Level, Component: in.Component, RequestID: in.RequestID, JobID: in.JobID, Q: in.Q, Cursor: in.Cursor, Limit: in.Size(),
	}
}

type requestsInput struct {
	pageInput
	Kind   string `query:"kind" max:"16" doc:"failed, slow, or empty for both."`
	Route  string `query:"route" max:"200"`
	Status int64  `query:"status" min:"0" max:"599" doc:"A status, or the first digit of several."`
}

type explainInput struct {
	ID string `path:"id"`
}

func (d *Desk) registerLogs() {
	Handle(d, Operation{Method: http.MethodGet, Path: "logs", ID: "logs", Summary: "The newest lines of this node's log."},
		func(_ context.Context, in *linesInput) (telemetry.LinePage, error) {
			page, err := d.opts.Tail.Page(in.query())
			return page, lineError(err)
		})
	Stream(d, Operation{
		Method: http.MethodGet, Path: "logs/live", ID: "logs_live", Produces: "text/event-stream", Summary: "Lines of this node's log as they come.",
		Description: "Events are named `line`; their id resumes, as Last-Event-ID or as ?after=.", Errors: []int{503},
	}, d.followLines)
	Handle(d, Operation{
		Method: http.MethodGet, Path: "requests", ID: "requests", Summary: "Failed and slow requests of the last day, the newest first.",
	}, func(ctx context.Context, in *requestsInput) (trace.Page, error) {
		page, err := d.opts.Traces.Requests(ctx, trace.Query{Kind: in.Kind, Route: in.Route, Status: int(in.Status), Cursor: in.Cursor, Limit: in.Size()})
		return page, traceError(err)
	})
	Handle(d, Operation{
		Method: http.MethodGet, Path: "explain/{id}", ID: "explain", Summary: "Everything that is known of a request or a job, in the order of time.",
		Errors: []int{404},
	}, func(ctx context.Context, in *explainInput) (trace.Timeline, error) {
		line, err := d.opts.Traces.Explain(ctx, in.ID)
		return line, traceError(err)
	})
}

func (d *Desk) followLines(c *fiber.Ctx, in *linesInput) error {
	if d.watchers.Add(1) > maxWatchers {
		d.watchers.Add(-1)
		return httpapi.Unavailable()
	}
	info := httpapi.RequestInfo(c.UserContext())
	token, local := cookie(info.Header("Cookie")), info.Local
	after := in.After
	if id := info.Header("Last-Event-ID"); id != "" {
		after = id
	}
	q := in.query()
	return httpapi.ServeEvents(c, func(ctx context.Context, w *httpapi.EventWriter) error {
		defer d.watchers.Add(-1)
		ctx, stop := d.whileSignedIn(ctx, token, local)
		defer stop()
		// The answer begins now: a browser takes it for open only when it does,
		// and the first line may be long in coming.
		if err := w.Comment("following"); err != nil {
			return err
		}
		err := d.opts.Tail.Follow(ctx, q, after, func(line telemetry.Line) error {
			b, err := json.Marshal(line)
			if err != nil {
				return fmt.Errorf("encode a line: %w", err)
			}
			return w.Event(line.ID, "line", b)
		})
		if errors.Is(context.Cause(ctx), errGone) {
			return w.Event("", "gone", []byte(`{"detail":"Sign in."}`))
		}
		if ctx.Err() != nil {
			return nil
		}
		return lineError(err)
	})
}

func lineError(err error) error {
	switch {
	case errors.Is(err, telemetry.ErrLineQuery):
		return httpapi.Detail(http.StatusBadRequest, "The level is one of debug, info, warning and error; a cursor is from another page.")
	case errors.Is(err, telemetry.ErrFollowers):
		return httpapi.Unavailable()
	}
	return err
}

func traceError(err error) error {
	switch {
	case errors.Is(err, trace.ErrUnknown):
		return httpapi.Detail(http.StatusNotFound, "Nothing is known of this id: requests are kept for a day when they failed or were slow, jobs as long as their kind says.")
	case errors.Is(err, trace.ErrQuery):
		return httpapi.Detail(http.StatusBadRequest, "The kind is failed or slow, the status a number of three digits or its first; a cursor is from another page.")
	}
	return err
}
