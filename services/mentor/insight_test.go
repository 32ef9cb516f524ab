package mentor_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/llm"
	"selflink/appliance/llm/llmtest"
	"selflink/services/mentor"
)

func TestInsight(t *testing.T) {
	t.Parallel()
	waiting := errors.New("not yet")
	r := newRig(t, func(c *choices) {
		c.deps.Backlog = func(context.Context) (int64, error) {
			if waiting != nil {
				return 0, waiting
			}
			return 7, nil
		}
	})
	_, err := r.svc.Insight(t.Context())
	require.ErrorIs(t, err, waiting)
	waiting = nil

	r.model.Always(llmtest.Say("Breathe", " slowly."))
	r.chat(t, r.Client, `{"message":"hi"}`, 200, now...)
	r.model.Always(llmtest.Script{Status: 401})
	r.chat(t, r.Client, `{"message":"my secret"}`, 502, now...)
	asked := r.Do(t, "POST", entryPath, `{"text":"my secret day"}`)
	require.Equal(t, 200, asked.Status, asked.Body)

	seen, err := r.svc.Insight(t.Context())
	require.NoError(t, err)
	require.True(t, seen.Enabled)
	require.Equal(t, "ollama", seen.Provider)
	require.Equal(t, "llama3.2:1b", seen.Model)
	require.Equal(t, strings.TrimPrefix(r.model.URL, "http://"), seen.Endpoint)
	want := mentor.Total{Answers: 1, Failures: 2, Fallbacks: 1, TokensIn: 7, TokensOut: 2}
	require.Equal(t, want, seen.Total)
	require.Equal(t, want, seen.Hour.Total)
	require.Positive(t, seen.Hour.P50)
	require.Positive(t, seen.Hour.FirstToken)
	require.EqualValues(t, 7, seen.WaitingJobs)
	require.Len(t, seen.RecentFailures, 2)
	require.Equal(t, "refused", seen.RecentFailures[0].Kind)
	text, err := json.Marshal(seen)
	require.NoError(t, err)
	require.NotContains(t, string(text), "secret")
	require.Contains(t, string(text), `"hour":{"answers":1,"failures":2,"fallbacks":1,"tokens_in":7,"tokens_out":2,"p50_ms":`)
}

// A test goes to the model and nowhere else.
func TestTestPrompt(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.Disabled = true })
	r.model.Always(llmtest.Say("I am", " here."))
	before := r.log.String()
	a, err := r.svc.TestPrompt(t.Context(), "my secret question")
	require.NoError(t, err)
	require.Equal(t, "I am here.", a.Answer)
	require.Equal(t, "llama3.2:1b", a.Model)
	require.Equal(t, 7, a.TokensIn)
	require.Equal(t, 2, a.TokensOut)
	require.Positive(t, a.Latency)
	require.Positive(t, a.FirstToken)
	require.Contains(t, r.model.Next(t).Prompt(), "my secret question")
	require.Empty(t, r.messages(t))
	require.Zero(t, r.count(t, "SELECT count(*) FROM jobs"))
	require.NotContains(t, strings.TrimPrefix(r.log.String(), before), "secret")

	for _, bad := range []string{"", " \n", strings.Repeat("ä", 2001), "\xff"} {
		_, err = r.svc.TestPrompt(t.Context(), bad)
		require.ErrorIs(t, err, mentor.ErrTestPrompt)
	}
	_, err = r.svc.TestPrompt(t.Context(), strings.Repeat("ä", 2000))
	require.NoError(t, err)
	r.model.Always(llmtest.Script{Status: 500})
	_, err = r.svc.TestPrompt(t.Context(), "again")
	require.ErrorIs(t, err, llm.ErrModelDown)
}

// held is a model that answers when it is let.
type held struct{ asked, let chan struct{} }

// Generate implements llm.Model.
func (h held) Generate(_ context.Context, _ llm.Prompt, emit func(string) error) (llm.Usage, error) {
	h.asked <- struct{}{}
	<-h.let
	return llm.Usage{Model: "held"}, emit("well")
}

// One test at a time; a model that counts nothing is no problem.
func TestOneTestAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := held{make(chan struct{}, 1), make(chan struct{})}
	deps := r.deps
	deps.Model = h
	svc, err := mentor.New(deps)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		a, err := svc.TestPrompt(context.Background(), "one")
		if err == nil && (a.TokensIn != 1 || a.TokensOut != 1) {
			err = errors.New("no guess of tokens")
		}
		done <- err
	}()
	<-h.asked
	_, err = svc.TestPrompt(t.Context(), "two")
	require.ErrorIs(t, err, mentor.ErrTestRunning)
	close(h.let)
	require.NoError(t, <-done)
	_, err = svc.TestPrompt(t.Context(), "three")
	require.NoError(t, err)
	seen, err := svc.Insight(t.Context())
	require.NoError(t, err)
	require.Empty(t, seen.Provider)
}
