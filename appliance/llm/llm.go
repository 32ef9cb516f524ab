// Package llm generates text with a language model: a built-in mock, Ollama,
// or OpenAI and servers compatible with it.
package llm

import (
	"context"
	"errors"
)

// ErrModelDown means that the model could not be reached, refused, timed out
// or broke off. Its text never carries a key or a prompt.
var ErrModelDown = errors.New("llm: the model is not available")

// Message is one turn of a conversation. Role is "system", "user" or
// "assistant".
type Message struct {
	Role    string
	Content string
}

// Prompt is what a model is asked. System comes first, then Messages, the
// newest last.
type Prompt struct {
	System      string
	Messages    []Message
	Temperature float64 // 0: the provider's default
	MaxTokens   int     // 0: no limit is sent
	Key         string  // the caller's own provider key; empty: the configured one. Never stored or logged.
}

// Usage is what a generation took, as far as the provider says.
type Usage struct {
	Model        string
	InputTokens  int
	OutputTokens int
}

// Model generates text. Generate calls emit for each piece as it arrives, on
// the caller's goroutine, and returns when the text is complete, ctx is done,
// emit fails, or the model fails with [ErrModelDown]. Pieces concatenate to
// the whole text; they may split words but never a UTF-8 sequence. It is safe
// for concurrent use.
type Model interface {
	Generate(ctx context.Context, p Prompt, emit func(piece string) error) (Usage, error)
}
