package mentor

import "strings"

// flow says how a client wants an answer (contract 00 §8): in the response,
// or from a background task.
type flow struct {
	XSync  string `header:"X-Sync" doc:"true: answer in this response. Goes before everything else."`
	Async  string `query:"async" raw:"true" doc:"true or false: from a background task, or in this response."`
	XAsync string `header:"X-Async" doc:"true or false, as async; the query goes before it."`
}

// async decides between them; byDefault counts when the client does not say.
func (f flow) async(byDefault bool) bool {
	if said, sync := truth(f.XSync); said && sync {
		return false
	}
	for _, text := range [...]string{f.Async, f.XAsync} {
		if said, async := truth(text); said {
			return async
		}
	}
	return byDefault
}

// truth reads a word of agreement or refusal; any other says nothing.
func truth(text string) (said, yes bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "1", "true", "yes":
		return true, true
	case "0", "false", "no":
		return true, false
	default:
		return false, false
	}
}
