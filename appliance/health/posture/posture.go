// Package posture holds the checks of how the appliance is set up: settings
// that are fine on a desk and not on the internet, and secrets that others can
// read or guess. The server watches them and "selflink doctor" reports them.
package posture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"selflink/appliance/config"
	"selflink/appliance/health"
)

// secretAge is how old a generated secret may be.
const secretAge = 365 * 24 * time.Hour

// Exposed reports whether others than this machine can reach the appliance, by
// themselves or through a proxy.
func Exposed(cfg *config.Config) bool { return !cfg.Loopback() || len(cfg.TrustedProxies) > 0 }

// Keys are the settings that [Checks] judges, so that a list of remarks on the
// settings may leave them out.
func Keys() []string {
	return append([]string{"DEBUG", "ALLOWED_HOSTS", "RATE_LIMITS_ENABLED", "TRUSTED_PROXIES"}, secretKeys()...)
}

func secretKeys() []string {
	return []string{"SECRET_KEY", "JWT_SIGNING_KEY", "METRICS_TOKEN", "REALTIME_JWT_SECRET", "REALTIME_PUBLISH_TOKEN", "ADMIN_PASSWORD", "CLUSTER_TOKEN"}
}

// Checks judge cfg and the secrets in its data directory.
func Checks(cfg *config.Config) []health.Check {
	exposed := Exposed(cfg)
	debug := health.Medium
	if exposed {
		debug = health.High
	}
	checks := []health.Check{{
		Code: "config.debug", Title: "DEBUG is on", Severity: debug,
		Impact: "What would be refused is only warned of: weak secrets, any host name.",
		Remedy: "Set DEBUG=false, correct what selflink config check says then, and restart.",
		Run:    fails(cfg.Debug, "development mode is for a machine that nobody else reaches"),
	}, {
		Code: "config.hosts", Title: "Every host name is answered",
		Impact: "Links in answers can be made to point to a stranger's host.",
		Remedy: "Set ALLOWED_HOSTS to the names of this server, as in ALLOWED_HOSTS=api.example.com,localhost, and restart.",
		Run:    fails(exposed && slices.Contains(cfg.AllowedHosts, "*"), "ALLOWED_HOSTS is * although others than this machine can connect"),
	}, {
		Code: "config.limits", Title: "Bursts of requests are not limited",
		Impact: "Passwords can be tried quickly, and one client can take the model from all others.",
		Remedy: "Set RATE_LIMITS_ENABLED=true and restart.",
		Run:    fails(exposed && !cfg.RateLimits, "RATE_LIMITS_ENABLED is not true although others than this machine can connect"),
	}, {
		Code: "config.proxies", Title: "Everybody counts as a proxy",
		Impact: "Clients can pretend to have any address, so limits by address do not hold.",
		Remedy: "Set TRUSTED_PROXIES to the addresses of your reverse proxies alone, and restart.",
		Run:    func(context.Context) error { return checkProxies(cfg) },
	}, {
		Code: "config.secrets", Title: "A secret is weak", Severity: health.High,
		Impact: "Who guesses it can sign in as anybody, or reads and publishes what he should not.",
		Remedy: "Make new ones: openssl rand -base64 33. Or leave SECRET_KEY and JWT_SIGNING_KEY out: one is generated then. Everybody has to sign in again.",
		Run:    func(context.Context) error { return checkSecrets(cfg) },
	}, {
		Code: "secrets.modes", Title: "Others on this machine can read secrets", Severity: health.High, Every: time.Minute,
		Impact: "Every user of this machine can sign tokens and read the database.",
		Remedy: "selflink doctor --fix",
		Run:    func(context.Context) error { return checkModes(cfg.DataDir) },
	}, {
		Code: "secrets.age", Title: "A secret is old", Severity: health.Low, Every: time.Hour,
		Impact: "The longer a key is in use, the more copies of it lie in backups.",
		Remedy: "When it suits, stop the appliance, move the file away and start again: a new one is made. Everybody has to sign in again.",
		Run:    func(context.Context) error { return checkAge(cfg.DataDir, time.Now()) },
	}}
	checks = append(checks, payments(cfg)...)
	for i := range checks {
		checks[i].Private = true
	}
	return checks
}

// fails is a check of what does not change while the process runs.
func fails(when bool, text string) func(context.Context) error {
	var err error
	if when {
		err = errors.New(text)
	}
	return func(context.Context) error { return err }
}

func checkProxies(cfg *config.Config) error {
	for _, p := range cfg.TrustedProxies {
		if p.Bits() == 0 {
			return fmt.Errorf("TRUSTED_PROXIES contains %s, which is every address", p)
		}
	}
	return nil
}

// checkSecrets repeats what was only warned of because DEBUG is on.
func checkSecrets(cfg *config.Config) error {
	var texts []error
	for _, n := range cfg.Notes() {
		if n.Level >= slog.LevelWarn && slices.Contains(secretKeys(), n.Key) {
			texts = append(texts, errors.New(n.Text))
		}
	}
	return errors.Join(texts...)
}

// Files are the secrets in a data directory and the directories of them, as
// far as they are there: paths that nobody but the owner may open.
func Files(dataDir string) []string {
	// Backups carry the secrets with them.
	files := []string{filepath.Join(dataDir, "postgres.json"), filepath.Join(dataDir, "backups"), filepath.Join(dataDir, "secrets")}
	entries, err := os.ReadDir(filepath.Join(dataDir, "secrets"))
	if err == nil { // else checkModes says so of the directory itself
		for _, e := range entries {
			files = append(files, filepath.Join(dataDir, "secrets", e.Name()))
		}
	}
	return slices.DeleteFunc(files, func(path string) bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// Open reports the mode of a path when others than its owner can open it.
func Open(path string) (mode fs.FileMode, open bool, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, false, fmt.Errorf("look at a secret: %w", err)
	}
	if info.Mode()&fs.ModeSymlink != 0 { // its own mode says nothing
		return 0, false, nil
	}
	return info.Mode().Perm(), info.Mode().Perm()&0o077 != 0, nil
}

func checkModes(dataDir string) error {
	var loose []string
	for _, path := range Files(dataDir) {
		mode, open, err := Open(path)
		if err != nil {
			return err
		}
		if open {
			loose = append(loose, fmt.Sprintf("%s has mode %04o", path, mode))
		}
	}
	if len(loose) == 0 {
		return nil
	}
	return errors.New(strings.Join(loose, ", "))
}

func checkAge(dataDir string, now time.Time) error {
	entries, err := os.ReadDir(filepath.Join(dataDir, "secrets"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the secrets: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone just now
		}
		if age := now.Sub(info.ModTime()); age > secretAge {
			return fmt.Errorf("%s is %d days old", filepath.Join(dataDir, "secrets", e.Name()), int(age.Hours()/24))
		}
	}
	return nil
}
