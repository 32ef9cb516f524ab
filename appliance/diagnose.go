package appliance

import (
	"context"
	"io"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/config"
	"selflink/appliance/diagnostics"
	"selflink/appliance/health/posture"
	"selflink/appliance/telemetry"
)

// diagnosedLines is how many lines of the log go into a bundle.
const diagnosedLines = telemetry.MaxLines

// diagnose writes a bundle for whoever helps, without secrets.
func (a *Appliance) diagnose(ctx context.Context, w io.Writer, cfg *config.Config, metrics prometheus.Gatherer, build Build) error {
	part := func(name string, get func(ctx context.Context) (any, error)) diagnostics.Section {
		return diagnostics.Section{Name: name, Get: get}
	}
	hidden := append(cfg.Hidden(), a.database.Secrets()...)
	return diagnostics.Write(ctx, w, diagnostics.Options{Hidden: hidden, Sections: []diagnostics.Section{
		part("build", func(context.Context) (any, error) { return build, nil }),
		part("settings", func(context.Context) (any, error) { return cfg.View(), nil }),
		part("problems", func(context.Context) (any, error) { return a.health.Problems(), nil }),
		part("checks", func(context.Context) (any, error) { return a.health.Checks(), nil }),
		part("checklist", func(context.Context) (any, error) { return posture.Checklist(a.health.Checks()), nil }),
		part("processes", func(ctx context.Context) (any, error) { return a.database.Processes(ctx), nil }),
		part("database", func(ctx context.Context) (any, error) { return a.database.Insight(ctx) }),
		part("broker", func(ctx context.Context) (any, error) { return a.broker.Insight(ctx) }),
		part("jobs", func(ctx context.Context) (any, error) { return a.jobs.Overview(ctx) }),
		part("job-errors", func(ctx context.Context) (any, error) { return a.jobs.ErrorGroups(ctx) }),
		part("schedules", func(ctx context.Context) (any, error) { return a.schedules.Overview(ctx) }),
		part("realtime", func(ctx context.Context) (any, error) { return a.realtime.Overview(ctx) }),
		part("mentor", func(ctx context.Context) (any, error) { return a.mentor.Insight(ctx) }),
		part("backups", func(ctx context.Context) (any, error) { return a.backups.List(ctx, 20) }),
		part("metrics", diagnostics.Metrics(metrics)),
		part("log", func(context.Context) (any, error) { return a.tail.Page(telemetry.LineQuery{Limit: diagnosedLines}) }),
	}})
}
