package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const goodKey = "pV8r2Qy7mW1zK5xT9sLc"

// load reads a configuration of "NAME=value" pairs on a machine of its own.
func load(t *testing.T, environ ...string) (*Config, Report, error) {
	t.Helper()
	root := t.TempDir()
	base := []string{"SELFLINK_DATA_DIR=" + filepath.Join(root, "data"), "SELFLINK_ENV_FILE="}
	return Load(Sources{Environ: append(base, environ...), Root: root})
}

// problemsOf gives the problems by key.
func problemsOf(t *testing.T, err error) map[string]string {
	t.Helper()
	out := map[string]string{}
	var e *Error
	if errors.As(err, &e) {
		for _, p := range e.Problems {
			out[p.Key] += p.Text + " "
			require.NotEmpty(t, p.Fix, "%s must say what to do", p.Key)
		}
	} else {
		require.NoError(t, err)
	}
	return out
}

func notesOf(r Report) string {
	var b strings.Builder
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s %s: %s\n", n.Level, n.Key, n.Text)
	}
	return b.String()
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, r, err := load(t)
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:8000"}, c.Listen)
	require.True(t, c.Loopback())
	require.Equal(t, []string{"*"}, c.AllowedHosts)
	require.Equal(t, 15*time.Minute, c.AccessLife)
	require.Equal(t, 7*24*time.Hour, c.RefreshLife)
	require.Equal(t, "240/min", c.ThrottleIP)
	require.Equal(t, "120/min", c.ThrottleUser)
	require.Equal(t, "60/min", c.ThrottleAnon)
	require.Equal(t, "20/min", c.ThrottleMentor)
	require.False(t, c.RateLimits)
	require.Equal(t, []int{5, 2, 20}, []int{c.AuthRPSIP, c.MentorRPSUser, c.MentorRPSAll})
	require.True(t, c.DatabaseURL.IsZero())
	require.False(t, c.ManagedPooler)
	require.EqualValues(t, 64<<20, c.BrokerMemory)
	require.EqualValues(t, 1<<30, c.BrokerDisk)
	require.Equal(t, -1, c.NodeID)
	require.Equal(t, ProviderMock, c.LLMProvider)
	require.Equal(t, "mock", c.LLMModel)
	require.Equal(t, 2*time.Minute, c.LLMTimeout)
	require.Equal(t, []int{180, 4000, 12}, []int{c.LLMMaxTokens, c.LLMMaxPromptChars, c.LLMMaxMessages})
	require.Equal(t, 20*time.Second, c.ChatWait)
	require.Equal(t, 90*24*time.Hour, c.MentorRetention)
	require.Len(t, c.CORSOrigins, 6)
	require.Equal(t, "UTC", c.Location.String())
	require.False(t, c.Docker)
	require.NotEmpty(t, c.Instance)
	require.False(t, c.SecretKey.IsZero())
	require.Equal(t, c.SecretKey.Reveal(), c.JWTSigningKey.Reveal())
	require.Contains(t, notesOf(r), "WARN ALLOWED_HOSTS")
}

