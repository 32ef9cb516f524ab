package mentor

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"selflink/appliance/llm"
)

// freeTemperature is for journals and asked questions; chats have the model.s
// own.
const freeTemperature = 0.7

// chatPrompt writes a chat as a text to be continued (contract 02 §3).
func (s *Service) chatPrompt(q question) llm.Prompt {
	var b strings.Builder
	b.WriteString(s.voice(q.language).chat)
	fmt.Fprintf(&b, "\n\nMode: %s\nUser profile: id=%d\n", q.mode, q.user)
	if len(q.history) > 0 {
		b.WriteString("The conversation so far:\n")
		for i := len(q.history) - 1; i >= 0; i-- {
			role, text := splitHistory(q.history[i])
			fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(role[:1])+role[1:], text)
		}
	}
	fmt.Fprintf(&b, "\nUser: %s\nMentor:", q.text)
	return llm.Prompt{Text: b.String()}
}

// splitHistory takes a line of history apart.
func splitHistory(line string) (role, text string) {
	role, text, ok := strings.Cut(line, "\n")
	if !ok || role == "" {
		return roleUser, line
	}
	return role, text
}

// journalPrompt writes a journal entry as a conversation: persona, what is
// known of the person, the days before, the entry (contract 02 §7).
func (s *Service) journalPrompt(q question, p Person) llm.Prompt {
	prompt := llm.Prompt{
		System:      s.voice(q.language).journal,
		Temperature: freeTemperature,
		MaxTokens:   s.MaxTokens,
	}
	context := llm.Message{Role: "system", Content: userContext(p)}
	entry := llm.Message{Role: roleUser, Content: q.text}

	// The persona, the context and the entry always stay; of the history goes
	// what is oldest.
	left := s.MaxPromptChars
	for _, kept := range []string{prompt.System, context.Content, entry.Content} {
		left -= utf8.RuneCountInString(kept)
	}
	var history []llm.Message // newest first
	for _, line := range q.history {
		role, text := splitHistory(line)
		if left -= utf8.RuneCountInString(text); left < 0 || len(history) == s.MaxMessages-1 {
			break
		}
		if role == roleMentor {
			role = roleAssistant
		}
		history = append(history, llm.Message{Role: role, Content: text})
	}
	prompt.Messages = append(prompt.Messages, context)
	for i := len(history) - 1; i >= 0; i-- {
		prompt.Messages = append(prompt.Messages, history[i])
	}
	prompt.Messages = append(prompt.Messages, entry)
	return prompt
}

// userContext tells the model what is known of somebody.
func userContext(p Person) string {
	var lines []string
	for _, f := range [...]struct{ name, value string }{
		{"Birth date", p.BirthDate}, {"Birth time", p.BirthTime}, {"Birth place", p.BirthPlace},
	} {
		if f.value != "" {
			lines = append(lines, f.name+": "+f.value)
		}
	}
	lines = append(lines, p.Facts...)
	if len(lines) == 0 {
		return "About the person: nothing is known yet."
	}
	return "About the person:\n" + strings.Join(lines, "\n")
}
