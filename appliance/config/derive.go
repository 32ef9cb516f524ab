package config

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// packageDataDir is made by the package for its service.
const packageDataDir = "/var/lib/selflink"

// derive fills in what follows from other settings or from the machine.
func (l *loader) derive() {
	c := l.cfg
	if c.DataDir == "" {
		l.choose("SELFLINK_DATA_DIR", l.dataDir())
	}
	if c.Instance == "" {
		if name, err := os.Hostname(); err == nil {
			l.choose("HOSTNAME", name)
		}
	}
	if _, ok := l.given["RUNNING_IN_DOCKER"]; !ok {
		_, err := os.Stat(filepath.Join(l.src.Root, ".dockerenv"))
		c.Docker = err == nil
	}
	if _, ok := l.given["REQUEST_LOG_LEVEL"]; !ok {
		c.RequestLogLevel = c.AppLogLevel
	}
	if c.BackupDir == "" {
		l.choose("BACKUP_DIR", filepath.Join(c.DataDir, backupsDirName))
	}
	if c.Storage.Dir == "" {
		l.choose("MEDIA_ROOT", filepath.Join(c.DataDir, mediaDirName))
	}
	l.deriveModel()
	l.deriveSearch()
	l.deriveOrigins()
	if c.DatabaseTLS {
		c.DatabaseURL = l.requireTLS("DATABASE_URL", c.DatabaseURL)
		c.DatabaseDirectURL = l.requireTLS("DATABASE_DIRECT_URL", c.DatabaseDirectURL)
	}
}

// choose sets a setting that was not given to a value that is then shown.
func (l *loader) choose(key, text string) {
	if _, ok := l.given[key]; ok || text == "" {
		return
	}
	for _, s := range Settings() {
		if s.Key == key && s.set(l.cfg, text) == nil {
			l.given[key] = found{text, fromDerived}
		}
	}
}

// dataDir is the packaged directory for root and its owner where it is there,
// else ./data.
func (l *loader) dataDir() string {
	packaged := filepath.Join(l.src.Root, packageDataDir)
	if info, err := os.Stat(packaged); err == nil && info.IsDir() {
		st, ok := info.Sys().(*syscall.Stat_t)
		if me := os.Geteuid(); me == 0 || ok && int(st.Uid) == me {
			return packaged
		}
	}
	abs, err := filepath.Abs("data")
	if err != nil {
		l.problem("SELFLINK_DATA_DIR", "cannot be chosen: the working directory is gone", "Set SELFLINK_DATA_DIR.")
	}
	return abs
}

// deriveModel settles which model is asked where and for how long.
func (l *loader) deriveModel() {
	c := l.cfg
	if c.LLMProvider == "" {
		provider := ProviderMock
		if c.LLMBaseURL != "" { // old installations named no provider for their Ollama
			provider = ProviderOllama
		}
		l.choose("MENTOR_LLM_PROVIDER", provider)
	}
	model, timeout := "", "120"
	switch c.LLMProvider {
	case ProviderOpenAI:
		model, timeout = "gpt-4o-mini", "60"
		if c.OpenAIKey.IsZero() && c.LLMBaseURL == "" {
			l.note(slog.LevelWarn, "OPENAI_API_KEY", "OPENAI_API_KEY is not given: only callers who bring their own key get answers from the model")
		}
	case ProviderOllama:
		model = "llama3.2:1b"
	default:
		model = ProviderMock
	}
	if c.LLMModel == "" {
		l.choose("MENTOR_LLM_MODEL", model)
	}
	if c.LLMTimeout == 0 {
		l.choose("MENTOR_LLM_TIMEOUT", timeout)
		if c.LLMTimeout == 0 { // what was given is no number, which is told already
			c.LLMTimeout = 2 * time.Minute
		}
	}
}

// deriveOrigins leaves out what a browser would never send as an origin.
func (l *loader) deriveOrigins() {
	var good, bad []string
	for _, text := range l.cfg.CORSOrigins {
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
			bad = append(bad, text)
			continue
		}
		good = append(good, strings.ToLower(u.Scheme+"://"+u.Host))
	}
	l.cfg.CORSOrigins = good
	if len(bad) > 0 {
		l.note(slog.LevelWarn, "CORS_ALLOWED_ORIGINS", "left out, because an origin is written as https://host: "+strings.Join(bad, ", "))
	}
}

// requireTLS adds what makes the driver insist on TLS.
func (l *loader) requireTLS(key string, address Secret) Secret {
	u, err := url.Parse(address.Reveal())
	if address.IsZero() || err != nil {
		return address
	}
	q := u.Query()
	switch q.Get("sslmode") {
	case "":
		q.Set("sslmode", "require")
		u.RawQuery = q.Encode()
		return NewSecret(u.String())
	case "disable", "allow", "prefer":
		l.problem(key, "asks for sslmode="+q.Get("sslmode")+" while DATABASE_SSL is true", "Take sslmode out of the URL, or set it to require or verify-full.")
	}
	return address
}

// passwords gives the secret parts of a URL, as written and decoded.
func passwords(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	var out []string
	if password, ok := u.User.Password(); ok && password != "" {
		out = append(out, password)
		if _, written, ok := strings.Cut(u.User.String(), ":"); ok && written != password {
			out = append(out, written)
		}
	}
	if password := u.Query().Get("password"); password != "" {
		out = append(out, password)
	}
	return out
}
