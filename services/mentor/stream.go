package mentor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
	"selflink/appliance/llm"
	"selflink/services/mentor/mentordb"
)

// streamIn is a question in an address.
type streamIn struct {
	Message  string `query:"message" doc:"The question, at most 4096 characters."`
	Mode     string `query:"mode" doc:"daily_mentor when missing."`
	Language string `query:"language" doc:"en when missing."`
}

// stream answers a question as server-sent events (contract 02 §4).
//
// The shipped client asks the same question again and again, and then by POST.
// So a question is identified by user, mode, language and text: whoever asks
// it while it is being answered joins that generation, and within a minute
// after gets the stored answer.
func (s *Service) stream(c *fiber.Ctx, in *streamIn) error {
	ctx := c.UserContext()
	who, _ := auth.From(ctx)
	q, problem := newInput(who.UserID, in.Message, in.Mode, in.Language)
	switch {
	case problem != "":
		return refuse(c, http.StatusBadRequest, problem)
	case utf8.RuneCountInString(q.mode) > 32:
		return refuse(c, http.StatusBadRequest, "Mode is too long: 32 characters at most.")
	case utf8.RuneCountInString(q.language) > 8:
		return refuse(c, http.StatusBadRequest, "Language is too long: 8 characters at most.")
	}
	if err := httpapi.Burst(ctx, "mentor"); err != nil {
		return refuse(c, http.StatusTooManyRequests, "Rate limit exceeded.")
	}
	if c.Method() == http.MethodHead { // nobody would read an answer
		c.Set(fiber.HeaderContentType, "text/event-stream")
		c.Set(fiber.HeaderCacheControl, "no-cache")
		c.Set("X-Accel-Buffering", "no")
		return nil
	}
	return httpapi.ServeEvents(c, func(ctx context.Context, w *httpapi.EventWriter) error {
		g, err := s.generationOf(ctx, q)
		if err != nil {
			return err
		}
		defer s.generations.leave(g)
		return s.serve(ctx, w, q, g)
	})
}

// generationOf joins the generation that answers q, or stores the question and
// begins one. The caller leaves it.
func (s *Service) generationOf(ctx context.Context, q chatInput) (*generation, error) {
	if g := s.generations.known(q.key()); g != nil {
		return g, nil
	}
	question, fresh, err := s.ask(ctx, q, true)
	if err != nil {
		return nil, err
	}
	g, err := s.generations.join(q.key(), question.id, question.session, func(ctx context.Context, g *generation) (answer, error) {
		return s.answerStream(ctx, g, question, !fresh)
	})
	if err != nil {
		return nil, httpapi.Unavailable()
	}
	return g, nil
}

// serve follows g for one client.
func (s *Service) serve(ctx context.Context, w *httpapi.EventWriter, q chatInput, g *generation) error {
	e := newEvents()
	if err := w.Data(e.start(g.session, q.mode)); err != nil {
		return err
	}
	err := g.follow(ctx, s.FrameInterval, func(text string) error { return w.Data(e.token(text)) })
	switch {
	case err == nil:
		return w.Data(e.end(g.session))
	case errors.Is(err, httpapi.ErrStreamEnded):
		return err
	default:
		return w.Data(e.failure(streamProblem(err)))
	}
}

// streamProblem is how a failure shows in a stream.
func streamProblem(err error) string {
	switch {
	case errors.Is(err, llm.ErrModelTimeout):
		return msgTimedOut
	case errors.Is(err, llm.ErrModelDown):
		return msgModelDown
	default:
		return msgStreamFail
	}
}

// answerStream is the work of a generation: it runs the model, or takes the
// answer that is there when the question was asked before, and stores it
// before anybody hears of the end.
func (s *Service) answerStream(ctx context.Context, g *generation, q question, again bool) (answer, error) {
	a, err := s.streamAnswer(ctx, g, q, again)
	if err != nil && ctx.Err() == nil && !errors.Is(err, llm.ErrModelDown) {
		s.Log.LogAttrs(ctx, slog.LevelError, "stream failed", slog.Int64("user_id", q.user), slog.String("error", err.Error()))
	}
	return a, err
}

func (s *Service) streamAnswer(ctx context.Context, g *generation, q question, again bool) (answer, error) {
	if again {
		old, err := s.q.Question(ctx, mentordb.QuestionParams{ID: q.id, TaskVersion: taskVersion, Most: chatHistory})
		if err != nil {
			return answer{}, fmt.Errorf("read question: %w", err)
		}
		if old.AnswerID != nil {
			g.add(*old.Answer)
			return answer{id: *old.AnswerID, text: *old.Answer}, nil
		}
		// It failed, or its process died, or another node is at it: whoever
		// is first stores the answer.
		q.history = old.History
	}
	var text string
	var err error
	if s.Disabled {
		text = s.voice(q.language).unavailable
		g.add(text)
	} else if text, err = s.generate(ctx, s.chatPrompt(q), g.add); err != nil {
		return answer{}, err
	}
	store, cancel := storing(ctx)
	defer cancel()
	return s.storeStreamed(store, q, g.key.fingerprint, text)
}

// refuse answers with a status and one error event.
func refuse(c *fiber.Ctx, status int, problem string) error {
	c.Status(status).Set(fiber.HeaderContentType, "text/event-stream")
	return c.Send(append(append([]byte("data: "), newEvents().failure(problem)...), "\n\n"...))
}

// events writes the JSON of events the way the old backend did, a space after
// each comma and colon. It keeps one buffer; what it returns is valid until
// the next call.
type events struct {
	buf bytes.Buffer
	enc *json.Encoder
}

func newEvents() *events {
	e := &events{}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}

func (e *events) start(session int64, mode string) []byte {
	e.begin(`{"event": "start", "session_id": `)
	e.buf.WriteString(strconv.FormatInt(session, 10))
	e.buf.WriteString(`, "mode": `)
	return e.text(mode)
}

func (e *events) token(delta string) []byte {
	e.begin(`{"event": "token", "delta": `)
	return e.text(delta)
}

func (e *events) end(session int64) []byte {
	e.begin(`{"event": "end", "session_id": `)
	e.buf.WriteString(strconv.FormatInt(session, 10))
	e.buf.WriteByte('}')
	return e.buf.Bytes()
}

func (e *events) failure(detail string) []byte {
	e.begin(`{"event": "error", "detail": `)
	return e.text(detail)
}

func (e *events) begin(s string) {
	e.buf.Reset()
	e.buf.WriteString(s)
}

// text writes s and closes the object.
func (e *events) text(s string) []byte {
	_ = e.enc.Encode(s) // text into memory: nothing can fail
	e.buf.Truncate(e.buf.Len() - 1)
	e.buf.WriteByte('}')
	return e.buf.Bytes()
}
