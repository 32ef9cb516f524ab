package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/history"
)

// Verdict is the state of everything in one sentence.
type Verdict struct {
	State    string `json:"state" enum:"well,degraded,down"`
	Text     string `json:"text"`
	Problems int    `json:"problems"`
}

// Overview is the first page.
type Overview struct {
	Verdict    Verdict             `json:"verdict"`
	Now        time.Time           `json:"now"`
	Node       string              `json:"node"`
	Version    string              `json:"version"`
	Commit     string              `json:"commit"`
	StartedAt  time.Time           `json:"started_at"`
	Uptime     float64             `json:"uptime_seconds"`
	Problems   []OverviewProblem   `json:"problems"`
	Components []OverviewComponent `json:"components"`
	Processes  []database.Process  `json:"processes"`
	Cluster    Cluster             `json:"cluster"`
}

// Cluster counts the other nodes.
type Cluster struct {
	Configured int `json:"configured"`
	Connected  int `json:"connected"`
}

// Days is the health bar.
type Days struct {
	Days []Day `json:"days"`
}

// Day is the worst of one day, in UTC.
type Day struct {
	Date     string       `json:"date"`
	Worst    string       `json:"worst" enum:"none,healthy,low,medium,high"`
	Seen     float64      `json:"seen_seconds"`
	Problems []DayProblem `json:"problems"`
}

// DayProblem is a problem of a day.
type DayProblem struct {
	Code     string     `json:"code"`
	Title    string     `json:"title"`
	Severity string     `json:"severity"`
	Since    time.Time  `json:"failing_since"`
	Cleared  *time.Time `json:"cleared_at"`
}

func (d *Desk) registerOverview() {
	Handle(d, Operation{Method: http.MethodGet, Path: "overview", ID: "overview", Summary: "The state of everything."},
		func(ctx context.Context, _ *struct{}) (Overview, error) { return d.overview(ctx) })
	Handle(d, Operation{Method: http.MethodGet, Path: "overview/metrics", ID: "overview_metrics", Summary: "What the sparklines show."},
		func(ctx context.Context, in *struct {
			Range string `query:"range" enum:"1h,24h,7d" default:"1h"`
		}) (history.Series, error) {
			return d.opts.History.Series(ctx, in.Range)
		})
	Handle(d, Operation{Method: http.MethodGet, Path: "overview/days", ID: "overview_days", Summary: "The worst of each of the last 90 days."},
		func(ctx context.Context, _ *struct{}) (Days, error) { return d.days(ctx) })
	d.Topic("overview", fast, func(ctx context.Context) (any, error) { return d.overview(ctx) })
}

// verdict sums the problems up: what stops the appliance from serving, else the
// worst.
func verdict(problems []health.Problem) Verdict {
	v := Verdict{State: "well", Text: "All is well.", Problems: len(problems)}
	if len(problems) == 0 {
		return v
	}
	worst := problems[0] // they come worst first
	for _, p := range problems {
		if p.Required {
			worst, v.State = p, "down"
			break
		}
	}
	if v.State != "down" && worst.Severity >= health.Medium {
		v.State = "degraded"
	}
	switch others := len(problems) - 1; {
	case v.State == "well" && others == 0:
		v.Text = "All works. Worth knowing: " + worst.Title + "."
	case v.State == "well":
		v.Text = fmt.Sprintf("All works. %d things are worth knowing.", others+1)
	case others == 0:
		v.Text = worst.Title + "."
	case others == 1:
		v.Text = worst.Title + ", and one more warning."
	default:
		v.Text = fmt.Sprintf("%s, and %d more warnings.", worst.Title, others)
	}
	return v
}

// overview asks nothing that may hang: it is what an operator looks at when
// everything does.
func (d *Desk) overview(ctx context.Context) (Overview, error) {
	o := d.opts
	problems := o.Health.Problems()
	now := time.Now().UTC()
	out := Overview{
		Verdict: verdict(problems), Now: now, Node: o.Node, Version: o.Version, Commit: o.Commit,
		StartedAt: d.began.UTC(), Uptime: now.Sub(d.began).Seconds(), Problems: overviewProblems(problems),
		Components: overviewComponents(o.Health.Checks()),
		Processes:  d.processes(ctx, now),
	}
	out.Cluster.Connected, out.Cluster.Configured = o.Broker.Peers()
	return out, nil
}

// processes are this one and those that it supervises.
func (d *Desk) processes(ctx context.Context, now time.Time) []database.Process {
	self := database.Process{
		Name: "selflink", PID: os.Getpid(), Version: d.opts.Version, Uptime: now.Sub(d.began).Seconds(), State: "running",
		Memory: d.memory.get(now),
	}
	return append([]database.Process{self}, d.opts.Database.Processes(ctx)...)
}

// ownMemory is asked for now and then: the kernel walks all pages for it.
type ownMemory struct {
	mu    sync.Mutex
	at    time.Time
	bytes int64
}

// memoryAge is how old the figure may be.
const memoryAge = 15 * time.Second

func (m *ownMemory) get(now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.at) >= memoryAge {
		m.at, m.bytes = now, database.OwnMemory()
	}
	return m.bytes
}

// barDays is the length of the health bar.
const barDays = 90

func (d *Desk) days(ctx context.Context) (Days, error) {
	past, err := d.opts.Health.History(ctx, barDays)
	if err != nil && !errors.Is(err, health.ErrNoHistory) {
		return Days{}, err
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	out := Days{Days: make([]Day, barDays)}
	for i := range out.Days {
		out.Days[i] = Day{Date: today.AddDate(0, 0, i-barDays+1).Format(time.DateOnly), Worst: "none", Problems: []DayProblem{}}
	}
	at := func(t time.Time) int {
		return barDays - 1 - int(today.Sub(t.UTC().Truncate(24*time.Hour))/(24*time.Hour))
	}
	worst := make([]health.Severity, barDays)
	for _, h := range past.Hours {
		i := at(h.Start)
		if i < 0 || i >= barDays {
			continue
		}
		day := &out.Days[i]
		day.Seen += h.Seen.Seconds()
		worst[i] = max(worst[i], h.Worst)
		day.Worst = worst[i].String()
	}
	for _, p := range past.Problems {
		end := time.Now()
		if p.Cleared != nil {
			end = *p.Cleared
		}
		for i := max(at(p.Appeared), 0); i <= at(end) && i < barDays; i++ {
			if len(out.Days[i].Problems) < mostDayProblems {
				out.Days[i].Problems = append(out.Days[i].Problems, DayProblem{
					Code: p.Code, Title: p.Title, Severity: p.Severity.String(), Since: p.Since.UTC(), Cleared: p.Cleared,
				})
			}
		}
	}
	return out, nil
}

// mostDayProblems bounds the list of one day.
const mostDayProblems = 20
