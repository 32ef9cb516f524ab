package llm_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/health"
	"selflink/appliance/llm"
	"selflink/appliance/llm/llmtest"
	"selflink/appliance/loopback"
)

// way is one way to reach the fake server.
type way struct {
	name   string
	prompt llm.Prompt
	path   string
	make   func(url string) llm.Options
}

func ways() []way {
	talk := llm.Prompt{System: "Be kind.", Messages: []llm.Message{{Role: "user", Content: "Hi"}}}
	text := llm.Prompt{Text: "User: Hi\nMentor:"}
	ollama := func(url string) llm.Options { return llm.Options{Provider: "ollama", BaseURL: url} }
	compatible := func(url string) llm.Options {
		return llm.Options{Provider: "openai", BaseURL: url + "/v1", APIKey: "sk-configured"}
	}
	return []way{
		{"ollama completion", text, "/api/generate", ollama},
		{"ollama chat", talk, "/api/chat", ollama},
		{"openai compatible", talk, "/v1/chat/completions", compatible},
		{"openai compatible completion", text, "/v1/chat/completions", compatible},
	}
}

func model(t *testing.T, o llm.Options) *llm.Client {
	t.Helper()
	m, err := llm.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func collect(ctx context.Context, m llm.Model, p llm.Prompt) (pieces []string, usage llm.Usage, err error) {
	usage, err = m.Generate(ctx, p, func(piece string) error {
		pieces = append(pieces, piece)
		return nil
	})
	return pieces, usage, err
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server := llmtest.New(t)
			server.Always(llmtest.Say("გამარ", "ჯობა", "\x00", " 😀"))
			pieces, usage, err := collect(t.Context(), model(t, w.make(server.URL)), w.prompt)
			require.NoError(t, err)
			require.Equal(t, []string{"გამარ", "ჯობა", " 😀"}, pieces)
			require.Equal(t, 7, usage.InputTokens)
			require.Equal(t, 4, usage.OutputTokens)
			require.Equal(t, w.path, server.Next(t).Path)
		})
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	t.Parallel()
	server := llmtest.New(t)
	ollama := model(t, llm.Options{Provider: "ollama", OllamaHost: server.URL})

	_, _, err := collect(t.Context(), ollama, llm.Prompt{Text: "p <b>"})
	require.NoError(t, err)
	require.Equal(t, `{"model":"llama3.2:1b","prompt":"p <b>","stream":true}`, server.Next(t).Raw)

	_, _, err = collect(t.Context(), ollama, llm.Prompt{
		System: "a", Messages: []llm.Message{{Role: "system", Content: "b"}, {Role: "user", Content: "c"}},
		Temperature: 0.7, MaxTokens: 180,
	})
	require.NoError(t, err)
	require.Equal(t, `{"model":"llama3.2:1b","messages":[{"role":"system","content":"a"},{"role":"system","content":"b"},{"role":"user","content":"c"}],"stream":true,"options":{"temperature":0.7,"num_predict":180}}`, server.Next(t).Raw)

	compatible := model(t, llm.Options{Provider: "openai", BaseURL: server.URL, Model: "m", APIKey: "sk-ours"})
	_, _, err = collect(t.Context(), compatible, llm.Prompt{Text: "p", Key: "sk-theirs"})
	require.NoError(t, err)
	got := server.Next(t)
	require.Equal(t, "Bearer sk-theirs", got.Authorization)
	require.Equal(t, "/v1/chat/completions", got.Path)
	require.Equal(t, `{"model":"m","messages":[{"role":"user","content":"p"}],"stream":true,"stream_options":{"include_usage":true}}`, got.Raw)
}

func TestOllamaFallsBackToCompletion(t *testing.T) {
	t.Parallel()
	for name, chat := range map[string]llmtest.Script{
		"no such path": {Status: 404}, "server error": {Status: 500}, "nothing said": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := llmtest.New(t)
			server.Then(chat)
			pieces, _, err := collect(t.Context(), model(t, llm.Options{Provider: "ollama", BaseURL: server.URL}), llm.Prompt{
				System:   strings.Repeat("ა", 5000),
				Messages: []llm.Message{{Role: "user", Content: "one"}, {Role: "assistant", Content: "two"}, {Role: "user", Content: "three"}},
			})
			require.NoError(t, err)
			require.Equal(t, "Hello world", strings.Join(pieces, ""))
			require.Equal(t, "/api/chat", server.Next(t).Path)
			prompt := server.Next(t).Prompt()
			require.True(t, strings.HasSuffix(prompt, "\nUser: one\nAssistant: two\nUser: three\nAssistant:"), prompt)
			require.Equal(t, 4000, utf8.RuneCountInString(prompt))
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		script llmtest.Script
		want   error
	}{
		{"refused", llmtest.Script{Status: 401}, llm.ErrModelRefused},
		{"busy", llmtest.Script{Status: 429}, llm.ErrModelDown},
		{"server error", llmtest.Script{Status: 503}, llm.ErrModelDown},
		{"redirect", llmtest.Script{Status: 302}, llm.ErrModelRefused},
		{"broken off", llmtest.Script{Pieces: []string{"Hel"}, Break: true}, llm.ErrModelDown},
		{"error in the stream", llmtest.Script{Pieces: []string{"Hel"}, Failure: true}, llm.ErrModelDown},
		{"nothing said", llmtest.Script{}, llm.ErrModelDown},
		{"not the protocol", llmtest.Script{Raw: "<html>hello</html>\n\n"}, llm.ErrModelDown},
		{"endless line", llmtest.Script{Raw: strings.Repeat("x", 2<<20)}, llm.ErrModelDown},
		{"silence between pieces", llmtest.Script{Pieces: []string{"Hel"}, Hang: true}, llm.ErrModelTimeout},
		{"too much", llmtest.Say(strings.Repeat("long ", 300)), llm.ErrModelDown},
	}
	for _, w := range ways() {
		for _, c := range cases {
			t.Run(w.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				server := llmtest.New(t)
				server.Always(c.script)
				o := w.make(server.URL)
				o.IdleTimeout, o.MaxAnswer = 50*time.Millisecond, 1000
				var log bytes.Buffer
				o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				p := w.prompt
				p.Key = "sk-secret"
				_, _, err := collect(t.Context(), model(t, o), p)
				require.ErrorIs(t, err, c.want)
				require.ErrorIs(t, err, llm.ErrModelDown)
				require.Equal(t, c.want == llm.ErrModelTimeout, errors.Is(err, llm.ErrModelTimeout))
				for _, secret := range []string{"sk-", "Hi", "Hel"} {
					require.NotContains(t, err.Error(), secret)
					require.NotContains(t, log.String(), secret)
				}
				require.Contains(t, log.String(), `"component":"llm"`)
			})
		}
	}
}

