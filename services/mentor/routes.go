package mentor

import (
	"context"
	"net/http"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

type nothing struct{}

type byID struct {
	ID int64 `path:"id"`
}

type byTask struct {
	Task string `path:"task_id" doc:"As given by an answer with status 202."`
}

type body[T any] struct{ Body T }

type changed[T any] struct {
	byID
	Body T
}

type chatIn struct {
	flow
	Key  string `header:"X-LLM-Key" raw:"true" doc:"The caller's own key of the language model's provider. It is not kept."`
	Body chatBody
}

type askIn struct {
	Key  string `header:"X-LLM-Key" raw:"true" doc:"The caller's own key of the language model's provider. It is not kept."`
	Body askBody
}

type entryIn struct {
	flow
	Body entryBody
}

// limited is the throttle scope of what costs a model's time.
const limited = "mentor"

// grace is what a request gets beyond the model's own time, to store the
// answer and to say so.
const grace = 15 * time.Second

// Register adds all routes of the mentor to api.
func (s *Service) Register(api *httpapi.API) {
	s.registerChat(api)
	s.registerJournal(api)
	s.registerTasks(api)
	s.registerProfiles(api)
}

// caller is who asks; every route of the mentor has somebody.
func caller(ctx context.Context) int64 {
	p, _ := auth.From(ctx)
	return p.UserID
}

func operation(method, path, id, summary string) httpapi.Operation {
	return httpapi.Operation{Method: method, Path: "mentor/" + path, ID: "mentor_" + id, Tag: "mentor", Summary: summary}
}

func (s *Service) registerChat(api *httpapi.API) {
	op := operation(http.MethodPost, "chat/", "chat", "Ask the mentor")
	op.Throttle, op.Status, op.Errors = limited, http.StatusAccepted, []int{http.StatusBadGateway}
	op.Timeout = max(2*s.Timeout, s.ChatWait) + grace // a key of the caller's may fail first
	op.Description = "202 with a task, and with the reply when it comes within a bounded wait; with X-Sync or async=false 200 with the reply."
	httpapi.Handle(api, op, func(ctx context.Context, in *chatIn) (httpapi.Result[Chat], error) {
		out, err := s.chat(ctx, in.Body, caller(ctx), in.Key, in.async(true))
		if out.Status == 0 {
			out.Status = http.StatusOK
		}
		return out, err
	})

	op = operation(http.MethodGet, "stream/", "stream", "Ask the mentor and read the answer as it comes")
	op.Throttle, op.Produces = limited, "text/event-stream"
	op.Description = "Unnamed events, each one line of JSON: start with session_id and mode, token with delta, then end or error with detail."
	httpapi.StreamIn(api, op, s.stream)

	op = operation(http.MethodPost, "sessions/ask/", "ask", "Ask one question at once")
	op.Throttle, op.Status, op.UserLimit, op.Timeout = limited, http.StatusCreated, "30/min", askTimeout+grace
	httpapi.Handle(api, op, func(ctx context.Context, in *askIn) (Session, error) {
		return s.askOnce(ctx, caller(ctx), in.Body.Text, in.Key)
	})

	op = operation(http.MethodGet, "sessions/", "sessions", "List sessions")
	op.Throttle = limited
	httpapi.Handle(api, op, func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Session], error) {
		return s.sessions(ctx, caller(ctx), *in)
	})
	op = operation(http.MethodGet, "sessions/{id}/", "session", "Show a session")
	op.Throttle = limited
	httpapi.Handle(api, op, func(ctx context.Context, in *byID) (Session, error) {
		return s.session(ctx, caller(ctx), in.ID)
	})
	httpapi.Handle(api, operation(http.MethodGet, "history/", "history", "List all messages"),
		func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Message], error) {
			return s.history(ctx, caller(ctx), *in)
		})
	httpapi.Handle(api, operation(http.MethodGet, "task-status/{task_id}/", "task_status", "Look after a background task"),
		func(ctx context.Context, in *byTask) (TaskStatus, error) {
			return s.taskStatus(ctx, caller(ctx), in.Task)
		})
}