// TestTable keeps the table consistent with itself.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range Settings() {
		for _, name := range s.names() {
			require.False(t, seen[name], "%s is there twice", name)
			seen[name] = true
		}
		require.Contains(t, groups(), s.Group)
		if s.Status != Used {
			require.Nil(t, s.set, s.Key)
			require.NotEmpty(t, s.Status.note())
			continue
		}
		require.NotEmpty(t, s.Doc, s.Key)
		require.NoError(t, s.set(&Config{}, s.Default), "the default of %s", s.Key)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "env")
	require.NoError(t, os.WriteFile(file, []byte("LOG_LEVEL=ERROR\nAPP_LOG_LEVEL=ERROR\nDJANGO_REQUEST_LOG_LEVEL=ERROR\nSECRET_KEY="+goodKey+"\n"), 0o600))
	root := t.TempDir()
	c, r, err := Load(Sources{
		Flags:   map[string]string{"LOG_LEVEL": "DEBUG", "SELFLINK_ENV_FILE": file},
		Environ: []string{"LOG_LEVEL=WARNING", "APP_LOG_LEVEL=WARNING", "SELFLINK_ENV_FILE=/nowhere", "SELFLINK_DATA_DIR=" + root},
		Root:    root,
	})
	require.NoError(t, err)
	require.Equal(t, slog.LevelDebug, c.LogLevel)
	require.Equal(t, slog.LevelWarn, c.AppLogLevel)
	require.Equal(t, slog.LevelError, c.RequestLogLevel)
	require.Equal(t, goodKey, c.JWTSigningKey.Reveal())
	sources := map[string]Value{}
	for _, v := range r.Values {
		sources[v.Key] = v
	}
	require.Equal(t, "flag", sources["LOG_LEVEL"].Source)
	require.Equal(t, "environment", sources["APP_LOG_LEVEL"].Source)
	require.Equal(t, file+" line 3 as DJANGO_REQUEST_LOG_LEVEL", sources["REQUEST_LOG_LEVEL"].Source)
	require.Equal(t, Value{"SECRET_KEY", masked, file + " line 4"}, sources["SECRET_KEY"])
	require.Equal(t, "default", sources["JWT_ACCESS_MINUTES"].Source)
	_, err = os.Stat(filepath.Join(root, "secrets"))
	require.ErrorIs(t, err, os.ErrNotExist, "nothing needs to be generated")
}

