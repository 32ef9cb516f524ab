package mentor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/jobs"
	"selflink/services/mentor/mentordb"
)

// joinable is for how long after an answer the same question, asked again
// through a stream or once more as a chat, gets the same answer. The old
// client asks by stream, many times, and then by chat.
const joinable = 60 * time.Second

// chatBody is a question as a client sends it. What is missing or blank is
// answered by hand, in the contract's words.
type chatBody struct {
	Message  httpapi.Opt[string] `json:"message" null:"true" blank:"true" strict:"true" doc:"The question, at most 4096 characters."`
	Mode     httpapi.Opt[string] `json:"mode" null:"true" blank:"true" max:"32" doc:"daily_mentor when missing."`
	Language httpapi.Opt[string] `json:"language" null:"true" blank:"true" max:"8" doc:"en when missing."`
}

// chatInput is a question that may be asked.
type chatInput struct {
	user     int64
	text     string
	mode     string
	language string
}

// Refusals of a question, in the contract's words.
const (
	msgRequired   = "Message is required."
	msgTooLong    = "Message is too long: 4096 characters at most."
	msgModelDown  = "LLM streaming request failed"
	msgTimedOut   = "Stream timed out."
	msgStreamFail = "Streaming failed."
)

// newInput checks a question; problem is what is wrong with it.
func newInput(user int64, message, mode, language string) (in chatInput, problem string) {
	in = chatInput{user: user, text: strings.TrimSpace(message), mode: mode, language: language}
	if in.mode == "" {
		in.mode = defaultMode
	}
	if in.language == "" {
		in.language = defaultLanguage
	}
	switch {
	case in.text == "":
		return in, msgRequired
	case utf8.RuneCountInString(in.text) > MaxMessage:
		return in, msgTooLong
	}
	return in, ""
}

// fingerprint tells questions apart without keeping their text.
func (in chatInput) fingerprint() [sha256.Size]byte {
	return sha256.Sum256([]byte(in.mode + "\x00" + in.language + "\x00" + in.text))
}

func (in chatInput) key() streamKey { return streamKey{in.user, in.fingerprint()} }

// Chat is the answer to a chat: with a task when it is asynchronous (202),
// and with the reply as soon as it is known.
type Chat struct {
	Session       int64      `json:"session_id"`
	Mode          string     `json:"mode"`
	MessageID     int64      `json:"message_id,omitempty" doc:"The stored question (202)."`
	Task          *uuid.UUID `json:"task_id,omitempty"`
	TaskStatusURL string     `json:"task_status_url,omitempty"`
	Message       string     `json:"message,omitempty" doc:"The reply, when it is known."`
	Reply         string     `json:"reply,omitempty" doc:"The same as message."`
	MentorReply   string     `json:"mentor_reply,omitempty" doc:"The same as message (200)."`
	UserMessage   int64      `json:"user_message_id,omitempty" doc:"The stored question (200)."`
	MentorMessage int64      `json:"mentor_message_id,omitempty" doc:"The stored reply (200)."`
}

// chat asks a question, now or later.
func (s *Service) chat(ctx context.Context, body chatBody, user int64, key string, async bool) (httpapi.Result[Chat], error) {
	in, problem := newInput(user, body.Message.Value, body.Mode.Value, body.Language.Value)
	if problem != "" {
		return httpapi.Result[Chat]{}, httpapi.Detail(http.StatusBadRequest, problem)
	}
	if err := httpapi.Burst(ctx, "mentor"); err != nil {
		return httpapi.Result[Chat]{}, err
	}
	if async {
		out, err := s.chatLater(ctx, in, key)
		return httpapi.Result[Chat]{Status: http.StatusAccepted, Body: out}, err
	}
	out, err := s.chatNow(ctx, in, key)
	return httpapi.Result[Chat]{Body: out}, err
}