func (s *Service) registerJournal(api *httpapi.API) {
	op := operation(http.MethodPost, "daily/entry/", "daily_entry", "Write into the journal")
	op.Throttle, op.Timeout = limited, s.Timeout+grace
	httpapi.Handle(api, op, func(ctx context.Context, in *entryIn) (httpapi.Result[Entry], error) {
		return s.write(ctx, caller(ctx), in.Body, in.async(s.JournalAsync))
	})
	httpapi.Handle(api, operation(http.MethodGet, "daily/history/", "daily_history", "List the last days of the journal"),
		func(ctx context.Context, in *daysIn) (Days, error) {
			limit := 7
			if in.Limit.Set {
				limit = in.Limit.Value
			}
			return s.days(ctx, caller(ctx), limit)
		})
	httpapi.Handle(api, operation(http.MethodGet, "daily/session/{id}/", "daily_session", "Show a day of the journal"),
		func(ctx context.Context, in *byID) (Journal, error) {
			return s.journal(ctx, caller(ctx), in.ID)
		})
}

func (s *Service) registerTasks(api *httpapi.API) {
	httpapi.Handle(api, operation(http.MethodGet, "tasks/", "tasks", "List tasks"),
		func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Task], error) {
			return s.tasks(ctx, caller(ctx), *in)
		})
	op := operation(http.MethodPost, "tasks/", "tasks_add", "Add a task")
	op.Status = http.StatusCreated
	httpapi.Handle(api, op, func(ctx context.Context, in *body[newTask]) (Task, error) {
		return s.addTask(ctx, caller(ctx), in.Body)
	})
	httpapi.Handle(api, operation(http.MethodGet, "tasks/today/", "tasks_today", "Show the task of today"),
		func(ctx context.Context, _ *nothing) (Task, error) {
			return s.taskOfToday(ctx, caller(ctx))
		})
	httpapi.Handle(api, operation(http.MethodGet, "tasks/{id}/", "tasks_show", "Show a task"),
		func(ctx context.Context, in *byID) (Task, error) {
			return s.task(ctx, caller(ctx), in.ID)
		})
	httpapi.Handle(api, operation(http.MethodPut, "tasks/{id}/", "tasks_replace", "Replace a task"),
		func(ctx context.Context, in *changed[newTask]) (Task, error) {
			return s.changeTask(ctx, caller(ctx), in.ID, in.Body.changes())
		})
	httpapi.Handle(api, operation(http.MethodPatch, "tasks/{id}/", "tasks_change", "Change a task"),
		func(ctx context.Context, in *changed[taskChanges]) (Task, error) {
			return s.changeTask(ctx, caller(ctx), in.ID, in.Body)
		})
	op = operation(http.MethodDelete, "tasks/{id}/", "tasks_delete", "Delete a task")
	op.Status = http.StatusNoContent
	httpapi.Handle(api, op, func(ctx context.Context, in *byID) (httpapi.NoContent, error) {
		return httpapi.NoContent{}, s.removeTask(ctx, caller(ctx), in.ID)
	})
}

func (s *Service) registerProfiles(api *httpapi.API) {
	op := func(method, path, id, summary string) httpapi.Operation {
		o := operation(method, "profile/"+path, "profile_"+id, summary)
		o.Throttle = limited
		return o
	}
	httpapi.Handle(api, op(http.MethodGet, "", "list", "List the caller's profile"),
		func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Profile], error) {
			return s.profiles(ctx, caller(ctx), *in)
		})
	o := op(http.MethodPost, "", "set", "Make or change the caller's profile")
	o.Status = http.StatusCreated
	httpapi.Handle(api, o, func(ctx context.Context, in *body[profileChanges]) (httpapi.Result[Profile], error) {
		return s.setProfile(ctx, caller(ctx), in.Body)
	})
	httpapi.Handle(api, op(http.MethodGet, "{id}/", "show", "Show a profile"),
		func(ctx context.Context, in *byID) (Profile, error) {
			return s.profile(ctx, caller(ctx), in.ID)
		})
	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		id := map[string]string{http.MethodPut: "replace", http.MethodPatch: "change"}[method]
		httpapi.Handle(api, op(method, "{id}/", id, "Change a profile"),
			func(ctx context.Context, in *changed[profileChanges]) (Profile, error) {
				return s.changeProfile(ctx, caller(ctx), in.ID, in.Body)
			})
	}
	o = op(http.MethodDelete, "{id}/", "delete", "Delete a profile")
	o.Status = http.StatusNoContent
	httpapi.Handle(api, o, func(ctx context.Context, in *byID) (httpapi.NoContent, error) {
		return httpapi.NoContent{}, s.removeProfile(ctx, caller(ctx), in.ID)
	})
}
