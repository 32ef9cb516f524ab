package mentor

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/database"
	"selflink/appliance/oldstack"
	"selflink/services/mentor/mentordb"
)

// importedSessions is the kind of rows that sessions are when they come from
// the old backend.
const importedSessions = "mentor sessions"

// ImportOptions say what a takeover of the old backend's rows needs to know.
type ImportOptions struct {
	Accounts string        // the kind of rows that accounts are
	KeptFor  time.Duration // how long conversations are kept here; 0: for ever
	Now      time.Time
}

// old reports whether retention will delete a message of that moment.
func (o ImportOptions) old(at time.Time) bool {
	return o.KeptFor > 0 && at.Before(o.Now.Add(-o.KeptFor))
}

// Imports are the tables of the old backend that become ours, in the order in
// which they are copied, accounts before them.
func Imports(o ImportOptions) []oldstack.Step {
	return []oldstack.Step{importSessions(o), importMessages(o), importProfiles(o), importTasks(o), importMemories(o)}
}

type oldSession struct {
	ID        int64              `old:"id"`
	UserID    int64              `old:"user_id"`
	Mode      string             `old:"mode" or:"'daily_mentor'" max:"32"`
	Language  *string            `old:"language" or:"NULL" max:"8"`
	Active    bool               `old:"active" or:"true"`
	StartedAt pgtype.Timestamptz `old:"started_at" or:"created_at" must:"true"`
	EndedAt   pgtype.Timestamptz `old:"ended_at" or:"NULL"`
	Metadata  oldstack.JSON      `old:"metadata" or:"'{}'"`
	Question  string             `old:"question" or:"''"`
	Answer    string             `old:"answer" or:"''"`
	Sentiment string             `old:"sentiment" or:"''" max:"32"`
	Date      pgtype.Date        `old:"date" or:"NULL"`
	CreatedAt pgtype.Timestamptz `old:"created_at" must:"true"`
	UpdatedAt pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedSession = mentordb.ImportedSessionsRow

func importSessions(o ImportOptions) oldstack.Copy[oldSession, importedSession] {
	return oldstack.Copy[oldSession, importedSession]{
		Kind: importedSessions, Table: "mentor_mentorsession",
		ID: func(s *oldSession) int64 { return s.ID },
		Convert: func(s *oldSession, _ func(string)) (importedSession, error) {
			return importedSession{
				ID: s.ID, UserID: s.UserID, Mode: s.Mode, Language: s.Language, Active: s.Active, StartedAt: s.StartedAt.Time.UTC(),
				EndedAt: momentOf(s.EndedAt), Metadata: json.RawMessage(s.Metadata), Question: s.Question, Answer: s.Answer, Sentiment: s.Sentiment,
				Date: dayOf(s.Date), CreatedAt: s.CreatedAt.Time.UTC(), UpdatedAt: s.UpdatedAt.Time.UTC(),
			}, nil
		},
		Parents: func(r importedSession) []oldstack.Parent { return []oldstack.Parent{{Kind: o.Accounts, ID: r.UserID}} },
		Find: find("sessions", (*mentordb.Queries).ImportedSessions, oldIDs, func(r *importedSession) int64 {
			r.StartedAt, r.CreatedAt, r.UpdatedAt = r.StartedAt.UTC(), r.CreatedAt.UTC(), r.UpdatedAt.UTC()
			if r.EndedAt != nil {
				*r.EndedAt = r.EndedAt.UTC()
			}
			return r.ID
		}, func(r importedSession) int64 { return r.ID }),
		Exist: func(ctx context.Context, q database.Querier, ids []int64) ([]int64, error) {
			found, err := mentordb.New(q).ImportSessionIDs(ctx, ids)
			if err != nil {
				return nil, fmt.Errorf("look up sessions: %w", err)
			}
			return found, nil
		},
		Insert: store("sessions", func(it oldstack.Item[importedSession]) mentordb.ImportSessionParams {
			r := it.Row
			return mentordb.ImportSessionParams{
				ID: r.ID, UserID: r.UserID, Mode: r.Mode, Language: r.Language, Day: r.Date, Active: r.Active, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
				Metadata: r.Metadata, Question: r.Question, Answer: r.Answer, Sentiment: r.Sentiment, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
			}
		}, func(q *mentordb.Queries, ctx context.Context, rows []mentordb.ImportSessionParams) func(func(int, error)) {
			return q.ImportSession(ctx, rows).Exec
		}),
		Update: store("sessions", func(it oldstack.Item[importedSession]) mentordb.ReimportSessionParams {
			r := it.Row
			return mentordb.ReimportSessionParams{
				Language: r.Language, Active: r.Active, StartedAt: r.StartedAt, EndedAt: r.EndedAt, Metadata: r.Metadata,
				Question: r.Question, Answer: r.Answer, Sentiment: r.Sentiment, UpdatedAt: r.UpdatedAt, ID: r.ID,
			}
		}, func(q *mentordb.Queries, ctx context.Context, rows []mentordb.ReimportSessionParams) func(func(int, error)) {
			return q.ReimportSession(ctx, rows).Exec
		}),
	}
}

type oldMessage struct {
	ID        int64              `old:"id"`
	SessionID int64              `old:"session_id"`
	Role      string             `old:"role"`
	Content   string             `old:"content" or:"''"`
	Meta      oldstack.JSON      `old:"meta" or:"NULL"`
	CreatedAt pgtype.Timestamptz `old:"created_at" must:"true"`
	UpdatedAt pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedMessage = mentordb.ImportedMessagesRow

func importMessages(o ImportOptions) oldstack.Copy[oldMessage, importedMessage] {
	return oldstack.Copy[oldMessage, importedMessage]{
		Kind: "mentor messages", Table: "mentor_mentormessage",
		ID: func(m *oldMessage) int64 { return m.ID },
		Convert: func(m *oldMessage, note func(string)) (importedMessage, error) {
			switch m.Role {
			case roleUser, roleAssistant, roleMentor:
			default:
				return importedMessage{}, oldstack.Refused("role is none of user, assistant and mentor")
			}
			if o.old(m.CreatedAt.Time) {
				note("they are older than MENTOR_RETENTION_DAYS allows: the server's next nightly purge deletes them")
			}
			var meta json.RawMessage
			if m.Meta != "" {
				meta = json.RawMessage(m.Meta)
			}
			return importedMessage{
				ID: m.ID, SessionID: m.SessionID, Role: m.Role, Content: m.Content, Meta: meta,
				CreatedAt: m.CreatedAt.Time.UTC(), UpdatedAt: m.UpdatedAt.Time.UTC(),
			}, nil
		},
		Parents: func(r importedMessage) []oldstack.Parent {
			return []oldstack.Parent{{Kind: importedSessions, ID: r.SessionID}}
		},
		Find: find("messages", (*mentordb.Queries).ImportedMessages, oldIDs, func(r *importedMessage) int64 {
			r.CreatedAt, r.UpdatedAt = r.CreatedAt.UTC(), r.UpdatedAt.UTC()
			return r.ID
		}, func(r importedMessage) int64 { return r.ID }),
		Insert: insertMessages,
		Update: store("messages", func(it oldstack.Item[importedMessage]) mentordb.ReimportMessageParams {
			r := it.Row
			return mentordb.ReimportMessageParams{Role: r.Role, Content: r.Content, Meta: r.Meta, UpdatedAt: r.UpdatedAt, ID: r.ID}
		}, func(q *mentordb.Queries, ctx context.Context, rows []mentordb.ReimportMessageParams) func(func(int, error)) {
			return q.ReimportMessage(ctx, rows).Exec
		}),
	}
}

// insertMessages stores messages. A question is answered once per version here:
// a further answer of the old backend stays a message of the session.
func insertMessages(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedMessage]) error {
	type answer struct {
		request int64
		version string
	}
	q := mentordb.New(tx)
	ties := make([]oldMessageTies, len(rows))
	var sessions, requests []int64
	for i, it := range rows {
		ties[i] = oldTies(it.Row.Role, it.Row.Meta)
		sessions = append(sessions, it.Row.SessionID)
		if ties[i].request != nil {
			requests = append(requests, *ties[i].request)
		}
	}
	owners, err := q.ImportOwners(ctx, sessions)
	if err != nil {
		return fmt.Errorf("look up sessions: %w", err)
	}
	owner := make(map[int64]int64, len(owners))
	for _, r := range owners {
		owner[r.ID] = r.UserID
	}
	known, err := q.ImportAnswered(ctx, requests)
	if err != nil {
		return fmt.Errorf("look up answers: %w", err)
	}
	answered := make(map[answer]bool, len(known)+len(requests))
	for _, r := range known {
		answered[answer{r.RequestID, r.TaskVersion}] = true
	}
	params := make([]mentordb.ImportMessageParams, len(rows))
	for i, it := range rows {
		r := it.Row
		params[i] = mentordb.ImportMessageParams{
			ID: r.ID, SessionID: r.SessionID, UserID: owner[r.SessionID], Role: r.Role, Content: r.Content, Meta: r.Meta,
			TaskID: ties[i].task, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		}
		if request := ties[i].request; request != nil {
			if a := (answer{*request, ties[i].version}); !answered[a] {
				answered[a] = true
				params[i].RequestID, params[i].TaskVersion = request, &ties[i].version
			}
		}
	}
	var first error
	q.ImportMessage(ctx, params).Exec(func(_ int, err error) {
		if first == nil {
			first = err
		}
	})
	if first != nil {
		return fmt.Errorf("store messages: %w", first)
	}
	return nil
}

// oldMessageTies are what an old message says in its meta of the task that it belongs to
// and of the question that it answers.
type oldMessageTies struct {
	task    *uuid.UUID
	request *int64
	version string
}

// oldTies reads them, as far as they are what they should be.
func oldTies(role string, meta json.RawMessage) (t oldMessageTies) {
	t.version = taskVersion
	var m struct {
		Task    json.RawMessage `json:"task_id"`
		Request json.RawMessage `json:"request_id"`
		Version json.RawMessage `json:"task_version"`
	}
	if len(meta) == 0 || json.Unmarshal(meta, &m) != nil {
		return t
	}
	var text string
	if json.Unmarshal(m.Task, &text) == nil && len(text) == 36 {
		if id, err := uuid.Parse(text); err == nil {
			t.task = &id
		}
	}
	var request int64
	if role != roleUser && json.Unmarshal(m.Request, &request) == nil && request > 0 {
		t.request = &request
	}
	var version string
	if json.Unmarshal(m.Version, &version) == nil && version != "" {
		t.version = version
	}
	return t
}

func momentOf(t pgtype.Timestamptz) *time.Time {
	if !t.Valid {
		return nil
	}
	utc := t.Time.UTC()
	return &utc
}

func dayOf(d pgtype.Date) *time.Time {
	if !d.Valid {
		return nil
	}
	return &d.Time
}

func oldIDs[T any](rows []oldstack.Item[T]) []int64 {
	ids := make([]int64, len(rows))
	for i, it := range rows {
		ids[i] = it.ID
	}
	return ids
}

// find makes the look-up of rows of ours. keys gives what to ask for, known
// gives the same of what was found, after it has put times into UTC, and wanted
// of what is looked for.
func find[T any](
	what string, query func(*mentordb.Queries, context.Context, []int64) ([]T, error),
	keys func([]oldstack.Item[T]) []int64, known func(*T) int64, wanted func(T) int64,
) func(context.Context, database.Querier, []oldstack.Item[T]) (map[int64]T, error) {
	return func(ctx context.Context, q database.Querier, rows []oldstack.Item[T]) (map[int64]T, error) {
		found, err := query(mentordb.New(q), ctx, keys(rows))
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", what, err)
		}
		byKey := make(map[int64]T, len(found))
		for _, r := range found {
			key := known(&r)
			byKey[key] = r
		}
		ours := make(map[int64]T, len(found))
		for _, it := range rows {
			if r, ok := byKey[wanted(it.Row)]; ok {
				ours[it.ID] = r
			}
		}
		return ours, nil
	}
}

// store makes the storing of rows, one statement each in one batch.
func store[T, P any](
	what string, params func(oldstack.Item[T]) P, batch func(*mentordb.Queries, context.Context, []P) func(each func(int, error)),
) func(context.Context, database.Tx, []oldstack.Item[T]) error {
	return func(ctx context.Context, tx database.Tx, rows []oldstack.Item[T]) error {
		all := make([]P, len(rows))
		for i, it := range rows {
			all[i] = params(it)
		}
		var first error
		batch(mentordb.New(tx), ctx, all)(func(_ int, err error) {
			if first == nil {
				first = err
			}
		})
		if first != nil {
			return fmt.Errorf("store %s: %w", what, first)
		}
		return nil
	}
}
