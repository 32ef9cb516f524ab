package appliance

import (
	"context"
	"time"

	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/schedule"
)

// firingRetention is how long firings of schedules are kept.
const firingRetention = 90 * 24 * time.Hour

// coinCheckTime bounds the reading of the whole ledger.
const coinCheckTime = 30 * time.Minute

// timetable adds all schedules.
func (a *Appliance) timetable(cfg *config.Config) error {
	entries := []schedule.Entry{
		{Name: "jobs.retention", Cron: "7 * * * *", Run: trim(a.jobs.Purge)},
		{Name: "schedules.retention", Cron: "23 2 * * *", CatchUp: true, Run: func(ctx context.Context) error {
			_, err := a.schedules.Purge(ctx, time.Now().Add(-firingRetention))
			return err
		}},
		{Name: "sessions.lapse", Cron: "41 3 * * *", CatchUp: true, Run: trim(a.accounts.PruneSessions)},
		{Name: "realtime.retention", Cron: "*/10 * * * *", Run: trim(a.realtime.Trim)},
		{Name: "health.retention", Cron: "53 2 * * *", CatchUp: true, Run: trim(a.health.Trim)},
		{Name: "requests.retention", Cron: "37 * * * *", Run: trim(a.traces.Trim)},
		{Name: "metrics.retention", Cron: "47 2 * * *", CatchUp: true, Run: trim(a.history.Trim)},
		{Name: "media.sweep", Cron: "17 4 * * *", CatchUp: true, Timeout: mediaSweepTime, Run: func(ctx context.Context) error {
			_, err := a.media.Sweep(ctx)
			return err
		}},
		{Name: "media.check", Cron: "29 5 * * *", CatchUp: true, Run: func(ctx context.Context) error {
			_, err := a.media.Examine(ctx)
			return err
		}},
		{Name: "coin.check", Cron: "43 5 * * *", CatchUp: true, Timeout: coinCheckTime, Run: func(ctx context.Context) error {
			_, err := a.coin.Audit(ctx) // what it finds wrong health tells
			return err
		}},
	}
	if cfg.MentorRetention > 0 {
		entries = append(entries, schedule.Entry{Name: "mentor.retention", Cron: "11 3 * * *", CatchUp: true, Run: func(ctx context.Context) error {
			_, err := a.mentor.Purge(ctx, cfg.MentorRetention)
			return err
		}})
	}
	if cfg.BackupSchedule != "" {
		entries = append(entries, schedule.Entry{
			Name: "backup.nightly", Cron: cfg.BackupSchedule, CatchUp: true, Timeout: backup.NightlyTimeout, Run: a.backups.Nightly,
		})
	}
	for _, entry := range entries {
		if err := a.schedules.Add(entry); err != nil {
			return err
		}
	}
	return nil
}

// trim makes the work of a schedule of what deletes old rows and counts them.
func trim(remove func(ctx context.Context) (int64, error)) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		_, err := remove(ctx)
		return err
	}
}