// TestOldEnvFile reads a file of the old stack as it is.
func TestOldEnvFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/selflink"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, defaultEnvFile), []byte("\ufeff"+strings.ReplaceAll(`# infra/.env
DJANGO_SETTINGS_MODULE=core.settings.prod
export DJANGO_SECRET_KEY='`+goodKey+`'
DJANGO_DEBUG=false
DJANGO_ALLOWED_HOSTS=0.0.0.0,localhost,asgi,api.self-link.com
DJANGO_LOG_LEVEL=INFO
DATABASE_URL="postgres://selflink:s3cr3t-db@pgbouncer:6432/selflink"
CELERY_BROKER_URL=redis://:redis-pass-1@redis:6379/0
CELERY_RESULT_BACKEND=redis://redis:6379/0
REDIS_URL=redis://redis:6379/0
PUBSUB_REDIS_URL=redis://redis:6379/1
REALTIME_REDIS_URL=redis://redis:6379/1
REALTIME_CHANNELS_ENABLED=false
REALTIME_JWT_SECRET=`+goodKey+`
GUNICORN_WORKERS=4
OPENSEARCH_ENABLED=false
OPENSEARCH_HOST=opensearch
OPENSEARCH_USER=admin
STORAGE_BACKEND=local
S3_BUCKET=media
STRIPE_API_KEY=
COIN_FEE_BPS=100
MENTOR_LLM_BASE_URL=http://ollama:11434/
CORS_ALLOWED_ORIGINS=https://a.example/,b.example
RUNNING_IN_DOCKER=true
`, "\n", "\r\n")), 0o600))
	c, r, err := Load(Sources{Environ: []string{"SELFLINK_DATA_DIR=" + root, "HOME=/root"}, Root: root})
	require.NoError(t, err)
	require.Equal(t, goodKey, c.SecretKey.Reveal())
	require.Equal(t, []string{"0.0.0.0", "localhost", "asgi", "api.self-link.com"}, c.AllowedHosts)
	require.Equal(t, "postgres://selflink:s3cr3t-db@pgbouncer:6432/selflink", c.DatabaseURL.Reveal())
	require.Equal(t, ProviderOllama, c.LLMProvider)
	require.Equal(t, "llama3.2:1b", c.LLMModel)
	require.Equal(t, "http://ollama:11434", c.LLMBaseURL)
	require.Equal(t, []string{"https://a.example"}, c.CORSOrigins)
	require.True(t, c.Docker)
	notes := notesOf(r)
	require.Contains(t, notes, "replaced by the embedded broker: CELERY_BROKER_URL, CELERY_RESULT_BACKEND, REDIS_URL, PUBSUB_REDIS_URL, REALTIME_REDIS_URL, REALTIME_CHANNELS_ENABLED")
	require.Contains(t, notes, "no longer needed: DJANGO_SETTINGS_MODULE, GUNICORN_WORKERS")
	require.Contains(t, notes, "not used by this version: COIN_FEE_BPS")
	require.Contains(t, notes, "STORAGE_BACKEND=local ignores S3 settings: S3_BUCKET")
	require.Contains(t, notes, "CORS_ALLOWED_ORIGINS: left out, because an origin is written as https://host: b.example")
	require.NotContains(t, notes, "is not a setting")
	require.NotContains(t, notes, "redis-pass")
	require.Subset(t, c.Hidden(), []string{goodKey, "s3cr3t-db", "redis-pass-1"})
	for _, v := range r.Values {
		for _, hidden := range c.Hidden() {
			require.NotContains(t, v.Value, hidden, v.Key)
		}
	}
}

// TestEveryProblemAtOnce gives many mistakes and finds them all reported.
func TestEveryProblemAtOnce(t *testing.T) {
	t.Parallel()
	c, r, err := load(t,
		"SELFLINK_LISTEN=8000", "DEBUG=maybe", "TRUSTED_PROXIES=nginx", "TZ=Mars/Base", "LOG_LEVEL=LOUD", "JWT_ACCESS_MINUTES=soon",
		"THROTTLE_IP_RATE=fast", "AUTH_RPS_IP=-1", "DATABASE_URL=mysql://u:hunter2hunter2@h/d", "PGBOUNCER=yes", "BROKER_MEMORY_MB=1",
		"MENTOR_LLM_PROVIDER=oracle", "MENTOR_LLM_BASE_URL=localhost", "COIN_FEE_BPS=many", "ALLOWED_HOSTS=https://x", "SECRET_KEY=change-me",
		"STORAGE_BACKEND=ftp", "NODE_ID=5000", "METRICS_TOKEN_FILE=/nowhere/token", "JWT_REFRESH_DAYS=0", "GOMEMLIMIT=much",
	)
	require.Error(t, err)
	require.NotNil(t, c)
	problems := problemsOf(t, err)
	for _, key := range []string{
		"SELFLINK_LISTEN", "DEBUG", "TRUSTED_PROXIES", "TZ", "LOG_LEVEL", "JWT_ACCESS_MINUTES", "THROTTLE_IP_RATE", "AUTH_RPS_IP", "DATABASE_URL",
		"PGBOUNCER", "BROKER_MEMORY_MB", "MENTOR_LLM_PROVIDER", "MENTOR_LLM_BASE_URL", "COIN_FEE_BPS", "ALLOWED_HOSTS", "SECRET_KEY",
		"STORAGE_BACKEND", "NODE_ID", "METRICS_TOKEN_FILE", "JWT_REFRESH_DAYS", "GOMEMLIMIT",
	} {
		require.Contains(t, problems, key)
		require.Contains(t, err.Error(), key)
	}
	require.Len(t, r.Problems, len(problems))
	require.NotContains(t, err.Error(), "hunter2")
	_, statErr := os.Stat(c.DataDir)
	require.ErrorIs(t, statErr, os.ErrNotExist, "a refused configuration leaves nothing behind")
}

func TestGuardrails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		environ string // separated by spaces
		key     string // of the problem; empty: there is none
		text    string // of the problem, or of a note
	}{
		{"localhost in Docker", "RUNNING_IN_DOCKER=true DATABASE_URL=postgres://a:b@localhost:5432/x", "DATABASE_URL", "DATABASE_URL points to localhost inside Docker; use pgbouncer/postgres host names"},
		{"127.0.0.1 in Docker", "RUNNING_IN_DOCKER=true DATABASE_URL=postgres://a:b@127.0.0.1/x", "DATABASE_URL", "localhost"},
		{"::1 in Docker", "RUNNING_IN_DOCKER=TRUE DATABASE_URL=postgres://a:b@[::1]:5432/x", "DATABASE_URL", "localhost"},
		{"direct address in Docker", "RUNNING_IN_DOCKER=true DATABASE_URL=postgres://a:b@db/x DATABASE_DIRECT_URL=postgres://a:b@localhost/x", "DATABASE_DIRECT_URL", "localhost"},
		{"localhost outside Docker", "RUNNING_IN_DOCKER=false DATABASE_URL=postgres://a:b@localhost:5432/x", "", ""},
		{"pgbouncer in Docker", "RUNNING_IN_DOCKER=true DATABASE_URL=postgres://a:b@pgbouncer:6432/x", "", ""},
		{"direct alone", "DATABASE_DIRECT_URL=postgres://a:b@h/x", "DATABASE_DIRECT_URL", "without DATABASE_URL"},
		{"TLS that the URL forbids", "DATABASE_SSL=true DATABASE_URL=postgres://a:b@h/x?sslmode=disable", "DATABASE_URL", "sslmode=disable"},
		{"unknown storage", "STORAGE_BACKEND=ftp", "STORAGE_BACKEND", "must be one of ['local','s3'], not 'ftp'"},
		{"s3 without anything", "STORAGE_BACKEND=S3", "STORAGE_BACKEND", "STORAGE_BACKEND=s3 requires: S3_ENDPOINT, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_BUCKET"},
		{"s3 without a bucket", "STORAGE_BACKEND=s3 S3_ENDPOINT=x S3_ACCESS_KEY_ID=y S3_SECRET_ACCESS_KEY=z S3_BUCKET=", "STORAGE_BACKEND", "STORAGE_BACKEND=s3 requires: S3_BUCKET"},
		{"s3 complete", "STORAGE_BACKEND=s3 S3_ENDPOINT=x S3_ACCESS_KEY_ID=y S3_SECRET_ACCESS_KEY=z S3_BUCKET=b", "", ""},
		{"s3 with a path", "STORAGE_BACKEND=s3 S3_ENDPOINT=https://x/y S3_ACCESS_KEY_ID=y S3_SECRET_ACCESS_KEY=z S3_BUCKET=b", "S3_ENDPOINT", "is not an address"},
		{"media elsewhere", "SERVE_MEDIA=false", "", "a web server in front has to serve /media/"},
		{"local with S3", "S3_ENDPOINT=x S3_BUCKET=b", "", "STORAGE_BACKEND=local ignores S3 settings: S3_ENDPOINT, S3_BUCKET"},
		{"published key", "SECRET_KEY=unsafe-secret-key", "SECRET_KEY", "published example"},
		{"published key, long", "JWT_SIGNING_KEY=please-change-me-in-production", "JWT_SIGNING_KEY", "published example"},
		{"generated by Django", "SECRET_KEY=django-insecure-x8#k2$9v", "SECRET_KEY", "published example"},
		{"short key", "SECRET_KEY=k9Xq2", "SECRET_KEY", "shorter than 16"},
		{"short metrics token", "METRICS_TOKEN=k9Xq2", "METRICS_TOKEN", "shorter than 16"},
		{"poor key", "SECRET_KEY=aaaaaaaaaaaaaaaaaaaaaaaa", "SECRET_KEY", "repeats"},
		{"published key in development", "DEBUG=true SECRET_KEY=unsafe-secret-key", "", "published example"},
		{"published admin password", "ADMIN_PASSWORD=changeme", "ADMIN_PASSWORD", "published example"},
		{"other realtime key", "SECRET_KEY=" + goodKey + " REALTIME_JWT_SECRET=another-" + goodKey, "REALTIME_JWT_SECRET", "differs"},
		{"same realtime key", "SECRET_KEY=" + goodKey + " REALTIME_JWT_SECRET=" + goodKey, "", ""},
		{"any host, loopback", "ALLOWED_HOSTS=* SELFLINK_LISTEN=127.0.0.1:1,[::1]:1,localhost:2", "", "ALLOWED_HOSTS is *"},
		{"any host, open", "SELFLINK_LISTEN=127.0.0.1:8000,0.0.0.0:8000", "ALLOWED_HOSTS", "is *"},
		{"any host, open by omission", "SELFLINK_LISTEN=:8000", "ALLOWED_HOSTS", "is *"},
		{"any host, open, development", "SELFLINK_LISTEN=0.0.0.0:8000 DEBUG=1", "", "ALLOWED_HOSTS is *"},
		{"named hosts, open", "SELFLINK_LISTEN=0.0.0.0:8000 ALLOWED_HOSTS=api.example.com", "", "RATE_LIMITS_ENABLED"},
		{"everybody a proxy", "TRUSTED_PROXIES=*", "", "clients can pretend"},
		{"number that is none", "FEED_PRUNE_DAYS=x", "FEED_PRUNE_DAYS", "not a number"},
		{"misspelt name", "SELFLINK_LISTN=:1", "", "SELFLINK_LISTN is not a setting: did you mean SELFLINK_LISTEN?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, r, err := load(t, strings.Fields(c.environ)...)
			problems := problemsOf(t, err)
			if c.key == "" {
				require.Empty(t, problems)
				require.Contains(t, notesOf(r), c.text)
				return
			}
			require.Len(t, problems, 1)
			require.Contains(t, problems[c.key], c.text)
		})
	}
}

func TestDockerIsDetected(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, ".dockerenv"), nil, 0o600))
	environ := []string{"SELFLINK_DATA_DIR=" + root, "DATABASE_URL=postgres://a:b@localhost/x"}
	_, _, err := Load(Sources{Environ: environ, Root: root})
	require.ErrorContains(t, err, "inside Docker")
	_, _, err = Load(Sources{Environ: append(environ, "RUNNING_IN_DOCKER=false"), Root: root})
	require.NoError(t, err)
}

func TestValues(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, "THROTTLE_IP_RATE=", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0/min", "THROTTLE_MENTOR_RATE= 7/Hour ",
		"CORS_ALLOWED_ORIGINS=", "JWT_ACCESS_MINUTES=  ", "MENTOR_LLM_PROVIDER=OpenAI", "OPENAI_API_KEY=sk-1", "MENTOR_CHAT_WAIT=0.5", "NODE_ID=7",
		"DATABASE_SSL=True", "DATABASE_URL=postgresql://a:b%40@h,k/x", "PGBOUNCER=managed", "TRUSTED_PROXIES=10.0.0.0/8, ::1", "COMMIT_SHA=abc",
		"OLLAMA_HOST=0.0.0.0", "TZ=Asia/Tbilisi", "LOG_LEVEL=WARNING", "REQUEST_LOG_LEVEL=CRITICAL")
	require.NoError(t, err)
	require.Equal(t, []string{"", "", "", "7/hour"}, []string{c.ThrottleIP, c.ThrottleUser, c.ThrottleAnon, c.ThrottleMentor})
	require.Empty(t, c.CORSOrigins)
	require.Equal(t, 15*time.Minute, c.AccessLife)
	require.Equal(t, "gpt-4o-mini", c.LLMModel)
	require.Equal(t, time.Minute, c.LLMTimeout)
	require.Equal(t, 500*time.Millisecond, c.ChatWait)
	require.Equal(t, 7, c.NodeID)
	require.Equal(t, "postgres://a:b%40@h,k/x?sslmode=require", c.DatabaseURL.Reveal())
	require.True(t, c.ManagedPooler)
	require.Equal(t, "10.0.0.0/8", c.TrustedProxies[0].String())
	require.Equal(t, "::1/128", c.TrustedProxies[1].String())
	require.Equal(t, "abc", c.Commit)
	require.Equal(t, "http://127.0.0.1:11434", c.OllamaHost)
	require.Equal(t, "Asia/Tbilisi", c.Location.String())
	require.Equal(t, slog.LevelWarn, c.LogLevel)
	require.Equal(t, slog.LevelError, c.RequestLogLevel)
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("  "+goodKey+"\n\n"), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	for _, name := range []string{"SECRET_KEY", "DJANGO_SECRET_KEY"} {
		c, _, err := load(t, name+"_FILE="+file)
		require.NoError(t, err)
		require.Equal(t, goodKey, c.SecretKey.Reveal())
	}
	for _, environ := range [][]string{
		{"SECRET_KEY_FILE=" + file, "SECRET_KEY=" + goodKey},
		{"SECRET_KEY_FILE=" + empty},
		{"SECRET_KEY_FILE=/nowhere"},
	} {
		_, _, err := load(t, environ...)
		require.Contains(t, problemsOf(t, err), "SECRET_KEY_FILE")
	}
	root := t.TempDir()
	_, _, err := Load(Sources{Flags: map[string]string{"SECRET_KEY": goodKey, "SELFLINK_DATA_DIR": root}, Root: root})
	require.Contains(t, problemsOf(t, err)["SECRET_KEY"], "arguments of a process")
	require.NotContains(t, err.Error(), goodKey)
	for _, s := range Settings() {
		if s.Secret && s.Status == Used {
			_, _, err := load(t, s.Key+"_FILE=/nowhere")
			require.Contains(t, problemsOf(t, err), s.Key+"_FILE")
		}
	}
}

// TestGeneratedSecrets makes many processes start at once: all get one key,
// which stays.
func TestGeneratedSecrets(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	src := Sources{Environ: []string{"SELFLINK_DATA_DIR=" + filepath.Join(root, "a/data"), "SELFLINK_ENV_FILE="}, Root: root}

	readOnly := src
	readOnly.ReadOnly = true
	c, r, err := Load(readOnly)
	require.NoError(t, err)
	require.True(t, c.SecretKey.IsZero())
	require.NoDirExists(t, c.DataDir)
	require.Contains(t, fmt.Sprint(r.Values), "generated at the first start")

	const processes = 16
	keys := make([]string, processes)
	errs := make([]error, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			c, _, err := Load(src)
			keys[i], errs[i] = c.SecretKey.Reveal(), err
		})
	}
	wg.Wait()
	for i := range processes {
		require.NoError(t, errs[i])
		require.Equal(t, keys[0], keys[i])
	}
	require.Len(t, keys[0], 43)

	dir := filepath.Join(root, "a/data/secrets")
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
	info, err = entries[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	c, _, err = Load(readOnly)
	require.NoError(t, err)
	require.Equal(t, keys[0], c.JWTSigningKey.Reveal())
	require.Contains(t, c.Hidden(), keys[0])

	require.NoError(t, os.WriteFile(filepath.Join(dir, secretKeyFile), []byte("cut"), 0o600))
	_, _, err = Load(src)
	require.ErrorContains(t, err, "damaged")
}

type holder struct {
	Visible Secret
	hidden  Secret
}

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	const text = "hunter2hunter2"
	h := holder{NewSecret(text), NewSecret(text)}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", h.Visible)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
		fmt.Fprintf(&out, verb+"\n", []Secret{h.hidden})
	}
	for _, v := range []any{h, h.Visible, map[Secret]Secret{h.Visible: h.hidden}} {
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		out.Write(raw)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", h, "b", h.Visible)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", h, "b", h.Visible)
	c, _, err := load(t, "SECRET_KEY="+goodKey, "DATABASE_URL=postgres://a:"+text+"@h/x")
	require.NoError(t, err)
	fmt.Fprintf(&out, "%v %+v", c.SecretKey, c.DatabaseURL)
	require.NotContains(t, out.String(), text)
	require.NotContains(t, out.String(), fmt.Sprintf("%x", text))
	require.Equal(t, text, h.Visible.Reveal())
	require.True(t, NewSecret("").IsZero())
}

func TestEnvFileProblems(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "env")
	require.NoError(t, os.WriteFile(file, []byte("GOOD=${X}\nbad line\nTROTTLE_IP_RATE=1/s\nSECRET_KEY=\"open hunter2\n"), 0o644))
	_, r, err := Load(Sources{Environ: []string{"SELFLINK_ENV_FILE=" + file, "SELFLINK_DATA_DIR=" + root}, Root: root})
	text := problemsOf(t, err)["SELFLINK_ENV_FILE"]
	require.Contains(t, text, "line 2")
	require.Contains(t, text, "line 4")
	require.NotContains(t, text, "hunter2")
	require.Contains(t, notesOf(r), "taken as it is written")
	require.Contains(t, notesOf(r), "everybody on this machine can read")
	require.Contains(t, notesOf(r), "TROTTLE_IP_RATE is not a setting: did you mean THROTTLE_IP_RATE?")
	_, _, err = Load(Sources{Environ: []string{"SELFLINK_ENV_FILE=/nowhere/env", "SELFLINK_DATA_DIR=" + root}, Root: root})
	require.Contains(t, problemsOf(t, err), "SELFLINK_ENV_FILE")
}

func TestDocs(t *testing.T) {
	t.Parallel()
	docs := Docs()
	for _, s := range Settings() {
		require.Contains(t, docs, "`"+s.Key+"`")
	}
	require.Equal(t, docs, Docs())
}
