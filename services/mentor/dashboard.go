package mentor

import (
	"context"
	"errors"
	"net/http"
	"time"

	"selflink/appliance/dashboard"
	"selflink/appliance/httpapi"
	"selflink/appliance/llm"
)

// dashboardPeriod is how often the page of the mentor is looked at while
// somebody watches it.
const dashboardPeriod = 5 * time.Second

type testInput struct {
	Body struct {
		Prompt string `json:"prompt" max:"2000"`
	}
}

// RegisterDashboard adds the page of the mentor to the dashboard.
func (s *Service) RegisterDashboard(d *dashboard.Desk) {
	dashboard.Handle(d, dashboard.Operation{Method: http.MethodGet, Path: "mentor", ID: "mentor", Summary: "The language model: latency, tokens, failures."},
		func(ctx context.Context, _ *struct{}) (Insight, error) { return s.Insight(ctx) })
	d.Topic("mentor", dashboardPeriod, func(ctx context.Context) (any, error) { return s.Insight(ctx) })
	dashboard.Handle(d, dashboard.Operation{
		Method: http.MethodPost, Path: "mentor/test", ID: "mentor_test", Acts: true, Timeout: s.Timeout + dashboardPeriod,
		Summary: "Ask the model something. Nothing is stored but that it was asked.", Errors: []int{409, 502},
	}, func(ctx context.Context, in *testInput) (TestAnswer, error) {
		var out TestAnswer
		err := d.Act(ctx, dashboard.Deed{Action: "mentor.test", ObjectType: "mentor"}, func() (err error) {
			out, err = s.TestPrompt(ctx, in.Body.Prompt)
			return err
		})
		switch {
		case errors.Is(err, ErrTestRunning):
			return out, httpapi.Detail(http.StatusConflict, "Another test is running: wait for its answer.")
		case errors.Is(err, ErrTestPrompt):
			return out, httpapi.Invalid("prompt", "Write something of at most 2000 characters.")
		case errors.Is(err, llm.ErrModelDown), errors.Is(err, context.DeadlineExceeded):
			return out, httpapi.Detail(http.StatusBadGateway, "The model did not answer: "+err.Error())
		}
		return out, err
	})
}
