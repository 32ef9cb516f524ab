package appliance

import (
	"context"

	"selflink/appliance/certificate"
	"selflink/appliance/config"
)

// newPair loads the certificate that the settings name, nil when they name none.
func (a *Appliance) newPair(cfg *config.Config) (*certificate.Keeper, error) {
	if !cfg.TLS() {
		return nil, nil //nolint:nilnil // none is not a failure
	}
	return certificate.New(certificate.Options{CertFile: cfg.TLSCertFile, KeyFile: cfg.TLSKeyFile, Health: a.health, Logger: a.log})
}

func (a *Appliance) watchPair(ctx context.Context) error {
	if a.pair == nil {
		return nil
	}
	return a.pair.Start(ctx)
}

func (a *Appliance) leavePair(ctx context.Context) error {
	if a.pair == nil {
		return nil
	}
	return a.pair.Stop(ctx)
}
