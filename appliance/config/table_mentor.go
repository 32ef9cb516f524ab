package config

import (
	"math"
	"time"
)

// mentorTable is about the mentor and its language model.
func mentorTable() []Setting {
	return []Setting{
		{Key: "MENTOR_LLM_PROVIDER", Group: Mentor, Auto: "mock; ollama when MENTOR_LLM_BASE_URL is given",
			Doc: "Language model: mock (built in, needs nothing), ollama, or openai and servers compatible with it.",
			set: into(func(c *Config) *string { return &c.LLMProvider }, parseProvider)},
		{Key: "MENTOR_LLM_ENABLED", Group: Mentor, Default: "true",
			Doc: "Whether a language model is asked at all; false gives built-in replies.",
			set: into(func(c *Config) *bool { return &c.LLMEnabled }, parseBool)},
		{Key: "MENTOR_LLM_BASE_URL", Group: Mentor, Auto: "OLLAMA_HOST or OPENAI_BASE_URL", show: showURL,
			Doc: "Address of the model's server. With the provider openai it is asked through chat completions.",
			set: into(func(c *Config) *string { return &c.LLMBaseURL }, parseURL)},
		{Key: "MENTOR_LLM_MODEL", Group: Mentor, Auto: "llama3.2:1b with ollama, gpt-4o-mini with openai",
			Doc: "Name of the model.",
			set: into(func(c *Config) *string { return &c.LLMModel }, parseText)},
		{Key: "MENTOR_LLM_TIMEOUT", Group: Mentor, Auto: "120, with openai 60", Unit: "seconds",
			Doc: "Longest time of one answer.",
			set: into(func(c *Config) *time.Duration { return &c.LLMTimeout }, func(raw string) (time.Duration, error) {
				if raw == "" {
					return 0, nil
				}
				return parseSpan(time.Second, 1, 3600)(raw)
			})},
		{Key: "MENTOR_LLM_MAX_TOKENS", Group: Mentor, Default: "180", Unit: "tokens; 0: no limit",
			Doc: "Longest answer of the journal.",
			set: into(func(c *Config) *int { return &c.LLMMaxTokens }, parseInt(0, math.MaxInt32))},
		{Key: "MENTOR_LLM_MAX_PROMPT_CHARS", Group: Mentor, Default: "4000", Unit: "characters",
			Doc: "Longest prompt; the oldest history is dropped first.",
			set: into(func(c *Config) *int { return &c.LLMMaxPromptChars }, parseInt(500, math.MaxInt32))},
		{Key: "MENTOR_LLM_MAX_MESSAGES", Group: Mentor, Default: "12", Unit: "messages",
			Doc: "Most messages of history in a prompt.",
			set: into(func(c *Config) *int { return &c.LLMMaxMessages }, parseInt(0, 1000))},
		{Key: "OPENAI_API_KEY", Group: Mentor, Secret: true, Auto: "none",
			Doc: "Key of the provider openai, for callers who bring none of their own.",
			set: into(func(c *Config) *Secret { return &c.OpenAIKey }, parseSecret)},
		{Key: "OPENAI_BASE_URL", Group: Mentor, Default: "https://api.openai.com/v1", show: showURL,
			Doc: "Address of OpenAI's API, asked through responses.",
			set: into(func(c *Config) *string { return &c.OpenAIBaseURL }, parseURL)},
		{Key: "OLLAMA_HOST", Group: Mentor, Default: "http://localhost:11434", show: showURL,
			Doc: "Address of the Ollama server.",
			set: into(func(c *Config) *string { return &c.OllamaHost }, parseOllama)},
		{Key: "INTELLIGENCE_ASYNC_DEFAULT", Group: Mentor, Default: "false",
			Doc: "Whether heavy endpoints other than the chat answer with a task when the request does not say.",
			set: into(func(c *Config) *bool { return &c.AsyncDefault }, parseBool)},
		{Key: "MENTOR_CHAT_WAIT", Group: Mentor, Default: "20", Unit: "seconds; 0: not at all",
			Doc: "How long an asynchronous chat waits for its answer, to bring it along when it comes in time.",
			set: into(func(c *Config) *time.Duration { return &c.ChatWait }, parseSpan(time.Second, 0, 25))},
		{Key: "MENTOR_RETENTION_DAYS", Group: Mentor, Default: "90", Unit: "days; 0: for ever",
			Doc: "How long conversations with the mentor are kept.",
			set: into(func(c *Config) *time.Duration { return &c.MentorRetention }, parseSpan(24*time.Hour, 0, 36600))},
	}
}
