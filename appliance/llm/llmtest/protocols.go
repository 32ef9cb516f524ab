package llmtest

import (
	"encoding/json"
	"fmt"
)

// protocol writes the parts of one kind of answer.
type protocol struct {
	contentType string
	piece       func(text string) string
	end         func(tokens int) string
	failure     string
}

// protocols are the paths that the server knows.
var protocols = map[string]protocol{
	"/api/generate": {
		contentType: "application/x-ndjson",
		piece:       func(t string) string { return fmt.Sprintf("{\"response\":%s,\"done\":false}\n", quote(t)) },
		end: func(n int) string {
			return fmt.Sprintf("{\"response\":\"\",\"done\":true,\"prompt_eval_count\":7,\"eval_count\":%d}\n", n)
		},
		failure: "{\"error\":\"the model runner has stopped\"}\n",
	},
	"/api/chat": {
		contentType: "application/x-ndjson",
		piece: func(t string) string {
			return fmt.Sprintf("{\"message\":{\"role\":\"assistant\",\"content\":%s},\"done\":false}\n", quote(t))
		},
		end: func(n int) string {
			return fmt.Sprintf("{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"prompt_eval_count\":7,\"eval_count\":%d}\n", n)
		},
		failure: "{\"error\":\"the model runner has stopped\"}\n",
	},
	"/v1/responses": {
		contentType: "text/event-stream",
		piece: func(t string) string {
			return fmt.Sprintf("event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":%s}\n\n", quote(t))
		},
		end: func(n int) string {
			return fmt.Sprintf("event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":%d}}}\n\n", n)
		},
		failure: "event: response.failed\ndata: {\"type\":\"response.failed\"}\n\n",
	},
	"/v1/chat/completions": {
		contentType: "text/event-stream",
		piece: func(t string) string {
			return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%s},\"finish_reason\":null}]}\n\n", quote(t))
		},
		end: func(n int) string {
			return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", n)
		},
		failure: "data: {\"error\":{\"message\":\"overloaded\"}}\n\n",
	},
}

func quote(text string) string {
	b, _ := json.Marshal(text) // a string always encodes
	return string(b)
}
