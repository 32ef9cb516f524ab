package appliance

import (
	"context"
	"log/slog"

	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/database"
)

// backupOptions are shared by the server and the commands beside it.
func backupOptions(cfg *config.Config, db *database.Server, log *slog.Logger, build Build) backup.Options {
	return backup.Options{
		Database: db, BinDir: cfg.PostgresBinDir, DataDir: cfg.DataDir, Dir: cfg.BackupDir, Keep: cfg.BackupKeep,
		Build: backup.Build(build), Logger: log,
	}
}

// Backups makes, verifies and lists archives for commands that run beside the
// server.
type Backups struct {
	*backup.Keeper
	database *database.Server
}

// OpenBackups reaches the database: that of the running server, or one that is
// started for the time of the command. progress may be nil.
func OpenBackups(ctx context.Context, cfg *config.Config, log *slog.Logger, build Build, progress func(backup.Progress)) (*Backups, error) {
	db, err := database.Attach(ctx, databaseOptions(cfg, log))
	if err != nil {
		return nil, err
	}
	b := &Backups{database: db}
	options := backupOptions(cfg, db, log, build)
	options.Progress = progress
	if b.Keeper, err = backup.New(options); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// Close ends the connection, and the database if it was started for it.
func (b *Backups) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return b.database.Stop(ctx)
}

// NewRestorer makes what restores archives while no server runs. progress may
// be nil.
func NewRestorer(cfg *config.Config, log *slog.Logger, progress func(backup.Progress)) *backup.Restorer {
	return &backup.Restorer{Database: databaseOptions(cfg, log), DataDir: cfg.DataDir, Logger: log, Progress: progress}
}