// chatNow answers in the request.
func (s *Service) chatNow(ctx context.Context, in chatInput, key string) (Chat, error) {
	if g := s.generations.running(in.key()); g != nil {
		a, err := g.wait(ctx)
		s.generations.leave(g)
		if err == nil {
			return nowBody(g.session, in.mode, g.question, a), nil
		}
		if ctx.Err() != nil {
			return Chat{}, ctx.Err()
		}
	}
	q, fresh, err := s.ask(ctx, in, false)
	if err != nil {
		return Chat{}, err
	}
	if !fresh { // a stream asked it a moment ago
		old, err := s.q.Question(ctx, mentordb.QuestionParams{ID: q.id, TaskVersion: taskVersion, Most: chatHistory})
		if err != nil {
			return Chat{}, fmt.Errorf("read question: %w", err)
		}
		if old.AnswerID != nil {
			return nowBody(q.session, in.mode, q.id, answer{id: *old.AnswerID, text: *old.Answer}), nil
		}
		q.history = old.History
	}
	text, err := s.chatReply(ctx, q, key, true)
	if err != nil {
		return Chat{}, modelRefusal(err)
	}
	store, cancel := storing(ctx)
	defer cancel()
	a, err := s.storeAnswer(store, s.DB, q.id, roleAssistant, text, nil, "")
	if err != nil {
		return Chat{}, err
	}
	return nowBody(q.session, in.mode, q.id, a), nil
}

// modelRefusal is how a failing model shows in a response.
func modelRefusal(err error) error {
	return fmt.Errorf("%w: %w", httpapi.Detail(http.StatusBadGateway, msgModelDown), err)
}

func nowBody(session int64, mode string, question int64, a answer) Chat {
	return Chat{
		Session: session, Mode: mode, Message: a.text, Reply: a.text, MentorReply: a.text,
		UserMessage: question, MentorMessage: a.id,
	}
}

// ask stores a question in the session it belongs to, which is opened when
// there is none. fresh is false when a stream asked the same a moment ago: q
// is that question then, without its history. claim lets others join this one.
func (s *Service) ask(ctx context.Context, in chatInput, claim bool) (q question, fresh bool, err error) {
	sum := in.fingerprint()
	a := asking{chatInput: in, claim: claim, session: s.IDs.Next(), question: s.IDs.Next(), fingerprint: sum[:]}
	out, err := s.asks.Do(ctx, a)
	if err == nil {
		err = out.err
	}
	return readAsked(out.row, err, in, a.question)
}

// askWithTask stores a question as ask does, in a transaction and with a task.
func (s *Service) askWithTask(ctx context.Context, tx database.Tx, in chatInput, task *uuid.UUID) (q question, fresh bool, err error) {
	sum := in.fingerprint()
	params := mentordb.AskParams{
		UserID: in.user, Mode: in.mode, Language: in.language, Content: in.text, Fingerprint: sum[:],
		JoinableSeconds: joinable.Seconds(), SessionID: s.IDs.Next(), QuestionID: s.IDs.Next(), Most: chatHistory,
		TaskID: task, Meta: taskMeta{Task: task, Version: taskVersion}.encode(),
	}
	row, err := mentordb.New(tx).Ask(ctx, params)
	return readAsked(row, err, in, params.QuestionID)
}

// readAsked reads what mentor_ask gives; id is that of the question that was
// to be stored.
func readAsked(row []string, err error, in chatInput, id int64) (q question, fresh bool, _ error) {
	if err == nil && len(row) < 2 {
		err = errQuestionGone
	}
	if err != nil {
		return question{}, false, fmt.Errorf("store question: %w", err)
	}
	q = question{user: in.user, mode: in.mode, language: in.language, text: in.text, history: row[2:]}
	for i, field := range []*int64{&q.id, &q.session} {
		if *field, err = strconv.ParseInt(row[i], 10, 64); err != nil {
			return question{}, false, fmt.Errorf("store question: %w", err)
		}
	}
	return q, q.id == id, nil
}

