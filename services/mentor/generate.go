package mentor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"selflink/appliance/database"
	"selflink/appliance/llm"
	"selflink/services/mentor/mentordb"
)

// errEnough ends a generation whose text is as long as it may be.
var errEnough = errors.New("mentor: the answer is long enough")

// generate asks the model and returns its text, at most maxReply characters.
// each, which may be nil, is called with every piece as it comes. Errors of
// the model wrap llm.ErrModelDown.
func (s *Service) generate(ctx context.Context, p llm.Prompt, each func(piece string)) (string, error) {
	text, _, err := s.generateCounted(ctx, p, each)
	return text, err
}

// generateCounted is generate that tells what it took, too.
func (s *Service) generateCounted(ctx context.Context, p llm.Prompt, each func(piece string)) (string, llm.Usage, error) {
	var text strings.Builder
	left := maxReply
	usage, err := s.Model.Generate(ctx, p, func(piece string) error {
		n := utf8.RuneCountInString(piece)
		for ; n > left; n-- {
			_, size := utf8.DecodeLastRuneInString(piece)
			piece = piece[:len(piece)-size]
		}
		left -= n
		text.WriteString(piece)
		if each != nil && piece != "" {
			each(piece)
		}
		if left == 0 {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return "", usage, err
	}
	if strings.TrimSpace(text.String()) == "" {
		return "", usage, fmt.Errorf("%w: the answer was blank", llm.ErrModelDown)
	}
	return text.String(), usage, nil
}

// chatReply answers a chat: with the caller's own key where there is one.
// fallback lets the configured model answer when that fails.
func (s *Service) chatReply(ctx context.Context, q question, key string, fallback bool) (string, error) {
	if s.Disabled {
		return s.voice(q.language).unavailable, nil
	}
	p := s.chatPrompt(q)
	p.Key = key
	text, err := s.generate(ctx, p, nil)
	if err != nil && key != "" && fallback && ctx.Err() == nil {
		p.Key = ""
		s.fellBack()
		text, err = s.generate(ctx, p, nil)
	}
	return text, err
}

// question is what an answer is made from.
type question struct {
	id       int64
	session  int64
	user     int64
	mode     string
	language string
	text     string
	history  []string // lines of history, newest first
}

// taskMeta is the meta of messages that belong to a background task. Clients
// read it.
type taskMeta struct {
	Task    *uuid.UUID `json:"task_id,omitempty"`
	Request int64      `json:"request_id,omitempty"`
	Version string     `json:"task_version,omitempty"`
	Error   string     `json:"error,omitempty"`
}

func (m taskMeta) encode() json.RawMessage {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // a struct of plain fields always encodes
	}
	return b
}

// answer is a stored answer.
type answer struct {
	id     int64
	text   string
	stored bool // by this call; else it was there before
}

// errQuestionGone means that the question was deleted while it was answered.
var errQuestionGone = errors.New("mentor: the question is gone")

// storeAnswer stores the answer to a question, or gives the one it has. task
// is nil for answers without a background task, and so is failure's place in
// meta then.
func (s *Service) storeAnswer(ctx context.Context, db database.Querier, question int64, role, text string, task *uuid.UUID, failure string) (answer, error) {
	q := mentordb.New(db)
	var meta json.RawMessage
	if task != nil || failure != "" {
		meta = taskMeta{Task: task, Request: question, Version: taskVersion, Error: failure}.encode()
	}
	id := s.IDs.Next()
	row, err := q.StoreAnswer(ctx, mentordb.StoreAnswerParams{
		ID: id, Role: role, Content: text, Meta: meta, TaskID: task, TaskVersion: taskVersion, RequestID: question,
	})
	if err != nil {
		return answer{}, fmt.Errorf("store answer: %w", err)
	}
	return readAnswer(row, id)
}

// storing gives the context in which an answer is stored: it outlives the
// request's.
func storing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}
