package appliance

import (
	"log/slog"

	"selflink/appliance/config"
	"selflink/appliance/health"
)

// newHealth makes the registry of checks. Processes are told apart by their
// machine and their data directory, which no two of them share.
func newHealth(cfg *config.Config, log *slog.Logger) *health.Registry {
	return health.New(health.Options{Logger: log, Node: cfg.Instance + ":" + cfg.DataDir})
}

// Health is what the appliance knows to be wrong with itself.
func (a *Appliance) Health() *health.Registry { return a.health }
