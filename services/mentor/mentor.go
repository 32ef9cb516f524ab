// Package mentor is the AI guide: conversations, live streams, the daily
// journal, small tasks, and the background jobs that fetch answers from a
// language model.
//
// An accepted question is never lost: it is stored, with the job that answers
// it where there is one, in one transaction. A question is answered at most
// once: the unique index on (question, task version) is the judge, so a job
// that runs twice, two nodes, or a stream and a chat that ask the same at once
// store one answer. A caller's own provider key is used in the request that
// brought it and kept nowhere.
package mentor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/appliance/llm"
	"selflink/services/mentor/mentordb"
)

const (
	// MaxMessage is the longest question or entry in characters.
	MaxMessage = 4096
	// maxReply is the longest answer that is kept, in characters.
	maxReply = 8000
	// chatHistory is how many earlier messages a chat shows the model.
	chatHistory = 10
	// journalHistory is the same for the journal.
	journalHistory = 6
	// storeTimeout bounds the storing of an answer, which goes on when the
	// client that asked is gone: the model's work is done and paid for.
	storeTimeout = 10 * time.Second

	defaultMode     = "daily_mentor"
	defaultLanguage = "en"
	// taskVersion names the way in which answers are made; raising it would
	// let old questions be answered anew.
	taskVersion = "v1"
	// errorFailure marks a stored text that is no answer (in meta.error).
	errorFailure = "llm_failure"

	roleUser      = "user"
	roleAssistant = "assistant"
	roleMentor    = "mentor"
)

// IDs makes ids that no other process makes. *snowflake.Generator is one.
type IDs interface{ Next() int64 }

// Jobs is what the mentor needs of the job engine. *jobs.Engine is one.
type Jobs interface {
	jobs.Enqueuer
	Wait(ctx context.Context, id jobs.ID) (jobs.State, error)
}

// Person is what the mentor may tell the model about somebody. Every field
// may be empty. There is no address of any kind in it, on purpose.
type Person struct {
	Name       string
	Handle     string
	Bio        string
	Locale     string
	BirthDate  string // YYYY-MM-DD
	BirthTime  string // HH:MM
	BirthPlace string
	Facts      []string // further known facts, one a line ("Sun sign: Leo")
}

// People tells who somebody is.
type People interface {
	Person(ctx context.Context, user int64) (Person, error)
}

// Deps are what the service needs and how it behaves. DB, IDs, Jobs and Model
// are required; zero values of the rest mean what is said in parentheses.
type Deps struct {
	DB     database.Pool
	IDs    IDs
	Jobs   Jobs
	Model  llm.Model
	People People           // (nobody is known)
	Events Events           // (nobody is told)
	Log    *slog.Logger     // (silent)
	Clock  func() time.Time // its zone decides which day it is (time.Now)

	// Backlog counts the jobs of [Queue] that wait, for [Service.Insight]
	// (nobody counts: none).
	Backlog func(ctx context.Context) (int64, error)

	// ChatWait is for how long the answer to an asynchronous chat is held back
	// for the reply to be in it (not at all). Clients of the old backend never
	// poll, so that 20 to 25 s lets them see an answer.
	ChatWait time.Duration
	// JournalAsync makes journal entries asynchronous unless the client asks
	// otherwise (INTELLIGENCE_ASYNC_DEFAULT).
	JournalAsync bool
	// Disabled answers everything with built-in texts (MENTOR_LLM_ENABLED).
	Disabled bool
	// Timeout is the longest generation (llm.DefaultTimeout). It is the
	// model's own; requests and jobs are given a little more.
	Timeout        time.Duration
	MaxTokens      int // of the answer to a journal entry (no limit)
	MaxPromptChars int // of the journal's prompt (4000)
	MaxMessages    int // of history in the journal's prompt (12)
	// StreamLinger is for how long a generation goes on after its last client
	// left (2 s): the old client closes its stream and asks the same again.
	StreamLinger time.Duration
	// FrameInterval is the shortest time between two frames of one stream
	// (50 ms). Twenty frames a second look as fluid as eighty and cost a
	// quarter of the writes.
	FrameInterval time.Duration
}

// Service answers questions. It is safe for concurrent use.
type Service struct {
	Deps
	q           *mentordb.Queries
	voices      map[string]voice
	generations *generations
	testing     atomic.Bool // a test prompt is on its way
	gatherings
}

// New makes the service. Its jobs are registered by [Service.HandleJobs].
func New(d Deps) (*Service, error) {
	if d.DB == nil || d.IDs == nil || d.Jobs == nil || d.Model == nil {
		return nil, errors.New("mentor: a database, ids, jobs and a model are needed")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.Log = d.Log.With("component", "mentor")
	if d.Clock == nil {
		d.Clock = time.Now
	}
	orDefault(&d.Timeout, llm.DefaultTimeout)
	orDefault(&d.MaxPromptChars, 4000)
	orDefault(&d.MaxMessages, 12)
	orDefault(&d.StreamLinger, 2*time.Second)
	orDefault(&d.FrameInterval, 50*time.Millisecond)
	voices, err := loadVoices()
	if err != nil {
		return nil, err
	}
	q := mentordb.New(d.DB)
	together, err := newGatherings(q)
	if err != nil {
		return nil, err
	}
	return &Service{
		Deps: d, q: q, voices: voices,
		generations: newGenerations(d.StreamLinger), gatherings: together,
	}, nil
}

func orDefault[T time.Duration | int](v *T, byDefault T) {
	if *v <= 0 {
		*v = byDefault
	}
}

// Start does nothing: generations begin with the streams that ask for them.
func (s *Service) Start(context.Context) error { return nil }

// Stop ends all generations of streams and waits until they have let go of
// the model, or for ctx. Stopping twice does nothing.
func (s *Service) Stop(ctx context.Context) error {
	if err := s.generations.stop(ctx); err != nil {
		return fmt.Errorf("mentor: stop: %w", err)
	}
	return nil
}

// person gives what is known of somebody. Not to know is no reason not to
// answer.
func (s *Service) person(ctx context.Context, user int64) Person {
	if s.People == nil {
		return Person{}
	}
	p, err := s.People.Person(ctx, user)
	if err != nil {
		s.Log.LogAttrs(ctx, slog.LevelWarn, "cannot tell who asks", slog.Int64("user_id", user), slog.String("error", err.Error()))
		return Person{}
	}
	return p
}

// isGone reports whether a statement met a session that retention deleted at
// that very moment.
func isGone(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23503"
}

// Forget deletes everything that the mentor keeps of a user, for the deletion
// of an account.
func (s *Service) Forget(ctx context.Context, tx database.Tx, user int64) error {
	q := mentordb.New(tx)
	for _, forget := range []func(context.Context, int64) error{
		q.ForgetMessages, q.ForgetSessions, q.ForgetStreams, q.ForgetTasks, q.ForgetProfile, q.DeleteMemory,
	} {
		if err := forget(ctx, user); err != nil {
			return fmt.Errorf("forget a user's mentor: %w", err)
		}
	}
	return nil
}
