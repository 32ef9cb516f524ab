package mentor

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/llm"
	"selflink/services/mentor/mentordb"
)

// askTimeout bounds the model's part of a question asked at once; after it the
// built-in answer serves.
const askTimeout = 60 * time.Second

type askBody struct {
	Text string `json:"text" max:"2048"`
}

// Session is a question with its answer.
type Session struct {
	ID        int64             `json:"id"`
	Question  string            `json:"question"`
	Answer    string            `json:"answer"`
	Sentiment string            `json:"sentiment"`
	CreatedAt httpapi.Timestamp `json:"created_at"`
}

// askOnce answers a question in the request and remembers it. It never fails
// for want of a model.
func (s *Service) askOnce(ctx context.Context, user int64, text, key string) (Session, error) {
	mood := sentiment(text)
	out := Session{ID: s.IDs.Next(), Question: text, Sentiment: mood}
	created, err := s.q.OpenAsked(ctx, mentordb.OpenAskedParams{ID: out.ID, UserID: user, Question: text, Sentiment: mood})
	if err != nil {
		return Session{}, fmt.Errorf("store question: %w", err)
	}
	out.CreatedAt = httpapi.Timestamp(created)
	known, err := s.q.Memory(ctx, user)
	if err != nil && !database.IsNoRows(err) {
		return Session{}, fmt.Errorf("read memory: %w", err)
	}
	p := s.person(ctx, user)
	out.Answer = s.askedAnswer(ctx, p, text, mood, known.LastSummary, readNotes(known.Notes), key)

	store, cancel := storing(ctx)
	defer cancel()
	err = s.DB.Tx(store, func(tx database.Tx) error {
		q := mentordb.New(tx)
		if err := q.AnswerAsked(store, mentordb.AnswerAskedParams{ID: out.ID, Answer: out.Answer}); err != nil {
			return fmt.Errorf("store answer: %w", err)
		}
		notes, err := q.LockMemory(store, user)
		if err != nil {
			return fmt.Errorf("lock memory: %w", err)
		}
		n := readNotes(notes)
		n.add(entry{Question: text, Answer: out.Answer, Sentiment: mood, Timestamp: s.Clock().UTC()})
		return storeNotes(store, q, user, n)
	})
	return out, err
}

// askedAnswer gives the model's answer, or the built-in one.
func (s *Service) askedAnswer(ctx context.Context, p Person, text, mood, summary string, n notes, key string) string {
	if !s.Disabled {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		answer, err := s.generate(ctx, askPrompt(p, text, mood, summary, n, key), nil)
		if err == nil {
			return strings.TrimSpace(answer)
		}
		s.fellBack()
	}
	return builtInAnswer(p, mood, s.Clock().Weekday())
}

// askPrompt is the prompt of a question asked at once (contract 02 §8a).
func askPrompt(p Person, text, mood, summary string, n notes, key string) llm.Prompt {
	var system strings.Builder
	system.WriteString("You are the SelfLink mentor, a kind guide to self-knowledge. Answer in a few warm, practical sentences.\n")
	for _, f := range [...]struct{ name, value string }{
		{"Name", first(p.Name, p.Handle)}, {"Locale", p.Locale}, {"About them", cut(p.Bio, 200)}, {"What you remember", summary},
	} {
		if f.value != "" {
			fmt.Fprintf(&system, "%s: %s\n", f.name, f.value)
		}
	}
	var user strings.Builder
	fmt.Fprintf(&user, "%s\n\nTheir mood seems %s.", text, mood)
	for i := len(n.Entries) - 1; i >= max(0, len(n.Entries)-3); i-- {
		fmt.Fprintf(&user, "\nThey asked before: %s", cut(n.Entries[i].Question, 80))
	}
	return llm.Prompt{System: strings.TrimSpace(system.String()), Text: user.String(), Temperature: freeTemperature, Key: key}
}

// moods are the words that give a mood away (contract 02 §8a).
var moods = [...]struct {
	mood  string
	words []string
}{
	{"positive", []string{"grateful", "happy", "excited", "energized"}},
	{"negative", []string{"sad", "tired", "lonely", "anxious", "stressed"}},
}

// sentiment guesses the mood of a text.
func sentiment(text string) string {
	text = strings.ToLower(text)
	for _, m := range moods {
		for _, w := range m.words {
			if strings.Contains(text, w) {
				return m.mood
			}
		}
	}
	return "neutral"
}

// builtInAnswer answers without a model: an opening for the mood, the name, a
// breath, and one small thing to do.
func builtInAnswer(p Person, mood string, day time.Weekday) string {
	name := first(p.Name, p.Handle, "friend")
	opening, step := "Thank you for asking, %s.", "Make this "+day.String()+" a little lighter: choose one thing that can wait, and let it wait."
	switch mood {
	case "positive":
		opening, step = "That brightness is worth keeping, %s.", "Tell one person today what you are glad about."
	case "negative":
		opening, step = "That sounds heavy, %s, and it makes sense that you feel it.", "Do one kind thing for your body: water, a short walk, or ten minutes of rest."
	}
	return fmt.Sprintf(opening, name) + " Breathe in while you count to four, and out while you count to six, three times. " + step
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// cut gives the first n characters of a text.
func cut(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

// memorySize is how many asked questions are remembered.
const memorySize = 20

// notes are what is remembered of somebody's questions, oldest first.
type notes struct {
	Entries []entry `json:"entries"`
}

type entry struct {
	Question  string    `json:"question"`
	Answer    string    `json:"answer"`
	Sentiment string    `json:"sentiment"`
	Timestamp time.Time `json:"timestamp"`
}

// readNotes reads stored notes. What cannot be read is forgotten: a memory is
// a help, not a record.
func readNotes(b json.RawMessage) notes {
	var n notes
	if json.Unmarshal(b, &n) != nil {
		return notes{}
	}
	return n
}

func (n *notes) add(e entry) {
	n.Entries = append(n.Entries, e)
	if over := len(n.Entries) - memorySize; over > 0 {
		n.Entries = n.Entries[over:]
	}
}

// summary says in one sentence what the last questions were about.
func (n *notes) summary() string {
	var feelings, questions []string
	for i, e := range n.Entries {
		if i >= len(n.Entries)-5 {
			feelings = append(feelings, e.Sentiment)
		}
		if i >= len(n.Entries)-3 {
			questions = append(questions, "“"+cut(e.Question, 40)+"”")
		}
	}
	return "Lately they felt " + strings.Join(feelings, ", ") + " and asked " + strings.Join(questions, ", ") + "."
}

// storeNotes stores notes that are not empty.
func storeNotes(ctx context.Context, q *mentordb.Queries, user int64, n notes) error {
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode memory: %w", err)
	}
	err = q.StoreMemory(ctx, mentordb.StoreMemoryParams{
		UserID: user, Notes: b, LastSummary: n.summary(), OldestAt: n.Entries[0].Timestamp,
	})
	if err != nil {
		return fmt.Errorf("store memory: %w", err)
	}
	return nil
}
