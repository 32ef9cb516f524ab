package mentor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/appliance/llm"
	"selflink/services/mentor/mentordb"
)

// Queue is the queue of the mentor's jobs. Its concurrency is how many
// questions a model answers at once.
const Queue = "llm"

// chatJob fetches the answer to one question of a chat. Running it twice
// stores one answer.
type chatJob struct {
	Session  int64  `json:"session_id"`
	Question int64  `json:"user_message_id"`
	Mode     string `json:"mode"`
	Language string `json:"language"`
	Version  string `json:"task_version"`
	// GiveUp stores the failure text unless there is an answer: the question
	// came with a key that is not kept.
	GiveUp bool `json:"give_up,omitempty"`
}

// Kind names the job.
func (chatJob) Kind() string { return "mentor.chat_generate" }

// journalJob fetches the answer to one journal entry.
type journalJob struct {
	Session  int64  `json:"session_id"`
	Question int64  `json:"user_message_id"`
	Language string `json:"language"`
	Version  string `json:"task_version"`
}

// Kind names the job.
func (journalJob) Kind() string { return "mentor.daily_entry" }

// policy: three attempts, the last some seconds after the first when the model
// cannot be reached, then a text is stored so that nobody waits for ever.
func (s *Service) policy() jobs.Policy {
	return jobs.Policy{Queue: Queue, Attempts: 3, Timeout: s.Timeout + 30*time.Second, Backoff: jobs.Exponential(2 * time.Second)}
}

// HandleJobs registers the mentor's jobs with e, which must have the queue
// [Queue]. It is called once, before e starts.
func (s *Service) HandleJobs(e *jobs.Engine) error {
	return errors.Join(
		jobs.Handle(e, s.policy(), s.answerChat),
		jobs.OnGiveUp(e, s.giveUpChat),
		jobs.Handle(e, s.policy(), s.answerEntry),
		jobs.OnGiveUp(e, s.giveUpEntry),
	)
}

// pending loads a question that waits for its answer; ok is false when there
// is nothing to do, because it has one or is gone. A text that stands for an
// answer does not count: whoever runs the job again wants a real one.
func (s *Service) pending(ctx context.Context, id int64, most int32) (q question, ok bool, err error) {
	row, err := s.q.Question(ctx, mentordb.QuestionParams{ID: id, TaskVersion: taskVersion, Most: most})
	if database.IsNoRows(err) {
		return question{}, false, nil
	}
	if err != nil {
		return question{}, false, fmt.Errorf("read question: %w", err)
	}
	if row.AnswerID != nil && !row.Failed {
		return question{}, false, nil
	}
	return question{
		id: row.ID, session: row.SessionID, user: row.UserID, mode: row.Mode, language: deref(row.Language),
		text: row.Content, history: row.History,
	}, true, nil
}

func (s *Service) answerChat(ctx context.Context, job *jobs.Job, args chatJob) error {
	q, ok, err := s.pending(ctx, args.Question, chatHistory)
	if err != nil || !ok {
		return err
	}
	if args.GiveUp {
		return job.Complete(ctx, nil, func(tx database.Tx) error {
			return s.giveUpChat(ctx, tx, job.ID, args, nil)
		})
	}
	if g := s.generations.runningQuestion(q.id); g != nil { // a stream is at it
		a, err := g.wait(ctx)
		s.generations.leave(g)
		if err == nil {
			return job.Complete(ctx, nil, func(tx database.Tx) error { return s.tellReply(ctx, tx, job.ID, q, a.text) })
		}
		if ctx.Err() != nil {
			return err
		}
	}
	text, err := s.chatReply(ctx, q, "", false)
	if err != nil {
		return modelFailure(err)
	}
	return s.complete(ctx, job, q, roleAssistant, text, nil)
}

// modelFailure says whether another attempt may help.
func modelFailure(err error) error {
	if errors.Is(err, llm.ErrModelRefused) {
		return jobs.Permanent(err)
	}
	return err
}

// complete ends a job with its answer; also, which may be nil, runs when the
// answer was stored now.
func (s *Service) complete(ctx context.Context, job *jobs.Job, q question, role, text string, also func(db *mentordb.Queries) error) error {
	return job.Complete(ctx, nil, func(tx database.Tx) error {
		a, err := s.storeAnswer(ctx, tx, q.id, role, text, &job.ID, "")
		if errors.Is(err, errQuestionGone) {
			return nil
		}
		if err != nil {
			return err
		}
		if a.stored && also != nil {
			if err := also(mentordb.New(tx)); err != nil {
				return err
			}
		}
		return s.tellReply(ctx, tx, job.ID, q, a.text)
	})
}

// giveUpChat stores the text that ends a task without an answer.
func (s *Service) giveUpChat(ctx context.Context, tx database.Tx, id jobs.ID, args chatJob, _ error) error {
	text := s.voice(args.Language).failure
	a, err := s.storeAnswer(ctx, tx, args.Question, roleAssistant, text, &id, errorFailure)
	if errors.Is(err, errQuestionGone) || err == nil && !a.stored {
		return nil
	}
	if err != nil {
		return err
	}
	tx.AfterCommit(s.fellBack)
	return s.tellFailed(ctx, tx, id, args.Question, text)
}

func (s *Service) answerEntry(ctx context.Context, job *jobs.Job, args journalJob) error {
	q, ok, err := s.pending(ctx, args.Question, journalHistory)
	if err != nil || !ok {
		return err
	}
	q.language = args.Language
	if len(q.history) == 0 {
		q.history, err = s.q.JournalBefore(ctx, mentordb.JournalBeforeParams{QuestionID: q.id, Most: journalHistory})
		if err != nil {
			return fmt.Errorf("read journals: %w", err)
		}
	}
	text, err := s.reflect(ctx, q)
	if err != nil {
		return modelFailure(err)
	}
	return s.complete(ctx, job, q, roleMentor, text, func(db *mentordb.Queries) error { return storeReflection(ctx, db, q, text) })
}

// giveUpEntry answers a journal entry without a model.
func (s *Service) giveUpEntry(ctx context.Context, tx database.Tx, id jobs.ID, args journalJob, _ error) error {
	text := s.voice(args.Language).reflection
	a, err := s.storeAnswer(ctx, tx, args.Question, roleMentor, text, &id, errorFailure)
	if errors.Is(err, errQuestionGone) || err == nil && !a.stored {
		return nil
	}
	if err != nil {
		return err
	}
	tx.AfterCommit(s.fellBack)
	row, err := mentordb.New(tx).Question(ctx, mentordb.QuestionParams{ID: args.Question, TaskVersion: taskVersion})
	if err != nil {
		return fmt.Errorf("read question: %w", err)
	}
	q := question{session: args.Session, language: args.Language, text: row.Content}
	if err := storeReflection(ctx, mentordb.New(tx), q, text); err != nil {
		return err
	}
	return s.tellFailed(ctx, tx, id, args.Question, text)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
