package mentor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/jobs"
	"selflink/services/mentor/mentordb"
)

type entryBody struct {
	Text     string       `json:"text" max:"4096"`
	Date     httpapi.Date `json:"date" optional:"true" doc:"Today when missing."`
	Language string       `json:"language" optional:"true" blank:"true" max:"8"`
}

// Entry is the answer to a journal entry: the reply in the response (200), or
// a task (202).
type Entry struct {
	Session  int64          `json:"session_id"`
	Date     httpapi.Date   `json:"date"`
	Entry    string         `json:"entry"`
	Reply    string         `json:"reply,omitempty"`
	Messages []EntryMessage `json:"messages,omitempty"`
	Message  int64          `json:"message_id,omitempty"`
	Task     *uuid.UUID     `json:"task_id,omitempty"`
	Language *string        `json:"language"`
	Meta     EntryMeta      `json:"meta"`
}

// EntryMessage is one of the two messages of an entry.
type EntryMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	ID      int64  `json:"id"`
}

// EntryMeta is kept for clients that look for it; nothing is flagged.
type EntryMeta struct {
	UserFlags   struct{}  `json:"user_flags"`
	MentorFlags *struct{} `json:"mentor_flags,omitempty"`
}

// write stores a journal entry and answers it, now or later.
func (s *Service) write(ctx context.Context, user int64, body entryBody, async bool) (httpapi.Result[Entry], error) {
	none := httpapi.Result[Entry]{}
	if err := httpapi.Burst(ctx, "mentor"); err != nil {
		return none, err
	}
	if body.Date.IsZero() {
		body.Date = httpapi.DateOf(s.Clock())
	}
	out := Entry{Date: body.Date, Entry: body.Text}
	if body.Language != "" {
		out.Language = &body.Language
	}
	params := mentordb.AskJournalParams{
		SessionID: s.IDs.Next(), UserID: user, Language: out.Language, Day: body.Date.Time(), Content: body.Text,
		QuestionID: s.IDs.Next(), Most: journalHistory,
	}
	out.Message = params.QuestionID
	if async {
		task, err := jobs.NewID()
		if err != nil {
			return none, fmt.Errorf("choose task: %w", err)
		}
		params.TaskID, params.Meta = &task, taskMeta{Task: &task, Version: taskVersion}.encode()
		out.Task = &task
		err = s.DB.Tx(ctx, func(tx database.Tx) error {
			row, err := mentordb.New(tx).AskJournal(ctx, params)
			if err != nil {
				return fmt.Errorf("store entry: %w", err)
			}
			out.Session = row.SessionID
			job := journalJob{Session: row.SessionID, Question: params.QuestionID, Language: body.Language, Version: taskVersion}
			if _, err := s.Jobs.Enqueue(ctx, tx, job, jobs.EnqueueOptions{ID: task}); err != nil {
				return fmt.Errorf("enqueue answer: %w", err)
			}
			return nil
		})
		return httpapi.Result[Entry]{Status: http.StatusAccepted, Body: out}, err
	}

	row, err := s.q.AskJournal(ctx, params)
	if err != nil {
		return none, fmt.Errorf("store entry: %w", err)
	}
	q := question{
		id: params.QuestionID, session: row.SessionID, user: user, language: body.Language, text: body.Text,
		history: append(row.History, row.Elsewhere...), // one of them is empty
	}
	reply, err := s.reflect(ctx, q)
	if err != nil {
		reply = s.voice(q.language).reflection
		s.fellBack()
	}
	store, cancel := storing(ctx)
	defer cancel()
	var a answer
	err = s.DB.Tx(store, func(tx database.Tx) error {
		var err error
		if a, err = s.storeAnswer(store, tx, q.id, roleMentor, reply, nil, ""); err != nil {
			return err
		}
		return storeReflection(store, mentordb.New(tx), q, reply)
	})
	if err != nil {
		return none, err
	}
	out.Session, out.Message, out.Reply = q.session, 0, a.text
	out.Messages = []EntryMessage{{roleUser, body.Text, q.id}, {roleAssistant, a.text, a.id}}
	out.Meta.MentorFlags = &struct{}{}
	return httpapi.Result[Entry]{Body: out}, nil
}

