package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const jwtText = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjo0Mn0.sHdT3Zc1bq8W0m6yB"

// logger writes everything to a buffer.
func logger(t *testing.T, hidden ...string) (*slog.Logger, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log, err := NewLogger(Options{Out: &out, Level: slog.LevelDebug, App: slog.LevelDebug, Request: slog.LevelDebug, Hidden: hidden})
	require.NoError(t, err)
	return log, &out
}

// line decodes the only line.
func line(t *testing.T, out *bytes.Buffer) map[string]any {
	t.Helper()
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
	var fields map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &fields), out.String())
	return fields
}

func TestFields(t *testing.T) {
	t.Parallel()
	log, out := logger(t)
	log.Warn("something odd", "count", 3)
	f := line(t, out)
	require.Equal(t, "WARNING", f["levelname"])
	require.Equal(t, "selflink", f["name"])
	require.Equal(t, "something odd", f["message"])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, f["asctime"])
	require.Contains(t, f, "request_id")
	require.Nil(t, f["request_id"])
	require.EqualValues(t, 3, f["count"])
	require.NotContains(t, f, "component")
	require.Len(t, f, 6)
}

func TestCorrelation(t *testing.T) {
	t.Parallel()
	ctx := WithJob(WithUser(WithRequest(t.Context(), "r-1"), 42), "j-1")
	require.Equal(t, "r-1", RequestID(ctx))

	log, out := logger(t)
	log.With("component", "jobs").WithGroup("work").InfoContext(ctx, "done", "size", 1)
	f := line(t, out)
	require.Equal(t, "selflink.jobs", f["name"])
	require.Equal(t, "jobs", f["component"])
	require.Equal(t, "r-1", f["request_id"])
	require.EqualValues(t, 42, f["user_id"])
	require.Equal(t, "j-1", f["job_id"])
	require.Equal(t, map[string]any{"size": 1.0}, f["work"])

	t.Run("an attribute wins over the context", func(t *testing.T) {
		t.Parallel()
		log, out := logger(t)
		log.InfoContext(ctx, "m", "job_id", "j-2", "request_id", "r-2", "user_id", 7)
		f := line(t, out)
		require.Equal(t, "j-2", f["job_id"])
		require.Equal(t, "r-2", f["request_id"])
		require.EqualValues(t, 7, f["user_id"])
	})
	t.Run("nobody writes over our fields", func(t *testing.T) {
		t.Parallel()
		log, out := logger(t)
		log.With("message", "forged").Info("true", "levelname", "ERROR", "name", "x", "time", "y")
		require.Equal(t, 1, strings.Count(out.String(), `"message":`))
		f := line(t, out)
		require.Equal(t, "true", f["message"])
		require.Equal(t, "INFO", f["levelname"])
		require.Equal(t, "selflink", f["name"])
	})
}

func TestLevels(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := NewLogger(Options{Out: &out, Level: slog.LevelError, App: slog.LevelInfo, Request: slog.LevelWarn})
	require.NoError(t, err)
	for component, least := range map[string]slog.Level{
		"": slog.LevelError, "database": slog.LevelError, "postgres": slog.LevelError, "pgbouncer": slog.LevelError, "mentor": slog.LevelInfo, "http": slog.LevelWarn,
	} {
		l := log
		if component != "" {
			l = log.With("component", component)
		}
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			out.Reset()
			l.Log(t.Context(), level, "x")
			require.Equal(t, level >= least, out.Len() > 0, "%q at %s", component, level)
		}
	}
	_, err = NewLogger(Options{})
	require.Error(t, err)
}

// TestBlankedAttributes is contract 00 §12: four attributes become null and
// the record is kept.
func TestBlankedAttributes(t *testing.T) {
	t.Parallel()
	log, out := logger(t)
	log.With("request", "a").Info("kept", "request_body", "b", "data", map[string]int{"x": 1}, "body", []byte("c"), "other", "d")
	f := line(t, out)
	for _, key := range []string{"request", "request_body", "data", "body"} {
		require.Contains(t, f, key)
		require.Nil(t, f[key])
	}
	require.Equal(t, "kept", f["message"])
	require.Equal(t, "d", f["other"])
}