func TestWholeTimeout(t *testing.T) {
	t.Parallel()
	server := llmtest.New(t)
	server.Always(llmtest.Script{Hang: true})
	_, _, err := collect(t.Context(), model(t, llm.Options{Provider: "ollama", BaseURL: server.URL, Timeout: time.Second}), llm.Prompt{Text: "x"})
	require.ErrorIs(t, err, llm.ErrModelTimeout)
	<-server.Next(t).Gone
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	address := loopback.Address(t)

	var checks health.Registry
	m := model(t, llm.Options{Provider: "openai", BaseURL: "http://user:hunter2@" + address, Health: &checks})
	for range 3 {
		_, ready := checks.Run(t.Context())
		require.True(t, ready)
		_, _, err := collect(t.Context(), m, llm.Prompt{Text: "x", Key: "bad\nkey"})
		require.ErrorIs(t, err, llm.ErrModelDown)
		require.NotContains(t, err.Error(), "key")
		_, _, err = collect(t.Context(), m, llm.Prompt{Text: "x"})
		require.ErrorIs(t, err, llm.ErrModelDown)
		require.NotContains(t, err.Error(), "hunter2")
	}
	results, _ := checks.Run(t.Context())
	require.False(t, results[0].OK)
	require.False(t, results[0].Ready)
}

func TestCancelReachesTheProvider(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server := llmtest.New(t)
			server.Always(llmtest.Script{Pieces: []string{"Hel"}, Hang: true})
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err := model(t, w.make(server.URL)).Generate(ctx, w.prompt, func(string) error {
				cancel(errors.New("a reason of the caller's"))
				return nil
			})
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, llm.ErrModelDown)
			<-server.Next(t).Gone

			enough := errors.New("enough")
			_, err = model(t, w.make(server.URL)).Generate(t.Context(), w.prompt, func(string) error { return enough })
			require.Equal(t, enough, err)
			<-server.Next(t).Gone
		})
	}
}

func TestMock(t *testing.T) {
	t.Parallel()
	pieces, usage, err := collect(t.Context(), model(t, llm.Options{}), llm.Prompt{Text: "anything"})
	require.NoError(t, err)
	require.Len(t, pieces, 20)
	require.Equal(t, 20, usage.OutputTokens)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = collect(ctx, model(t, llm.Options{MockText: "a b", MockDelay: time.Hour}), llm.Prompt{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestNew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o    llm.Options
		want string // provider, or a part of the error
		bad  bool
	}{
		"nothing":           {llm.Options{}, "mock", false},
		"an address":        {llm.Options{BaseURL: "http://m:1"}, "ollama", false},
		"a host":            {llm.Options{OllamaHost: "m:1"}, "ollama", false},
		"chosen":            {llm.Options{Provider: " OpenAI ", BaseURL: "http://m:1"}, "openai", false},
		"unknown":           {llm.Options{Provider: "oracle"}, "unknown provider", true},
		"a wrong address":   {llm.Options{Provider: "ollama", BaseURL: "ftp://user:secret@m"}, "http://", true},
		"a broken address":  {llm.Options{Provider: "openai", BaseURL: "http://us\x7fer:secret@m"}, "http://", true},
		"an address of ://": {llm.Options{Provider: "openai", BaseURL: "://"}, "http://", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := llm.New(c.o)
			if c.bad {
				require.ErrorContains(t, err, c.want)
				require.NotContains(t, err.Error(), "secret")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, m.Provider())
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	server := llmtest.New(t)
	m := model(t, llm.Options{Provider: "ollama", BaseURL: server.URL, Metrics: registry})
	server.Then(llmtest.Say("a", "b"), llmtest.Script{Status: 401})
	_, _, err := collect(t.Context(), m, llm.Prompt{Text: "x"})
	require.NoError(t, err)
	_, _, err = collect(t.Context(), m, llm.Prompt{Text: "x"})
	require.Error(t, err)
	got := map[string]float64{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.Metric {
			name := family.GetName()
			for _, l := range metric.Label {
				name += " " + l.GetValue()
			}
			got[name] = metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	require.Equal(t, map[string]float64{
		"selflink_llm_failures_total ollama down":        0,
		"selflink_llm_failures_total ollama refused":     1,
		"selflink_llm_failures_total ollama timeout":     0,
		"selflink_llm_first_piece_seconds ollama":        1,
		"selflink_llm_generation_seconds ok ollama":      1,
		"selflink_llm_generation_seconds refused ollama": 1,
		"selflink_llm_tokens_total input ollama":         7,
		"selflink_llm_tokens_total output ollama":        2,
	}, got)

	_, err = llm.New(llm.Options{Metrics: registry, Provider: "ollama"})
	require.Error(t, err, "registered twice")
}
