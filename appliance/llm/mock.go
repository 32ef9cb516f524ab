package llm

import (
	"context"
	"strings"
	"time"
)

// mockText is what the mock says when nothing else is configured: sensible
// whatever the question was, and twenty words long, as benchmarks expect.
const mockText = "Take one slow breath, name what you feel, and choose one small kind step you can finish before today ends."

// mock answers every prompt with the same text, word by word.
type mock struct {
	words []string
	delay time.Duration
}

func newMock(text string, delay time.Duration) *mock {
	if strings.TrimSpace(text) == "" {
		text = mockText
	}
	return &mock{words: strings.SplitAfter(text, " "), delay: delay}
}

func (m *mock) generate(ctx context.Context, _ Prompt, emit func(string) error) (Usage, error) {
	usage := Usage{Model: Mock, OutputTokens: len(m.words)}
	var tick <-chan time.Time
	if m.delay > 0 {
		t := time.NewTicker(m.delay)
		defer t.Stop()
		tick = t.C
	}
	for _, w := range m.words {
		if tick != nil {
			select {
			case <-ctx.Done():
				return usage, ctx.Err()
			case <-tick:
			}
		}
		if err := ctx.Err(); err != nil {
			return usage, err
		}
		if err := emit(w); err != nil {
			return usage, err
		}
	}
	return usage, nil
}