// reflect asks the model about a journal entry.
func (s *Service) reflect(ctx context.Context, q question) (string, error) {
	if s.Disabled {
		return s.voice(q.language).unavailable, nil
	}
	text, err := s.generate(ctx, s.journalPrompt(q, s.person(ctx, q.user)), nil)
	return strings.TrimSpace(text), err
}

// storeReflection shows an entry and its answer as the day's.
func storeReflection(ctx context.Context, db *mentordb.Queries, q question, reply string) error {
	p := mentordb.StoreReflectionParams{ID: q.session, Question: q.text, Answer: reply}
	if q.language != "" {
		p.Language = &q.language
	}
	if err := db.StoreReflection(ctx, p); err != nil {
		return fmt.Errorf("store reflection: %w", err)
	}
	return nil
}

// Day is one day of the journal, in short.
type Day struct {
	Session int64        `json:"session_id"`
	Date    httpapi.Date `json:"date"`
	Entry   string       `json:"entry_preview"`
	Reply   string       `json:"reply_preview"`
}

// Days are the last days of the journal.
type Days struct {
	Results []Day `json:"results"`
}

type daysIn struct {
	Limit httpapi.Opt[int] `query:"limit" min:"1" max:"30" doc:"How many days, 7 when missing."`
}

func (s *Service) days(ctx context.Context, user int64, limit int) (Days, error) {
	rows, err := s.q.Journals(ctx, mentordb.JournalsParams{UserID: user, Most: int32(limit)})
	if err != nil {
		return Days{}, fmt.Errorf("list journals: %w", err)
	}
	out := Days{Results: []Day{}}
	for _, r := range rows {
		out.Results = append(out.Results, Day{r.ID, dateOf(r.Date), r.Entry, r.Reply})
	}
	return out, nil
}

// Journal is one day with all its messages.
type Journal struct {
	Session  int64            `json:"session_id"`
	Date     httpapi.Date     `json:"date"`
	Language *string          `json:"language"`
	Entry    string           `json:"entry"`
	Reply    string           `json:"reply"`
	Messages []JournalMessage `json:"messages"`
}

// JournalMessage is one message of a day.
type JournalMessage struct {
	ID        int64             `json:"id"`
	Role      string            `json:"role"`
	Content   string            `json:"content"`
	CreatedAt httpapi.Timestamp `json:"created_at"`
}

func (s *Service) journal(ctx context.Context, user, id int64) (Journal, error) {
	r, err := s.q.Journal(ctx, mentordb.JournalParams{ID: id, UserID: user})
	if database.IsNoRows(err) {
		return Journal{}, httpapi.Detail(http.StatusNotFound, "Session not found.")
	}
	if err != nil {
		return Journal{}, fmt.Errorf("read journal: %w", err)
	}
	messages, err := s.q.JournalMessages(ctx, id)
	if err != nil {
		return Journal{}, fmt.Errorf("read messages: %w", err)
	}
	out := Journal{
		Session: r.ID, Date: dateOf(r.Date), Language: r.Language, Entry: r.Question, Reply: r.Answer,
		Messages: make([]JournalMessage, 0, len(messages)),
	}
	for _, m := range messages {
		out.Messages = append(out.Messages, JournalMessage{m.ID, m.Role, m.Content, httpapi.Timestamp(m.CreatedAt)})
	}
	return out, nil
}

// dateOf gives a stored day, zero when there is none.
func dateOf(t *time.Time) httpapi.Date {
	if t == nil {
		return httpapi.Date{}
	}
	return httpapi.DateOf(*t)
}