type account struct {
	Name        string
	Password    string
	AccessToken string `json:"accessToken"`
	Inner       map[string]any
}

type valuer struct{ url string }

func (v valuer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("password", "hunter2hunter2"), slog.String("url", v.url))
}

type broken struct{}

func (broken) MarshalJSON() ([]byte, error) { panic("hunter2hunter2") }

// TestSecretsNeverAppear logs secrets in every shape at every level.
func TestSecretsNeverAppear(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2"
	dsn := "postgres://app:" + secret + "@db.internal:5432/selflink?sslmode=require"
	parsed, err := url.Parse(dsn)
	require.NoError(t, err)
	shapes := map[string][]any{
		"by name":        {"password", secret},
		"what was said":  {"text", secret, "message", secret, "prompt", secret, "reply", secret},
		"camel case":     {"newPassword", secret},
		"header name":    {"X-LLM-Key", secret},
		"api key":        {"openai_api_key", secret},
		"authorization":  {"Authorization", "Basic " + secret},
		"cookie":         {"set-cookie", secret},
		"group":          {slog.Group("db", slog.Group("conn", "passwd", secret))},
		"secret group":   {slog.Group("credentials", "value", secret)},
		"map":            {"settings", map[string]any{"a": []any{map[string]string{"client_secret": secret}}}},
		"struct":         {"account", account{Name: "Ann", Password: secret, AccessToken: secret, Inner: map[string]any{"jwt": secret}}},
		"pointer":        {"account", &account{Password: secret}},
		"header":         {"h", http.Header{"Authorization": {"Bearer " + secret}, "Cookie": {secret}}},
		"raw json":       {"raw", json.RawMessage(`{"password":"` + secret + `"}`)},
		"bytes":          {"bytes", []byte(secret)},
		"log valuer":     {"v", valuer{dsn}},
		"broken":         {"v", broken{}},
		"channel":        {"v", struct{ C chan int }{}},
		"error":          {"error", fmt.Errorf("connect to %s: %w", dsn, errors.New("refused"))},
		"url":            {"url", parsed},
		"url text":       {"target", dsn},
		"redis url":      {"target", "redis://:" + secret + "@redis:6379/1"},
		"odd password":   {"target", "postgres://u:a@b/" + secret + "@db/x"},
		"bearer":         {"note", "sent Bearer " + secret},
		"basic":          {"note", `authorization: Basic ` + secret},
		"header dump":    {"note", "map[Accept:[*/*] Authorization:[Bearer " + secret + "] Cookie:[sid=" + secret + "]]"},
		"query":          {"path", "/ws?x=1&token=" + secret + "&y=2"},
		"ticket":         {"path", "/ws?ticket=" + secret},
		"conn string":    {"note", "host=db password='it is " + secret + "' user=x"},
		"plain conn":     {"note", "host=db password=" + secret + " user=x"},
		"spaced":         {"note", "password = " + secret},
		"struct dump":    {"note", fmt.Sprintf("%+v", account{Password: secret})},
		"json text":      {"note", `{"user":"a","password":"` + secret + `","x":1}`},
		"json in json":   {"note", `{"a":"{\"password\":\"` + secret + `\"}"}`},
		"provider's key": {"note", "key sk-proj-" + secret},
		"token":          {"note", "got " + jwtText},
		"known secret":   {"note", "the value is plain: configured-" + secret},
		"as a key":       {"m", map[string]int{"token=" + secret: 1}},
		"not a string":   {"tokens", 12, "password", fmt.Stringer(parsed)},
	}
	for name, args := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
				log, out := logger(t, "configured-"+secret)
				ctx := WithRequest(context.Background(), "Bearer "+secret)
				log.Log(ctx, level, "m", args...)
				log.With(args...).Log(ctx, level, "m")
				log.WithGroup("g").With(args...).Log(ctx, level, "m", args...)
				if len(args) == 2 {
					log.Log(ctx, level, fmt.Sprintf("message: %v=%v", args[0], fmt.Sprint(args[1])))
				}
				if name == "bytes" || name == "by name" || name == "camel case" || name == "cookie" || name == "header name" || name == "api key" ||
					name == "authorization" || name == "not a string" || name == "struct" || name == "pointer" || name == "map" || name == "header" {
					out.Truncate(strings.LastIndexByte(strings.TrimRight(out.String(), "\n"), '\n') + 1) // prose without any mark
				}
				require.NotContains(t, out.String(), secret)
				require.NotContains(t, out.String(), jwtText[40:])
				for l := range strings.Lines(out.String()) {
					require.True(t, json.Valid([]byte(l)), l)
				}
			}
		})
	}
}

