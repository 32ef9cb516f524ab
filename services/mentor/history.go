package mentor

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/mentor/mentordb"
)

// Message is a message of any session.
type Message struct {
	ID        int64             `json:"id"`
	Session   int64             `json:"session_id"`
	Role      string            `json:"role"`
	Content   string            `json:"content"`
	Meta      json.RawMessage   `json:"meta"`
	CreatedAt httpapi.Timestamp `json:"created_at"`
}

// TaskStatus says how a background task stands: pending, or ready with the
// stored message and its session.
type TaskStatus struct {
	Task    string         `json:"task_id"`
	Status  string         `json:"status" enum:"pending,ready"`
	Message *Message       `json:"message,omitempty"`
	Session *StatusSession `json:"session,omitempty"`
}

// StatusSession is the session of a task.
type StatusSession struct {
	ID       int64           `json:"id"`
	Mode     string          `json:"mode"`
	Date     httpapi.Date    `json:"date"`
	Metadata json.RawMessage `json:"metadata"`
}

// taskStatus looks only at the caller's own messages.
func (s *Service) taskStatus(ctx context.Context, user int64, text string) (TaskStatus, error) {
	unknown := httpapi.Detail(http.StatusNotFound, "Task not found.")
	task, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return TaskStatus{}, unknown
	}
	r, err := s.q.TaskStatus(ctx, mentordb.TaskStatusParams{TaskID: task, UserID: user})
	if database.IsNoRows(err) {
		return TaskStatus{}, unknown
	}
	if err != nil {
		return TaskStatus{}, fmt.Errorf("read task: %w", err)
	}
	if r.AnswerID == nil {
		return TaskStatus{Task: task.String(), Status: "pending"}, nil
	}
	return TaskStatus{
		Task: task.String(), Status: "ready",
		Message: &Message{
			ID: *r.AnswerID, Session: r.SessionID, Role: deref(r.Role), Content: deref(r.Content),
			Meta: nullJSON(r.Meta), CreatedAt: httpapi.Timestamp(*r.AnsweredAt),
		},
		Session: &StatusSession{ID: r.SessionID, Mode: r.Mode, Date: dateOf(r.Date), Metadata: r.Metadata},
	}, nil
}

// position is where a page begins: after this row, in the list's direction.
type position struct {
	at    time.Time
	after int64
	most  int32
	down  bool
}

// readPosition reads a page's position in a list ordered by created_at.
func readPosition(in httpapi.PageQuery) (httpapi.Keyset, position, error) {
	k, err := in.Keyset(httpapi.Newest)
	if err != nil {
		return k, position{}, err
	}
	p := position{most: int32(k.Limit), down: k.Desc()}
	switch {
	case k.Set:
		p.after = k.ID
		if p.at, err = k.Time(); err != nil {
			return k, position{}, err
		}
	case p.down:
		p.at, p.after = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), math.MaxInt64
	}
	return k, p, nil
}

func (s *Service) history(ctx context.Context, user int64, in httpapi.PageQuery) (httpapi.Page[Message], error) {
	k, p, err := readPosition(in)
	if err != nil {
		return httpapi.Page[Message]{}, err
	}
	var rows []mentordb.MessagesDownRow
	if p.down {
		rows, err = s.q.MessagesDown(ctx, mentordb.MessagesDownParams{UserID: user, At: p.at, After: p.after, Most: p.most})
	} else {
		var up []mentordb.MessagesUpRow
		up, err = s.q.MessagesUp(ctx, mentordb.MessagesUpParams{UserID: user, At: p.at, After: p.after, Most: p.most})
		for _, r := range up {
			rows = append(rows, mentordb.MessagesDownRow(r))
		}
	}
	if err != nil {
		return httpapi.Page[Message]{}, fmt.Errorf("list messages: %w", err)
	}
	return httpapi.BuildPage(ctx, k, rows,
		func(r mentordb.MessagesDownRow) (string, int64) { return httpapi.TimeKey(r.CreatedAt), r.ID },
		func(r mentordb.MessagesDownRow) Message {
			return Message{r.ID, r.SessionID, r.Role, r.Content, nullJSON(r.Meta), httpapi.Timestamp(r.CreatedAt)}
		}), nil
}

func (s *Service) sessions(ctx context.Context, user int64, in httpapi.PageQuery) (httpapi.Page[Session], error) {
	k, p, err := readPosition(in)
	if err != nil {
		return httpapi.Page[Session]{}, err
	}
	var rows []mentordb.SessionsDownRow
	if p.down {
		rows, err = s.q.SessionsDown(ctx, mentordb.SessionsDownParams{UserID: user, At: p.at, After: p.after, Most: p.most})
	} else {
		var up []mentordb.SessionsUpRow
		up, err = s.q.SessionsUp(ctx, mentordb.SessionsUpParams{UserID: user, At: p.at, After: p.after, Most: p.most})
		for _, r := range up {
			rows = append(rows, mentordb.SessionsDownRow(r))
		}
	}
	if err != nil {
		return httpapi.Page[Session]{}, fmt.Errorf("list sessions: %w", err)
	}
	return httpapi.BuildPage(ctx, k, rows,
		func(r mentordb.SessionsDownRow) (string, int64) { return httpapi.TimeKey(r.CreatedAt), r.ID },
		publicSession), nil
}

func publicSession(r mentordb.SessionsDownRow) Session {
	return Session{r.ID, r.Question, r.Answer, r.Sentiment, httpapi.Timestamp(r.CreatedAt)}
}

func (s *Service) session(ctx context.Context, user, id int64) (Session, error) {
	r, err := s.q.Session(ctx, mentordb.SessionParams{ID: id, UserID: user})
	if database.IsNoRows(err) {
		return Session{}, httpapi.NotFound("MentorSession")
	}
	if err != nil {
		return Session{}, fmt.Errorf("read session: %w", err)
	}
	return publicSession(mentordb.SessionsDownRow(r)), nil
}
