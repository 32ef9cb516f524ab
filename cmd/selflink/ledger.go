package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"selflink/appliance/config"
	"selflink/appliance/telemetry"
)

// ledger reads the settings and opens the database beside the server. It may
// be the first thing that runs on a data directory, so missing secrets are made
// as the server makes them. Only warnings are logged: the verb says what there
// is to say.
func (p *program) ledger(ctx context.Context, o *options) (ledger, error) {
	cfg, _, err := config.Load(p.sources(o))
	if err != nil {
		return nil, err
	}
	log, err := p.quietLogger(cfg)
	if err != nil {
		return nil, err
	}
	led, err := p.parts.openLedger(ctx, cfg, log, p.version, p.commit)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return led, nil
}

// quietLogger logs warnings only.
func (p *program) quietLogger(cfg *config.Config) (*slog.Logger, error) {
	return telemetry.NewLogger(telemetry.Options{
		Out: p.stderr, Level: slog.LevelWarn, App: slog.LevelWarn, Request: slog.LevelWarn, Hidden: cfg.Hidden(),
	})
}

// closing closes the database after a verb that ended with err.
func closing(led interface{ Close() error }, err error) error {
	if closeErr := led.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close the database: %w", closeErr))
	}
	return err
}
