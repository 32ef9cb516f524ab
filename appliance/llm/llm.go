// Package llm generates text with a language model: a built-in mock, Ollama,
// or OpenAI and servers compatible with it.
//
// All providers stream. Every generation is bounded: in time as a whole, in
// time between two pieces, in time to connect, in the length of a line and of
// the answer. No error, log line or metric carries a key, a prompt or a word
// of an answer.
package llm

import (
	"context"
	"errors"
	"fmt"
)

// Errors of a generation. Their texts never carry a key or a prompt.
var (
	// ErrModelDown means that the model could not be reached, refused, timed
	// out or broke off.
	ErrModelDown = errors.New("llm: the model is not available")
	// ErrModelTimeout is the [ErrModelDown] of a model that was reached but
	// took too long, as a whole or between two pieces.
	ErrModelTimeout = fmt.Errorf("%w: it took too long", ErrModelDown)
	// ErrModelRefused is the [ErrModelDown] of a request that the provider
	// will refuse each time: a wrong key, an unknown model.
	ErrModelRefused = fmt.Errorf("%w: it refused the request", ErrModelDown)
)

// Message is one turn of a conversation. Role is "system", "user" or
// "assistant".
type Message struct {
	Role    string
	Content string
}

// Prompt is what a model is asked, in one of two forms. With Text it is a
// completion: Text is continued, under System if that is set. Without, it is
// a conversation: System comes first, then Messages, the newest last.
type Prompt struct {
	System      string
	Text        string
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
// emit fails, or the model fails with [ErrModelDown]. It returns the error of
// ctx or of emit as it is. Pieces are not empty and concatenate to the whole
// text; they may split words but never a UTF-8 sequence, and carry no NUL. It
// is safe for concurrent use.
type Model interface {
	Generate(ctx context.Context, p Prompt, emit func(piece string) error) (Usage, error)
}
