package mentor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"selflink/appliance/llm"
)

const (
	// MaxTest is the longest prompt of [Service.TestPrompt] in characters.
	MaxTest = 2000

	// testSlack is what a test may take beyond the model's own timeout.
	testSlack = 5 * time.Second

	// backlogWait bounds the count of waiting jobs.
	backlogWait = 2 * time.Second
)

// Refusals of [Service.TestPrompt].
var (
	ErrTestRunning = errors.New("mentor: another test is running")
	ErrTestPrompt  = fmt.Errorf("mentor: a test needs a prompt of 1 to %d characters", MaxTest)
)

// observed is a model that knows how it did. *llm.Client is one.
type observed interface {
	About() llm.About
	Stats() llm.Stats
	NoteFallback()
}

// Insight is what people see of the mentor. It marshals to what the dashboard
// answers.
type Insight struct {
	Enabled        bool      `json:"enabled"`
	Provider       string    `json:"provider"`
	Model          string    `json:"model"`
	Endpoint       string    `json:"endpoint"` // host; empty: built in
	Hour           Hour      `json:"hour"`
	Total          Total     `json:"total"` // since the start
	WaitingJobs    int64     `json:"waiting_jobs"`
	RecentFailures []Failure `json:"recent_failures"` // newest first, at most 20
}

// Total counts answers, what the model failed, and the answers that were given
// all the same. Where the provider counts no tokens they are guessed, one for
// four bytes of text.
type Total struct {
	Answers   int64 `json:"answers"`
	Failures  int64 `json:"failures"`
	Fallbacks int64 `json:"fallbacks"`
	TokensIn  int64 `json:"tokens_in"`
	TokensOut int64 `json:"tokens_out"`
}

// Hour is the last hour. Latencies are 0 when nothing was answered.
type Hour struct {
	Total
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	FirstToken float64 `json:"first_token_p50_ms"`
}

// Failure is one generation that the model failed; the text holds no key and
// nothing of what was said.
type Failure struct {
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"` // timeout, refused, down
	Error string    `json:"error"`
}

// Insight tells how the model does on this node. It fails only when the
// waiting jobs cannot be counted.
func (s *Service) Insight(ctx context.Context) (Insight, error) {
	out := Insight{Enabled: !s.Disabled, RecentFailures: []Failure{}}
	if m, ok := s.Model.(observed); ok {
		about, stats := m.About(), m.Stats()
		out.Provider, out.Model, out.Endpoint = about.Provider, about.Model, about.Endpoint
		out.Total = total(stats.Total)
		out.Hour = Hour{total(stats.Hour), milliseconds(stats.Hour.P50), milliseconds(stats.Hour.P95), milliseconds(stats.Hour.FirstP50)}
		for _, f := range stats.Failures {
			out.RecentFailures = append(out.RecentFailures, Failure{f.At, f.Kind, f.Text})
		}
	}
	if s.Backlog == nil {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, backlogWait)
	defer cancel()
	var err error
	if out.WaitingJobs, err = s.Backlog(ctx); err != nil {
		return Insight{}, fmt.Errorf("mentor: count waiting jobs: %w", err)
	}
	return out, nil
}

func total(p llm.Period) Total {
	return Total{p.Answers, p.Failures, p.Fallbacks, p.TokensIn, p.TokensOut}
}

func milliseconds(d time.Duration) float64 { return math.Round(float64(d)/1e5) / 10 }

// fellBack counts an answer that was given although the model failed it.
func (s *Service) fellBack() {
	if m, ok := s.Model.(observed); ok {
		m.NoteFallback()
	}
}

// TestAnswer is what a model said to a test. It marshals to what the dashboard
// answers.
type TestAnswer struct {
	Answer     string  `json:"answer"`
	Model      string  `json:"model"`
	Latency    float64 `json:"latency_ms"`
	FirstToken float64 `json:"first_token_ms"`
	TokensIn   int     `json:"tokens_in"` // guessed where the provider counts none
	TokensOut  int     `json:"tokens_out"`
}

// TestPrompt asks the model one question for an operator, also while the
// mentor is switched off. Nothing of it is stored or logged. It returns
// [ErrTestPrompt], [ErrTestRunning] while another one is asked on this node, or
// the model's error, whose text may be shown.
func (s *Service) TestPrompt(ctx context.Context, prompt string) (TestAnswer, error) {
	if strings.TrimSpace(prompt) == "" || utf8.RuneCountInString(prompt) > MaxTest || !utf8.ValidString(prompt) {
		return TestAnswer{}, ErrTestPrompt
	}
	if !s.testing.CompareAndSwap(false, true) {
		return TestAnswer{}, ErrTestRunning
	}
	defer s.testing.Store(false)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout+testSlack)
	defer cancel()
	begin := time.Now()
	var first time.Duration
	p := llm.Prompt{Messages: []llm.Message{{Role: roleUser, Content: prompt}}, MaxTokens: s.MaxTokens}
	text, usage, err := s.generateCounted(ctx, p, func(string) {
		if first == 0 {
			first = max(time.Since(begin), time.Nanosecond)
		}
	})
	if err != nil {
		return TestAnswer{}, err
	}
	took := time.Since(begin)
	usage = usage.OrGuess(p, len(text))
	return TestAnswer{text, usage.Model, milliseconds(took), milliseconds(first), usage.InputTokens, usage.OutputTokens}, nil
}
