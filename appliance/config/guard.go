package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// minSecret is the shortest secret in characters that is accepted outside of
// development. Shorter keys of signatures can be found by trying.
const minSecret = 16

// guard holds the guardrails of contract 04 §5.
func (l *loader) guard() {
	l.guardDatabase()
	l.guardStorage()
	l.guardHosts()
	l.guardTLS()
	l.guardSecrets()
	l.guardCluster()
	c := l.cfg
	if !c.Loopback() && !c.Debug && !c.RateLimits {
		l.note(slog.LevelWarn, "RATE_LIMITS_ENABLED", "others than this machine can connect and RATE_LIMITS_ENABLED is not true: logins are limited by THROTTLE_* alone")
	}
	for _, p := range c.TrustedProxies {
		if p.Bits() == 0 {
			l.note(slog.LevelWarn, "TRUSTED_PROXIES", "every peer counts as a proxy: clients can pretend to have any address")
			break
		}
	}
	if c.Debug && !c.Loopback() {
		l.note(slog.LevelWarn, "DEBUG", "DEBUG is on and others than this machine can connect: guardrails only warn")
	}
}

// refuse is a problem, or a warning in development.
func (l *loader) refuse(key, text, fix string) {
	if l.cfg.Debug {
		l.note(slog.LevelWarn, key, key+" "+text+". "+fix)
		return
	}
	l.problem(key, text, fix)
}

func (l *loader) guardDatabase() {
	c := l.cfg
	if c.Docker {
		for _, d := range []struct {
			key     string
			address Secret
		}{{"DATABASE_URL", c.DatabaseURL}, {"DATABASE_DIRECT_URL", c.DatabaseDirectURL}} {
			if slices.ContainsFunc(hostsOf(d.address), isLocalHost) {
				l.problem(d.key, d.key+" points to localhost inside Docker; use pgbouncer/postgres host names",
					"Name the database's container, or set RUNNING_IN_DOCKER=false when the database does run in this one.")
			}
		}
	}
	if l.given["DATABASE_URL"].text == "" && !c.DatabaseDirectURL.IsZero() {
		l.problem("DATABASE_DIRECT_URL", "is given without DATABASE_URL", "Give DATABASE_URL too, or leave both out for a private database.")
	}
}

func (l *loader) guardHosts() {
	c := l.cfg
	if !slices.Contains(c.AllowedHosts, "*") {
		return
	}
	const text = "is *, so any Host header is answered"
	const fix = "Set ALLOWED_HOSTS to the names of this server, as in ALLOWED_HOSTS=api.example.com,localhost."
	switch {
	case !c.Loopback():
		l.refuse("ALLOWED_HOSTS", text+" although others than this machine can connect", fix)
	case len(c.TrustedProxies) > 0: // the proxy may check the host itself, so this is no refusal
		l.note(slog.LevelWarn, "ALLOWED_HOSTS", "ALLOWED_HOSTS "+text+" that a proxy in front (TRUSTED_PROXIES) lets through. "+fix)
	default:
		l.note(slog.LevelWarn, "ALLOWED_HOSTS", "ALLOWED_HOSTS "+text+"; only this machine can connect, so that is fine until a proxy is put in front. "+fix)
	}
}

func (l *loader) guardSecrets() {
	for _, key := range []string{"SECRET_KEY", "JWT_SIGNING_KEY", "METRICS_TOKEN", realtimeSecret, publishToken} {
		f, ok := l.given[key]
		if !ok {
			continue
		}
		fix := "Make one with:  openssl rand -base64 33"
		if key == "SECRET_KEY" || key == "JWT_SIGNING_KEY" {
			fix += "   or leave it out, then one is generated and kept."
		}
		switch {
		case isSample(f.text):
			l.refuse(key, "is a published example, which everybody knows", fix)
		case len([]rune(f.text)) < minSecret:
			l.refuse(key, fmt.Sprintf("is shorter than %d characters", minSecret), fix)
		case poor(f.text):
			l.refuse(key, "repeats a few characters and can be guessed", fix)
		}
	}
	if f, ok := l.given["ADMIN_PASSWORD"]; ok && isSample(f.text) {
		l.refuse("ADMIN_PASSWORD", "is a published example, which everybody knows", "Leave it out: \"selflink admin create\" asks for one.")
	}
	realtime, given := l.given[realtimeSecret]
	if !given {
		return
	}
	key := l.given["JWT_SIGNING_KEY"]
	if key.text == "" {
		key = l.given["SECRET_KEY"]
	}
	if realtime.text != key.text {
		l.refuse(realtimeSecret, "differs from the key that signs tokens", "Leave it out: one process signs and checks. To keep the sessions of an old installation, give its key as JWT_SIGNING_KEY.")
	}
}

// isSample knows published examples and their usual variations.
func isSample(text string) bool {
	plain := strings.NewReplacer("-", "", "_", "", " ", "", ".", "").Replace(strings.ToLower(text))
	for _, part := range []string{
		"unsafesecret", "unsaferealtime", "changeme", "changethis", "changeit", "djangoinsecure", "replaceme", "replacethis",
		"yoursecret", "yourkey", "yourjwt", "examplesecret", "secretexample", "secretkeyhere", "notasecret", "insecuresecret", "placeholder",
	} {
		if strings.Contains(plain, part) {
			return true
		}
	}
	switch plain {
	case "secret", "secretkey", "password", "selflink", "admin", "example", "test", "dev", "development", "jwtsecret", "key", "token":
		return true
	}
	return false
}

// poor reports whether a text has too few different characters to be random.
func poor(text string) bool {
	different := map[rune]bool{}
	for _, r := range text {
		different[r] = true
	}
	return len(different) < 6
}
