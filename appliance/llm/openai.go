package llm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// openAI speaks OpenAI's Responses API, or chat completions with servers that
// are compatible with it.
type openAI struct {
	base       string
	model      string
	key        string
	compatible bool
	http       *http.Client
}

type openAIMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type responsesRequest struct {
	Model           string          `json:"model"`
	Input           []openAIMessage `json:"input"`
	Temperature     float64         `json:"temperature,omitempty"`
	MaxOutputTokens int             `json:"max_output_tokens,omitempty"`
	Stream          bool            `json:"stream"`
	Store           bool            `json:"store"` // false: the provider keeps no copy
}

type completionsRequest struct {
	Model         string          `json:"model"`
	Messages      []openAIMessage `json:"messages"`
	Temperature   float64         `json:"temperature,omitempty"`
	MaxTokens     int             `json:"max_tokens,omitempty"`
	Stream        bool            `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func (o *openAI) generate(ctx context.Context, p Prompt, emit func(string) error) (Usage, error) {
	usage := Usage{Model: o.model}
	key := first(p.Key, o.key)
	if key == "" && !o.compatible {
		return usage, fmt.Errorf("%w: no key is configured", ErrModelRefused)
	}
	var messages []openAIMessage
	if p.System != "" {
		messages = append(messages, openAIMessage{"system", p.System})
	}
	if p.Text != "" {
		messages = append(messages, openAIMessage{"user", p.Text})
	}
	for _, m := range p.Messages {
		messages = append(messages, openAIMessage(m))
	}

	path, read := "/responses", responsePiece
	var body any = responsesRequest{
		Model: o.model, Input: messages, Temperature: p.Temperature, MaxOutputTokens: p.MaxTokens, Stream: true,
	}
	if o.compatible {
		path, read = "/chat/completions", completionPiece
		r := completionsRequest{Model: o.model, Messages: messages, Temperature: p.Temperature, MaxTokens: p.MaxTokens, Stream: true}
		r.StreamOptions.IncludeUsage = true
		body = r
	}
	res, err := post(ctx, o.http, o.base+path, "text/event-stream", key, body)
	if err != nil {
		return usage, err
	}
	defer res.Close()
	finished := false
	err = readEvents(res, func(data []byte) (bool, error) {
		return read(data, &usage, &finished, emit)
	})
	if finished && err == errBrokenOff { // exactly the clean end: some servers end without [DONE]
		err = nil
	}
	return usage, err
}

// responsePiece reads one event of the Responses API.
func responsePiece(data []byte, usage *Usage, _ *bool, emit func(string) error) (complete bool, err error) {
	var e struct {
		Type     string `json:"type"`
		Delta    any    `json:"delta"`
		Response struct {
			Usage struct {
				InputTokens  int `json:"input_tokens"`
				OutputTokens int `json:"output_tokens"`
			} `json:"usage"`
		} `json:"response"`
	}
	if json.Unmarshal(data, &e) != nil {
		return false, nil
	}
	switch e.Type {
	case "response.output_text.delta", "response.refusal.delta":
		// A refusal is an answer in words as well.
		if piece, ok := e.Delta.(string); ok && piece != "" {
			return false, emit(piece)
		}
	case "response.completed", "response.incomplete":
		// Incomplete: the token limit cut the answer, which still is one.
		usage.InputTokens, usage.OutputTokens = max(0, e.Response.Usage.InputTokens), max(0, e.Response.Usage.OutputTokens)
		return true, nil
	case "response.failed", "error":
		return false, fmt.Errorf("%w: it reported an error", ErrModelDown)
	}
	return false, nil
}

// completionPiece reads one event of chat completions; finished becomes true
// when the model has said its last.
func completionPiece(data []byte, usage *Usage, finished *bool, emit func(string) error) (complete bool, err error) {
	if string(data) == "[DONE]" {
		return true, nil
	}
	var e struct {
		Choices []struct {
			Index int `json:"index"`
			Delta struct {
				Content string `json:"content"`
			} `json:"delta"`
			FinishReason *string `json:"finish_reason"`
		} `json:"choices"`
		Usage struct {
			PromptTokens     int `json:"prompt_tokens"`
			CompletionTokens int `json:"completion_tokens"`
		} `json:"usage"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(data, &e) != nil {
		return false, nil
	}
	if len(e.Error) > 0 && string(e.Error) != "null" {
		return false, fmt.Errorf("%w: it reported an error", ErrModelDown)
	}
	if e.Usage.PromptTokens > 0 || e.Usage.CompletionTokens > 0 {
		usage.InputTokens, usage.OutputTokens = max(0, e.Usage.PromptTokens), max(0, e.Usage.CompletionTokens)
	}
	for _, c := range e.Choices {
		if c.Index != 0 {
			continue
		}
		if c.Delta.Content != "" {
			if err := emit(c.Delta.Content); err != nil {
				return false, err
			}
		}
		if c.FinishReason != nil && *c.FinishReason != "" {
			*finished = true
		}
	}
	return false, nil
}
