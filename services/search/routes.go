package search

import (
	"context"
	"net/http"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
	engine "selflink/appliance/search"
)

// usersQuery is what a search for people is given. Everything else is ignored.
type usersQuery struct {
	Q     string `query:"q" raw:"true" doc:"Text in a name, a handle or a bio."`
	Limit string `query:"limit" raw:"true" doc:"Most people, up to 50; 20 when missing or not a number."`
}

// Register adds the routes. Posts get theirs when there are posts.
func (s *Service[U]) Register(api *httpapi.API) {
	httpapi.Handle(api, httpapi.Operation{
		Method: http.MethodGet, Path: "search/users/", ID: "search_users", Tag: "search", Summary: "People by name, handle or bio.",
		Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *usersQuery) ([]U, error) {
		text := engine.Clean(in.Q)
		if text == "" {
			return nil, httpapi.Detail(http.StatusNotFound, "Query required")
		}
		viewer, _ := auth.From(ctx)
		return s.Users(ctx, viewer, text, limitOf(in.Limit))
	})
}
