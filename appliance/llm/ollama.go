package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// fallbackPrompt is how much of a conversation is asked as a completion when
// the server has no chat, in characters from its end (contract 02 §6).
const fallbackPrompt = 4000

// ollama speaks the protocol of an Ollama server.
type ollama struct {
	base  string
	model string
	http  *http.Client
}

type ollamaOptions struct {
	Temperature float64 `json:"temperature,omitempty"`
	NumPredict  int     `json:"num_predict,omitempty"`
}

type ollamaGenerate struct {
	Model   string         `json:"model"`
	System  string         `json:"system,omitempty"`
	Prompt  string         `json:"prompt"`
	Stream  bool           `json:"stream"`
	Options *ollamaOptions `json:"options,omitempty"`
}

type ollamaMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type ollamaChat struct {
	Model    string          `json:"model"`
	Messages []ollamaMessage `json:"messages"`
	Stream   bool            `json:"stream"`
	Options  *ollamaOptions  `json:"options,omitempty"`
}

// ollamaLine is one line of either answer.
type ollamaLine struct {
	Response string `json:"response"`
	Message  struct {
		Content string `json:"content"`
	} `json:"message"`
	Done            bool            `json:"done"`
	Error           json.RawMessage `json:"error"`
	PromptEvalCount int             `json:"prompt_eval_count"`
	EvalCount       int             `json:"eval_count"`
}

func (o *ollama) generate(ctx context.Context, p Prompt, emit func(string) error) (Usage, error) {
	var options *ollamaOptions
	if p.Temperature != 0 || p.MaxTokens != 0 {
		options = &ollamaOptions{p.Temperature, p.MaxTokens}
	}
	if p.Text != "" {
		return o.ask(ctx, "/api/generate", ollamaGenerate{o.model, p.System, p.Text, true, options}, emit)
	}
	chat := ollamaChat{Model: o.model, Stream: true, Options: options}
	if p.System != "" {
		chat.Messages = append(chat.Messages, ollamaMessage{"system", p.System})
	}
	for _, m := range p.Messages {
		chat.Messages = append(chat.Messages, ollamaMessage(m))
	}
	spoke := false
	usage, err := o.ask(ctx, "/api/chat", chat, func(piece string) error {
		spoke = spoke || piece != ""
		return emit(piece)
	})
	if spoke || ctx.Err() != nil || !worthFallback(err) {
		return usage, err
	}
	// Old servers have no chat, and some models answer nothing to it.
	return o.ask(ctx, "/api/generate", ollamaGenerate{o.model, "", flatten(p), true, options}, emit)
}

// worthFallback reports whether a chat that said nothing may be asked again
// as a completion. A server that cannot be reached cannot complete either.
func worthFallback(err error) bool {
	var status *statusError
	return err == nil || errors.As(err, &status) || errors.Is(err, errBrokenOff)
}

func (o *ollama) ask(ctx context.Context, path string, body any, emit func(string) error) (Usage, error) {
	usage := Usage{Model: o.model}
	res, err := post(ctx, o.http, o.base+path, "application/x-ndjson", "", body)
	if err != nil {
		return usage, err
	}
	defer res.Close()
	return usage, readLines(res, func(line []byte) (bool, error) {
		return ollamaPiece(line, &usage, emit)
	})
}

// ollamaPiece reads one line of an answer. Lines that are not JSON objects
// are skipped (contract 02 §6).
func ollamaPiece(line []byte, usage *Usage, emit func(string) error) (complete bool, err error) {
	var l ollamaLine
	if json.Unmarshal(line, &l) != nil {
		return false, nil
	}
	if len(l.Error) > 0 && string(l.Error) != "null" {
		return false, fmt.Errorf("%w: it reported an error", ErrModelDown)
	}
	for _, piece := range [...]string{l.Response, l.Message.Content} {
		if piece == "" {
			continue
		}
		if err := emit(piece); err != nil {
			return false, err
		}
	}
	if l.Done {
		usage.InputTokens, usage.OutputTokens = max(0, l.PromptEvalCount), max(0, l.EvalCount)
	}
	return l.Done, nil
}

// flatten writes a conversation as a text to be completed, at most
// fallbackPrompt characters of its end.
func flatten(p Prompt) string {
	var b strings.Builder
	if p.System != "" {
		fmt.Fprintf(&b, "System: %s\n", p.System)
	}
	for _, m := range p.Messages {
		role := map[string]string{"system": "System", "user": "User"}[m.Role]
		fmt.Fprintf(&b, "%s: %s\n", first(role, "Assistant"), m.Content)
	}
	b.WriteString("Assistant:")
	text := b.String()
	for n := utf8.RuneCountInString(text); n > fallbackPrompt; n-- {
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	return text
}
