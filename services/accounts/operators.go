package accounts

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"selflink/appliance/auth"
	"selflink/appliance/dashboard"
	"selflink/appliance/httpapi"
)

type peopleInput struct {
	Q      string `query:"q" max:"200" doc:"Text in a name, a handle or an address, or an id."`
	Role   string `query:"role" max:"16" doc:"user, viewer or operator."`
	Active string `query:"active" max:"5" doc:"true or false."`
	Cursor string `query:"cursor" raw:"true" doc:"Opaque position, from next of another page."`
	Limit  int64  `query:"limit" min:"1" max:"200"`
}

// personInput names an account by its id, which JavaScript can only carry as
// text.
type personInput struct {
	ID string `path:"id"`
}

func (in personInput) account() (int64, error) {
	id, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil || id <= 0 {
		return 0, httpapi.NotFound("User")
	}
	return id, nil
}

type roleInput struct {
	personInput
	Body struct {
		Role string `json:"role" enum:"user,viewer,operator"`
	}
}

// RegisterDashboard adds the pages on people to the dashboard. The service
// writes the audit trail itself, in the transaction of each act.
func (s *Service) RegisterDashboard(d *dashboard.Desk) {
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "people", ID: "people", Summary: "Accounts, the newest first."},
		func(ctx context.Context, in *peopleInput) (PeoplePage, error) {
			q := PeopleQuery{Q: strings.TrimSpace(in.Q), Role: in.Role, Cursor: in.Cursor, Limit: int(in.Limit)}
			switch in.Active {
			case "":
			case "true", "false":
				active := in.Active == "true"
				q.Active = &active
			default:
				return PeoplePage{}, httpapi.Invalid("active", "It is true or false.")
			}
			page, err := s.SearchPeople(ctx, q)
			return page, operatorError(err)
		})
	dashboard.Handle(d, dashboard.Operation{
		Method: http.MethodGet, Path: "people/{id}", ID: "person", Summary: "One account with its sessions.", Errors: []int{404},
	}, func(ctx context.Context, in *personInput) (PersonDetails, error) {
		id, err := in.account()
		if err != nil {
			return PersonDetails{}, err
		}
		who, err := s.PersonDetail(ctx, id)
		return who, operatorError(err)
	})
	act := func(name, summary string, do func(ctx context.Context, by, id int64) (PersonDetails, error)) {
		dashboard.Handle(d, dashboard.Operation{
			Method: http.MethodPost, Path: "people/{id}/" + name, ID: "person_" + strings.ReplaceAll(name, "-", "_"), Acts: true, Summary: summary,
			Errors: []int{404, 409},
		}, func(ctx context.Context, in *personInput) (PersonDetails, error) {
			id, err := in.account()
			if err != nil {
				return PersonDetails{}, err
			}
			who, err := do(ctx, operator(ctx), id)
			return who, operatorError(err)
		})
	}
	act("deactivate", "Close an account: it can't sign in, and all it has open ends.", func(ctx context.Context, by, id int64) (PersonDetails, error) {
		return s.SetActive(ctx, by, id, false)
	})
	act("activate", "Open a closed account again.", func(ctx context.Context, by, id int64) (PersonDetails, error) {
		return s.SetActive(ctx, by, id, true)
	})
	act("end-sessions", "Sign somebody out everywhere.", s.EndSessions)
	dashboard.Handle(d, dashboard.Operation{
		Method: http.MethodPost, Path: "people/{id}/role", ID: "person_role", Acts: true, Summary: "Make somebody a user, a viewer or an operator.",
		Errors: []int{404, 409},
	}, func(ctx context.Context, in *roleInput) (PersonDetails, error) {
		id, err := in.account()
		if err != nil {
			return PersonDetails{}, err
		}
		who, err := s.SetRole(ctx, operator(ctx), id, in.Body.Role)
		return who, operatorError(err)
	})
}

func operator(ctx context.Context) int64 {
	p, _ := auth.From(ctx)
	return p.UserID
}

// operatorError answers what is refused to operators.
func operatorError(err error) error {
	switch {
	case errors.Is(err, ErrNoAccount):
		return httpapi.NotFound("User")
	case errors.Is(err, ErrNotOperator):
		return httpapi.Detail(http.StatusForbidden, "Only an operator may do that.")
	case errors.Is(err, ErrSelf):
		return httpapi.Detail(http.StatusConflict, "Not with your own account: ask another operator.")
	case errors.Is(err, ErrLastOperator):
		return httpapi.Detail(http.StatusConflict, "This is the last operator: make another one first.")
	case errors.Is(err, ErrRole):
		return httpapi.Invalid("role", "It is user, viewer or operator.")
	case errors.Is(err, ErrCursor):
		return httpapi.Invalid("cursor", "This is no cursor of this list.")
	}
	return err
}
