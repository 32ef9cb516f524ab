package dashboard

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"selflink/appliance/broker"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/realtime"
)

// Connections are open connections of clients.
type Connections struct {
	Items []realtime.Connection `json:"items"`
}

// Closed says how many connections were told to end.
type Closed struct {
	Closed int `json:"closed"`
}

type userInput struct {
	ID string `path:"id"`
}

// account reads an account's id, which JavaScript can only carry as text.
func (in userInput) account() (int64, error) {
	id, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil || id <= 0 {
		return 0, httpapi.NotFound("User")
	}
	return id, nil
}

func (d *Desk) registerRealtime() {
	h := d.opts.Realtime
	Handle(d, Operation{Method: http.MethodGet, Path: "realtime", ID: "realtime", Summary: "Connections and channels of all nodes."},
		func(ctx context.Context, _ *struct{}) (realtime.Overview, error) { return h.Overview(ctx) })
	d.Topic("realtime", fast, func(ctx context.Context) (any, error) { return h.Overview(ctx) })
	Handle(d, Operation{
		Method: http.MethodGet, Path: "realtime/connections", ID: "realtime_connections",
		Summary: "Connections of a user, or those for which most is waiting.",
	}, func(ctx context.Context, in *struct {
		User string `query:"user" max:"20"`
	}) (Connections, error) {
		var user *int64
		if in.User != "" {
			id, err := userInput{in.User}.account()
			if err != nil {
				return Connections{}, err
			}
			user = &id
		}
		items, err := h.Connections(ctx, user)
		return Connections{items}, err
	})
	Handle(d, Operation{
		Method: http.MethodPost, Path: "realtime/users/{id}/close", ID: "realtime_close", Acts: true,
		Summary: "Close the connections of a user, who may come back at once.", Errors: []int{404},
	}, func(ctx context.Context, in *userInput) (Closed, error) {
		id, err := in.account()
		if err != nil {
			return Closed{}, err
		}
		var out Closed
		err = d.Act(ctx, Deed{Action: "realtime.close", ObjectType: "user", ObjectID: in.ID}, func() (err error) {
			out.Closed, err = h.CloseUser(ctx, id)
			return err
		})
		return out, err
	})
}

func (d *Desk) registerDatabase() {
	Handle(d, Operation{Method: http.MethodGet, Path: "database", ID: "database", Summary: "Postgres, the pooler and the pools."},
		func(ctx context.Context, _ *struct{}) (database.Insight, error) { return d.opts.Database.Insight(ctx) })
	d.Topic("database", slow, func(ctx context.Context) (any, error) { return d.opts.Database.Insight(ctx) })
}

type peekInput struct {
	nameInput
	pageInput
}

func (d *Desk) registerBroker() {
	b := d.opts.Broker
	Handle(d, Operation{Method: http.MethodGet, Path: "broker", ID: "broker", Summary: "The embedded broker: streams, budgets, and what a power cut costs."},
		func(ctx context.Context, _ *struct{}) (broker.Insight, error) { return b.Insight(ctx) })
	d.Topic("broker", slow, func(ctx context.Context) (any, error) { return b.Insight(ctx) })
	Handle(d, Operation{
		Method: http.MethodGet, Path: "broker/streams/{name}/messages", ID: "broker_messages",
		Summary: "Messages of a stream, the newest first, without taking them.", Errors: []int{404},
	}, func(ctx context.Context, in *peekInput) (broker.PeekPage, error) {
		page, err := b.Peek(ctx, in.Name, in.Cursor, in.Size())
		switch {
		case errors.Is(err, broker.ErrNoStream):
			return page, httpapi.NotFound("Stream")
		case errors.Is(err, broker.ErrCursor):
			return page, badCursor()
		}
		return page, err
	})
}