// chatLater leaves the answer to a background task, and waits a little for it.
//
// A question that brings its own key is answered in the request all the same,
// in the shape of a task: the key must not be stored. The task then only makes
// sure that there is some text should this process die meanwhile.
func (s *Service) chatLater(ctx context.Context, in chatInput, key string) (Chat, error) {
	var (
		q    question
		a    *answer // when it is known already
		task uuid.UUID
	)
	attempt := func() error {
		id, err := jobs.NewID()
		if err != nil {
			return fmt.Errorf("choose task: %w", err)
		}
		a, task = nil, id
		return s.DB.Tx(ctx, func(tx database.Tx) error {
			var fresh bool
			var err error
			if q, fresh, err = s.askWithTask(ctx, tx, in, &task); err != nil {
				return err
			}
			if !fresh {
				if a, err = s.adopt(ctx, tx, &q, &task); err != nil || a != nil || task != id {
					return err
				}
			}
			job := chatJob{Session: q.session, Question: q.id, Mode: q.mode, Language: q.language, Version: taskVersion}
			opts := jobs.EnqueueOptions{ID: task}
			if key != "" {
				job.GiveUp = true
				opts.RunAt = time.Now().Add(s.Timeout + time.Minute)
			}
			if _, err := s.Jobs.Enqueue(ctx, tx, job, opts); err != nil {
				return fmt.Errorf("enqueue answer: %w", err)
			}
			return nil
		})
	}
	err := attempt()
	if isGone(err) {
		err = attempt()
	}
	if err != nil {
		return Chat{}, err
	}
	if a == nil && key != "" {
		if a, err = s.answerWithKey(ctx, q, key, task); err != nil {
			return Chat{}, err
		}
	}
	if a == nil {
		a = s.await(ctx, q.id, task)
	}
	out := Chat{
		Session: q.session, Mode: in.mode, MessageID: q.id, Task: &task,
		TaskStatusURL: "/api/v1/mentor/task-status/" + task.String() + "/",
	}
	if a != nil {
		out.Reply, out.Message = a.text, a.text
	}
	return out, nil
}

// adopt gives the question of a stream a task, or finds the one it has, and
// its answer if there is one.
func (s *Service) adopt(ctx context.Context, tx database.Tx, q *question, task *uuid.UUID) (*answer, error) {
	db := mentordb.New(tx)
	given, err := db.SetTask(ctx, mentordb.SetTaskParams{
		ID: q.id, TaskID: *task, Meta: taskMeta{Task: task, Version: taskVersion}.encode(),
	})
	if err != nil {
		return nil, fmt.Errorf("give the question a task: %w", err)
	}
	if given != nil {
		*task = *given
	}
	old, err := db.Question(ctx, mentordb.QuestionParams{ID: q.id, TaskVersion: taskVersion, Most: chatHistory})
	if err != nil {
		return nil, fmt.Errorf("read question: %w", err)
	}
	q.history = old.History
	if old.AnswerID == nil {
		return nil, nil
	}
	return &answer{id: *old.AnswerID, text: *old.Answer}, nil
}

// answerWithKey answers at once. There is an answer afterwards in any case:
// when the provider refuses the key, it is the failure text.
func (s *Service) answerWithKey(ctx context.Context, q question, key string, task uuid.UUID) (*answer, error) {
	text, err := s.chatReply(ctx, q, key, false)
	failure := ""
	if err != nil {
		text, failure = s.voice(q.language).failure, errorFailure
		s.fellBack()
	}
	store, cancel := storing(ctx)
	defer cancel()
	a, err := s.storeAnswer(store, s.DB, q.id, roleAssistant, text, &task, failure)
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// await waits for a task, at most ChatWait, and gives its answer, or nil.
func (s *Service) await(ctx context.Context, question int64, task uuid.UUID) *answer {
	if s.ChatWait <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.ChatWait)
	defer cancel()
	state, err := s.Jobs.Wait(ctx, task)
	if err != nil || !state.Final() {
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.Log.LogAttrs(ctx, slog.LevelWarn, "cannot wait for an answer", slog.String("job_id", task.String()), slog.String("error", err.Error()))
		}
		return nil
	}
	row, err := s.q.Answer(ctx, mentordb.AnswerParams{RequestID: question, TaskVersion: taskVersion})
	if err != nil {
		return nil // the question waits under its task
	}
	return &answer{id: row.ID, text: row.Content}
}

// nullJSON gives stored JSON, null when there is none.
func nullJSON(b json.RawMessage) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("null")
	}
	return b
}
