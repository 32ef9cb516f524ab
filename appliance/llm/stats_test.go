package llm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestTally(t *testing.T) {
	t.Parallel()
	var ta tally
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	require.Equal(t, Stats{Failures: []Failure{}}, ta.stats(now))
	for i := range 100 {
		ta.answer(now, time.Duration(i+1)*10*time.Millisecond, time.Duration(i+1)*time.Millisecond, Usage{InputTokens: 3, OutputTokens: 2})
	}
	ta.fallback(now)
	for i := range 30 {
		ta.failure(now, reasonDown, fmt.Errorf("number %d", i), Usage{InputTokens: 1})
	}
	check := func(p Period) {
		t.Helper()
		require.EqualValues(t, 100, p.Answers)
		require.EqualValues(t, 30, p.Failures)
		require.EqualValues(t, 1, p.Fallbacks)
		require.EqualValues(t, 330, p.TokensIn)
		require.EqualValues(t, 200, p.TokensOut)
	}
	s := ta.stats(now)
	check(s.Hour)
	check(s.Total)
	require.InEpsilon(t, 500*time.Millisecond, s.Hour.P50, 0.07)
	require.InEpsilon(t, 950*time.Millisecond, s.Hour.P95, 0.07)
	require.InEpsilon(t, 50*time.Millisecond, s.Hour.FirstP50, 0.07)
	require.Len(t, s.Failures, 20)
	require.Equal(t, Failure{now, "down", "number 29"}, s.Failures[0])
	require.Equal(t, "number 10", s.Failures[19].Text)

	now = now.Add(59 * time.Minute)
	check(ta.stats(now).Hour)
	now = now.Add(time.Minute)
	require.Equal(t, Period{}, ta.stats(now).Hour, "an hour later")
	check(ta.stats(now).Total)
	ta.answer(now, time.Hour, 0, Usage{})
	require.EqualValues(t, 1, ta.stats(now).Hour.Answers)
	require.Greater(t, ta.stats(now).Hour.P50, 4*time.Minute, "what is longer than all steps counts in the last")

	ta.failure(now, reasonDown, errors.New(strings.Repeat("ä", 999)), Usage{})
	require.Equal(t, 300, utf8.RuneCountInString(ta.stats(now).Failures[0].Text))
}

func TestOrGuess(t *testing.T) {
	t.Parallel()
	p := Prompt{System: "abcd", Messages: []Message{{"user", "efghi"}}}
	require.Equal(t, Usage{InputTokens: 3, OutputTokens: 2}, Usage{}.OrGuess(p, 8))
	require.Equal(t, Usage{InputTokens: 7, OutputTokens: 9}, Usage{InputTokens: 7, OutputTokens: 9}.OrGuess(p, 8))
}

func TestAbout(t *testing.T) {
	t.Parallel()
	for want, o := range map[About]Options{
		{"mock", "mock", ""}:                        {},
		{"ollama", "llama3.2:1b", "gpu:11434"}:      {OllamaHost: "me:secret@gpu:11434"},
		{"openai", "gpt-4o-mini", "api.openai.com"}: {Provider: "openai"},
		{"openai", "own", "models.example.org"}:     {Provider: "openai", BaseURL: "https://models.example.org/v1", Model: "own"},
	} {
		c, err := New(o)
		require.NoError(t, err)
		require.Equal(t, want, c.About())
	}
}