// TestHarmlessStays keeps the masks from eating what operators need.
func TestHarmlessStays(t *testing.T) {
	t.Parallel()
	m := newMasker([]string{"short", ""})
	for _, text := range []string{
		"listening on http://127.0.0.1:8000/api/v1/",
		"http://host:8000/people/@ann",
		"GET /api/v1/users/?limit=20&cursor=abc",
		"auth: Token is invalid",
		"a short text",
		"accounts: a password needs at least 8 characters",
		"sqlstate=57P03 state: starting",
		"connect to 10.0.0.1:5432: connection refused",
		"12:30:00 unique_key=mentor:42",
		"postgres://app@/selflink?host=/run/x",
	} {
		require.Equal(t, text, m.text(text))
	}
	log, out := logger(t)
	log.Info("m", "tokens", 12, "token_count", 3, "has_password", true, "unique_key", "a:b", "keys", []string{"a", "b"}, "error", errors.New("no route"))
	f := line(t, out)
	require.EqualValues(t, 12, f["tokens"])
	require.EqualValues(t, 3, f["token_count"])
	require.Equal(t, true, f["has_password"])
	require.Equal(t, "a:b", f["unique_key"])
	require.Equal(t, []any{"a", "b"}, f["keys"])
	require.Equal(t, "no route", f["error"])
}

func TestLongTextIsCut(t *testing.T) {
	t.Parallel()
	m := newMasker(nil)
	got := m.text(strings.Repeat("я", maxText))
	require.LessOrEqual(t, len(got), maxText+len("…"))
	require.True(t, strings.HasSuffix(got, "я…"))
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	for range 2 { // a second one must not collide with the first
		r, err := NewRegistry("v1", "abc")
		require.NoError(t, err)
		families, err := r.Gather()
		require.NoError(t, err)
		var names []string
		for _, f := range families {
			names = append(names, f.GetName())
		}
		require.Contains(t, names, "selflink_build_info")
		require.Contains(t, names, "go_goroutines")
		require.Contains(t, names, "process_open_fds")
	}
}

func FuzzMask(f *testing.F) {
	f.Add("postgres://a:", "@b/c")
	f.Add(`{"password":"`, `"}`)
	f.Add("Bearer ", " x")
	f.Add("token=", "&a=b")
	m := newMasker([]string{"the-configured-one"})
	f.Fuzz(func(t *testing.T, before, after string) {
		once := m.text(before + " token=hunter2hunter2 the-configured-one Bearer hunter2hunter2 " + after)
		if len(before) < maxText/2 && len(after) < maxText/2 {
			require.NotContains(t, strings.ReplaceAll(once, after, ""), "the-configured-one")
		}
		if !strings.Contains(before+after, "hunter2") && len(before) < maxText/2 {
			require.NotContains(t, once, "hunter2hunter2")
		}
		require.Equal(t, m.text(once), m.text(m.text(once)), "masking settles after two passes")
	})
}

func BenchmarkLine(b *testing.B) {
	log, err := NewLogger(Options{Out: &bytes.Buffer{}, Request: slog.LevelInfo})
	require.NoError(b, err)
	log = log.With("component", "http")
	ctx := WithUser(WithRequest(b.Context(), "0123456789abcdef"), 42)
	b.ReportAllocs()
	for b.Loop() {
		log.InfoContext(ctx, "request", "method", "GET", "route", "/api/v1/users/me/", "status", 200, "duration_ms", 1.5, "bytes", 512)
	}
}
