package llm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/llm/llmtest"
)

// responses is a client of the Responses API whose address leads to server.
func responses(t *testing.T, server *llmtest.Server) *Client {
	t.Helper()
	c, err := New(Options{Provider: "openai", APIKey: "sk-ours", IdleTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	c.provider.(*openAI).base = server.URL + "/v1"
	return c
}

func TestResponses(t *testing.T) {
	t.Parallel()
	server := llmtest.New(t)
	server.Then(llmtest.Say("Hel", "lo\nთქვენ"))
	var got strings.Builder
	usage, err := responses(t, server).Generate(t.Context(), Prompt{
		System: "Be kind.", Messages: []Message{{"user", "Hi"}}, Temperature: 0.7, MaxTokens: 256, Key: "sk-theirs",
	}, func(piece string) error { got.WriteString(piece); return nil })
	require.NoError(t, err)
	require.Equal(t, "Hello\nთქვენ", got.String())
	require.Equal(t, Usage{Model: "gpt-4o-mini", InputTokens: 7, OutputTokens: 2}, usage)
	request := server.Next(t)
	require.Equal(t, "/v1/responses", request.Path)
	require.Equal(t, "Bearer sk-theirs", request.Authorization)
	require.Equal(t, `{"model":"gpt-4o-mini","input":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hi"}],"temperature":0.7,"max_output_tokens":256,"stream":true,"store":false}`, request.Raw)
}

func TestResponsesFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script llmtest.Script
		want   error
	}{
		"refused":    {llmtest.Script{Status: 401}, ErrModelRefused},
		"failed":     {llmtest.Script{Pieces: []string{"a"}, Failure: true}, ErrModelDown},
		"broken off": {llmtest.Script{Pieces: []string{"a"}, Break: true}, ErrModelDown},
		"silent":     {llmtest.Script{Pieces: []string{"a"}, Hang: true}, ErrModelTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := llmtest.New(t)
			server.Always(c.script)
			_, err := responses(t, server).Generate(t.Context(), Prompt{Text: "x"}, func(string) error { return nil })
			require.ErrorIs(t, err, c.want)
			require.NotContains(t, err.Error(), "sk-")
		})
	}
	c, err := New(Options{Provider: "openai"})
	require.NoError(t, err)
	_, err = c.Generate(context.Background(), Prompt{Text: "x"}, nil)
	require.ErrorIs(t, err, ErrModelRefused, "no key")
}

func TestCutAnswerIsAnAnswer(t *testing.T) {
	t.Parallel()
	server := llmtest.New(t)
	server.Always(llmtest.Script{Raw: "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"response.incomplete\"}\n\n"})
	_, err := responses(t, server).Generate(t.Context(), Prompt{Text: "x"}, func(string) error { return nil })
	require.NoError(t, err)
}
