package mentor

import (
	"context"
	"fmt"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/appliance/realtime"
	"selflink/services/mentor/mentordb"
)

// Events tells people what has happened, with the transaction or not at all.
// *realtime.Publisher is one.
type Events interface {
	Publish(ctx context.Context, tx database.Tx, to realtime.Channel, e realtime.Event) error
}

// Reply tells who asked in the background that the answer is there, so that
// nobody needs to poll for it.
type Reply struct {
	TaskID  jobs.ID `json:"task_id"`
	Session int64   `json:"session_id"`
	Mode    string  `json:"mode"`
	Reply   string  `json:"reply"`
}

// EventType implements [realtime.Event].
func (Reply) EventType() string { return "mentor.reply" }

// Failed tells who asked in the background that there will be no answer. Detail
// is the text that is stored in its place, in the language of the question.
type Failed struct {
	TaskID jobs.ID `json:"task_id"`
	Detail string  `json:"detail"`
}

// EventType implements [realtime.Event].
func (Failed) EventType() string { return "mentor.failed" }

// maxToldReply bounds the reply in an event in bytes; a longer one is left out, and
// fetched by REST.
const maxToldReply = 48 << 10

// tellReply tells that task has answered q.
func (s *Service) tellReply(ctx context.Context, tx database.Tx, task jobs.ID, q question, text string) error {
	if s.Events == nil {
		return nil
	}
	if len(text) > maxToldReply {
		text = ""
	}
	err := s.Events.Publish(ctx, tx, realtime.User(q.user), Reply{TaskID: task, Session: q.session, Mode: q.mode, Reply: text})
	if err != nil {
		return fmt.Errorf("tell of a reply: %w", err)
	}
	return nil
}

// tellFailed tells that task has given up on a question.
func (s *Service) tellFailed(ctx context.Context, tx database.Tx, task jobs.ID, question int64, detail string) error {
	if s.Events == nil {
		return nil
	}
	row, err := mentordb.New(tx).Question(ctx, mentordb.QuestionParams{ID: question, TaskVersion: taskVersion})
	if err != nil {
		return fmt.Errorf("read question: %w", err)
	}
	if err := s.Events.Publish(ctx, tx, realtime.User(row.UserID), Failed{TaskID: task, Detail: detail}); err != nil {
		return fmt.Errorf("tell of a failure: %w", err)
	}
	return nil
}
