package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/upgrade"
)

// NewUpgrader makes what looks after upgrades, for the server and for commands.
func NewUpgrader(cfg *config.Config, log *slog.Logger, build Build) (*upgrade.Keeper, error) {
	return upgrade.New(upgrade.Options{
		DataDir: cfg.DataDir, Database: databaseOptions(cfg, log), NoSnapshot: !cfg.UpgradeSnapshot, Build: upgrade.Build(build), Logger: log,
	})
}

// gateTime is the least time that a new version gets to be ready.
const gateTime = time.Minute

// upgrades makes the parts that look after upgrades.
func (a *Appliance) newUpgrades(cfg *config.Config, build Build) (err error) {
	if a.upgrades, err = NewUpgrader(cfg, a.log, build); err != nil {
		return err
	}
	a.gate = a.upgrades.Gate(a.health, max(gateTime, cfg.DatabaseBootWait))
	return nil
}

// Told makes f hear what a start is doing while it takes long. Call it before
// Start.
func (a *Appliance) Told(f func(what string)) { a.told = f }

// tellEvery is the time between two words about a start that takes long.
const tellEvery = 10 * time.Second

// guard refuses a start that an upgrade forbids.
func (a *Appliance) guard(context.Context) error { return a.upgrades.Guard() }

// migrate brings the schema up to date, with a way back.
func (a *Appliance) migrate(ctx context.Context) error {
	quiet := a.told == nil
	if !quiet {
		var said time.Time
		a.upgrades.OnProgress(func(p backup.Progress) {
			if now := time.Now(); now.Sub(said) >= time.Second {
				said = now
				a.told(fmt.Sprintf("%s: %d of %d MiB", p.Stage, p.Bytes>>20, p.Total>>20))
			}
		})
		// Migrations are not heard while they work.
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		defer func() { cancel(); <-done }()
		go func() {
			defer close(done)
			ticker := time.NewTicker(tellEvery)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					a.told("bringing the schema up to date")
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	done, err := a.upgrades.Migrate(ctx, a.database, false)
	if err != nil {
		return err
	}
	if done.Applied > 0 {
		a.log.Info("the schema is up to date", "component", "database", "applied", done.Applied)
	}
	return nil
}
