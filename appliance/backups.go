package appliance

import (
	"context"
	"log/slog"

	"selflink/appliance/backup"
	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/storage"
)

// backupOptions are shared by the server and the commands beside it.
func backupOptions(cfg *config.Config, db *database.Server, files storage.Store, log *slog.Logger, build Build) backup.Options {
	return backup.Options{
		Database: db, BinDir: cfg.PostgresBinDir, DataDir: cfg.DataDir, Dir: cfg.BackupDir, Keep: cfg.BackupKeep,
		Files: files,
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
	files, err := NewStorage(cfg)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	options := backupOptions(cfg, db, files, log, build)
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
	return &backup.Restorer{Database: databaseOptions(cfg, log), DataDir: cfg.DataDir, MediaDir: cfg.Storage.Dir, Logger: log, Progress: progress}
}

// settleFiles ends a restore that was killed after its database had taken its
// place and before its files had.
func (a *Appliance) settleFiles(ctx context.Context) error {
	done, err := backup.Settle(ctx, a.database.Direct(), a.mediaDir)
	if done && err == nil {
		a.log.Info("the files of an interrupted restore are in their place", "component", "backup", "dir", a.mediaDir)
	}
	return err
}
