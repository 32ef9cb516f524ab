package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/robfig/cron/v3"
)

// backupsDirName is the directory of backups in the data directory.
const backupsDirName = "backups"

// backupTable is about the nightly backup and the snapshot before an upgrade.
func backupTable() []Setting {
	return []Setting{
		{Key: "BACKUP_SCHEDULE", Group: Backup, Default: "30 3 * * *",
			Doc: "When the database is backed up and the archive verified, as five cron fields in UTC; off: never.",
			set: into(func(c *Config) *string { return &c.BackupSchedule }, parseCron)},
		{Key: "BACKUP_DIR", Group: Backup, Auto: "<data>/backups",
			Doc: "Directory of the backups, best on another disk than the data.",
			set: into(func(c *Config) *string { return &c.BackupDir }, parsePath)},
		{Key: "BACKUP_KEEP", Group: Backup, Default: "7", Unit: "archives",
			Doc: "How many backups are kept in BACKUP_DIR. The newest verified one is kept in any case.",
			set: into(func(c *Config) *int { return &c.BackupKeep }, parseInt(1, 10_000))},
		{Key: "SELFLINK_UPGRADE_SNAPSHOT", Group: Backup, Default: "true",
			Doc: "Whether a snapshot of the database is taken before a new version changes its schema, so that selflink rollback can bring it back.",
			set: into(func(c *Config) *bool { return &c.UpgradeSnapshot }, parseBool)},
	}
}

// parseCron accepts five cron fields and gives nothing for "off".
func parseCron(raw string) (string, error) {
	if strings.EqualFold(raw, "off") {
		return "", nil
	}
	const cronFields = 5
	fields := strings.Fields(raw)
	if len(fields) != cronFields {
		return "", fmt.Errorf("%q is neither off nor five cron fields such as 30 3 * * *", raw)
	}
	if _, err := cron.ParseStandard(raw); err != nil {
		return "", errors.New("is no cron expression: " + err.Error())
	}
	return strings.Join(fields, " "), nil
}
