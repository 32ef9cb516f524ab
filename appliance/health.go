package appliance

import (
	"log/slog"

	"selflink/appliance/config"
	"selflink/appliance/doctor"
	"selflink/appliance/health"
	"selflink/appliance/health/machine"
	"selflink/appliance/health/posture"
)

// newHealth makes the registry, with the checks of what belongs to no part. The
// parts add their own. Processes are told apart by their machine and their data
// directory, which no two of them share.
func newHealth(cfg *config.Config, log *slog.Logger) *health.Registry {
	r := health.New(health.Options{Logger: log, Node: cfg.Instance + ":" + cfg.DataDir})
	machine.Register(r, cfg.DataDir)
	for _, c := range posture.Checks(cfg) {
		r.Add(c)
	}
	return r
}

// NewDoctor prepares the examination of the installation that cfg describes,
// which may be refused; o says the rest.
func NewDoctor(cfg *config.Config, log *slog.Logger, o doctor.Options) *doctor.Doctor {
	o.Config, o.Database = cfg, databaseOptions(cfg, log)
	return doctor.New(o)
}

// Health is what the appliance knows to be wrong with itself.
func (a *Appliance) Health() *health.Registry { return a.health }
